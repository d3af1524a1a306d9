"""Groups of any size in one table, a row for each."""

import torch
from torch import Tensor


def rows_by_group(group: Tensor, counts: Tensor, order: Tensor | None = None) -> Tensor:
    """Table (G, L) of the rows of each group; -1 fills up.

    `group` (R,) int64 is the group, 0..G-1, of each row; `counts` (G,) int64 the rows of each, the
    largest is L; `order` (R,) int64 all rows in the order that they have within their groups.
    """
    if order is None:
        order = torch.arange(len(group), device=group.device)
    order = order[group[order].argsort(stable=True)]
    sorted_group = group[order]
    first = counts.cumsum(0) - counts
    place = torch.arange(len(order), device=order.device) - first[sorted_group]
    table = order.new_full((len(counts), int(counts.max())), -1)
    return table.index_put((sorted_group, place), order)
