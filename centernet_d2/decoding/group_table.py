"""Rows of groups of any size in one table, so that one reduction serves all groups at once.

R rows, G groups, I images, C chunks of L = 32 slots. A group fills as many chunks as it needs; a
group of 9,000 rows beside eighty of ten costs its own chunks and no padding of the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 32
NOTHING = -1.0
"""Value of a slot that holds no row; scores are not negative."""


class GroupTable:
    """Where the rows of each group are.

    Attributes:
        row: (C, L) int64, the row in each slot, -1 in empty ones; groups one after the other, the
            rows of a group in the order in which they were given.
        position: (C, L) int64, the slot's number within its group, from 0.
        size: (G,) int64, rows of each group.
        first_slot: (G,) int64, flat index of the slot at position 0.
        group: (C,) int64, the group of each chunk; `group_of_slot` (C * L,) of each slot.
        image: (C,) int64, the image of each chunk; `image_of_slot` (C * L,) of each slot.
        longest: rows of the largest group.
    """

    def __init__(self, group: Tensor, image: Tensor) -> None:
        """Lay out the table.

        Args:
            group: (R,) int64 labels, R > 0; all rows of a group are of one image.
            image: (R,) int64, the image of each row, from 0.
        """
        device = group.device
        order = torch.argsort(group, stable=True)
        _labels, self.size = torch.unique_consecutive(group[order], return_counts=True)
        chunks = (self.size + CHUNK - 1) // CHUNK
        after = chunks.cumsum(0)
        starts = torch.zeros(int(after[-1]), dtype=torch.int64, device=device)
        starts[after[:-1]] = 1  # every group has a chunk, so no two start together
        self.group = starts.cumsum(0)
        self.first_slot = (after - chunks) * CHUNK
        slots = torch.arange(len(self.group) * CHUNK, device=device).view(-1, CHUNK)
        self.position = slots - self.first_slot[self.group, None]
        first_row = self.size.cumsum(0) - self.size
        filled = self.position < self.size[self.group, None]
        self.row = torch.full_like(slots, -1)
        self.row[filled] = order  # both run through the groups, and each group's rows, in order
        self._image_of_group = image[order[first_row]]
        self.image = self._image_of_group[self.group]
        self.group_of_slot = self.group[:, None].expand(-1, CHUNK).flatten()
        self.image_of_slot = self.image[:, None].expand(-1, CHUNK).flatten()
        groups_per_image = torch.bincount(self._image_of_group)
        self._num_images, self._most_groups = len(groups_per_image), int(groups_per_image.max())
        self.longest = int(self.size.max())
        self._one_chunk_each = len(self.group) == len(self.size)
        # Chunks of each group, padded with the number of one chunk that is always empty.
        number = torch.arange(len(self.group), device=device)
        self._chunks = torch.full((len(self.size), int(chunks.max())), len(number), device=device)
        self._chunks[self.group, number - (after - chunks)[self.group]] = number

    def fill(self, values: Tensor, empty: float = 0.0) -> Tensor:
        """Values (R, ...) of the rows -> (C, L, ...), with `empty` where no row is."""
        missing = (self.row < 0).view(*self.row.shape, *[1] * (values.dim() - 1))
        filled = values.index_select(0, self.row.flatten().clamp(min=0))
        return filled.view(*self.row.shape, *values.shape[1:]).masked_fill(missing, empty)

    def highest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Highest value (G,) of each group in values (C * L,), and its flat slot (G,).

        The first slot of equals. A group of nothing but NOTHING gives NOTHING and some slot of its
        own.
        """
        # argmax and index_select, not max(dim): torch splits that over threads, little as there is.
        chunk = torch.arange(len(self.group), device=values.device) * CHUNK
        place = chunk + values.view_as(self.row).argmax(dim=1)
        if self._one_chunk_each:
            return values.index_select(0, place), place
        nothing = values.new_full((1,), NOTHING)
        best = torch.cat([values.index_select(0, place), nothing])
        best = best.index_select(0, self._chunks.flatten()).view_as(self._chunks)
        which = best.argmax(dim=1, keepdim=True)
        slot = place.index_select(0, self._chunks.gather(1, which).squeeze(1))
        return values.index_select(0, slot), slot

    def sums(self, values: Tensor) -> Tensor:
        """Sum (..., G) of each group in values (..., C, L)."""
        per_chunk = values.sum(dim=-1)
        total = per_chunk.new_zeros(*per_chunk.shape[:-1], len(self.size))
        return total.index_add_(per_chunk.dim() - 1, self.group, per_chunk)

    def is_decided(self, turn: int, remaining: Tensor, settled: Tensor, limit: int | None) -> bool:
        """Whether no open row can come among the best `limit` of its image, or tie with the last.

        Args:
            turn: rounds so far, of one selection per group.
            remaining: (G,) highest score of each group's open rows.
            settled: (C * L,) scores that will not change any more, NOTHING elsewhere.
            limit: rows wanted per image; None: all.
        """
        if limit is None or turn * self._most_groups < limit:
            return False  # found out without looking
        highest = remaining.new_full((self._num_images,), NOTHING)
        highest = highest.scatter_reduce(0, self._image_of_group, remaining, "amax")
        above = (settled.view_as(self.row) > highest[self.image, None]).sum(dim=1)
        count = torch.zeros_like(highest, dtype=above.dtype).index_add_(0, self.image, above)
        return bool(((count >= limit) | (highest <= NOTHING)).all())
