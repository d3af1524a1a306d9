"""CornerNet: objects as pairs of corners (Law and Deng 2018, journal version 2019)."""

from typing import Any, Unpack

from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import Tensor

from ...decoding.corner_pairs import keypoints_at_peaks, pair_corners
from ...losses.associative_embedding import associative_embedding_loss
from ...losses.peak_regression import RegressionLoss
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CornerPairs, CornerPredictions, KeypointMaps, Keypoints
from ...structures.targets import CornerTargets, KeypointTargets
from ...targets.corners import corner_targets
from ..corner_views import pairs_in_image, unflip_width, unite_pairs
from ..heads.corner_head import corner_head
from ..inputs import head_widths, objects_on_map, stacks_united
from ..registration import register_detector
from ..rules import CornerDecoding, CornerLearning
from ..test_time_augmentation import unite
from .heatmap_detector import HeatmapDetector, SharedParts

CORNERS = ("top_left", "bottom_right")


@register_detector
class CornerNet(HeatmapDetector):
    """Heatmaps of top-left and bottom-right corners, and embeddings that tell which belong."""

    keypoints: tuple[str, ...] = CORNERS
    published_canvas = "odd"
    center_sigma_divisor: float | None = None  # of the targets of centers; None: there are none

    @configurable
    def __init__(
        self,
        *,
        learning: CornerLearning | None = None,
        decoding: CornerDecoding | None = None,
        **shared: Unpack[SharedParts],
    ) -> None:
        """Put the parts together; the head gives `CornerPredictions`, such as `CornerHead`."""
        super().__init__(**shared)
        self.learning, self.decoding = learning or CornerLearning(), decoding or CornerDecoding()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        shared = super().from_config(cfg)
        widths = head_widths(shared["backbone"], shared["in_features"])
        return {
            **shared,
            "head": corner_head(cfg, widths, centers="center" in cls.keypoints),
            "learning": CornerLearning.from_config(cfg),
            "decoding": CornerDecoding.from_config(cfg),
        }

    @property
    def heatmap_losses(self) -> dict[str, float]:
        times = len(self.in_features) if self.learning.stack_reduction == "sum" else 1
        return {
            f"loss_heatmap_{name}": times * self.learning.heatmap_weight * self.weight_of(name)
            for name in self.keypoints
        }

    def weight_of(self, keypoint: str) -> float:
        """Weight of a keypoint's heatmap and offset losses against those of other keypoints."""
        return 1.0

    def predict(self, images: PaddedImages) -> list[CornerPredictions]:
        return self.head(self.features(images))

    def targets(
        self, images: PaddedImages, instances: list[Instances], map_size: tuple[int, int]
    ) -> CornerTargets:
        return corner_targets(
            *objects_on_map(images, instances, map_size),
            num_images=len(images),
            num_classes=self.num_classes,
            map_size=map_size,
            frame_size=tuple(images.tensor.shape[-2:]),
            gaussian=self.learning.gaussian,
            sigma_rule=self.learning.sigma_rule,
            center_sigma_divisor=self.center_sigma_divisor,
        )

    def losses(
        self, predictions: list[CornerPredictions], images: PaddedImages, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """Per keypoint `loss_heatmap_...` and `loss_offset_...`; `loss_pull` and `loss_push`."""
        targets = self.targets(images, instances, predictions[0].map_size)
        return self.maybe_compiled("losses_against", predictions, targets)

    def losses_against(
        self, predictions: list[CornerPredictions], targets: CornerTargets
    ) -> dict[str, Tensor]:
        """The losses against given targets."""
        per_stack = [self._stack_losses(stack, targets) for stack in predictions]
        return stacks_united(per_stack, self.learning.stack_reduction)

    def propose(self, predictions: list[CornerPredictions], images: PaddedImages) -> list[Any]:
        """The best pairs of corners of the last stack, in the image frame, cut to the image."""
        pairs = self.pairs(predictions[-1], images)
        map_size = predictions[-1].map_size
        return pairs_in_image(pairs, map_size, images, self.decoding.outside_margin)

    def pairs(self, last: CornerPredictions, images: PaddedImages) -> CornerPairs:
        """The best pairs (N, M) of both views, on the output map."""
        pairs = pair_corners(
            self.best_keypoints(last.top_left),
            self.best_keypoints(last.bottom_right),
            embedding_threshold=self.decoding.embedding_threshold,
            max_pairs=self.decoding.max_pairs,
        )
        if images.flipped:
            pairs = unite_pairs(pairs, self.unflip_width(images, last.map_size))
        return pairs

    def protocol_notes(self) -> list[str]:
        """Another soft-NMS, or boxes merged at one scale, or at several scales not."""
        rule, usual = self.decoding, "always" if len(self.protocol.scales) > 1 else "never"
        merged = rule.merge_boxes not in ("several_scales", usual)
        return self.protocol.soft_nms_notes() + [f"boxes {rule.merge_boxes} merged"] * merged

    @property
    def merges(self) -> bool:
        """Whether soft-NMS merges boxes."""
        usual = len(self.protocol.scales) > 1
        return {"always": True, "never": False}.get(self.decoding.merge_boxes, usual)

    def finalize(self, candidates: list[Instances]) -> list[Instances]:
        """Soft-NMS over the pairs of all views, merging boxes where asked; the best stay."""
        rule = self.decoding
        detections = unite(
            candidates,
            self.protocol.soft_nms,
            self.protocol.detections_per_image,
            merge_exponent=rule.merge_exponent if self.merges else None,
        )
        if rule.score_threshold > 0:
            # Not `>`, which would hide NaN.
            detections = [found[~(found.scores <= rule.score_threshold)] for found in detections]
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
        peaks = self.decoding.peaks
        return keypoints_at_peaks(probabilities, peaks.top_k, peaks.kernel)

    def unflip_width(self, images: PaddedImages, map_size: tuple[int, int]) -> float:
        return unflip_width(images, map_size, self.decoding.flip_convention)

    def _stack_losses(
        self, predictions: CornerPredictions, targets: CornerTargets
    ) -> dict[str, Tensor]:
        rule = self.learning
        losses, embeddings, regression = {}, [], RegressionLoss(rule.offset_loss, "objects")
        for name in self.keypoints:
            maps: KeypointMaps = getattr(predictions, name)
            target: KeypointTargets = getattr(targets, name)
            heatmap = rule.focal(maps.heatmap, target.heatmap, target.peaks.image)
            offset = regression(target.peaks.gather(maps.offset), target.offset)
            losses[f"loss_heatmap_{name}"] = self.weight_of(name) * rule.heatmap_weight * heatmap
            losses[f"loss_offset_{name}"] = self.weight_of(name) * rule.offset_weight * offset
            if maps.embedding is not None:
                embeddings.append(target.peaks.gather(maps.embedding).squeeze(1))
        pull, push = associative_embedding_loss(
            *embeddings, targets.image, targets.num_images, reduction=rule.embedding_reduction
        )
        return losses | {"loss_pull": rule.pull_weight * pull, "loss_push": rule.push_weight * push}
