"""The point task `box2d`: width and height at a center ("Objects as Points" sections 3 and 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from ...structures.padded_images import PaddedImages, numbers
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import CenterTargets, LearnedCells
from ...targets.gaussian import dense_cells
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
        size_bounds: Sequence[float] = (),  # pixels between the several sizes of a point
        dense_size: bool = False,  # learn sizes in all cells of an object's Gaussian, by its values
    ) -> None:
        check_choice("size_form", size_form, SIZE_FORMS)
        if giou_weight and not size_weight and size_form == "cells":
            raise ValueError(
                "BOX2D.SIZE_WEIGHT is 0: boxes that start without area need it beside GIOU_WEIGHT "
                "to grow at all. Set it, or SIZE_FORM log"
            )
        self.size_bounds = list(size_bounds)
        if self.size_bounds != sorted({*size_bounds}) or (size_bounds and class_specific_size):
            told = "it must ascend, and stands in place of CLASS_SPECIFIC_SIZE"
            raise ValueError(f"BOX2D.SIZE_BOUNDS is {self.size_bounds}; {told}")
        self.size_weight, self.class_specific_size = size_weight, class_specific_size
        self.regression, self.size_as_point = regression or RegressionLoss(), size_as_point
        self.size_form, self.giou_weight, self.dense_size = size_form, giou_weight, dense_size
        self.forms = {"size": size_form}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        block = "MODEL.POINTS_CENTERNET.BOX2D"
        return from_block(cls, cfg, block, regression=part(RegressionLoss, cfg))

    def protocol_notes(self) -> list[str]:
        """Sizes taken to the image as if they were points, as published for 3-D boxes alone."""
        return ["sizes as points"] if self.size_as_point else []

    def branches(self, num_classes: int) -> Branches:
        """Branch `size`: 2 channels, or a pair per class or per size of a point."""
        pairs = num_classes if self.class_specific_size else len(self.size_bounds) + 1
        return Branches({"size": 2 * pairs})

    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> LearnedCells:
        """The cells in which sizes are learned."""
        at = _own_cells(centers)
        if not self.dense_size:
            return at
        blank = torch.zeros_like(centers.heatmap[:, : len(self.size_bounds) + 1])
        slot = torch.zeros_like(centers.classes) if centers.slot is None else centers.slot
        dense = dense_cells(blank, at.peaks, slot[at.owner], centers.radius[at.owner])
        return replace(dense, owner=at.owner[dense.owner])

    def losses(
        self, predictions: CenterPredictions, targets: LearnedCells, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """`loss_size`, and `loss_giou` of the centers where it is asked for.

        Of several pairs only that of the object's class, or of its size, is compared.
        """
        size, told = self._read(predictions, targets, centers), centers.size[targets.owner]
        if self.size_form == "log":
            told = (told.clamp(min=LEAST_SIDE) / LOG_UNIT).log()
        many = {"num_images": centers.num_images, "weight": targets.weight}
        result = {"loss_size": self.size_weight * self.regression(size, told, **many)}
        if self.giou_weight:
            giou = self._giou(predictions, _own_cells(centers), centers)
            result["loss_giou"] = self.giou_weight * giou
        return result

    def _read(
        self, predictions: CenterPredictions, at: LearnedCells, centers: CenterTargets
    ) -> Tensor:
        """What the branch says of the Q cells' objects: (Q, 2)."""
        size = at.peaks.gather(predictions.regressions["size"])
        which = centers.classes if self.class_specific_size else centers.slot
        if which is None:
            return size
        row = torch.arange(len(size), device=size.device)
        return size.unflatten(1, (-1, 2))[row, which[at.owner]]

    def _giou(
        self, predictions: CenterPredictions, at: LearnedCells, centers: CenterTargets
    ) -> Tensor:
        """1 - GIoU of the boxes at the centers, mean over objects."""
        truth = centers.offset[at.owner]
        place = torch.full_like(truth, NO_OFFSET)
        if predictions.offset is not None:
            place = at.peaks.gather(predictions.offset).float()
        size = self.values("size", self._read(predictions, at, centers).float())
        boxes = _boxes(place, size.clamp(min=LEAST_SIDE))
        truth = _boxes(truth, centers.size[at.owner])
        return generalized_box_iou_loss(boxes, truth, reduction="sum") / max(len(boxes), 1)

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
            corners = middle + size.unsqueeze(-2) * numbers(size, -0.5, 0.5)[:, None]
        return {"pred_boxes": corners.flatten(-2)}


def _own_cells(centers: CenterTargets) -> LearnedCells:
    """Those of the centers whose size is learned."""
    rows = centers.regression_mask.nonzero()[:, 0]
    return LearnedCells(centers.peaks[rows], rows)


def _boxes(center: Tensor, size: Tensor) -> Tensor:
    """Boxes (P, 4) x1, y1, x2, y2 of centers and sizes (P, 2)."""
    return torch.cat([center - size / 2, center + size / 2], dim=1)
