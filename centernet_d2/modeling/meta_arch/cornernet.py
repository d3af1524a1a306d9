"""CornerNet: objects as pairs of corners (Law and Deng 2018, journal version 2019)."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import Tensor

from ...decoding.corner_pairs import keypoints_at_peaks, pair_corners
from ...decoding.peaks import check_peak_search
from ...losses.associative_embedding import REDUCTIONS, associative_embedding_loss
from ...losses.heatmap_focal import heatmap_focal_loss
from ...losses.peak_regression import peak_regression_loss
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CornerPredictions, KeypointMaps, Keypoints
from ...structures.targets import CornerTargets, KeypointTargets
from ...targets.corners import corner_targets
from ...targets.gaussian import RadiusRule
from ..checked_values import check_at_least, check_choice
from ..corner_views import FLIP_CONVENTIONS, pairs_in_image, unflip_width, unite_pairs
from ..heads.corner_head import CornerHead
from ..registration import register_detector
from ..test_time_augmentation import unite
from .heatmap_detector import HeatmapDetector, objects_on_map

CORNERS = ("top_left", "bottom_right")
KEYS = "MODEL.CORNERNET"


@register_detector
class CornerNet(HeatmapDetector):
    """Heatmaps of top-left and bottom-right corners, and embeddings that tell which belong."""

    keypoints: tuple[str, ...] = CORNERS
    published_canvas = "odd"

    @configurable
    def __init__(
        self,
        *,
        head: dict[str, Any] | None = None,
        radius_rule: RadiusRule | str = RadiusRule.EXACT,
        min_overlap: float = 0.3,
        fixed_radius: int = 2,
        focal_alpha: float = 2.0,
        focal_beta: float = 4.0,
        heatmap_weight: float = 1.0,
        offset_weight: float = 1.0,
        pull_weight: float = 0.1,
        push_weight: float = 0.1,
        embedding_reduction: str = "sum",
        stack_reduction: str = "mean",
        peak_kernel: int = 3,
        top_k: int = 100,
        embedding_threshold: float = 0.5,
        max_pairs: int = 1000,
        outside_margin: float | None = None,
        flip_convention: str = "edge",
        merge_boxes: str = "several_scales",
        merge_exponent: float = 10.0,
        score_threshold: float = 0.0,
        **shared: Any,
    ) -> None:
        """Put the parts together; `centernet_d2/config.py` says more about each argument.

        Args:
            head: arguments of `CornerHead` beside those that follow from the others.
            radius_rule: see `RadiusRule`.
            min_overlap: overlap that the radius guarantees.
            fixed_radius: cells, for the rule "fixed".
            focal_alpha: exponent on the error of the prediction.
            focal_beta: exponent on the distance from a positive.
            heatmap_weight: weight of the heatmap losses.
            offset_weight: weight of the offset losses.
            pull_weight: weight of the loss that draws embeddings of an object together.
            push_weight: weight of the loss that keeps those of different objects apart.
            embedding_reduction: "sum" over the images of a batch, or "mean".
            stack_reduction: "mean" over stacks, or "sum".
            peak_kernel: side of the window in which a peak must be the maximum.
            top_k: corners of each kind kept per view.
            embedding_threshold: largest difference of the embeddings of a pair.
            max_pairs: pairs kept per view.
            outside_margin: pixels of the view by which a box may leave the image; None: any.
            flip_convention: "edge" or "pixel".
            merge_boxes: "several_scales", "always" or "never".
            merge_exponent: of the weights of merged boxes.
            score_threshold: detections at or below are dropped.
            **shared: arguments of `HeatmapDetector`.
        """
        super().__init__(**shared)
        check_peak_search(top_k, peak_kernel)
        check_choice(f"{KEYS}.EMBEDDING_REDUCTION", embedding_reduction, REDUCTIONS)
        check_choice(f"{KEYS}.STACK_REDUCTION", stack_reduction, REDUCTIONS)
        check_choice(f"{KEYS}.FLIP_CONVENTION", flip_convention, FLIP_CONVENTIONS)
        check_choice(f"{KEYS}.MERGE_BOXES", merge_boxes, ("several_scales", "always", "never"))
        check_at_least(f"{KEYS}.EMBEDDING_THRESHOLD", embedding_threshold, 0)
        check_at_least(f"{KEYS}.MAX_PAIRS", max_pairs, 1)
        check_at_least(f"{KEYS}.MERGE_EXPONENT", merge_exponent, 0)
        shapes = self.backbone.output_shape()
        self.head = CornerHead(
            in_channels=[shapes[name].channels for name in self.in_features],
            num_classes=self.num_classes,
            **(head or {}),
        )
        self.radius_rule = RadiusRule(radius_rule)
        self.min_overlap, self.fixed_radius = min_overlap, fixed_radius
        self.focal_alpha, self.focal_beta = focal_alpha, focal_beta
        self.heatmap_weight, self.offset_weight = heatmap_weight, offset_weight
        self.pull_weight, self.push_weight = pull_weight, push_weight
        self.embedding_reduction = embedding_reduction
        self.stack_reduction = stack_reduction
        self.peak_kernel, self.top_k = peak_kernel, top_k
        self.embedding_threshold, self.max_pairs = embedding_threshold, max_pairs
        self.outside_margin = outside_margin
        self.flip_convention = flip_convention
        self.merge_boxes, self.merge_exponent = merge_boxes, merge_exponent
        self.score_threshold = score_threshold
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.HEATMAP`, `MODEL.CORNERNET` and `TEST`."""
        heatmap, corner = cfg.MODEL.HEATMAP, cfg.MODEL.CORNERNET
        return {
            **super().from_config(cfg),
            "head": {
                "hidden_channels": corner.HEAD_CHANNELS,
                "pool_channels": corner.POOL_CHANNELS,
                "pooling": corner.POOLING,
                "pools": corner.POOLS,
                "norm": corner.NORM,
                "norm_init": corner.NORM_INIT,
                "prior_bias": heatmap.PRIOR_BIAS,
            },
            "radius_rule": heatmap.RADIUS_RULE,
            "min_overlap": heatmap.MIN_OVERLAP,
            "fixed_radius": heatmap.FIXED_RADIUS,
            "focal_alpha": heatmap.FOCAL_ALPHA,
            "focal_beta": heatmap.FOCAL_BETA,
            "heatmap_weight": corner.HEATMAP_WEIGHT,
            "offset_weight": corner.OFFSET_WEIGHT,
            "pull_weight": corner.PULL_WEIGHT,
            "push_weight": corner.PUSH_WEIGHT,
            "embedding_reduction": corner.EMBEDDING_REDUCTION,
            "stack_reduction": corner.STACK_REDUCTION,
            "peak_kernel": heatmap.PEAK_KERNEL,
            "top_k": heatmap.TOP_K,
            "embedding_threshold": corner.EMBEDDING_THRESHOLD,
            "max_pairs": corner.MAX_PAIRS,
            "outside_margin": corner.OUTSIDE_MARGIN if corner.OUTSIDE_MARGIN >= 0 else None,
            "flip_convention": corner.FLIP_CONVENTION,
            "merge_boxes": corner.MERGE_BOXES,
            "merge_exponent": corner.MERGE_EXPONENT,
            "score_threshold": heatmap.SCORE_THRESHOLD,
        }

    @property
    def heatmap_losses(self) -> dict[str, float]:
        """Names of the heatmap losses -> their weights, of all stacks together."""
        times = len(self.in_features) if self.stack_reduction == "sum" else 1
        return {
            f"loss_heatmap_{name}": times * self.heatmap_weight * self.weight_of(name)
            for name in self.keypoints
        }

    def weight_of(self, keypoint: str) -> float:
        """Weight of a keypoint's heatmap and offset losses against those of other keypoints."""
        return 1.0

    def predict(self, images: PaddedImages) -> list[CornerPredictions]:
        """Raw maps of every stack; in inference of the last."""
        return self.head(self.features(images))

    def targets(
        self, images: PaddedImages, instances: list[Instances], map_size: tuple[int, int]
    ) -> CornerTargets:
        """Ground truth of the keypoints, on the output map."""
        boxes, classes, image = objects_on_map(images, instances, map_size)
        return corner_targets(
            boxes,
            classes,
            image,
            num_images=len(images),
            num_classes=self.num_classes,
            map_size=map_size,
            frame_size=tuple(images.tensor.shape[-2:]),
            radius_rule=self.radius_rule,
            min_overlap=self.min_overlap,
            fixed_radius=self.fixed_radius,
            **self.center_targets_arguments(),
        )

    def center_targets_arguments(self) -> dict[str, Any]:
        """What `corner_targets` is told about centers."""
        return {}

    def losses(
        self,
        predictions: list[CornerPredictions],
        images: PaddedImages,
        instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Per keypoint `loss_heatmap_...` and `loss_offset_...`; `loss_pull` and `loss_push`."""
        targets = self.targets(images, instances, predictions[0].map_size)
        per_stack = [self._stack_losses(stack, targets) for stack in predictions]
        divisor = len(per_stack) if self.stack_reduction == "mean" else 1
        return {name: sum(losses[name] for losses in per_stack) / divisor for name in per_stack[0]}

    def propose(self, predictions: list[CornerPredictions], images: PaddedImages) -> list[Any]:
        """The best pairs of corners of the last stack, in the image frame, cut to the image."""
        last = predictions[-1]
        pairs = pair_corners(
            self.best_keypoints(last.top_left),
            self.best_keypoints(last.bottom_right),
            embedding_threshold=self.embedding_threshold,
            max_pairs=self.max_pairs,
        )
        if images.flipped:
            pairs = unite_pairs(pairs, self.unflip_width(images, last.map_size))
        return pairs_in_image(pairs, last.map_size, images, self.outside_margin)

    def protocol_notes(self) -> list[str]:
        """Another soft-NMS, or boxes merged at one scale, or at several scales not."""
        usual = "always" if len(self.protocol.scales) > 1 else "never"
        merged = self.merge_boxes not in ("several_scales", usual)
        return self.protocol.soft_nms_notes() + [f"boxes {self.merge_boxes} merged"] * merged

    def finalize(self, candidates: list[Instances]) -> list[Instances]:
        """Soft-NMS over the pairs of all views, merging boxes where asked; the best stay."""
        several = len(self.protocol.scales) > 1
        merges = self.merge_boxes == "always" or (several and self.merge_boxes == "several_scales")
        detections = unite(
            candidates,
            self.protocol.soft_nms,
            self.protocol.detections_per_image,
            merge_exponent=self.merge_exponent if merges else None,
        )
        if self.score_threshold > 0:
            # Not `>`, which would hide NaN.
            detections = [found[~(found.scores <= self.score_threshold)] for found in detections]
        return detections

    def decoded_heatmaps(self, last: CornerPredictions, *, flipped: bool) -> dict[str, Tensor]:
        """Keypoint -> probabilities (N, C, h, w) of the last stack, of the images themselves."""
        maps = {name: getattr(last, name).heatmap.float().sigmoid() for name in self.keypoints}
        return {name: m.chunk(2)[0] if flipped else m for name, m in maps.items()}

    def best_keypoints(self, maps: KeypointMaps) -> Keypoints:
        """The best peaks of one kind, of raw maps."""
        probabilities = KeypointMaps(
            heatmap=maps.heatmap.float().sigmoid(),
            offset=maps.offset.float(),
            embedding=None if maps.embedding is None else maps.embedding.float(),
        )
        return keypoints_at_peaks(probabilities, self.top_k, self.peak_kernel)

    def unflip_width(self, images: PaddedImages, map_size: tuple[int, int]) -> float:
        """See `corner_views.unflip_width`."""
        return unflip_width(images, map_size, self.flip_convention)

    def _stack_losses(
        self, predictions: CornerPredictions, targets: CornerTargets
    ) -> dict[str, Tensor]:
        losses, embeddings = {}, []
        for name in self.keypoints:
            maps: KeypointMaps = getattr(predictions, name)
            target: KeypointTargets = getattr(targets, name)
            heatmap = heatmap_focal_loss(
                maps.heatmap, target.heatmap, alpha=self.focal_alpha, beta=self.focal_beta
            )
            offset = peak_regression_loss(
                target.peaks.gather(maps.offset),
                target.offset,
                kind="smooth_l1",
                normalizer="objects",
            )
            losses[f"loss_heatmap_{name}"] = self.weight_of(name) * self.heatmap_weight * heatmap
            losses[f"loss_offset_{name}"] = self.weight_of(name) * self.offset_weight * offset
            if maps.embedding is not None:
                embeddings.append(target.peaks.gather(maps.embedding).squeeze(1))
        pull, push = associative_embedding_loss(
            *embeddings, targets.image, targets.num_images, reduction=self.embedding_reduction
        )
        return losses | {
            "loss_pull": self.pull_weight * pull,
            "loss_push": self.push_weight * push,
        }
