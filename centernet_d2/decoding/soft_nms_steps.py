"""Soft-NMS in so many steps as detections are wanted, for graphs that are exported.

Each step selects the best open box of an image, of whatever class, and lowers the scores of those
that it overlaps. Scores only fall, so the first L selected are the best L, and the result is that
of `soft_nms`, whose rounds select in all classes at once and keep ties with the last besides.
N images, M boxes of each, L steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .soft_nms import EXTENTS, SoftNmsRule
from .soft_nms_rounds import NOTHING

FEW = 256  # boxes of an image, of whose pairs a matrix is made


@dataclass(frozen=True)
class Steps:
    """Boxes (N, M, 4), their classes (N, M), and what a step does with their scores."""

    boxes: Tensor
    classes: Tensor
    rule: SoftNmsRule
    merging: tuple[Tensor, float] | None = None  # corner scores (N, M, 2) and the exponent

    def step(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Open scores (N, M) -> those left; of the best score, row (N, 1) and box (N, 1, 4)."""
        best, row = scores.max(1, keepdim=True)
        box = self.boxes.gather(1, row[..., None].expand(-1, -1, 4))
        overlaps, reached = self.overlaps(self.boxes, box)
        factor = self._factor(overlaps)
        reached = reached & (scores >= 0) & (self.classes == self.classes.gather(1, row))
        lowered = scores * factor
        lowered = torch.where(lowered < self.rule.score_floor, NOTHING, lowered)
        left = torch.where(reached, lowered, scores).scatter(1, row, NOTHING)
        if self.merging is not None:
            box = self._merged(box, row, torch.where(reached, 1 - factor, 0), *self.merging)
        return left, best, row, box

    def overlaps(self, boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """IoU of boxes (..., 4) with others, and whether they share area.

        The arithmetic is that of `soft_nms_rounds.Rounds`.
        """
        extent = EXTENTS[self.rule.extent]
        low = torch.maximum(boxes[..., :2], others[..., :2])
        width, height = (torch.minimum(boxes[..., 2:], others[..., 2:]) - low + extent).unbind(-1)
        shared = width * height
        areas, area = ((b[..., 2:] - b[..., :2] + extent).prod(-1) for b in (boxes, others))
        return shared / (areas + area - shared), (width > 0) & (height > 0)

    def _merged(
        self, box: Tensor, row: Tensor, share: Tensor, corner_scores: Tensor, exponent: float
    ) -> Tensor:
        """The mean (N, 1, 4) of the best box and those that lose a share (N, M) of their score."""
        weight = (share**exponent).scatter(1, row, 1)[..., None] * corner_scores
        weight = weight.repeat_interleave(2, dim=2)
        total = weight.sum(1, keepdim=True)
        return torch.where(total > 0, (weight * self.boxes).sum(1, keepdim=True) / total, box)

    def _factor(self, overlap: Tensor) -> Tensor:
        """`SoftNmsRule.factor` with the operators that all exporters know."""
        if self.rule.method == "gaussian":
            return (overlap * overlap / -self.rule.sigma).exp()
        lowered = 1 - overlap if self.rule.method == "linear" else torch.zeros_like(overlap)
        return torch.where(overlap > self.rule.threshold, lowered, 1)


def soft_nms_steps(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    *,
    rule: SoftNmsRule,
    limit: int,
    unrolled: bool = False,
    merging: tuple[Tensor, float] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best `limit` of each image; see `soft_nms`.

    Args:
        boxes: (N, M, 4) x1, y1, x2, y2 in pixels.
        scores: (N, M), NOTHING for rows that do not take part.
        classes: (N, M) int64.
        rule: of mode "clean".
        limit: L, fewer where M is less.
        unrolled: write the steps one after the other, for formats without loops.
        merging: where boxes are merged, the (N, M, 2) `corner_scores` and the `merge_exponent` of
            `soft_nms`.

    Returns:
        (N, L) lowered scores, best first, NOTHING where no box was left; their rows (N, L); and
        their boxes (N, L, 4).
    """
    if rule.mode != "clean":
        raise ValueError(
            "TEST.SOFT_NMS.MODE 'reference' repeats the published loop, stale copies of boxes "
            "among its detections; no graph is made of it. Set it to 'clean'"
        )
    steps = Steps(boxes, classes, rule, merging)
    limit = min(limit, scores.shape[1])
    if rule.method == "hard" and rule.score_floor > 0 and not merging and scores.shape[1] <= FEW:
        return _nms(steps, scores, limit, unrolled=unrolled)
    if unrolled:
        found = []
        for _ in range(limit):
            scores, *selected = steps.step(scores)
            found.append(selected)
        best, rows, merged = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
        return best, rows, merged
    place = torch.arange(limit, device=boxes.device)[None]

    def goes_on(turn: Tensor, scores: Tensor, *found: Tensor) -> Tensor:
        return (turn < limit) & (scores.max() >= 0)

    def once(turn: Tensor, scores: Tensor, *found: Tensor) -> tuple[Tensor, ...]:
        left, *selected = steps.step(scores)
        here = place == turn
        return turn + 1, left, *map(torch.where, (here, here, here[..., None]), selected, found)

    best = torch.full_like(scores[:, :limit], NOTHING)  # `len` would be a number, in a graph too
    rows, merged = torch.zeros_like(classes[:, :limit]), torch.zeros_like(boxes[:, :limit])
    turn = torch.zeros((), dtype=torch.int64, device=boxes.device)
    start = (turn, scores.clone(), best, rows, merged)
    _, _, best, rows, merged = torch.while_loop(goes_on, once, start)
    return best, rows, merged


def _nms(
    steps: Steps, scores: Tensor, limit: int, *, unrolled: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The same where boxes vanish: all pairs at once, then who is left.

    A box stays that no better one which stays overlaps. Starting with all, each turn settles at
    least the next box that was not; what a turn does not change is the answer.
    """
    scores, rows = scores.topk(scores.shape[1], dim=1)
    boxes = steps.boxes.gather(1, rows[..., None].expand(-1, -1, 4))
    classes, rule = steps.classes.gather(1, rows), steps.rule
    overlaps, reached = steps.overlaps(boxes[:, None], boxes[:, :, None])
    removes = (overlaps > rule.threshold) & reached & (classes[:, None] == classes[:, :, None])
    removes = removes.to(scores.dtype).triu(1)  # (N, better, M)

    def turn(stays: Tensor) -> Tensor:
        return (torch.matmul(stays[:, None], removes)[:, 0] == 0).to(scores.dtype)

    stays = torch.ones_like(scores)
    if unrolled:
        for _ in range(scores.shape[1]):
            stays = turn(stays)
    else:
        changes = (stays.new_zeros(scores.shape), stays)
        _, stays = torch.while_loop(
            lambda before, now: (before != now).any(),
            lambda _, now: (now.clone(), turn(now)),
            changes,
        )
    scores, best = torch.where(stays > 0, scores, NOTHING).topk(limit, dim=1)
    return scores, rows.gather(1, best), boxes.gather(1, best[..., None].expand(-1, -1, 4))
