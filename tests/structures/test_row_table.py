from __future__ import annotations

import torch

from centernet_d2.structures.row_table import rows_by_group


def test_rows_of_each_group_in_the_order_asked_for():
    group = torch.tensor([2, 0, 2, 3, 2, 0])
    counts = torch.tensor([2, 0, 3, 1])
    assert rows_by_group(group, counts).tolist() == [
        [1, 5, -1],
        [-1, -1, -1],
        [0, 2, 4],
        [3, -1, -1],
    ]
    turned = rows_by_group(group, counts, order=torch.arange(6).flip(0))
    assert turned.tolist() == [[5, 1, -1], [-1, -1, -1], [4, 2, 0], [3, -1, -1]]
