"""Pose detectors for tests, and maps that a network without error would give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from detectron2.structures import Boxes, Instances, Keypoints
from small_detector import small_detector

from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.point_tasks.box2d import Box2D
from centernet_d2.modeling.point_tasks.pose import Pose
from centernet_d2.structures.padded_images import PaddedImages
from centernet_d2.structures.predictions import CenterPredictions

FLIP = [0, 2, 1, 4, 3]
JOINTS = len(FLIP)


def pose_detector(num_classes: int = 1, cls=PointsCenterNet, protocol=None, **pose) -> Any:
    """A small detector of boxes and five joints: the middle one, and two pairs."""
    options = {"num_joints": JOINTS, "flip_indices": FLIP, **pose}
    return small_detector([Box2D(), Pose(**options)], num_classes, cls, protocol=protocol)


def persons(size, boxes, joints, classes=None, without=None) -> Instances:
    """Ground truth; a joint is x, y or x, y, visibility, and (0, 0, 0) where it is None."""
    count = len(boxes)
    rows = [[[*(j or (0, 0, 0)), 2][:3] for j in person] for person in joints]
    without = (
        [all(row[2] == 0 for row in person) for person in rows] if without is None else without
    )
    return Instances(
        size,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        gt_classes=torch.tensor(classes or [0] * count, dtype=torch.int64),
        gt_keypoints=Keypoints(torch.tensor(rows, dtype=torch.float32).view(count, JOINTS, 3)),
        gt_without_joints=torch.tensor(without, dtype=torch.bool),
    )


def perfect_maps(
    model: PointsCenterNet, images: PaddedImages, truth: list[Instances]
) -> CenterPredictions:
    """Maps of these objects; two views of them where `images.flipped`."""
    height, width = (side // 4 for side in images.tensor.shape[-2:])
    single = replace(images, flipped=False)
    centers = model.targets(single, truth, (height, width))
    joints = model.tasks[1].targets(truth, single, centers)
    at = (centers.peaks.image, slice(None), centers.peaks.y, centers.peaks.x)
    joint_at = (joints.peaks.image, slice(None), joints.peaks.y, joints.peaks.x)
    offset, size, joint_offset = (torch.zeros(len(images), 2, height, width) for _ in range(3))
    offset[at], size[at], joint_offset[joint_at] = centers.offset, centers.size, joints.offset
    displacement = torch.zeros(len(images), JOINTS, 2, height, width)
    cell = centers.peaks.y[joints.owner], centers.peaks.x[joints.owner]
    displacement[joints.peaks.image, joints.joint, :, *cell] = joints.displacement
    maps = {"size": size, "joint_displacement": displacement.flatten(1, 2)}
    if joints.heatmap is not None:
        maps["joint_heatmap"] = torch.logit(joints.heatmap, eps=1e-6)
        maps["joint_offset"] = joint_offset
    heatmap = torch.logit(centers.heatmap, eps=1e-6)
    if images.flipped:
        heatmap, offset = (torch.cat([one, one.flip(3)]) for one in (heatmap, offset))
        maps = {name: torch.cat([one, flipped_image(name, one)]) for name, one in maps.items()}
    return CenterPredictions(heatmap, offset, maps)


def flipped_image(name: str, maps: torch.Tensor) -> torch.Tensor:
    """What a network says of the flipped image: by hand, joint by joint."""
    flipped = maps.flip(3).clone()
    if name in ("joint_heatmap", "joint_displacement"):
        channels = 1 if name == "joint_heatmap" else 2
        for joint, partner in enumerate(FLIP):
            for channel in range(channels):
                source = maps[:, channels * partner + channel].flip(2)
                sign = -1 if channels == 2 and channel == 0 else 1
                flipped[:, channels * joint + channel] = sign * source
    return flipped


class Rendering(PointsCenterNet):
    """A detector that sees what it is told, in every view: `truth`, in the image frame."""

    truth: list[Instances]

    def predict(self, images):
        return [perfect_maps(self, images, self.truth)]
