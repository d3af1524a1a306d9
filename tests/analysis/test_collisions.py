"""What collides, against loops over all that there is."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO

from centernet_d2.analysis.collisions import Anchors, count_collisions
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.records import checked_records


def iou(one, other, extra: int) -> float:
    if not extra:  # of another library
        left, right = ([b[0], b[1], b[2] - b[0], b[3] - b[1]] for b in (one, other))
        return float(mask.iou([left], [right], [0])[0, 0])
    wide, high = (
        max(0.0, min(one[a + 2], other[a + 2]) - max(one[a], other[a]) + extra) for a in (0, 1)
    )
    area, more = ((b[2] - b[0] + extra) * (b[3] - b[1] + extra) for b in (one, other))
    return wide * high / (area + more - wide * high)


def all_anchors(width: float, height: float) -> np.ndarray:
    """Appendix C of the paper, position by position; x1, y1, x2, y2."""
    scale = 800 / min(width, height)
    found = []
    for i in range(int((width * scale - 8) // 16) + 1):
        for j in range(int((height * scale - 8) // 16) + 1):
            x, y = 8 + 16 * i, 8 + 16 * j
            for size, ratio in itertools.product((32, 64, 128, 256, 512), (0.5, 1, 2)):
                w, h = size / ratio**0.5, size * ratio**0.5
                found.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return np.array(found) / scale


@pytest.mark.parametrize(("crowds", "plus_one"), [(False, False), (True, True)])
def test_real_pictures_against_loops(test_data, crowds, plus_one):
    """All of val2017's sample by pycocotools and loops; its anchors on a few pictures."""
    folder = test_data / "coco_mini"
    file = folder / "annotations/instances_val2017.json"
    name = register_from_files(f"coco:{file}:{folder / 'val2017'}")
    records = checked_records(name)
    found = count_collisions(
        records, [str(k) for k in range(80)], crowds=crowds, plus_one=plus_one, stride=16
    )
    coco = COCO(str(file))
    objects = centers = 0
    pairs = {0.5: 0, 0.7: 0}
    for image in coco.getImgIds():
        seen: dict[tuple, int] = {}
        entries = coco.loadAnns(coco.getAnnIds(image))
        entries = [e for e in entries if crowds or not e["iscrowd"]]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (e["bbox"] for e in entries)]
        objects += len(entries)
        for entry, (x1, y1, x2, y2) in zip(entries, boxes, strict=True):
            cell = (entry["category_id"], int((x1 + x2) / 2 / 16), int((y1 + y2) / 2 / 16))
            centers += cell in seen
            seen[cell] = 1
        for (one, a), (other, b) in itertools.combinations(zip(entries, boxes, strict=True), 2):
            if one["category_id"] == other["category_id"]:
                for limit in pairs:
                    pairs[limit] += iou(a, b, plus_one) > limit
    assert found["objects"] == objects > 100
    assert found["center_collisions"] == centers > 0
    assert found["iou_collisions"] == {f"{k:g}": v for k, v in pairs.items()}
    assert sum(row["center_collisions"] for row in found["by_class"]) == centers
    assert sum(found["objects_by_area"].values()) == objects


def test_best_anchor_of_all(test_data):
    folder = test_data / "coco_mini"
    coco = COCO(str(folder / "annotations/instances_val2017.json"))
    for image in coco.loadImgs(coco.getImgIds()[:3]):
        entries = coco.loadAnns(coco.getAnnIds(image["id"]))
        boxes = np.array([e["bbox"] for e in entries], dtype=float)
        anchors = all_anchors(image["width"], image["height"])
        anchors[:, 2:] -= anchors[:, :2]
        expected = mask.iou(boxes, anchors, [0] * len(anchors)).max(1)
        boxes[:, 2:] += boxes[:, :2]
        found = Anchors().best_ious(boxes, (image["height"], image["width"]))
        np.testing.assert_allclose(found, expected, atol=1e-9)


def record(*boxes, category=0) -> dict:
    rows = [{"bbox": box, "bbox_mode": 0, "category_id": category} for box in boxes]
    return {"height": 800, "width": 800, "annotations": rows}


def test_a_third_object_in_a_cell_is_two_collisions_and_three_pairs():
    same, near = (100, 100, 132, 132), (102, 101, 132, 132)  # centers 116, 116 and 117, 116.5
    found = count_collisions([record(same, near, same), record(same)], ["a", "b"])
    assert (found["center_collisions"], found["center_pairs"]) == (2, 3)
    assert found["by_class"][0]["center_collisions"] == 2
    # At a quarter of a pixel per cell the second is alone.
    assert count_collisions([record(same, near, same)], ["a"], stride=1)["center_collisions"] == 1
    assert found["iou_collisions"] == {"0.5": 3, "0.7": 3}


def test_small_objects_are_forced_and_fitting_ones_are_not():
    fits, small = (104 - 16, 104 - 16, 104 + 16, 104 + 16), (0, 0, 10, 10)
    found = count_collisions([record(fits, small)], ["a"])
    assert found["anchors_forced"] == 1
    assert found["anchors_forced_by_area"] == {"small": 1, "medium": 0, "large": 0}
    assert found["objects_by_area"] == {"small": 1, "medium": 1, "large": 0}


def test_nothing_collides_in_no_pictures():
    found = count_collisions([], ["a"])
    assert (found["objects"], found["anchors_forced"], found["center_pairs"]) == (0, 0, 0)
    json.dumps(found)
