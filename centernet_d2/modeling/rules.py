"""The detectors' rules: what is learned and what is decoded, each built from a config here.

The parts (`GaussianRule`, `FocalLoss`, `PeakSearch` and their like) are defined in the rooms of
their concepts; here they are put together, one object for training and one for inference per
detector. `docs/config.md` says more about each value, with its source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self, TypeVar

from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import Tensor
from torchvision.ops import batched_nms

from ..checked_values import check_at_least, check_choice, check_value, positive
from ..config import from_block
from ..decoding.center_check import check_center_rule
from ..decoding.peaks import PeakSearch
from ..decoding.soft_nms import SoftNmsRule
from ..losses.associative_embedding import REDUCTIONS
from ..losses.heatmap_focal import FocalLoss
from ..losses.heatmap_mse import HEATMAP_LOSSES, heatmap_mse_loss
from ..losses.peak_regression import RegressionLoss
from ..structures.predictions import CenterPredictions
from ..structures.targets import CenterTargets
from ..targets.gaussian import GaussianRule, RadiusRule
from ..targets.ignored import IGNORED_REGIONS
from .corner_views import FLIP_CONVENTIONS
from .inference_protocol import InferenceProtocol

Kind = TypeVar("Kind")

HEATMAP, POINTS = "MODEL.HEATMAP", "MODEL.POINTS_CENTERNET"

# What the detectors share -> its block, and the keys of another name than the argument's.
PARTS: dict[type, tuple[str, dict[str, str]]] = {
    GaussianRule: (HEATMAP, {"round_up": "RADIUS_ROUND_UP"}),
    FocalLoss: (
        HEATMAP,
        {"alpha": "FOCAL_ALPHA", "beta": "FOCAL_BETA", "normalizer": "FOCAL_NORMALIZER"},
    ),
    PeakSearch: (HEATMAP, {"kernel": "PEAK_KERNEL"}),
    RegressionLoss: (POINTS, {"kind": "REGRESSION_LOSS", "normalizer": "REGRESSION_NORMALIZER"}),
}


def part(kind: type[Kind], cfg: CfgNode) -> Kind:
    """One of `PARTS` from a config."""
    return from_block(kind, cfg, *PARTS[kind])


@dataclass(frozen=True)
class CenterLearning:
    """How centers are learned; what point tasks learn is theirs."""

    gaussian: GaussianRule = field(default_factory=GaussianRule)
    focal: FocalLoss = field(default_factory=FocalLoss)
    regression: RegressionLoss = field(default_factory=RegressionLoss)  # of the offset
    heatmap_weight: float = 1.0
    offset_weight: float = 1.0
    heatmap_loss: str = "focal"  # or "mse": outputs are the heatmap itself, no logits
    ignored_region: str = "center"  # what of an ignored object is no negative, see `with_ignored`
    border: str = "last_cell"  # or "map": where boxes are cut, see `center_targets`

    def __post_init__(self) -> None:
        check_choice("border", self.border, ("last_cell", "map"))
        check_choice("heatmap_loss", self.heatmap_loss, HEATMAP_LOSSES)
        check_choice("ignored_region", self.ignored_region, IGNORED_REGIONS)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        shared = {"gaussian": part(GaussianRule, cfg), "focal": part(FocalLoss, cfg)}
        return from_block(cls, cfg, POINTS, regression=part(RegressionLoss, cfg), **shared)

    def losses(self, predictions: CenterPredictions, centers: CenterTargets) -> dict[str, Tensor]:
        """`loss_heatmap` of one stack, and `loss_offset` where an offset is predicted."""
        focal = partial(self.focal, image=centers.peaks.image)
        squares = partial(heatmap_mse_loss, hidden=centers.hidden)
        loss = focal if self.heatmap_loss == "focal" else squares
        heatmap = self.heatmap_weight * loss(predictions.heatmap, centers.heatmap)
        if predictions.offset is None:
            return {"loss_heatmap": heatmap}
        rows = centers.regression_mask
        offset = self.regression(
            centers.peaks.gather(predictions.offset)[rows],
            centers.offset[rows],
            num_images=centers.num_images,
        )
        return {"loss_heatmap": heatmap, "loss_offset": self.offset_weight * offset}


@dataclass(frozen=True)
class CenterDecoding:
    """Which peaks become detections."""

    peaks: PeakSearch = field(default_factory=PeakSearch)
    score_threshold: float = 0.0  # detections at or below are dropped
    nms_threshold: float | None = None  # IoU of a class-wise hard NMS; None: none, as published
    # Of detections at one scale; None: none, as published. Several scales are united by the test
    # protocol's rule.
    soft_nms: SoftNmsRule | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode, soft_nms: SoftNmsRule) -> Self:
        """From `MODEL.HEATMAP`, `...BOX2D` and, but for method and threshold, `soft_nms`."""
        nms, threshold = (cfg.MODEL.POINTS_CENTERNET.BOX2D[key] for key in ("NMS", "NMS_THRESHOLD"))
        soft = nms in ("linear", "gaussian")
        return cls(
            peaks=part(PeakSearch, cfg),
            score_threshold=cfg.MODEL.HEATMAP.SCORE_THRESHOLD,
            nms_threshold=threshold if nms == "hard" else None,
            soft_nms=replace(soft_nms, method=nms, threshold=threshold) if soft else None,
        )

    def protocol_notes(self, protocol: InferenceProtocol) -> list[str]:
        """What of NMS is told: all, but for soft-NMS over several scales as published."""
        several = len(protocol.scales) > 1
        notes = protocol.soft_nms_notes() if several else []
        if self.nms_threshold is not None:
            return [*notes, "hard NMS"]
        told = self.soft_nms is not None and not several
        return [*notes, f"{self.soft_nms.method} NMS"] if told else notes

    def select(self, found: Instances) -> Instances:
        """The detections of an image that score enough and survive hard NMS."""
        if self.score_threshold > 0:
            found = found[found.scores > self.score_threshold]
        if self.nms_threshold is None:
            return found
        boxes = found.pred_boxes.tensor
        return found[batched_nms(boxes, found.scores, found.pred_classes, self.nms_threshold)]


@dataclass(frozen=True)
class CornerLearning:
    """How corners are learned, and the triplet's centers with them."""

    gaussian: GaussianRule = field(default_factory=lambda: GaussianRule(RadiusRule.EXACT, 0.3))
    focal: FocalLoss = field(default_factory=FocalLoss)
    sigma_rule: str = "window"  # or "radius", see `corner_targets`
    heatmap_weight: float = 1.0
    offset_weight: float = 1.0
    offset_loss: str = "smooth_l1"  # or "l1"
    pull_weight: float = 0.1  # embeddings of one object's corners together
    push_weight: float = 0.1  # those of different objects apart
    embedding_reduction: str = "sum"  # over the images of a batch, or "mean"
    stack_reduction: str = "mean"  # over stacks, or "sum"

    def __post_init__(self) -> None:
        check_choice("embedding_reduction", self.embedding_reduction, REDUCTIONS)
        check_choice("stack_reduction", self.stack_reduction, REDUCTIONS)
        check_choice("sigma_rule", self.sigma_rule, ("window", "radius"))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        shared = {"gaussian": part(GaussianRule, cfg), "focal": part(FocalLoss, cfg)}
        return from_block(cls, cfg, "MODEL.CORNERNET", **shared)


