"""Arrays of records, and what is wrong with them: values by hand."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.structures import BoxMode

from centernet_d2.data.checks.annotations import (
    Objects,
    judge_classes,
    judge_crowding,
    judge_objects,
)


def record(*boxes, name="a.jpg", size=(100, 80), **entry):
    mode = {"bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    annotations = [{**mode, "bbox": list(box), **entry} for box in boxes]
    return {"file_name": name, "width": size[0], "height": size[1], "annotations": annotations}


def found_in(*boxes, **entry) -> dict:
    found, _ = judge_objects(Objects.of([record(*boxes, **entry)]))
    return {finding.kind: (finding.severity, finding.count) for finding in found}


GOOD = (10, 10, 30, 20)


@pytest.mark.parametrize(
    ("box", "found"),
    [
        (GOOD, {}),
        ((0, 0, 99, 79), {"whole-image": ("note", 1)}),
        ((60, 10, -30, 20), {"swapped": ("error", 1)}),
        ((0.25, 0.5, 0.5, 0.25), {"normalised": ("warning", 1), "tiny": ("note", 0)}),
        ((0, 0, 1, 1), {"tiny": ("note", 1)}),  # the first pixel
        ((10, 10, 0, 20), {"zero-size": ("warning", 1)}),
        ((100, 10, 5, 5), {"outside": ("warning", 1)}),
        ((-1, 10, 30, 20), {}),  # as tools round
        ((-2, 10, 30, 20), {"over-border": ("note", 1)}),
        ((float("nan"), 10, 30, 20), {"not-a-number": ("error", 1)}),
        ((1e13, 10, 30, 20), {"too-large": ("error", 1)}),
    ],
)
def test_one_box_among_good_ones(box, found):
    good = [(10 + k, 10, 30, 20) for k in range(1, 12)]
    expected = {kind: told for kind, told in found.items() if told[1]}
    assert found_in(*good, box) == expected


def test_two_corners_are_as_good_as_sizes():
    corners = record((10, 10, 40, 30), bbox_mode=BoxMode.XYXY_ABS)
    assert Objects.of([corners]).boxes.tolist() == [[10, 10, 30, 20]]


def test_repeats_are_of_one_image_and_not_of_crowds():
    boxes = [record(GOOD, GOOD), record(GOOD, GOOD, name="b.jpg", iscrowd=1), record(GOOD)]
    boxes[2]["annotations"].append({**boxes[2]["annotations"][0], "category_id": 1})
    found, wrong = judge_objects(Objects.of(boxes))
    assert [(f.kind, f.count) for f in found] == [("repeated-box", 1), ("two-classes", 1)]
    assert np.flatnonzero(wrong["repeated-box"]).tolist() == [1]
    assert str(found[0]) == (
        "1 of 6 boxes have the class and the place of another one: 'a.jpg' object 1 bbox "
        "[10.0, 10.0, 30.0, 20.0]. Keep one of each, as --fix does."
    )


def test_classes_are_counted_and_their_names_compared():
    records = [record(*[GOOD] * 11), record(name="b.jpg")]
    records[0]["annotations"][0]["category_id"] = 2
    found = judge_classes(Objects.of(records), ["Cat", "dog", "cat "])
    assert {f.kind: [str(e) for e in f.examples] for f in found} == {
        "empty": ["'b.jpg'"],
        "no-objects": ["'dog' (0)"],
        "rare-class": ["'cat ' (1)"],
        "like-names": ["'cat ' (1)"],
    }


def test_crowding_is_counted_in_cells_of_the_output():
    boxes = [(0, 0, 16, 16), (4, 4, 9, 9), (4, 4, 31, 31), (60, 60, 7, 9)]
    objects = Objects.of([record(*boxes), record(GOOD, name="b.jpg")])
    limits = {"TEST.DETECTIONS_PER_IMAGE": 3, "MODEL.HEATMAP.TOP_K": 100}
    cells = np.array([0.25, 0.25])
    found = judge_crowding(objects, limits, cells, "at 64 x 64")
    crowded, colliding, small = found
    assert crowded.what == "1 of 2 images have more objects than the 3 found or scored"
    assert crowded.cure == "Raise TEST.DETECTIONS_PER_IMAGE to 4"
    # Centers (8, 8) and (8.5, 8.5) are in cell (2, 2), the smaller one loses; (19.5, 19.5) is not.
    assert [e.object for e in colliding.examples] == [1]
    assert [e.object for e in small.examples] == [3]  # 7.9 pixels of 8
    assert "at 64 x 64" in small.what
