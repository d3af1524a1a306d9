"""The point task `box2d`: width and height at a center ("Objects as Points" sections 3 and 4)."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from ...checked_values import check_choice
from ...config import from_block
from ...decoding.center_boxes import NO_OFFSET, center_boxes
from ...losses.peak_regression import RegressionLoss
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import CenterTargets
from ..rules import part
from .base import Branches, PointTask, register_point_task

SIZE_FORMS = ("cells", "log")
LOG_UNIT = 8.0
"""Cells of which the logarithm is 0: near the sides of most objects, where a network starts."""
LEAST_SIDE = 0.25
"""Cells: shorter sides are learned as that long; they have a logarithm and an overlap then."""
LARGEST_LOG = 8.0
"""Of 24,000 cells: an exponential of more is no side of an object."""


@register_point_task
class Box2D(PointTask):
    """Regresses (width, height) in cells of the output map, or their logarithms; adds `pred_boxes`.

    `docs/config.md` says more about each choice.
    """

    name = "box2d"
    output_fields = ("pred_boxes",)
    field_kinds: Mapping[str, Any] = {"pred_boxes": Boxes}

    def __init__(
        self,
        *,
        size_weight: float = 0.1,  # of the loss
        class_specific_size: bool = False,  # one size per class
        regression: RegressionLoss | None = None,  # the loss
        size_as_point: bool = False,  # map sizes to the image as if they were points
        size_form: str = "cells",  # what the branch says; "log": logarithms of cells / LOG_UNIT
        giou_weight: float = 0.0,  # of the loss 1 - GIoU of the box, mean over objects; 0: none
    ) -> None:
        check_choice("size_form", size_form, SIZE_FORMS)
        if giou_weight and not size_weight and size_form == "cells":
            raise ValueError(
                "BOX2D.SIZE_WEIGHT is 0: boxes that start without area need it beside GIOU_WEIGHT "
                "to grow at all. Set it, or SIZE_FORM log"
            )
        self.size_weight, self.class_specific_size = size_weight, class_specific_size
        self.regression, self.size_as_point = regression or RegressionLoss(), size_as_point
        self.size_form, self.giou_weight = size_form, giou_weight
        self.forms = {"size": size_form}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        block = "MODEL.POINTS_CENTERNET.BOX2D"
        return from_block(cls, cfg, block, regression=part(RegressionLoss, cfg))

    def protocol_notes(self) -> list[str]:
        """Sizes taken to the image as if they were points, as published for 3-D boxes alone."""
        return ["sizes as points"] if self.size_as_point else []

    def branches(self, num_classes: int) -> Branches:
        """Branch `size`: 2 channels, or a pair per class."""
        return Branches({"size": 2 * num_classes if self.class_specific_size else 2})

    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> Tensor:
        """Sizes (P, 2) in cells."""
        return centers.size

    def losses(
        self, predictions: CenterPredictions, targets: Tensor, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """`loss_size`, and `loss_giou` where it is asked for.

        Of a class-specific map only the pair of the object's class is compared.
        """
        size = centers.peaks.gather(predictions.regressions["size"])
        if self.class_specific_size:
            row = torch.arange(len(size), device=size.device)
            size = size.unflatten(1, (-1, 2))[row, centers.classes]
        rows = centers.regression_mask
        size, wanted = size[rows], targets[rows]
        is_log = self.size_form == "log"
        told = (wanted.clamp(min=LEAST_SIDE) / LOG_UNIT).log() if is_log else wanted
        loss = self.regression(size, told, num_images=centers.num_images)
        result = {"loss_size": self.size_weight * loss}
        if self.giou_weight:
            place = torch.full_like(centers.offset, NO_OFFSET)
            if predictions.offset is not None:
                place = centers.peaks.gather(predictions.offset).float()
            boxes = _boxes(place[rows], self.values("size", size.float()).clamp(min=LEAST_SIDE))
            truth = _boxes(centers.offset[rows], wanted)
            giou = generalized_box_iou_loss(boxes, truth, reduction="sum") / max(len(boxes), 1)
            result["loss_giou"] = self.giou_weight * giou
        return result

    def values(self, branch: str, maps: Tensor) -> Tensor:
        return LOG_UNIT * maps.clamp(max=LARGEST_LOG).exp() if self.size_form == "log" else maps

    def unflip(self, branch: str, maps: Tensor) -> Tensor:
        return maps

    def fields(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> dict[str, Tensor]:
        """`pred_boxes`, not clipped."""
        boxes = center_boxes(peaks, centers, maps.regressions["size"]).unflatten(-1, (2, 2))
        corners = images.map_to_image(boxes, maps.map_size)
        if self.size_as_point:
            middle = corners.mean(-2, keepdim=True)
            size = images.map_to_image(boxes[..., 1, :] - boxes[..., 0, :], maps.map_size)
            corners = middle + size.unsqueeze(-2) * size.new_tensor([[-0.5], [0.5]])
        return {"pred_boxes": corners.flatten(-2)}


def _boxes(center: Tensor, size: Tensor) -> Tensor:
    """Boxes (P, 4) x1, y1, x2, y2 of centers and sizes (P, 2)."""
    return torch.cat([center - size / 2, center + size / 2], dim=1)