@dataclass(frozen=True)
class CornerDecoding:
    """Which corners become pairs, and which pairs detections."""

    peaks: PeakSearch = field(default_factory=PeakSearch)  # of each kind of keypoint, per view
    embedding_threshold: float = 0.5  # largest difference of the embeddings of a pair
    max_pairs: int = 1000  # per view
    # Pixels of the view by which a box may leave the image; None: any.
    outside_margin: float | None = None
    flip_convention: str = "edge"  # or "pixel", see `corner_views.unflip_width`
    merge_boxes: str = "several_scales"  # or "always" or "never"
    merge_exponent: float = 10.0  # of the weights of merged boxes
    score_threshold: float = 0.0  # detections at or below are dropped

    def __post_init__(self) -> None:
        check_choice("flip_convention", self.flip_convention, FLIP_CONVENTIONS)
        check_choice("merge_boxes", self.merge_boxes, ("several_scales", "always", "never"))
        check_at_least("embedding_threshold", self.embedding_threshold, 0)
        check_at_least("max_pairs", self.max_pairs, 1)
        check_at_least("merge_exponent", self.merge_exponent, 0)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        margin = cfg.MODEL.CORNERNET.OUTSIDE_MARGIN
        return from_block(
            cls,
            cfg,
            "MODEL.CORNERNET",
            peaks=part(PeakSearch, cfg),
            outside_margin=margin if margin >= 0 else None,
            score_threshold=cfg.MODEL.HEATMAP.SCORE_THRESHOLD,
        )


@dataclass(frozen=True)
class TripletRule:
    """How the triplet's centers are learned, and which of them confirm a pair."""

    center_sigma_divisor: float = 5.0  # side of a center's Gaussian over its sigma
    center_weight: float = 1.0  # of the center's losses
    region_side: float = 150.0  # pixels of the image; squared, the largest area of a small box
    # Of small and of large boxes, the parts of which the middle one counts.
    region_parts: Sequence[int] = (3, 5)
    center_choice: str = "first"  # or "best"
    center_scales: str = "original"  # or "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "region_parts", tuple(self.region_parts))
        check_center_rule(self.region_parts, self.center_choice)
        check_choice("center_scales", self.center_scales, ("original", "all"))
        check_at_least("region_side", self.region_side, 0)
        check_value("center_sigma_divisor", self.center_sigma_divisor, positive)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        return from_block(cls, cfg, "MODEL.TRIPLET_CENTERNET")
