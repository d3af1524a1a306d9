"""What the page shows of a picture: the same as `Predictor` and `predict`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet_d2 import Predictor, cli
from centernet_d2.app import pictures
from centernet_d2.app.pictures import Seen, camera_of, heatmaps, loader, local_weights, look, show

CPU = ["MODEL.DEVICE", "cpu"]


@pytest.fixture(scope="module")
def models(weights) -> dict[str, Predictor]:
    return {name: Predictor(file, CPU) for name, file in weights.items()}


@pytest.mark.parametrize("name", ["hard", "pose", "boxes in space"])
def test_the_record_is_that_of_predict(models, weights, photo, tmp_path, name):
    command = ["predict", "--weights", weights[name], "--input", photo, "--output", str(tmp_path)]
    assert cli.main([*command, "--score-threshold", "0.1", "--no-pictures", "--opts", *CPU]) == 0
    written = json.loads((tmp_path / "predictions.json").read_text())
    *_, table, record = show(look(models[name], photo), 0.1)
    record = json.loads(json.dumps(record))
    (theirs,), (ours,) = written["images"], record.pop("images")
    assert len(ours["detections"]) > 2
    del theirs["name"]
    assert ours == theirs | {"file": "photo.png"}
    assert record.items() <= written.items()
    scores = [round(entry["score"], 3) for entry in theirs["detections"]]
    assert [row[1] for row in table["data"]] == sorted(scores, reverse=True)


SIDES = ["left", "top", "right", "bottom"]


@pytest.mark.parametrize(
    ("name", "columns", "sizes", "maps"),
    [
        ("hard", SIDES, [(200, 300)], 1),
        ("pose", SIDES, [(200, 300)], 2),
        ("boxes in space", ["right (m)", "down (m)", "ahead (m)"], [(400, 600), (400, 400)], 1),
    ],
)
def test_pictures_and_table(models, photo, name, columns, sizes, maps):
    """A picture of 100 x 150 is shown enlarged, boxes in space also from above."""
    seen = look(models[name], photo)
    found = seen.result["instances"]
    *many, table, _ = show(seen, 0.02)
    *few, short, _ = show(seen, float(found.scores.sort(descending=True)[0][2]))
    assert 0 < len(short["data"]) <= 3 < len(table["data"])
    assert short["headers"] == table["headers"] == ["class", "score", *columns]
    assert all(len(row) == 2 + len(columns) for row in table["data"])
    assert [picture.shape[:2] for picture in few if picture is not None] == sizes
    for picture, other in zip(few[: len(sizes)], many, strict=False):
        assert (picture != other).any()
    if len(sizes) == 2:
        place = found.pred_boxes3d.location[found.scores.argmax()]
        assert table["data"][0][2:] == pytest.approx(place.tolist(), abs=0.06)
    assert show(seen, 1.0)[2]["data"] == []
    assert heatmaps(seen).shape[1] == maps * 150 + (maps - 1) * 4
    assert (seen.picture == cv2.imread(photo)).all()  # nothing is drawn on it


def test_a_box_is_where_the_detector_says_in_the_enlarged_picture():
    image, result = np.zeros((100, 150, 3), np.uint8), {"instances": Instances((100, 150))}
    found = result["instances"]
    found.pred_boxes = Boxes([[20.0, 30.0, 60.0, 80.0]])
    found.scores, found.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    seen = Seen(SimpleNamespace(class_names=["a"], skeleton=None, names={}), "a", image, result, [])
    drawn, plain = (show(seen, score)[0].astype(int) for score in (0.5, 0.95))
    rows, columns = np.nonzero((drawn != plain).any(axis=2)[58:])  # below the caption
    assert abs(rows.max() + 58 - 160) <= 2
    assert abs(columns.min() - 40) <= 2
    assert abs(columns.max() - 120) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(("name", "field"), [("pose", "joints"), ("boxes in space", "box3d")])
def test_an_exported_file_shows_what_its_weights_show(
    models, weights, photo, tmp_path, name, field
):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    file = str(tmp_path / "m.onnx")
    command = ["export", "--weights", weights[name], "--output", file, "--images", photo]
    assert cli.main(command) == 0
    model = loader([file], ())(file)
    seen, theirs = look(model, photo), look(models[name], photo)
    (*_, table, found), (*_, expected, record) = show(seen, 0.1), show(theirs, 0.1)
    assert table == expected
    (found,), (expected,) = found["images"], record["images"]
    assert field in found["detections"][0]
    cameras = [each.get("projection", 0) for each in (found, expected)]
    np.testing.assert_allclose(*cameras, rtol=1e-6)  # the default one, scaled
    assert model.names == models[name].names
    assert heatmaps(seen) is None


def as_grey(image):
    return image.convert("L")


def as_alpha(image):
    image = image.convert("RGBA")
    image.putalpha(40)
    return image


def as_deep(image):
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("make", "like"), [(as_grey, as_grey), (as_alpha, lambda i: i), (as_deep, as_grey)]
)
def test_pictures_of_other_depths(models, photo, tmp_path, make, like):
    image = Image.open(photo)
    make(image).save(tmp_path / "a.png")
    seen = look(models["hard"], str(tmp_path / "a.png"))
    assert (seen.picture == np.asarray(like(image).convert("RGB"))[..., ::-1]).all()
    assert seen.notes == []


def test_of_a_moving_picture_the_first_one(models, photo, tmp_path):
    image = Image.open(photo)
    image.save(tmp_path / "a.webp", save_all=True, append_images=[image.rotate(90)], lossless=True)
    seen = look(models["hard"], str(tmp_path / "a.webp"))
    assert seen.notes == ["Of its 2 pictures the first one is shown."]
    assert (seen.picture == cv2.imread(photo)).all()


def test_pictures_that_cannot_be_used(models, tmp_path, monkeypatch):
    Image.new("L", (60, 50)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no picture at all")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 2999)
    with pytest.raises(ValueError, match="has 60 x 50 pixels, more than the 2,999 that"):
        look(models["hard"], str(tmp_path / "large.png"))
    with pytest.raises(ValueError, match="it is text; name the image file itself"):
        look(models["hard"], str(tmp_path / "text.png"))


FOCAL = [[700, 0, 99.5, 0], [0, 700, 49.5, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" ", None),
        ("700", FOCAL),
        ("[[700, 0, 99.5], [0, 700, 49.5], [0, 0, 1]]", FOCAL),
        ("7e2 0 99.5 0; 0 7e2 49.5 0; 0 0 1 0", FOCAL),
        ("1400 0 199 0 0 1400 99 0 0 0 2 0", FOCAL),
        ("1 2 3", "has 3 numbers: give the focal length in pixels alone, or the 9 or 12"),
        ("700 px", "must be numbers, not '700 px'"),
        ("nan", "finite numbers"),
        ("-700", "must be positive"),
    ],
)
def test_cameras(text, expected):
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            camera_of(text, (100, 200))
    elif expected is None:
        assert camera_of(text, (100, 200)) is None
    else:
        np.testing.assert_allclose(camera_of(text, (100, 200)), expected)


def test_the_camera_moves_boxes_in_space(models, photo):
    model, found = models["boxes in space"], []
    for camera in ("100", "200"):
        seen = look(model, photo, camera)
        assert seen.notes == []
        found.append(seen.result["instances"].pred_boxes3d.location)
    near, far = found  # twice as narrow a view: half as far from the middle at equal depth
    torch.testing.assert_close(near[:, :1] / near[:, 2:], 2 * far[:, :1] / far[:, 2:])
    with pytest.raises(ValueError, match="of 1 pixels, which no image 150 pixels wide"):
        look(model, photo, "1")
    assert "default" in look(model, photo).notes[0]
    assert "principal point (0, 0)" in look(model, photo, "99 0 0 0 99 0 0 0 1").notes[0]
    assert look(models["hard"], photo, "no camera").notes == []  # nothing reads it


def test_models_are_loaded_once_and_when_chosen(weights, tmp_path):
    hard, other = weights["hard"], str(tmp_path / "other.pth")
    Path(other).write_text("no weights")
    load = loader([hard, other], CPU)
    assert load(hard) is load(hard)
    with pytest.raises(ValueError, match="no file that torch saved"):
        load(other)
    with pytest.raises(ValueError, match="there is no model 'bccd': choose one of the list"):
        load("bccd")
    for absent in ("nowhere.pth", "nowhere.onnx"):
        with pytest.raises(FileNotFoundError, match=f"'{absent}'"):
            loader(["bccd", absent], ())


def test_what_is_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    for file in ("output/a/model_final.pth", "output/a/model_9.pth"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert local_weights() == ["bccd", "output/a/model_final.pth"]
    monkeypatch.setattr(pictures, "shipped_models", dict)
    (tmp_path / "output/a/model_final.pth").unlink()
    with pytest.raises(FileNotFoundError, match="no weights were found: give --weights or --model"):
        local_weights()
