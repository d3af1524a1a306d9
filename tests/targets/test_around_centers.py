"""Cells around centers that learn too, on objects small enough to count them by hand."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.targets.around_centers import with_cells_around
from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule

BOXES = torch.tensor([[2.0, 2, 12, 13], [9, 4, 15, 12.5], [0, 0, 3, 3], [0, 6, 8, 10]])
IMAGE = torch.tensor([0, 0, 1, 1])


def targets(**options):
    return center_targets(
        BOXES,
        torch.tensor([0, 1, 0, 1]),
        IMAGE,
        num_images=2,
        num_classes=2,
        map_size=(16, 16),
        gaussian=GaussianRule(),
        **options,
    )


def cells(centers):
    return torch.stack([centers.peaks.x, centers.peaks.y], dim=1)


@pytest.mark.parametrize(
    ("radius", "counts"),
    # 10 x 11, 6 x 8.5, 3 x 3 and 8 x 4 cells: the middle half reaches 2 x 2, 1 x 2, 0 x 0, 2 x 1.
    [(0, [1, 1, 1, 1]), (1, [9, 9, 1, 9]), (2, [25, 15, 1, 15]), (9, [25, 15, 1, 15])],
)
def test_cells_lie_within_the_radius_and_the_middle_half(radius, counts):
    plain, more = targets(), with_cells_around(targets(), radius)
    assert torch.bincount(more.kept).tolist() == counts
    centers = (cells(plain) + plain.offset)[more.kept]
    assert torch.equal(cells(more) + more.offset, centers)  # each cell points to its center
    assert torch.equal(more.size, plain.size[more.kept])
    assert torch.equal(more.peaks.image, IMAGE[more.kept])
    assert torch.equal(more.heatmap, plain.heatmap)


def test_a_cell_between_two_objects_is_the_nearer_ones():
    boxes = torch.tensor([[0.0, 0, 8, 8], [3, 0, 11, 8]])  # centers in columns 4 and 7
    found = with_cells_around(
        center_targets(
            boxes,
            torch.tensor([0, 0]),
            torch.tensor([0, 0]),
            num_images=1,
            num_classes=1,
            map_size=(12, 12),
            gaussian=GaussianRule(),
        ),
        2,
    )
    (row,) = torch.nonzero(found.peaks.y == 4, as_tuple=True)
    owners = dict(zip(found.peaks.x[row].tolist(), found.kept[row].tolist(), strict=True))
    assert owners == {2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 1, 8: 1, 9: 1}
    assert len(found.peaks) == 5 * 8


def test_a_mask_goes_with_its_object():
    mask = torch.tensor([True, False, True, True])
    more = with_cells_around(targets(regression_mask=mask), 1)
    assert torch.equal(more.regression_mask, mask[more.kept])


def test_without_objects():
    empty = center_targets(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
        num_images=1,
        num_classes=1,
        map_size=(4, 4),
        gaussian=GaussianRule(),
    )
    assert with_cells_around(empty, 2) is empty
