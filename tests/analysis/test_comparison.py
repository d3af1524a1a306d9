"""Which pictures come first, and what of objects and detections is right, wrong and missed."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode

from centernet_d2.analysis.comparison import Comparison, as_instances
from centernet_d2.visualization import canvas

BOX, FAR = [10.0, 10, 40, 40], [60.0, 50, 90, 80]
CAMERA = [[100.0, 0, 50, 0], [0, 100, 50, 0], [0, 0, 1, 0]]
CAR = [0.0, 1, 8, 2, 2, 4, 0, 0]  # x, y, z, height, width, length, rotation_y, alpha
RIGHT, _, MISSED, _, NEUTRAL = canvas.VERDICTS


def detections(*boxes, scores=None, **columns):
    arrays = {"boxes": np.array(boxes, dtype=np.float64).reshape(-1, 4)}
    scores = scores or [0.9] * len(boxes)
    arrays |= {"scores": np.array(scores), "classes": np.zeros(len(boxes), dtype=int)}
    return as_instances(arrays | {key: np.array(values) for key, values in columns.items()})


@pytest.fixture
def records(tmp_path):
    """Pictures 0 to 2, of one object, of two, and of a crowd alone."""
    cv2.imwrite(str(tmp_path / "a b.png"), np.full((100, 100, 3), 128, np.uint8))
    crowd = {"iscrowd": 1}
    objects = ([(BOX, {})], [(BOX, {}), (FAR, {})], [(BOX, crowd)])
    kind = {"bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    return [
        {
            "image_id": number,
            "file_name": str(tmp_path / "a b.png"),
            "annotations": [{"bbox": box, **kind, **more} for box, more in of_image],
        }
        for number, of_image in enumerate(objects)
    ]


def compared(records, **found):
    of_models = {name: dict(enumerate(arrays)) for name, arrays in found.items()}
    return Comparison(records, of_models, ["thing"], most=100)


def test_mistakes_and_orders(records):
    first = [detections(BOX, FAR), detections(BOX, FAR), detections(BOX)]
    second = [detections(BOX), detections(FAR, BOX, [0, 0, 9, 9], scores=[0.2, 0.9, 0.9]), first[2]]
    pair = compared(records, a=first, b=second)
    assert pair.mistakes(0.3).tolist() == [[[1, 0], [0, 0], [0, 0]], [[0, 0], [1, 1], [0, 0]]]
    assert pair.mistakes(0.1).tolist()[1] == [[0, 0], [1, 0], [0, 0]]
    assert pair.ordered("file", 0.3) == [0, 1, 2]
    assert pair.ordered("worst", 0.3) == [0, 1, 2]  # the second one's mistakes part equals
    assert pair.ordered("differ", 0.3) == [1, 0, 2]
    assert pair.ordered("best", 0.3) == [0, 1]  # the third has no object that counts


def shown(part, color) -> bool:
    return bool((part == color).all(axis=2).any())


@pytest.mark.parametrize("over", [False, True])
def test_colors_say_what_is_right(records, over):
    pair = compared(records, a=[detections(BOX, FAR)] * 3, b=[detections()] * 3)
    picture = pair.draw(0, 0.3, upright=True, over=over)
    panels = np.array_split(picture, 2 if over else 3, axis=1)
    first, second = panels[-2:]
    kinds = canvas.VERDICTS[:4]  # gray is in any text
    assert [shown(first, color) for color in kinds] == [True, True, False, over]
    assert [shown(second, color) for color in kinds] == [False, False, True, False]
    if not over:  # one of the models found it
        assert shown(panels[0], RIGHT)
        assert not shown(panels[0], MISSED)
    crowd = pair.draw(2, 0.3, upright=True)[60:]  # without the title
    assert (crowd == NEUTRAL).all(axis=2).sum() > 1000


def test_boxes_in_space_are_seen_from_above_with_the_truth_in_red(records):
    place = {"location": CAR[:3], "dimensions": CAR[3:6], "rotation_y": 0.0}
    records[0]["projection"] = CAMERA
    records[0]["annotations"][0] |= place
    there = [detections(BOX, boxes3d=[CAR])] * 3
    picture = compared(records, a=there).draw(0, 0.3, upright=True)
    assert shown(picture, (40, 30, 220))
    records[1] |= {"annotations": [], "projection": CAMERA}  # nothing is there
    assert compared(records, a=there).draw(1, 0.3, upright=True).shape == picture.shape
    flat = compared(records, a=there, b=[detections(BOX)] * 3).draw(0, 0.3, upright=True)
    assert not shown(flat, (40, 30, 220))  # one of the models finds boxes in the picture alone


def test_boxes_lie_on_the_heatmaps_that_they_are_of(records):
    """Cell (5, 2) is the pixel (52, 22), of a panel 6 times as large."""
    heatmap = torch.zeros(1, 10, 10)
    heatmap[0, 2, 5] = 1
    seen = SimpleNamespace(probabilities={"center": heatmap}, scale=(10.0, 10.0), shift=(2.0, 2.0))
    pictures = compared(records, a=[detections()] * 3)
    how = {"upright": True, "over": True, "heatmaps": {"a": lambda image: seen}}
    picture = pictures.draw(2, 0.3, **how)
    title = pictures.draw(2, 0.3, upright=True, over=True).shape[0] - 600
    red = (picture[title : title + 600].astype(int) @ [-1, -1, 2]).argmax()
    assert np.unravel_index(red, (600, 600)) == pytest.approx((22.5 * 6, 52.5 * 6), abs=1)


def test_a_picture_that_cannot_be_read_is_left_out(records, tmp_path, caplog):
    records[1]["file_name"] = str(tmp_path / "none.png")
    pictures = compared(records, a=[detections(BOX)] * 3)
    entries = pictures.write([1, 0], str(tmp_path), "{number}_{stem}.png", 0.3, upright=True)
    assert [entry.get("picture") for entry in entries] == [None, "2_a_b.png"]
    assert entries[0]["models"] == {"a": {"false": 0, "missed": 1, "overlap": 1.0}}
    assert cv2.imread(str(tmp_path / "2_a_b.png")).shape[1] == 2 * 600 + 4
    assert "none.png" in caplog.text
