"""Triplet CenterNet: two corners and a center ("Keypoint Triplets", Duan et al. 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances

from ...decoding.center_check import center_check
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CornerPredictions, Keypoints
from ..corner_views import keypoints_in_image, unite_keypoints
from ..registration import register_detector
from ..rules import TripletRule
from ..test_time_augmentation import joined_rows, split_by_image
from .cornernet import CORNERS, CornerNet


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
    def __init__(self, *, triplet: TripletRule | None = None, **shared: Any) -> None:
        """Put the parts together: those of `CornerNet`, and what is done with centers."""
        super().__init__(**shared)
        triplet = triplet or TripletRule()
        if triplet.center_scales == "original" and 1.0 not in self.protocol.scales:
            raise ValueError(
                f"TEST.SCALES is {list(self.protocol.scales)}, but the triplet detector takes its "
                "centers from scale 1: add 1.0, or set MODEL.TRIPLET_CENTERNET.CENTER_SCALES to "
                "'all'"
            )
        self.triplet = triplet
        self.center_sigma_divisor = triplet.center_sigma_divisor

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {**super().from_config(cfg), "triplet": TripletRule.from_config(cfg)}

    def weight_of(self, keypoint: str) -> float:
        return self.triplet.center_weight if keypoint == "center" else 1.0

    def propose(
        self, predictions: list[CornerPredictions], images: PaddedImages
    ) -> list[TripletCandidates]:
        """Pairs and centers of the last stack, in the image frame."""
        last = predictions[-1]
        centers = keypoints_in_image(self.centers(last, images), last.map_size, images)
        if self.triplet.center_scales == "original" and images.zoom != 1:
            centers = [found[:0] for found in centers]
        pairs = super().propose(predictions, images)
        return [TripletCandidates(*found) for found in zip(pairs, centers, strict=True)]

    def centers(self, last: CornerPredictions, images: PaddedImages) -> Keypoints:
        """The best centers (N, K) of both views, on the output map."""
        keypoints = self.best_keypoints(last.center)
        if images.flipped:
            keypoints = unite_keypoints(keypoints, self.unflip_width(images, last.map_size))
        return keypoints

    def join(self, views: Sequence[TripletCandidates]) -> TripletCandidates:
        return TripletCandidates(
            pairs=Instances.cat([view.pairs for view in views]),
            centers=Instances.cat([view.centers for view in views]),
        )

    def finalize(self, candidates: list[TripletCandidates]) -> list[Instances]:
        """Keep the pairs with a center, scored by all three keypoints; then as `CornerNet`."""
        if not candidates:
            return []
        pairs = [found.pairs for found in candidates]
        centers = [found.centers for found in candidates]
        boxes = torch.cat([found.pred_boxes.tensor for found in pairs])
        all_centers = torch.cat([found.pred_centers for found in centers])
        checked = center_check(
            *(boxes, *joined_rows(pairs)),
            *(all_centers, *joined_rows(centers)),
            region_side=self.triplet.region_side,
            parts=self.triplet.region_parts,
            choice=self.triplet.center_choice,
        )
        chosen = []
        for found, (rows, scores, matched) in zip(
            pairs, split_by_image(checked.rows, pairs, checked.scores, checked.centers), strict=True
        ):
            found = found[rows]
            found.scores, found.pred_centers = scores, all_centers[matched]
            chosen.append(found)
        return super().finalize(chosen)
