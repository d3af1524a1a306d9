"""Soft-NMS (Bodla et al. 2017): overlapping boxes of one class lose score instead of vanishing.

All classes of all images go together. The only loop is over rounds of selections, and it ends when
no remaining box can come among the best `limit` of its image: after at most `limit` rounds, and one
more for each box that ties with the last. R rows, S kept rows; the frame is the caller's.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checked_values import check_choice, check_value, positive
from .soft_nms_rounds import NOTHING, SELECTIONS, Rounds

METHODS = ("linear", "gaussian", "hard")
EXTENTS = {"inclusive": 1.0, "continuous": 0.0}
"""What is added to x2 - x1 for a box's width: "inclusive" counts the last pixel (published), so
that a box of one pixel has x1 = x2; "continuous" is the plain difference."""


@dataclass(frozen=True)
class SoftNmsRule:
    """How overlap lowers scores; the defaults are the published values, but for `mode`.

    The score of a box that overlaps a selected one is multiplied by `exp(-iou^2 / sigma)`
    ("gaussian") or, where the IoU exceeds `threshold`, by `1 - iou` ("linear") or 0 ("hard"). The
    mode "reference" gives what the published code returns: it drops a box by copying the last one
    over it and does not cut off the tail, so stale copies of other boxes stay among the detections.
    """

    method: str = "gaussian"  # or "linear" or "hard"
    sigma: float = 0.5  # of "gaussian"
    threshold: float = 0.5  # of "linear" and "hard"
    score_floor: float = 0.001  # a box whose score falls below this by overlap is dropped
    mode: str = "clean"  # or "reference"
    extent: str = "inclusive"  # or "continuous", see EXTENTS

    def __post_init__(self) -> None:
        check_choice("method", self.method, METHODS)
        check_choice("mode", self.mode, SELECTIONS)
        check_choice("extent", self.extent, EXTENTS)
        check_value("sigma", self.sigma, positive)

    def factor(self, overlap: Tensor) -> Tensor:
        """IoU -> what the score is multiplied by."""
        if self.method == "gaussian":
            # exp2, as torch splits exp over threads from 2048 numbers on, which costs more here.
            return (overlap * overlap).mul_(-1 / (self.sigma * math.log(2))).exp2_()
        lowered = 1 - overlap if self.method == "linear" else torch.zeros_like(overlap)
        return torch.where(overlap > self.threshold, lowered, 1)


@dataclass(frozen=True)
class SoftNmsResult:
    """What stays, image by image and best first."""

    rows: Tensor  # (S,) int64, input rows; in "reference" mode a row may come twice
    scores: Tensor  # (S,) lowered scores
    boxes: Tensor  # (S, 4) the rows' boxes, or the merged ones
    images: Tensor  # (S,) int64, as given


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    images: Tensor | None = None,
    *,
    rule: SoftNmsRule | None = None,
    limit: int | None = None,
    corner_scores: Tensor | None = None,
    merge_exponent: float = 10.0,
) -> SoftNmsResult:
    """Lower the scores of boxes that overlap better ones of their class, and keep the best.

    Other fields of the boxes follow by the rows that the result names.

    Args:
        boxes: (R, 4) x1, y1, x2, y2 in pixels.
        scores: (R,), not negative. NaN comes out as NaN, before all numbers: a broken network is
            seen, and not taken for one that finds nothing.
        classes: (R,) int64; classes do not influence each other.
        images: (R,) int64 number of each row's image, from 0; None: one image.
        rule: see SoftNmsRule; None: the defaults.
        limit: where an image has more rows, those with a score of at least the `limit`-th largest
            stay, so ties may exceed it (published rule); None: all stay.
        corner_scores: (R, 2) scores of the top-left and the bottom-right corner. Where given, a
            selected box becomes the mean of itself and the boxes whose scores it lowers, weighted
            by corner score times `(1 - factor) ** merge_exponent` (CornerNet's multi-scale test).
        merge_exponent: see `corner_scores`.
    """
    if images is None:
        images = torch.zeros_like(classes)
    if not len(boxes):
        return SoftNmsResult(classes.new_zeros(0), scores, boxes, images)
    rule, scores = rule or SoftNmsRule(), scores.nan_to_num(nan=torch.inf)
    state = Rounds(
        *(images * (classes.max() + 1) + classes, images, boxes, scores, corner_scores),
        factor=rule.factor,
        score_floor=rule.score_floor,
        extent=EXTENTS[rule.extent],
        merge_exponent=merge_exponent,
    )
    settled = SELECTIONS[rule.mode](state, limit)
    return _best(state, settled, limit)


def _best(state: Rounds, settled: Tensor, limit: int | None) -> SoftNmsResult:
    """Sort what is settled by image and score, and cut each image to `limit`."""
    kept = (settled != NOTHING).nonzero().squeeze(1)
    scores, by_score = settled[kept].sort(descending=True, stable=True)
    kept = kept[by_score]
    images, by_image = state.image[kept].sort(stable=True)
    scores, kept = scores[by_image], kept[by_image]
    if limit is not None:
        counts = torch.bincount(images)
        last = counts.cumsum(0) - counts + counts.clamp(max=limit) - 1  # of the best `limit`
        stays = scores >= scores[last][images]
        scores, kept, images = scores[stays], kept[stays], images[stays]
    scores = scores.masked_fill(scores == torch.inf, torch.nan)
    return SoftNmsResult(state.row[kept], scores, state.boxes[:4, kept].T, images)
