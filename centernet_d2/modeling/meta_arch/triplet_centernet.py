"""Triplet CenterNet: two corners and a center ("Keypoint Triplets", Duan et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances

from ...decoding.center_check import center_check, check_center_rule
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CornerPredictions
from ..checked_values import check_at_least, check_choice
from ..corner_views import keypoints_in_image, unite_keypoints
from ..registration import register_detector
from ..test_time_augmentation import image_of_rows, split_by_image
from .cornernet import CORNERS, CornerNet

KEYS = "MODEL.TRIPLET_CENTERNET"


@dataclass(frozen=True)
class TripletCandidates:
    """What one image's views propose, in the image frame."""

    pairs: Instances  # `pred_boxes`, `scores`, `pred_classes`, `corner_scores`
    centers: Instances  # `pred_centers` (rows, 2), `scores`, `pred_classes`


@register_detector
class TripletCenterNet(CornerNet):
    """CornerNet whose pairs need a center of their class in their central region."""

    keypoints = (*CORNERS, "center")
    published_scales = (0.6, 1.0, 1.2, 1.5, 1.8)

    @configurable
    def __init__(
        self,
        *,
        head: dict[str, Any] | None = None,
        center_pools: bool = True,
        center_sigma_divisor: float = 5.0,
        center_weight: float = 1.0,
        region_side: float = 150.0,
        region_parts: Sequence[int] = (3, 5),
        center_choice: str = "first",
        center_scales: str = "original",
        **corner: Any,
    ) -> None:
        """Put the parts together; `centernet_d2/config.py` says more about each argument.

        Args:
            head: arguments of `CornerHead` beside those that follow from the others.
            center_pools: whether the center's module pools.
            center_sigma_divisor: side of a center's Gaussian over its sigma.
            center_weight: weight of the center's losses.
            region_side: pixels of the image; squared, the largest area of a small box.
            region_parts: of small and of large boxes, the parts of which the middle one counts.
            center_choice: "first" or "best".
            center_scales: "original" or "all".
            **corner: arguments of `CornerNet`.
        """
        super().__init__(head={**(head or {}), "center_pools": center_pools}, **corner)
        check_center_rule(region_parts, center_choice)
        check_choice(f"{KEYS}.CENTER_SCALES", center_scales, ("original", "all"))
        check_at_least(f"{KEYS}.REGION_SIDE", region_side, 0)
        if not center_sigma_divisor > 0:
            raise ValueError(
                f"{KEYS}.CENTER_SIGMA_DIVISOR must be positive, got {center_sigma_divisor}"
            )
        if center_scales == "original" and 1.0 not in self.protocol.scales:
            raise ValueError(
                f"TEST.SCALES is {list(self.protocol.scales)}, but the triplet detector takes its "
                f"centers from scale 1: add 1.0, or set {KEYS}.CENTER_SCALES to 'all'"
            )
        self.center_sigma_divisor, self.center_weight = center_sigma_divisor, center_weight
        self.region_side, self.region_parts = region_side, tuple(region_parts)
        self.center_choice, self.center_scales = center_choice, center_scales

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments of `CornerNet`, and from `MODEL.TRIPLET_CENTERNET`."""
        triplet = cfg.MODEL.TRIPLET_CENTERNET
        check_choice(f"{KEYS}.POOLING", triplet.POOLING, ("center", "none"))
        return {
            **super().from_config(cfg),
            "center_pools": triplet.POOLING == "center",
            "center_sigma_divisor": triplet.CENTER_SIGMA_DIVISOR,
            "center_weight": triplet.CENTER_WEIGHT,
            "region_side": triplet.REGION_SIDE,
            "region_parts": triplet.REGION_PARTS,
            "center_choice": triplet.CENTER_CHOICE,
            "center_scales": triplet.CENTER_SCALES,
        }

    def weight_of(self, keypoint: str) -> float:
        """Weight of a keypoint's heatmap and offset losses against those of other keypoints."""
        return self.center_weight if keypoint == "center" else 1.0

    def center_targets_arguments(self) -> dict[str, Any]:
        """What `corner_targets` is told about centers."""
        return {"centers": True, "center_sigma_divisor": self.center_sigma_divisor}

    def propose(
        self, predictions: list[CornerPredictions], images: PaddedImages
    ) -> list[TripletCandidates]:
        """Pairs and centers of the last stack, in the image frame."""
        last = predictions[-1]
        centers = self.best_keypoints(last.center)
        if images.flipped:
            centers = unite_keypoints(centers, self.unflip_width(images, last.map_size))
        candidates = []
        for pairs, points in zip(
            super().propose(predictions, images),
            keypoints_in_image(centers, last.map_size, images),
            strict=True,
        ):
            counted = self.center_scales == "all" or images.zoom == 1
            candidates.append(TripletCandidates(pairs, points if counted else points[:0]))
        return candidates

    def join(self, views: Sequence[TripletCandidates]) -> TripletCandidates:
        """Candidates of one image at several scales, one scale after the other."""
        return TripletCandidates(
            pairs=Instances.cat([view.pairs for view in views]),
            centers=Instances.cat([view.centers for view in views]),
        )

    def finalize(self, candidates: list[TripletCandidates]) -> list[Instances]:
        """Keep the pairs with a center, scored by all three keypoints; then as `CornerNet`."""
        pairs = [found.pairs for found in candidates]
        centers = [found.centers for found in candidates]
        if not candidates:
            return []
        checked = center_check(
            torch.cat([found.pred_boxes.tensor for found in pairs]),
            torch.cat([found.scores for found in pairs]),
            torch.cat([found.pred_classes for found in pairs]),
            image_of_rows(pairs),
            torch.cat([found.pred_centers for found in centers]),
            torch.cat([found.scores for found in centers]),
            torch.cat([found.pred_classes for found in centers]),
            image_of_rows(centers),
            region_side=self.region_side,
            parts=self.region_parts,
            choice=self.center_choice,
        )
        all_centers = torch.cat([found.pred_centers for found in centers])
        chosen = []
        for found, (rows, scores, matched) in zip(
            pairs, split_by_image(checked.rows, pairs, checked.scores, checked.centers), strict=True
        ):
            found = found[rows]
            found.scores, found.pred_centers = scores, all_centers[matched]
            chosen.append(found)
        return super().finalize(chosen)
