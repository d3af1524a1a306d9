"""3-D labels and cameras that cannot be meant, or that fit another reading: each is named."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode

from centernet_d2.data.checks import DatasetError
from centernet_d2.data.checks3d import NetworkFrame
from centernet_d2.data.datasets.kitti import load_kitti_records
from centernet_d2.data.fields.boxes3d import Boxes3DField
from centernet_d2.structures.boxes3d import Boxes3D, project_points

PROJECTION = np.array([[700.0, 0, 600, 45], [0, 700, 180, 0.2], [0, 0, 1, 0.003]])
COUNT = 24


def entries(seed=0) -> list[dict]:
    """Annotations of vehicles and walkers whose boxes in the image are their projections."""
    random = np.random.default_rng(seed)
    place = np.stack([random.uniform(-9, 9, COUNT), random.uniform(1.4, 1.9, COUNT)], axis=1)
    place = np.column_stack([place, random.uniform(14, 45, COUNT)])
    sizes = random.uniform((1.3, 0.5, 1.5), (2.0, 1.8, 4.5), (COUNT, 3))
    turn = random.uniform(-math.pi, math.pi, COUNT)
    rows = np.column_stack([place, sizes, turn, turn])
    corners = Boxes3D(torch.from_numpy(rows)).corners()
    pixels = project_points(corners, torch.from_numpy(PROJECTION))[0].numpy()
    boxes = np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=1)
    alphas = turn - np.arctan2(place[:, 0], place[:, 2])
    return [
        {
            "bbox": box.tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": 0,
            "location": row[:3].tolist(),
            "dimensions": row[3:6].tolist(),
            "rotation_y": float(row[6]),
            "alpha": float(alpha),
        }
        for box, row, alpha in zip(boxes, rows, alphas, strict=True)
    ]


def said_of(caplog, source, annotations, *, size=(1242, 375), projection=PROJECTION, **frames):
    """What the field says of records of one image; `source` must be another in each test."""
    record = {"file_name": "000001.png", "image_id": 1, "width": size[0], "height": size[1]}
    record |= {"projection": projection, "annotations": annotations}
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        Boxes3DField(**frames).check_records([record], source)
    return [message.removeprefix(f"{source}: ") for message in caplog.messages]


def changed(change, seed=0) -> list[dict]:
    found = entries(seed)
    for entry in found:
        change(entry)
    return found


def scaled(key, factor):
    return lambda entry: entry.update({key: [factor * value for value in entry[key]]})


def to_middle(entry):
    entry["location"][1] -= entry["dimensions"][0] / 2


def reordered(*order):
    return lambda entry: entry.update(dimensions=[entry["dimensions"][k] for k in order])


def to_lidar(entry):
    x, y, z = entry["location"]
    entry["location"] = [z, -x, y]  # its z stays positive: in front of the camera


def middle_and_order(entry):
    to_middle(entry)
    reordered(2, 1, 0)(entry)


MIXED_UP = {
    "'location' is the middle of the box: add half its height to y": to_middle,
    "'dimensions' are length, width, height: write": reordered(2, 1, 0),
    "'dimensions' are height, length, width (or 'rotation_y' is a quarter turn": reordered(0, 2, 1),
    "'dimensions' are width, height, length: write": reordered(1, 0, 2),
    "write height, width, length and 'location' is the middle": middle_and_order,
    "'location' is in millimetres: divide it by 1000": scaled("location", 1000),
    "'location' is in centimetres: divide it by 100": scaled("location", 100),
    "'rotation_y' turns the other way": lambda e: e.update(rotation_y=-e["rotation_y"]),
}


@pytest.mark.parametrize("cure", MIXED_UP)
@pytest.mark.parametrize("alpha", [True, False])
def test_a_reading_that_fits_better_is_named(caplog, cure, alpha):
    """Without another word, whether alpha is written or left to follow."""
    annotations = changed(MIXED_UP[cure])
    if not alpha:
        annotations = [{k: v for k, v in entry.items() if k != "alpha"} for entry in annotations]
    (message,) = said_of(caplog, f"{cure}{alpha}", annotations)
    assert message.startswith(f"of {COUNT} objects the box in space, projected, overlaps")
    assert ", and by 1.00 if " in message
    assert cure in message


def test_axes_that_leave_nothing_before_the_camera(caplog):
    def to_lidar(entry):
        x, y, z = entry["location"]
        entry["location"] = [z, -x, -y]

    with pytest.raises(
        DatasetError,
        match=rf"street: not one of {COUNT} objects .*'box3d' learns from.*by 1.00 if 'location' "
        r"has the axes of a lidar \(x forward, y left, z up\): write \(-y, -z, x\)",
    ):
        said_of(caplog, "street", changed(to_lidar))


def test_a_resized_image_with_the_old_camera(caplog):
    annotations = changed(lambda e: e.update(bbox=[v / 2 for v in e["bbox"]]))
    camera, labels = said_of(caplog, "half", annotations, size=(621, 188))
    assert "'000001.png' the principal point (600, 180) lies far from the middle of its" in camera
    assert "and 24 hardly or not at all: '000001.png' annotation 0 0.00;" in labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation_y": 90.0}, r"'rotation_y' or 'alpha' of 24 of 24 .* degrees by pi / 180"),
        ({"dimensions": [1500.0, 1700, 4000]}, r"longest side .* 4000 in the median.*by 1000"),
    ],
)
def test_what_cannot_be_meant_is_an_error(caplog, change, message):
    with pytest.raises(DatasetError, match=message):
        said_of(caplog, "wrong", changed(lambda entry: entry.update(change)))


@pytest.mark.parametrize("focal", [4.0, 0.58, 2e5])
def test_a_focal_length_that_is_not_in_pixels_is_an_error(caplog, focal):
    projection = PROJECTION.copy()
    projection[0, 0] = projection[1, 1] = focal
    with pytest.raises(ValueError, match=rf"'000001.png': 'projection' has a focal.* {focal:g} "):
        said_of(caplog, "wrong", entries(), projection=projection)


@pytest.mark.parametrize("alpha", [0.0, math.pi / 2, "rotation_y"])
def test_an_alpha_that_is_not_the_rotation_along_the_ray(caplog, alpha):
    def change(entry):
        entry["alpha"] = entry.get(alpha, alpha)

    (found,) = said_of(caplog, f"alpha {alpha}", changed(change))
    assert " of 24 objects is not rotation_y - atan2(x, z): '000001.png' annotation " in found
    assert "leave alpha out (or write -10)" in found


def test_boxes_that_no_reading_explains(caplog):
    annotations = entries()
    for entry, other in zip(annotations, entries(1), strict=True):
        entry["bbox"] = other["bbox"]
    (found,) = said_of(caplog, "others", annotations)
    assert "hardly or not at all: '000001.png' annotation" in found
    assert "`centernet-d2 visualize-data`" in found


def test_good_labels_cause_no_word(caplog):
    few_slips = entries()
    few_slips[3]["alpha"], few_slips[5]["location"] = 0.0, [0.0, 1.7, 30.0]
    for source, labels in (("all good", entries()), ("few slips", few_slips), ("none", [])):
        assert said_of(caplog, source, labels) == []
    unknown = changed(lambda entry: entry.update(alpha=-10, rotation_y=-10))
    (found,) = said_of(caplog, "no headings", unknown)
    assert found.startswith(
        "of 24 objects 0 have no 3-D box in front of the camera and are learned"
    )
    assert "24 have no known heading (rotation_y and alpha -10), which is not learned" in found


def test_evaluation_takes_labels_and_cameras_where_there_are(caplog):
    unlabelled = {"file_name": "a.png", "image_id": 1, "width": 1242, "height": 375}
    without_camera = {**unlabelled, "annotations": changed(to_middle)}
    with_both = {**without_camera, "projection": PROJECTION}
    for record, count in ((unlabelled, 0), (without_camera, 0), (with_both, 1)):
        with caplog.at_level(logging.WARNING):
            Boxes3DField().check_test_records([record], "evaluated")
        assert len(caplog.messages) == count


@pytest.mark.parametrize(
    ("size", "frame", "share", "cure"),
    [
        ((1280, 720), NetworkFrame((384, 1280), "width", "KEY"), "47%", "[736, 1280]"),
        ((1920, 1080), NetworkFrame((384, 1280), "width", "KEY"), "47%", "[736, 1280]"),
        ((375, 1242), NetworkFrame((384, 1280), "width", "KEY"), "91%", "[1408, 416]"),
        ((1280, 720), NetworkFrame((384, 1280), "none", "KEY"), "47%", "[736, 1280]"),
        ((1280, 720), NetworkFrame((384, 1280), "whole", "KEY"), None, None),
        ((1242, 375), NetworkFrame((384, 1280), "width", "KEY"), None, None),  # KITTI's own
        ((1224, 370), NetworkFrame((384, 1280), "width", "KEY"), None, None),
    ],
)
def test_what_the_network_does_not_see_is_said(caplog, size, frame, share, cure):
    """An object in the middle, one that reaches out of the frame, and one outside."""
    width, height = size
    rows = [(0.49, 0.51), (0, 0.46), (0, 0.05)]
    boxes = [[width / 2 - 5, top * height, width / 2 + 5, end * height] for top, end in rows]
    annotations = [{**e, "bbox": box} for e, box in zip(entries(), boxes, strict=False)]
    camera = [[700.0, 0, width / 2], [0, 700, height / 2], [0, 0, 1]]
    found = said_of(
        caplog, f"{size}{frame}", annotations, size=size, projection=camera, training=frame
    )
    found = [message for message in found if "does not show all" in message]
    if share is None:
        assert not found
        return
    assert f"KEY [384, 1280] does not show all of 1 of 1 images; on average {share}" in found[0]
    assert "the middle of 2 of 3 objects lies outside, of which 1 are learned" in found[0]
    assert f"INPUT.TRAIN_SIZE and TEST.FIXED_SIZE {cure}" in found[0]


@pytest.mark.data
def test_real_labels_cause_no_word(test_data, caplog):
    frame = NetworkFrame((384, 1280), "width", "INPUT.TRAIN_SIZE")
    records = load_kitti_records(str(test_data / "kitti"), "trainval", allow_missing=True)
    assert len(records) == 16
    caplog.clear()
    Boxes3DField(training=frame).check_records(records, "real KITTI")
    assert caplog.messages == []
