"""Soft-NMS (Bodla et al. 2017): overlapping boxes of one class lose score instead of vanishing.

All classes of all images go together. The only loop is over rounds of selections, and it ends when
no remaining box can come among the best `limit` of its image: after at most `limit` rounds, and one
more for each box that ties with the last. R rows, S kept rows; the frame is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .group_table import NOTHING, GroupTable
from .soft_nms_rounds import SELECTIONS, Rounds, SoftNmsRule

__all__ = ["SoftNmsResult", "SoftNmsRule", "soft_nms"]


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
    table = GroupTable(images * (classes.max() + 1) + classes, images)
    state = Rounds(table, rule, boxes, scores, corner_scores, merge_exponent)
    settled = SELECTIONS[rule.mode](state, limit)
    return _best(state, settled, limit)


def _best(state: Rounds, settled: Tensor, limit: int | None) -> SoftNmsResult:
    """Sort what is settled by image and score, and cut each image to `limit`."""
    slot = (settled != NOTHING).nonzero().squeeze(1)
    scores, by_score = settled[slot].sort(descending=True, stable=True)
    slot = slot[by_score]
    images, by_image = state.table.image_of_slot[slot].sort(stable=True)
    scores, slot = scores[by_image], slot[by_image]
    if limit is not None:
        counts = torch.bincount(images)
        last = counts.cumsum(0) - counts + counts.clamp(max=limit) - 1  # of the best `limit`
        stays = scores >= scores[last][images]
        scores, slot, images = scores[stays], slot[stays], images[stays]
    scores = scores.masked_fill(scores == torch.inf, torch.nan)
    return SoftNmsResult(state.row[slot], scores, state.boxes[:4, slot].T, images)
