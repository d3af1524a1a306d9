"""A corrected copy: what moves with a picture that is turned, of whatever form it is read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from detectron2.structures import BoxMode
from PIL import Image, ImageOps

from centernet_d2.data.checks.fixed_copy import write_fixed_copy
from centernet_d2.data.checks.pictures import look
from centernet_d2.data.images import read_image


def turned_file(path, orientation: int) -> None:
    """A picture whose red square is at x 2 to 10, y 4 to 10 of the pixels as stored, 40 x 30."""
    pixels = np.zeros((30, 40, 3), dtype=np.uint8)
    pixels[4:10, 2:10, 0] = 255
    tag = Image.Exif()
    tag[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=tag)


def record(file, size, box, **more) -> dict:
    entry = {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, **more.pop("entry", {})}
    named = {"file_name": str(file), "image_id": "a", "width": size[0], "height": size[1]}
    return {**named, "annotations": [entry], **more}


def fixed(records, folder, **metadata) -> tuple[dict, list]:
    seen = look(records, "ends")
    repairs = write_fixed_copy(
        records, seen, str(folder), {"thing_classes": ["a"], **metadata}, (), True
    )
    return json.loads((folder / "annotations.json").read_text()), repairs


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_stored_pixels_turn_with_them(tmp_path, orientation):
    turned_file(tmp_path / "a.png", orientation)
    joints = {"keypoints": [2.5, 4.5, 2, 0, 0, 0]}  # the square's corner pixel, as records have it
    given = record(tmp_path / "a.png", (40, 30), [2, 4, 8, 6], as_stored=True, entry=joints)
    content, repairs = fixed([given], tmp_path / "new", keypoint_names=["tip", "end"])
    (image,), (entry,) = content["images"], content["annotations"]
    pixels = read_image(str(tmp_path / "new" / "images" / "a.png"), upright=False)
    assert (image["width"], image["height"]) == pixels.shape[1::-1]
    rows, columns = np.nonzero(pixels[:, :, 2])  # Pillow's own turning says where the square is
    low = [columns.min(), rows.min()]
    assert entry["bbox"] == [*low, columns.max() + 1 - low[0], rows.max() + 1 - low[1]]
    x, y = entry["keypoints"][:2]
    assert (x, y) == (int(x), int(y))
    assert pixels[int(y), int(x), 2] == 255
    assert content["categories"] == [{"id": 1, "name": "a", "keypoints": ["tip", "end"]}]
    assert len(repairs) == (orientation > 1)


def test_boxes_of_the_upright_picture_stay(tmp_path):
    turned_file(tmp_path / "a.png", 6)
    content, repairs = fixed(
        [record(tmp_path / "a.png", (30, 40), [20, 2, 6, 8])], tmp_path / "new"
    )
    assert content["annotations"][0]["bbox"] == [20, 2, 6, 8]
    assert "taken as drawn on the upright picture" in repairs[0][2]
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    assert (np.asarray(Image.open(tmp_path / "new" / "images" / "a.png")) == upright).all()


def test_a_file_that_is_listed_twice_is_one_image_with_all_objects(tmp_path):
    turned_file(tmp_path / "a.png", 1)
    first = record(tmp_path / "a.png", (40, 30), [2, 4, 8, 6], entry={"iscrowd": 1, "ignored": 1})
    second = record(tmp_path / "a.png", (40, 30), [20, 4, 8, 6], entry={"visible_share": 0.5})
    content, repairs = fixed([first, second], tmp_path / "new")
    assert [e["bbox"][0] for e in content["annotations"]] == [2, 20]
    assert content["annotations"][0]["ignore"] == 1
    assert content["annotations"][1]["visible_share"] == 0.5
    assert [what for _, _, what in repairs] == ["left out: a copy"]
    link = (tmp_path / "new" / "images" / "a.png").stat()
    assert link.st_ino == (tmp_path / "a.png").stat().st_ino
