"""Each form of what is learned at a center: maps that follow their losses, and what they decode to.

The maps are the parameters, without a network that has to find them; the start is that of the head.
"""

from __future__ import annotations

import pytest
import torch
from pose_maps import JOINTS, persons
from small_detector import boxes_input, small_detector
from torch import nn

from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.point_tasks.base import all_branches
from centernet_d2.modeling.point_tasks.box2d import Box2D
from centernet_d2.modeling.point_tasks.pose import Pose
from centernet_d2.modeling.rules import CenterLearning

SIDE = 64
BOXES = [[4.0, 6, 24, 30], [30, 8, 58, 22], [10, 38, 50, 58]]
SHARED = [[22.0, 22, 42, 42], [6, 6, 58, 58]]  # of one center
FRAME = {"resolution": "fixed", "fixed_size": (SIDE, SIDE), "fixed_fit": "none"}
MSE = {"learning": CenterLearning(heatmap_loss="mse", heatmap_weight=300.0)}


class FreeMaps(nn.Module):
    """A head that is nothing but its maps."""

    def __init__(self, branches) -> None:
        super().__init__()
        maps = {name: torch.randn(1, c, 16, 16) * 0.1 for name, c in branches.regressions.items()}
        maps |= {name: torch.full((1, c, 16, 16), -2.19) for name, c in branches.heatmaps.items()}
        self.maps = nn.ParameterDict(maps)

    def forward(self, features):
        return [dict(self.maps.items())]


class WithoutNetwork(PointsCenterNet):
    def features(self, images):
        return []


def learned(tasks, boxes=BOXES, classes=(0, 1, 0), instances=None, **options):
    """What is found after some steps on one picture of these boxes."""
    torch.manual_seed(0)
    entry = boxes_input(boxes, classes, size=SIDE)
    entry["instances"] = instances or entry["instances"]
    model = small_detector(tasks, 2, WithoutNetwork, protocol=FRAME, **options)
    form = {"offset": model.offset, "heatmap_loss": model.learning.heatmap_loss}
    model.head = FreeMaps(all_branches(tasks, 2, **form))
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=150)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model([entry]).values()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return model.eval()([entry])[0]["instances"]


def error(found, boxes) -> float:
    """The largest distance, pixels, of a side of the objects from that of the nearest detection."""
    distance = (found.pred_boxes.tensor[:, None] - torch.tensor(boxes)[None]).abs().amax(2)
    return distance.amin(0).max().item()


@pytest.mark.parametrize(
    ("task", "options", "pixels"),
    [
        ({}, {}, 0.2),
        ({}, {"offset": False}, 2.2),
        ({"dense_size": True}, {}, 0.2),
        ({}, MSE, 0.2),
        ({"size_bounds": [24.0]}, {}, 0.2),
        ({"size_bounds": [24.0], "dense_size": True}, {}, 0.2),
    ],
)
def test_boxes(task, options, pixels):
    found = learned([Box2D(size_weight=1.0, **task)], **options)
    assert len(found) == 3
    assert error(found, BOXES) < pixels
    assert sorted(found.pred_classes.tolist()) == [0, 0, 1]
    assert 0.8 < found.scores.min() <= found.scores.max() <= 1


@pytest.mark.parametrize(("bounds", "count"), [([], 1), ([32.0], 2)])
def test_objects_of_one_class_that_share_a_center_need_several_sizes(bounds, count):
    found = learned([Box2D(size_weight=1.0, size_bounds=bounds)], SHARED, [1, 1])
    assert found.pred_classes.tolist() == [1] * count
    assert (error(found, SHARED) < 0.2) == (count == 2)


@pytest.mark.parametrize("options", [{}, {"dense_displacement": True}, {"heatmap_loss": "mse"}])
def test_joints(options):
    places = [[(10, 12), (8, 20), (20, 21), None, (22, 28)]]
    places += [[(40, 12), (33, 15), (55, 10), None, None]]
    people = persons((SIDE, SIDE), BOXES[:2], places)
    pose = Pose(num_joints=JOINTS, flip_indices=[0, 2, 1, 4, 3], **options)
    found = learned([Box2D(size_weight=1.0), pose], BOXES[:2], (0, 0), people)
    assert len(found) == 2
    order = found.pred_boxes.tensor[:, 0].argsort()
    joints = people.gt_keypoints.tensor
    off = found.pred_keypoints[order][..., :2] - 0.5 - joints[..., :2]
    assert off[joints[..., 2] > 0].abs().max() < 0.2
