"""`analyze pictures`, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from centernet_d2 import cli, setup
from centernet_d2.cli.pictures import PAGE
from centernet_d2.engine.setup import load_config
from centernet_d2.visualization.canvas import VERDICTS


@pytest.fixture
def results(squares, tmp_path):
    """A file of results: all squares, and of the second picture one too many."""
    content = json.loads(Path(squares.split(":")[1]).read_text())
    rows = [{**box, "score": 0.5} for box in content["annotations"]]
    rows.append({"image_id": 1, "category_id": 5, "bbox": [2, 40, 9, 9], "score": 0.4})
    file = tmp_path / "results.json"
    file.write_text(json.dumps(rows))
    return str(file)


def draw(squares, folder, *words) -> int:
    return cli.main(
        ["analyze", "pictures", "--dataset", squares, "--output", str(folder), *map(str, words)]
    )


def test_of_files_the_worst_come_first(squares, results, tmp_path):
    assert draw(squares, tmp_path / "out", "--results", results, "--names", "</script>") == 0
    numbers = json.loads((tmp_path / "out" / "pictures.json").read_text())
    assert [e["models"]["</script>"]["false"] for e in numbers["pictures"]] == [1, 0, 0, 0]
    names = [e["picture"] for e in numbers["pictures"]]
    assert names == ["0001_1.png", "0002_0.png", "0003_2.png", "0004_3.png"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("</script>") == PAGE.read_text().count("</script>")
    # Again, of fewer pictures: those of the first call do not stay.
    assert draw(squares, tmp_path / "out", "--results", results, "--images", "2", "x/3.jpg") == 0
    files = sorted(file.name for file in (tmp_path / "out").glob("*.png"))
    assert files == ["0001_2.png", "0002_3.png"]


def test_the_page_has_the_colors_of_the_pictures():
    for blue, green, red in VERDICTS:
        assert f"rgb({red},{green},{blue})" in PAGE.read_text()


def test_two_models_and_one_twice_with_other_keys(squares, tiny_overrides, tiny_yaml, tmp_path):
    torch.manual_seed(0)
    model = build_model(setup(load_config(tiny_yaml, tiny_overrides)))
    DetectionCheckpointer(model, str(tmp_path)).save("weights", class_names=["square"])
    words = ["--config-file", tiny_yaml, "--weights", *[str(tmp_path / "weights.pth")] * 2]
    words += ["--heatmaps", "--score-threshold", "0", "--max-detections", "3"]
    words += ["--opts-b", "MODEL.HEATMAP.TOP_K", "1", "--opts", *tiny_overrides]
    assert draw(squares, tmp_path / "out", *words) == 0
    numbers = json.loads((tmp_path / "out" / "pictures.json").read_text())
    assert numbers["order"] == "differ"
    second = [e["models"] for e in numbers["pictures"]]
    assert [sorted(n["false"] for n in each.values()) for each in second] == [[1, 3]] * 4
    assert list(numbers["models"])[1].endswith("weights, MODEL.HEATMAP.TOP_K 1")


WRONG = {
    "none": ([], "give one or two models"),
    "keys of one": (["--results", "{0}", "--opts-b", "A", "1"], "--opts-b goes with two --weights"),
    "names": (["--results", "{0}", "--names", "a", "b"], "2 --names of 1 models"),
    "twice": (["--results", "{0}", "{0}"], "give two --names"),
    "order": (["--results", "{0}", "--order", "differ"], "differ is of two models"),
    "heatmaps of files": (["--results", "{0}", "--heatmaps"], "files have none"),
    "picture": (["--results", "{0}", "--images", "7"], "has no picture ['7'], but such as '0.png'"),
    "other files": (["--results", "{0}", "--output", "{1}"], "has other files"),
    "other classes": (["--weights", "bccd"], "know 3 classes ("),
    "keypoints": (["--results", "{0}", "--keypoints"], "are of corner detectors"),
    "other pictures": (
        ["--results", "{1}/other.json"],
        "a picture that the dataset does not",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_sentence(squares, results, tmp_path, capsys, case):
    rows = json.loads(Path(results).read_text())
    other = [{**row, "image_id": row["image_id"] + 100} for row in rows]
    (tmp_path / "other.json").write_text(json.dumps(other))
    words, told = WRONG[case]
    given = [word.format(results, tmp_path) for word in words]
    assert draw(squares, tmp_path / "out", *given) == 1
    error = capsys.readouterr().err.strip()
    assert told in error
    assert len(error.splitlines()) == 1


def test_without_annotations_there_is_nothing_to_compare(squares, results, tmp_path, capsys):
    file = Path(squares.split(":")[1])
    content = json.loads(file.read_text())
    del content["annotations"]
    file.write_text(json.dumps(content))
    assert draw(squares, tmp_path / "out", "--results", results) == 1
    assert "has no annotations to compare with" in capsys.readouterr().err
