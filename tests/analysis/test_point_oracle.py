"""What the points detector says that is told part of the truth."""

from __future__ import annotations

import pytest
import torch
from box3d_maps import PROJECTION, Thing, detector, truth
from detectron2.modeling import build_model
from pose_maps import persons, pose_detector

from centernet_d2.analysis.oracle import Oracle
from centernet_d2.analysis.point_oracle import filled, known_substitutes
from centernet_d2.decoding.joints import SnappingRule
from centernet_d2.structures.skeleton import HALF_PIXEL
from centernet_d2.structures.targets import PeakIndex

from .conftest import BOXES, CLASSES, entry_with_objects
from .test_oracle import by_class, detect

BOX = ("heatmap", "size", "offset")


@pytest.fixture
def points(tiny_config):
    """A function of overrides -> an untrained points detector whose maps say something."""

    def build(*overrides):
        torch.manual_seed(3)
        model = build_model(tiny_config("MODEL.HEATMAP.TOP_K", 40, *overrides)).eval()
        for part in model.head.modules():
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.normal_(part.weight, std=0.2)
        return model

    return build


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("TEST.FLIP", True),
        ("TEST.CANVAS", "fit"),
        ("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", [128, 160], "TEST.FIXED_FIT", "none"),
        ("MODEL.POINTS_CENTERNET.BOX2D.SIZE_FORM", "log"),
        ("MODEL.POINTS_CENTERNET.BOX2D.CLASS_SPECIFIC_SIZE", True),
        ("MODEL.POINTS_CENTERNET.BOX2D.SIZE_BOUNDS", [16.0, 28.0]),
        ("MODEL.POINTS_CENTERNET.HEATMAP_LOSS", "mse", "TEST.FLIP", True),
    ],
)
def test_told_everything_it_finds_the_objects_and_nothing_else(points, overrides):
    model = points(*overrides)
    found = by_class(detect(Oracle(model, BOX), entry_with_objects())[0])
    assert found.pred_classes.tolist() == CLASSES
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor(BOXES), atol=1e-3, rtol=0)
    assert found.scores.tolist() == [1.0] * 3


def test_what_is_not_told_is_predicted(points):
    model = points()
    (own,) = detect(model, entry_with_objects())
    (told_nothing,) = detect(Oracle(model, []), entry_with_objects())
    torch.testing.assert_close(told_nothing.pred_boxes.tensor, own.pred_boxes.tensor)
    (sizes,) = detect(Oracle(model, ["size"]), entry_with_objects())
    torch.testing.assert_close(sizes.scores, own.scores)
    centers = [found.pred_boxes.get_centers() for found in (sizes, own)]
    torch.testing.assert_close(*centers)
    sides = sizes.pred_boxes.tensor[:, 2:] - sizes.pred_boxes.tensor[:, :2]
    true = torch.tensor(BOXES)[:, 2:] - torch.tensor(BOXES)[:, :2]
    assert torch.cdist(sides, true).min(1).values.max() < 0.1  # each some object's
    (again,) = detect(model, entry_with_objects())  # the detector is as before
    torch.testing.assert_close(again.pred_boxes.tensor, own.pred_boxes.tensor)


def test_without_offsets_it_can_be_told_the_cells_alone(points):
    model = points("MODEL.POINTS_CENTERNET.OFFSET", False)
    with pytest.raises(ValueError, match="cannot be told offset; it predicts heatmap, size"):
        Oracle(model, BOX)
    found = by_class(detect(Oracle(model, BOX[:2]), entry_with_objects())[0])
    assert found.pred_classes.tolist() == CLASSES
    off = found.pred_boxes.tensor - torch.tensor(BOXES)
    torch.testing.assert_close(off[:, :2], off[:, 2:], atol=1e-3, rtol=0)  # moved, not scaled
    assert 0 < off.abs().max() <= 2  # by half a cell at most


