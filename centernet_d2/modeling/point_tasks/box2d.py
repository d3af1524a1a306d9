"""The point task `box2d`: width and height at a center ("Objects as Points" sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ...checked_values import check_at_least, check_choice
from ...config import from_block
from ...decoding.center_boxes import center_boxes
from ...losses.box_overlap import KINDS, LEAST_SIDE, overlap_loss, paired_iou
from ...losses.peak_regression import RegressionLoss
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import CenterTargets
from ..rules import part
from .base import Branches, PointTask, register_point_task

LOG_UNIT, LEAST_LEARNED = 8.0, 0.25
"""Cells: of the logarithm 0, and of the smallest sides that are learned as a logarithm."""
LARGEST_LOG = 8.0
"""Larger ones are no sides of objects, and might overflow."""


@register_point_task
class Box2D(PointTask):
    """Regresses (width, height) in cells of the output map; adds `pred_boxes`.

    `docs/config.md` says more about each choice.
    """

    name = "box2d"
    output_fields = ("pred_boxes",)

    def __init__(
        self,
        *,
        size_weight: float = 0.1,  # of the loss
        class_specific_size: bool = False,  # one size per class
        regression: RegressionLoss | None = None,  # the loss
        size_as_point: bool = False,  # map sizes to the image as if they were points
        overlap_weight: float = 0.0,  # of the loss `overlap_loss` beside that of the size
        overlap_kind: str = "giou",  # see there
        size_form: str = "cells",  # what the branch says; "log": the logarithm of cells / LOG_UNIT
        iou_weight: float = 0.0,  # of the loss of the IoU that is predicted too; 0: it is not
        iou_exponent: float = 0.5,  # of the predicted IoU in scores
    ) -> None:
        check_choice("overlap_kind", overlap_kind, KINDS)
        check_choice("size_form", size_form, ("cells", "log"))
        check_at_least("1 - iou_exponent", 1 - iou_exponent, 0)
        if overlap_weight > 0 and not size_weight and size_form == "cells":
            raise ValueError(
                "size_weight is 0, which boxes without area need beside overlap_weight to grow at "
                "all: set BOX2D.SIZE_WEIGHT 0.1"
            )
        self.size_weight, self.class_specific_size = size_weight, class_specific_size
        self.regression, self.size_as_point = regression or RegressionLoss(), size_as_point
        self.overlap_weight, self.overlap_kind = overlap_weight, overlap_kind
        self.size_form = size_form
        self.iou_weight, self.iou_exponent = iou_weight, iou_exponent

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Box2D:
        """The task from `MODEL.POINTS_CENTERNET` and its block `BOX2D`."""
        block = "MODEL.POINTS_CENTERNET.BOX2D"
        return from_block(cls, cfg, block, regression=part(RegressionLoss, cfg))

    def protocol_notes(self) -> list[str]:
        """Sizes taken to the image as if they were points, as published for 3-D boxes alone."""
        return ["sizes as points"] if self.size_as_point else []

    def branches(self, num_classes: int) -> Branches:
        """Branch `size`: 2 channels, or a pair per class; and `iou`, the logit of the box's."""
        size = {"size": 2 * num_classes if self.class_specific_size else 2}
        return Branches(size | {"iou": 1} if self.iou_weight else size)

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
        told = targets
        if self.size_form == "log":
            told = (targets.clamp(min=LEAST_LEARNED) / LOG_UNIT).log()
        loss = self.regression(
            size[centers.regression_mask],
            told[centers.regression_mask],
            num_images=centers.num_images,
        )
        result = {"loss_size": self.size_weight * loss}
        if not (self.overlap_weight or self.iou_weight):
            return result
        rows = centers.regression_mask
        offset = centers.peaks.gather(predictions.offset)
        boxes = _boxes(
            offset[rows].float(), self.values("size", size[rows].float()).clamp(min=LEAST_SIDE)
        )
        wanted = _boxes(centers.offset[rows], targets[rows])
        if self.overlap_weight:
            overlap = overlap_loss(boxes, wanted, self.overlap_kind)
            result["loss_overlap"] = self.overlap_weight * overlap
        if self.iou_weight:
            logits = centers.peaks.gather(predictions.regressions["iou"])[rows, 0].float()
            iou = paired_iou(boxes.detach().float(), wanted)
            loss = F.binary_cross_entropy_with_logits(logits, iou, reduction="sum")
            result["loss_iou"] = self.iou_weight * loss / max(len(iou), 1)
        return result

    def values(self, branch: str, maps: Tensor) -> Tensor:
        """Sizes in cells, whatever their form, and IoU in 0..1."""
        if branch == "iou":
            return maps.sigmoid()
        return LOG_UNIT * maps.clamp(max=LARGEST_LOG).exp() if self.size_form == "log" else maps

    def unflip(self, branch: str, maps: Tensor) -> Tensor:
        """Sizes, and how good they are, are the same in a flip."""
        return maps

    def decode(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> list[dict[str, Any]]:
        """`pred_boxes`, not clipped; with `iou` `scores`, weighted means of it and the peaks'."""
        boxes = center_boxes(peaks, centers, maps.regressions["size"]).unflatten(-1, (2, 2))
        corners = images.map_to_image(boxes, maps.map_size)
        if self.size_as_point:
            middle = corners.mean(-2, keepdim=True)
            size = images.map_to_image(boxes[..., 1, :] - boxes[..., 0, :], maps.map_size)
            corners = middle + size.unsqueeze(-2) * size.new_tensor([[-0.5], [0.5]])
        found: list[dict[str, Any]] = [{"pred_boxes": Boxes(rows)} for rows in corners.flatten(-2)]
        if self.iou_weight:
            iou = peaks.gather(maps.regressions["iou"])[..., 0]
            scores = peaks.scores ** (1 - self.iou_exponent) * iou**self.iou_exponent
            for fields, of_image in zip(found, scores, strict=True):
                fields["scores"] = of_image
        return found


def _boxes(center: Tensor, size: Tensor) -> Tensor:
    """Boxes (P, 4) x1, y1, x2, y2 of centers and sizes (P, 2)."""
    return torch.cat([center - size / 2, center + size / 2], dim=1)
