"""The point task `box2d`: width and height at a center ("Objects as Points" sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ...decoding.center_boxes import center_boxes
from ...losses.peak_regression import peak_regression_loss
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import CenterTargets
from .base import POINT_TASK_REGISTRY, PointTask


class Box2D(PointTask):
    """Regresses (width, height) in cells of the output map; adds `pred_boxes`."""

    output_fields = ("pred_boxes",)

    def __init__(
        self,
        *,
        size_weight: float = 0.1,
        class_specific_size: bool = False,
        loss: str = "l1",
        normalizer: str = "elements",
        size_as_point: bool = False,
    ) -> None:
        self.size_weight = size_weight
        self.class_specific_size = class_specific_size
        self.loss = loss
        self.normalizer = normalizer
        self.size_as_point = size_as_point

    def regressions(self, num_classes: int) -> dict[str, int]:
        """Branch `size`: 2 channels, or a pair per class."""
        return {"size": 2 * num_classes if self.class_specific_size else 2}

    def protocol_notes(self) -> list[str]:
        """Sizes taken to the image as if they were points, as published for 3-D boxes alone."""
        return ["sizes as points"] if self.size_as_point else []

    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> Tensor:
        """Sizes (P, 2) in cells."""
        return centers.size

    def losses(
        self, predictions: CenterPredictions, targets: Tensor, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """`loss_size`; of a class-specific map only the pair of the object's class is compared."""
        size = centers.peaks.gather(predictions.regressions["size"])
        if self.class_specific_size:
            row = torch.arange(len(size), device=size.device)
            size = size.unflatten(1, (-1, 2))[row, centers.classes]
        loss = peak_regression_loss(
            size[centers.regression_mask],
            targets[centers.regression_mask],
            kind=self.loss,
            normalizer=self.normalizer,
            num_images=centers.num_images,
        )
        return {"loss_size": self.size_weight * loss}

    def unflip(self, branch: str, maps: Tensor) -> Tensor:
        """Sizes are the same in a flip."""
        return maps

    def decode(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> list[dict[str, Any]]:
        """`pred_boxes`, not clipped."""
        boxes = center_boxes(peaks, centers, maps.regressions["size"]).unflatten(-1, (2, 2))
        corners = images.map_to_image(boxes, maps.map_size)
        if self.size_as_point:
            middle = corners.mean(-2, keepdim=True)
            size = images.map_to_image(boxes[..., 1, :] - boxes[..., 0, :], maps.map_size)
            corners = middle + size.unsqueeze(-2) * size.new_tensor([[-0.5], [0.5]])
        return [{"pred_boxes": Boxes(rows)} for rows in corners.flatten(-2)]


@POINT_TASK_REGISTRY.register()
def box2d(cfg: CfgNode) -> Box2D:
    """The task from `MODEL.POINTS_CENTERNET` and its block `BOX2D`."""
    points = cfg.MODEL.POINTS_CENTERNET
    return Box2D(
        size_weight=points.BOX2D.SIZE_WEIGHT,
        class_specific_size=points.BOX2D.CLASS_SPECIFIC_SIZE,
        loss=points.REGRESSION_LOSS,
        normalizer=points.REGRESSION_NORMALIZER,
        size_as_point=points.BOX2D.SIZE_AS_POINT,
    )
