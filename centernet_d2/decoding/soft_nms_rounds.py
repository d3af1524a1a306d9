"""Rounds of soft-NMS: each selects the best open box of every class of every image at once.

Or box after box, where these are few and would take many rounds.
R rows in G groups (a class of an image), ordered by group and within one as they were given.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

NOTHING = -1.0
"""Score of a row that does not take part; scores are not negative."""
VECTOR = 64
FEW = 512  # boxes of which all pairs are compared, so many pairs at once:
BLOCK = 2**14
TURNS = 4  # selections of a single box that take as long as a round


class Rounds:
    """Boxes and scores by group, and what selected boxes do to the others.

    Attributes:
        row: (R,) input row of each.
        group: (R,) int64 from 0.
        image: (R,) int64 from 0.
        first: (G,) where each group begins.
        size: (G,) rows of each group.
        boxes: (5, R and padding) x1, y1, x2, y2 and the area; of a selected box the merged
            coordinates, where merging is asked for.
        score: (R,) input scores.
        corner_scores: (2, R) or None.
        score_floor: a score that falls below this drops its box.
    """

    def __init__(
        self,
        group: Tensor,
        image: Tensor,
        boxes: Tensor,
        scores: Tensor,
        corner_scores: Tensor | None,
        *,
        factor: Callable[[Tensor], Tensor],
        score_floor: float,
        extent: float,
        merge_exponent: float,
    ) -> None:
        """From unordered rows; `group` (R,) has any labels, each of one image."""
        self.row = group.argsort(stable=True)
        _, self.group, self.size = torch.unique_consecutive(
            group[self.row], return_inverse=True, return_counts=True
        )
        self.first, self.longest = self.size.cumsum(0) - self.size, int(self.size.max())
        self._number = torch.arange(len(group), device=group.device)
        self.position = self._number - self.first[self.group]
        self.image = image[self.row]
        groups_per_image = torch.bincount(self.image[self.first])
        self._num_images, self._most_groups = len(groups_per_image), int(groups_per_image.max())
        areas = (boxes[:, 2:] - boxes[:, :2] + extent).prod(dim=1, keepdim=True)
        # Whole vectors of the processor: what is left over it rounds otherwise, and a row's score
        # must not depend on how many others are beside it.
        padding = (0, -len(group) % VECTOR)
        self.boxes = pad(torch.cat([boxes, areas], dim=1)[self.row].T, padding)
        self._padded_group = pad(self.group, padding)
        self.score = scores[self.row]
        self.corner_scores = None if corner_scores is None else corner_scores[self.row].T
        self.score_floor, self._factor = score_floor, factor
        self._extent, self._merge_exponent = extent, merge_exponent

    def highest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Highest of values (R,) in each group (G,), and its index (G,), the first of equals."""
        best = values.new_full((len(self.size),), NOTHING)
        best = best.scatter_reduce(0, self.group, values, "amax")
        is_best = values == best.index_select(0, self.group)
        index = torch.where(is_best, self._number, len(values))
        return best, torch.full_like(self.first, len(values)).scatter_reduce(
            0, self.group, index, "amin"
        )

    def is_decided(self, turn: int, remaining: Tensor, settled: Tensor, limit: int | None) -> bool:
        """Whether no open row can come among the best `limit` of its image, or tie with the last.

        After `turn` rounds `remaining` (G,) are the highest scores of the groups' open rows, and
        `settled` (R,) those that will not change any more, of open rows anything not above these.
        """
        if limit is None or turn * self._most_groups < limit:
            return False  # found out without looking
        highest = remaining.new_full((self._num_images,), NOTHING)
        highest = highest.scatter_reduce(0, self.image[self.first], remaining, "amax")
        above = self.image[settled > highest[self.image]]
        count = torch.bincount(above, minlength=self._num_images)
        return bool(((count >= limit) | (highest <= NOTHING)).all())

    def is_for_turns(self, limit: int | None) -> bool:
        """Whether `select_in_turn` can be used, and is likely to take less time than rounds."""
        count, score = len(self.row), self.score
        is_plain = score.device.type == "cpu" and score.dtype == self.boxes.dtype == torch.float32
        tracked = self.boxes.requires_grad or score.requires_grad or self.corner_scores is not None
        fits = self._num_images == 1 and count <= FEW and is_plain and not tracked
        return fits and min(count, limit or count) < TURNS * self.longest

    def compare(self, selected: Tensor) -> tuple[Tensor, Tensor]:
        """Compare each group's selected box, at (G,), with the boxes of its group.

        Gives (R,) whether a box overlaps the selected one, and (R,) the factor of its score.
        """
        chosen = self.boxes.index_select(1, selected).index_select(1, self._padded_group)
        overlaps, factor = self.compare_boxes(self.boxes, chosen)
        return overlaps[: len(self.row)], factor[: len(self.row)]

    def compare_boxes(self, others: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Whether boxes (5, ...), of whole vectors, overlap the chosen ones, and the factors."""
        width = torch.minimum(others[2], chosen[2])
        width = width.sub_(torch.maximum(others[0], chosen[0])).add_(self._extent)
        height = torch.minimum(others[3], chosen[3])
        height = height.sub_(torch.maximum(others[1], chosen[1])).add_(self._extent)
        overlaps = torch.minimum(width, height) > 0
        shared = width.mul_(height)
        union = (others[4] + chosen[4]).sub_(shared)
        return overlaps, self._factor(shared.div_(union))

    def merge(
        self, selected: Tensor, reached: Tensor, factor: Tensor, corner_scores: Tensor
    ) -> None:
        """Replace each group's selected box, at (G,), by the mean of it and of those it reaches.

        These are `reached` (R,) bool, whose scores are multiplied by `factor` (R,); each box is
        merged with `corner_scores` (2, R).
        """
        weight = torch.where(reached, (1 - factor) ** self._merge_exponent, 0) * corner_scores
        weight[:, selected] = corner_scores[:, selected]  # itself, with weight 1
        weight = weight.repeat_interleave(2, dim=0)  # top-left for x1, y1, bottom-right for x2, y2
        sums = weight.new_zeros(8, len(self.size)).index_add_(
            1, self.group, torch.cat([weight, weight * self.boxes[:4, : len(self.row)]])
        )
        total, mean = sums[:4], sums[4:] / sums[:4]
        self.boxes[:4, selected] = torch.where(total > 0, mean, self.boxes[:4, selected])


def select_in_turn(state: Rounds, limit: int | None) -> Tensor:
    """`select_clean` of one image, in NumPy, whose calls on few numbers take less time."""
    count, boxes = len(state.row), state.boxes
    rows = BLOCK // boxes.shape[1]
    blocks = (boxes[:, start : min(start + rows, count), None] for start in range(0, count, rows))
    pairs = zip(*(state.compare_boxes(boxes[:, None], block) for block in blocks), strict=True)
    overlaps, factor = (torch.cat(values)[:, :count] for values in pairs)
    reaches = (overlaps & (state.group == state.group[:, None])).numpy()
    scores, factors = state.score.clone().numpy(), factor.numpy()
    settled, last = np.full_like(scores, NOTHING), NOTHING
    for turn in range(count):
        at = scores.argmax()
        best = scores[at]
        if best < 0 or (limit is not None and turn >= limit and best < last):
            break
        settled[at], last, scores[at] = best, best, NOTHING
        with np.errstate(invalid="ignore"):
            lowered = scores * factors[at]
        lowered[~(lowered >= state.score_floor)] = NOTHING  # NaN, too: infinity times 0
        np.copyto(scores, lowered, where=reaches[at] & (scores >= 0))
    return torch.from_numpy(settled)


def select_clean(state: Rounds, limit: int | None) -> Tensor:
    """Select until the best `limit` are known; (R,) final scores, NOTHING where not selected."""
    if state.is_for_turns(limit):
        return select_in_turn(state, limit)
    open_scores = state.score
    settled = torch.full_like(open_scores, NOTHING)
    for turn in range(state.longest):
        best, selected = state.highest(open_scores)
        if state.is_decided(turn, best, settled, limit):
            break
        # A group that has run out names some row with NOTHING, which must change nothing.
        settled[selected] = torch.maximum(settled[selected], best)
        open_scores = open_scores.index_fill(0, selected, NOTHING)
        overlaps, factor = state.compare(selected)
        reached = overlaps.logical_and_(open_scores >= 0)
        if state.corner_scores is not None:
            state.merge(selected, reached, factor, state.corner_scores)
        lowered = open_scores * factor
        lowered.masked_fill_(~(lowered >= state.score_floor), NOTHING)
        open_scores = torch.where(reached, lowered, open_scores)
    return settled


def select_reference(state: Rounds, limit: int | None) -> Tensor:
    """The published loop, with the stale copies that it leaves among the detections; (R,) scores.

    Round `i` swaps the best open box of a group into its position `i`; then a box that falls below
    the floor is overwritten by the last open one, whose row stays behind the end. Corner scores
    stay where they are when boxes move, as published.
    """
    end = state.size  # (G,) number of open and selected boxes
    for turn in range(state.longest):
        is_open = (state.position >= turn).logical_and_(state.position < end[state.group])
        best, found = state.highest(torch.where(is_open, state.score, NOTHING))
        if state.is_decided(turn, best, state.score, limit):
            break
        selected = torch.where(best > NOTHING, state.first + turn, found)
        for values in (state.boxes, state.score, state.row):
            values[..., selected], values[..., found] = values[..., found], values[..., selected]
        overlaps, factor = state.compare(selected)
        reached = overlaps.logical_and_(is_open).index_fill_(0, selected, False)
        lowered = torch.where(reached, state.score * factor, state.score)
        dropped = (reached & ~(lowered >= state.score_floor)).nonzero().squeeze(1)
        source, destination, end = published_moves(state, end, dropped)
        if state.corner_scores is not None:
            compared_at = torch.arange(len(lowered), device=lowered.device)
            compared_at[source] = destination
            state.merge(selected, reached, factor, state.corner_scores[:, compared_at])
        if len(source):
            stays = destination.diff(append=destination.new_tensor([-1])) != 0  # the last one there
            target, content = destination[stays], source[stays]
            lowered[target], lowered[source] = lowered[content], state.score[source]
            state.boxes[:, target], state.row[target] = state.boxes[:, content], state.row[content]
        state.score = lowered
    return state.score


def published_moves(state: Rounds, end: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which boxes the published loop moves in a round: it goes through the open positions.

    Where it drops a box it copies the last open one there, takes that row off the end, and looks at
    the position again.

    `end` (G,) is the number of open and selected boxes before the round; the boxes `dropped` (D,),
    ascending, fall below the floor.

    Returns:
        (M,) the boxes that are copied, each of which stays behind the end as a stale copy with its
        old score; (M,) their destinations, where they are compared with the selected box, several
        for one destination in order; and the new end (G,).
    """
    if not len(dropped):
        return dropped, dropped, end
    places, groups = dropped.tolist(), state.group[dropped].tolist()
    falls, ends, moves = set(places), (state.first + end).tolist(), []
    for place, group in zip(places, groups, strict=True):
        box = place
        while box in falls and place < ends[group]:
            ends[group] -= 1
            box = ends[group]
            if box == place:
                break
            moves.append((box, place))
    source, destination = dropped.new_tensor(moves).view(-1, 2).unbind(1)
    return source, destination, end.new_tensor(ends) - state.first


SELECTIONS = {"clean": select_clean, "reference": select_reference}
