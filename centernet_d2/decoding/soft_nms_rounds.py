"""Rounds of soft-NMS: each selects the best open box of every class of every image at once.

G groups (a class of an image), C chunks of L slots (see `GroupTable`), P = C * L.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .group_table import NOTHING, GroupTable

METHODS = ("linear", "gaussian", "hard")
EXTENTS = {"inclusive": 1.0, "continuous": 0.0}
"""What is added to x2 - x1 for a box's width: "inclusive" counts the last pixel (published), so
that a box of one pixel has x1 = x2; "continuous" is the plain difference."""


@dataclass(frozen=True)
class SoftNmsRule:
    """How overlap lowers scores; the defaults are the published values, but for `mode`.

    Attributes:
        method: factor of the score of a box that overlaps a selected one: "gaussian"
            `exp(-iou^2 / sigma)`; "linear" `1 - iou` where the IoU exceeds `threshold`; "hard" 0
            there.
        sigma: of "gaussian".
        threshold: IoU of "linear" and "hard".
        score_floor: a box whose score falls below this by overlap is dropped.
        mode: "clean", or "reference" for what the published code returns: it drops a box by
            copying the last one over it and does not cut off the tail, so stale copies of other
            boxes stay among the detections.
        extent: "inclusive" or "continuous", see EXTENTS.
    """

    method: str = "gaussian"
    sigma: float = 0.5
    threshold: float = 0.5
    score_floor: float = 0.001
    mode: str = "clean"
    extent: str = "inclusive"

    def __post_init__(self) -> None:
        choices = {"method": METHODS, "mode": tuple(SELECTIONS), "extent": tuple(EXTENTS)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"TEST.SOFT_NMS.{name.upper()} must be one of {', '.join(map(repr, known))}, "
                    f"got {getattr(self, name)!r}"
                )
        if self.sigma <= 0:
            raise ValueError(f"TEST.SOFT_NMS.SIGMA must be positive, got {self.sigma}")

    def factor(self, overlap: Tensor) -> Tensor:
        """IoU -> what the score is multiplied by."""
        if self.method == "gaussian":
            # exp2, as torch splits exp over threads from 2048 numbers on, which costs more here.
            return (overlap * overlap).mul_(-1 / (self.sigma * math.log(2))).exp2_()
        lowered = 1 - overlap if self.method == "linear" else torch.zeros_like(overlap)
        return torch.where(overlap > self.threshold, lowered, 1)


class Rounds:
    """Boxes and scores in the slots of a table, and what selected boxes do to the others.

    Attributes:
        table: where each group's slots are.
        rule: how overlap lowers scores.
        row: (P,) input row of each slot.
        boxes: (5, P) x1, y1, x2, y2 and the area; of a selected box the merged coordinates, where
            merging is asked for.
        score: (P,) input scores, NOTHING in empty slots.
        corner_scores: (2, P) or None.
    """

    def __init__(
        self,
        table: GroupTable,
        rule: SoftNmsRule,
        boxes: Tensor,
        scores: Tensor,
        corner_scores: Tensor | None,
        merge_exponent: float,
    ) -> None:
        self.table, self.rule, self.merge_exponent = table, rule, merge_exponent
        self.row = table.row.flatten()
        extent = EXTENTS[rule.extent]
        areas = (boxes[:, 2:] - boxes[:, :2] + extent).prod(dim=1, keepdim=True)
        self.boxes = table.fill(torch.cat([boxes, areas], dim=1)).permute(2, 0, 1).flatten(1)
        self.score = table.fill(scores, NOTHING).flatten()
        self.corner_scores = None
        if corner_scores is not None:
            self.corner_scores = table.fill(corner_scores).permute(2, 0, 1).flatten(1)

    def meet(self, slot: Tensor) -> tuple[Tensor, Tensor]:
        """What each group's selected box, in slot (G,), does to the boxes of its group.

        Returns:
            (P,) whether a slot's box overlaps the selected one, and (P,) the factor of its score.
        """
        extent = EXTENTS[self.rule.extent]
        others = self.boxes.view(5, *self.table.row.shape)
        chosen = self.boxes.index_select(1, slot).index_select(1, self.table.group)[..., None]
        width = torch.minimum(others[2], chosen[2])
        width = width.sub_(torch.maximum(others[0], chosen[0])).add_(extent)
        height = torch.minimum(others[3], chosen[3])
        height = height.sub_(torch.maximum(others[1], chosen[1])).add_(extent)
        overlaps = (width > 0).logical_and_(height > 0)
        shared = width.mul_(height)
        union = (others[4] + chosen[4]).sub_(shared)
        factor = self.rule.factor(shared.div_(union))
        return overlaps.flatten(), factor.flatten()

    def merge(self, slot: Tensor, reached: Tensor, factor: Tensor, corner_scores: Tensor) -> None:
        """Replace each group's selected box by the mean of itself and of those that it reaches.

        Args:
            slot: (G,) slots of the selected boxes.
            reached: (P,) slots whose scores they lower.
            factor: (P,) what these scores are multiplied by.
            corner_scores: (2, P) that each slot's box is merged with.
        """
        weight = torch.where(reached, (1 - factor) ** self.merge_exponent, 0) * corner_scores
        weight[:, slot] = corner_scores[:, slot]  # itself, with weight 1
        weight = weight.repeat_interleave(2, dim=0)  # top-left for x1, y1, bottom-right for x2, y2
        shape = (4, *self.table.row.shape)
        total = self.table.sums(weight.view(shape))
        mean = self.table.sums((weight * self.boxes[:4]).view(shape)) / total
        self.boxes[:4, slot] = torch.where(total > 0, mean, self.boxes[:4, slot])


def select_clean(state: Rounds, limit: int | None) -> Tensor:
    """Select until the best `limit` are known; (P,) final scores, NOTHING where not selected."""
    table, rule, open_scores = state.table, state.rule, state.score
    settled = torch.full_like(open_scores, NOTHING)
    for turn in range(table.longest):
        best, slot = table.highest(open_scores)
        if table.is_decided(turn, best, settled, limit):
            break
        # A group that has run out names some slot with NOTHING, which must change nothing.
        settled[slot] = torch.maximum(settled[slot], best)
        open_scores = open_scores.index_fill(0, slot, NOTHING)
        overlaps, factor = state.meet(slot)
        reached = overlaps.logical_and_(open_scores >= 0)
        if state.corner_scores is not None:
            state.merge(slot, reached, factor, state.corner_scores)
        lowered = open_scores * factor
        lowered.masked_fill_(lowered < rule.score_floor, NOTHING)
        open_scores = torch.where(reached, lowered, open_scores)
    return settled


def select_reference(state: Rounds, limit: int | None) -> Tensor:
    """The published algorithm with all that its rearranging of rows leaves behind; (P,) scores.

    A group's slots are the rows of the published array. Round `i` swaps the best open box into
    position `i`; then a box that falls below the floor is overwritten by the last open one, whose
    row stays behind the end. Corner scores stay where they are when boxes move, as published.
    """
    table = state.table
    position, group = table.position.flatten(), table.group_of_slot
    end = table.size.clone()  # (G,) number of open and selected boxes
    for turn in range(table.longest):
        is_open = (position >= turn) & (position < end[group])
        best, slot = table.highest(torch.where(is_open, state.score, NOTHING))
        settled = torch.where(is_open, NOTHING, state.score)
        if table.is_decided(turn, best, settled, limit):
            return settled
        running = best > NOTHING
        first = torch.where(running, table.first_slot + turn, slot)
        _swap(state, first, slot)
        overlaps, factor = state.meet(first)
        reached = overlaps & is_open & (position > turn)
        lowered = torch.where(reached, state.score * factor, state.score)
        dropped = reached & (lowered < state.rule.score_floor)
        fall = _Fall(table, end, is_open, dropped) if dropped.any() else None
        if state.corner_scores is not None:
            corner_scores = state.corner_scores
            state.merge(
                first, reached, factor, corner_scores[:, fall.place()] if fall else corner_scores
            )
        if fall is None:
            state.score = lowered
        else:
            fall.rearrange(state, lowered)
            end = fall.end
    return state.score


def _swap(state: Rounds, first: Tensor, second: Tensor) -> None:
    for values in (state.boxes, state.score, state.row):
        kept = values[..., first]
        values[..., first] = values[..., second]
        values[..., second] = kept


class _Fall:
    """Where the boxes of one round go when some are dropped.

    The published code runs through the open positions. Where it drops a box it copies the last open
    box there, takes that row off the end and looks at the position again. So boxes from the end are
    met in the holes before it: the k-th of them that survives stays in the k-th hole, those that do
    not are met in the hole that is being filled or, when no survivor is left, at the new end.
    """

    def __init__(self, table: GroupTable, end: Tensor, is_open: Tensor, dropped: Tensor) -> None:
        """From the end (G,) before the round, and the open and the dropped slots (P,)."""
        self.table = table
        self.end = end - table.sums(dropped.view_as(table.row).long())
        self.new_end = table.first_slot + self.end  # (G,) slot
        behind = is_open & (table.position.flatten() >= self.end[table.group_of_slot])
        self.slot = behind.nonzero().squeeze(1)  # rows behind the new end, in order
        group = table.group_of_slot[self.slot]
        self.survives = ~dropped[self.slot]
        holes = (dropped & ~behind).nonzero().squeeze(1)  # as many as survivors, in each group
        survivors = _count(group[self.survives], end)
        earlier = survivors.cumsum(0) - survivors  # holes of the groups before
        seen = self.survives.long().cumsum(0) - earlier[group]  # of this group, up to this row
        number = survivors[group] - seen  # survivors of this group nearer to its end
        fills = number < survivors[group]
        self.met = self.new_end[group]  # the place where each row's box is met
        self.met[fills] = holes[(earlier[group] + number)[fills]]
        self.met_at_end = _count(group[~fills], end)

    def place(self) -> Tensor:
        """(P,) the slot in which each slot's box is met."""
        place = torch.arange(self.table.row.numel(), device=self.slot.device)
        place[self.slot] = self.met
        return place

    def rearrange(self, state: Rounds, lowered: Tensor) -> None:
        """Give the open boxes their lowered scores (P,) and move them; `state` is changed."""
        score = lowered.clone()
        score[self.slot] = state.score[self.slot]  # rows behind the end keep what they had ...
        # ... but for the new end, which keeps the last box met there: the one that lay behind it.
        stays = self.met_at_end > 0
        last = (self.new_end + (self.met_at_end > 1).long())[stays]
        source = torch.cat([self.slot[self.survives], last])
        target = torch.cat([self.met[self.survives], self.new_end[stays]])
        score[target] = lowered[source]
        state.score = score
        state.boxes[:, target] = state.boxes[:, source]
        state.row[target] = state.row[source]


def _count(group: Tensor, end: Tensor) -> Tensor:
    """How often each group (G,) occurs in `group`."""
    return torch.zeros_like(end).index_add_(0, group, torch.ones_like(group))


SELECTIONS = {"clean": select_clean, "reference": select_reference}