def test_objects_that_share_a_cell_are_one(points):
    boxes = [BOXES[0], [b + 0.1 for b in BOXES[0]], BOXES[1]]
    (found,) = detect(Oracle(points(), BOX), entry_with_objects(boxes, [0, 0, 1]))
    assert found.pred_classes.sort().values.tolist() == [0, 1]


def test_objects_that_share_a_cell_are_told_apart_by_their_sizes(points):
    boxes = [[10.0, 12, 30, 32], [4, 6, 36, 38]]
    model = points("MODEL.POINTS_CENTERNET.BOX2D.SIZE_BOUNDS", [24.0])
    (found,) = detect(Oracle(model, BOX), entry_with_objects(boxes, [1, 1]))
    assert found.pred_classes.tolist() == [1, 1]
    order = found.pred_boxes.area().argsort()
    torch.testing.assert_close(found.pred_boxes.tensor[order], torch.tensor(boxes))


def test_an_image_without_objects_has_none(points):
    (found,) = detect(Oracle(points(), BOX), entry_with_objects([], []))
    assert len(found) == 0


def test_joints(points):
    """Told displacements are exact, and told peaks that they snap to."""
    places = [[(20, 10.5), (10, 20), (33.25, 21), None, (39, 49)]]
    people = persons((64, 64), [[4.0, 6, 40, 50]], places)
    labelled = people.gt_keypoints.tensor[0, :, 2] > 0
    expected = people.gt_keypoints.tensor[0, labelled, :2] + HALF_PIXEL  # as results have it
    entry = {"image": torch.zeros(3, 64, 64, dtype=torch.uint8), "instances": people}
    for snapping, *told in (["none"], ["published", "joint_heatmap", "joint_offset"]):
        model = pose_detector(snapping=SnappingRule(snapping)).eval()
        told += ["joint_displacement"]
        (found,) = detect(Oracle(model, [*BOX, *told]), entry)
        assert len(found) == 1
        joints = found.pred_keypoints[0, labelled, :2]
        torch.testing.assert_close(joints, expected, atol=1e-3, rtol=0)


def test_boxes_in_space():
    things = [
        Thing((-4.5, 1.7, 14.0), (1.5, 1.6, 3.9), rotation_y=-1.57),
        Thing((6.0, 1.9, 31.5), (1.4, 1.7, 4.4), rotation_y=2.9, size=(41.0, 22.5)),
    ]
    size = (375, 1242)
    objects = truth(size, things)
    entry = {"image": torch.zeros(3, *size, dtype=torch.uint8), "projection": PROJECTION}
    fixed = {"resolution": "fixed", "fixed_size": (384, 1280), "fixed_fit": "width"}
    model = detector(protocol=fixed).eval()
    told = Oracle(model, [*BOX, "depth", "dimensions", "orientation"])
    (found,) = detect(told, entry | {"instances": objects})
    order = found.pred_boxes3d.tensor[:, 2].argsort()
    rows, expected = found.pred_boxes3d.tensor[order], objects.gt_boxes3d.tensor
    torch.testing.assert_close(rows[:, :6], expected[:, :6], atol=2e-3, rtol=1e-4)
    turns = (rows[:, 6:] - expected[:, 6:]) / (2 * torch.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)
    assert known_substitutes(model) == [*BOX[::2], *BOX[1:2], "depth", "dimensions", "orientation"]


def test_every_cell_says_what_the_nearest_says():
    torch.manual_seed(0)
    peaks = PeakIndex(*(torch.tensor(v) for v in ([0, 0, 0, 2], [1, 6, 3, 0], [2, 3, 8, 5])))
    values, maps = torch.randn(4, 2), torch.randn(3, 2, 7, 9)
    found = filled(maps, peaks, values)
    for image in range(3):
        rows = [r for r in range(4) if peaks.image[r] == image]
        for y in range(7):
            for x in range(9):
                steps = [abs(int(peaks.y[r]) - y) + abs(int(peaks.x[r]) - x) for r in rows]
                expected = values[rows[steps.index(min(steps))]] if rows else maps[image, :, y, x]
                assert torch.equal(found[image, :, y, x], expected)
