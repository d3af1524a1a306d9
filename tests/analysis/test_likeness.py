"""What a detection is judged by: OKS and overlaps in space, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.structures import BoxMode

from centernet_d2.analysis.comparison import Comparison, as_instances

BOX = [10.0, 10, 40, 40]
CAR = [0.0, 1, 8, 2, 2, 4, 0, 0]  # x, y, z, height, width, length, rotation_y, alpha
SIGMAS = (0.1, 0.1)


def record(number, **more):
    entry = {"bbox": BOX, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, **more}
    return {"image_id": number, "file_name": f"{number}.png", "annotations": [entry]}


def person(number, *, seen=2):
    """One joint at pixel (20, 20), of an object of area 100; another is not labelled."""
    joints = [20.5, 20.5, seen, 0, 0, 0]  # as detectron2's records have them
    return record(number, keypoints=joints, area=100.0, num_keypoints=min(seen, 1))


def car(number):
    place = {"location": CAR[:3], "dimensions": CAR[3:6], "rotation_y": 0.0}
    return record(number, **place)


def found(**columns):
    columns = {name: np.array([value]) for name, value in columns.items()}
    arrays = {"boxes": np.array([BOX]), "scores": np.array([0.9]), "classes": np.array([0])}
    return as_instances(arrays | columns)


def at(distance):
    """Joints that far from where they are; the second one is anywhere."""
    return found(joints=[[20.0 + distance, 20, 1], [77, 7, 1]])


def compared(records, *models, sigmas=SIGMAS, name="thing"):
    of_models = {str(n): dict(enumerate(parts)) for n, parts in enumerate(models)}
    return Comparison(records, of_models, [name], most=100, sigmas=sigmas)


def test_joints_are_judged_by_oks():
    """exp(-d^2 / (2 (2 * 0.1)^2 * 100)) = exp(-d^2 / 8): 0.607 at 2 pixels, 0.458 at 2.5."""
    records = [person(0), person(1), person(2, seen=0)]
    pair = compared(records, [at(2), at(2.5), at(50)], [at(0), at(0), at(0)])
    assert pair.objects.measure == "OKS"
    assert pair.mistakes(0.3).tolist() == [[[0, 0], [1, 1], [0, 0]], [[0, 0]] * 3]
    np.testing.assert_allclose(pair.alike(0.3)[:, 0], [np.exp(-0.5), 1])
    assert np.isnan(pair.alike(0.3)[:, 2]).all()  # without labelled joints: neither right nor wrong
    assert pair.ordered("differ", 0.3) == [1, 0, 2]  # of equal counts the first differs more
    assert pair.ordered("worst", 0.3) == [1, 0, 2]
    assert pair.ordered("best", 0.3) == [0, 1]


@pytest.mark.parametrize(
    ("sigmas", "second"),
    [(None, at(50)), (SIGMAS, found())],
    ids=["not asked for", "one model has none"],
)
def test_boxes_are_judged_where_joints_are_not(sigmas, second):
    pair = compared([person(0)], [at(50)], [second], sigmas=sigmas)
    assert pair.objects.measure == "IoU"
    assert not pair.mistakes(0.3).any()


@pytest.mark.parametrize(
    ("name", "shift", "right"),
    [("Car", 1.3, True), ("Car", 1.4, False), ("Pedestrian", 2.0, True), ("Van", 2.0, False)],
)
def test_boxes_in_space_are_judged_by_kittis_loose_overlap(name, shift, right):
    """Of two boxes of length 4, one moved along it by s: (4 - s) / (4 + s), more than 0.5 or 0.25.

    A third one is known in the picture alone: it is neutral.
    """
    moved = found(boxes3d=[CAR[0] + shift, *CAR[1:]])
    pair = compared([car(0), record(1)], [moved, moved], sigmas=(), name=name)
    assert pair.objects.measure == "3-D IoU"
    assert pair.mistakes(0.3).tolist() == [[[not right] * 2, [0, 0]]]
    overlap = (4 - shift) / (4 + shift) if right else np.nan
    np.testing.assert_allclose(pair.alike(0.3)[0], [overlap, np.nan])
