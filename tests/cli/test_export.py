"""The verb export: a file that is equal to PyTorch, or none."""

from __future__ import annotations

from contextlib import suppress

import cv2
import pytest
from export.small import CLASSES, pictures, saved

from centernet_d2 import cli
from centernet_d2.cli import export as verb
from centernet_d2.export import formats
from centernet_d2.export.formats import formats as table


def export(tmp_path, name, *arguments) -> tuple[int, object]:
    weights = saved(name, tmp_path / "model.pth")
    cv2.imwrite(str(tmp_path / "photo.png"), pictures(1, 100, 150)[0])
    output = tmp_path / "out" / "model.pt2"
    given = ["--format", "torch", "--output", str(output), "--images", str(tmp_path / "photo.png")]
    given += ["--size", "100", "150"]
    return cli.main(["export", *given, *arguments, *weights]), output


def test_the_file_says_all_that_a_program_needs(tmp_path, capsys):
    status, output = export(tmp_path, "hard", "--batch", "1")
    assert status == 0
    report = capsys.readouterr().out
    assert "compared with PyTorch on 1 picture, " in report
    assert "worst difference of pred_boxes" in report
    assert "one picture: PyTorch" in report
    _, told = table()["torch"].open(output)
    assert told["class_names"] == CLASSES
    assert told["detector"] == "PointsCenterNet"
    assert told["outputs"] == ["scores", "pred_classes", "pred_boxes", "count"]
    assert told["frame"] == {"batch": 1, "height": 100, "width": 150}
    assert told["canvas"]["flip"] is False
    assert told["protocol"].startswith("no augmentation / keep_res / hard NMS")
    assert export(tmp_path, "hard")[0] == 1
    assert "give --overwrite" in capsys.readouterr().err


def test_a_size_of_no_picture_is_said(monkeypatch):
    told = []
    monkeypatch.setattr(verb.logger, "warning", lambda line, *more: told.append(line % more))
    named = [("a.png", pictures(1, 48, 64)[0]), ("b.png", pictures(1, 64, 64)[0])]
    for size in ([64, 48], [48, 64], [64, 64]):
        verb.hint_at_size(size, named)
    assert told == [
        "no picture of --images is 64 high and 48 wide, as --size is: the first is 48 x 64"
    ]


def test_the_network_alone_is_compared_too(tmp_path, capsys):
    assert export(tmp_path, "hard", "--split")[0] == 1
    assert "--size is that of the canvas: multiples of 32" in capsys.readouterr().err
    assert export(tmp_path, "hard", "--split", "--size", "128", "160")[0] == 0
    out = capsys.readouterr().out
    assert "worst difference of heatmap" in out
    assert "detections" not in out


def test_a_file_that_finds_something_else_is_removed(tmp_path, capsys, monkeypatch):
    right = formats.of_tensors

    def wrong(*arguments):
        run = right(*arguments)

        def changed(inputs):
            found = run(inputs)
            return found | {"pred_boxes": found["pred_boxes"] + 0.25}

        return changed

    monkeypatch.setattr(formats, "of_tensors", wrong)
    status, output = export(tmp_path, "hard")
    assert status == 1
    assert not output.exists()
    assert "is removed: pred_boxes differs by 0.25 (allowed: 0.001)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--images", "nowhere"], "--images 'nowhere' names no image"),
        (["--size", "0", "3"], "it must be a whole number, 1 or more"),
        (["--size", "20", "9000"], "--size [20, 9000]: sides of 2 to 8192 pixels can be exported"),
        (["--output", "{folder}"], "' is a folder: give the name of a file in it"),
        (["--output", "{file}/a.pt2"], "' is a file: give a folder, which may be a new one"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path, arguments, told, capsys):
    (tmp_path / "file").touch()
    given = [each.format(folder=tmp_path, file=tmp_path / "file") for each in arguments]
    with suppress(SystemExit):  # which is wrong usage
        assert export(tmp_path, "hard", *given)[0] == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
