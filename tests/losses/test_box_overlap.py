"""Overlap as a loss: values by hand, and torchvision's IoU."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import box_iou, generalized_box_iou

from centernet_d2.losses.box_overlap import overlap_loss, paired_iou

# Overlap 1 of areas 4 and 4, in an enclosing box of 9: IoU 1/7, GIoU 1/7 - 2/9.
BOXES, TARGET = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3]])


@pytest.mark.parametrize(
    ("kind", "value"),
    # Centers are sqrt 2 apart, corners of the enclosing box sqrt 18; the same shape, so CIoU = DIoU
    [("giou", 1 - 1 / 7 + 2 / 9), ("diou", 1 - 1 / 7 + 2 / 18), ("ciou", 1 - 1 / 7 + 2 / 18)],
)
def test_by_hand(kind, value):
    assert overlap_loss(BOXES, TARGET, kind).item() == pytest.approx(value, abs=1e-6)


def random_boxes(count, seed):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * 9
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def test_of_many_boxes():
    first, second = random_boxes(50, 0), random_boxes(50, 1)
    expected = 1 - generalized_box_iou(first, second).diagonal()
    assert overlap_loss(first, second).item() == pytest.approx(expected.mean().item(), abs=1e-6)
    assert torch.allclose(paired_iou(first, second), box_iou(first, second).diagonal(), atol=1e-6)


def test_without_boxes_it_is_zero_and_in_the_graph():
    none = torch.zeros(0, 4, requires_grad=True)
    loss = overlap_loss(none * 1, torch.zeros(0, 4))
    loss.backward()
    assert loss == 0


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"'giou'.*'siou'"):
        overlap_loss(BOXES, TARGET, "siou")
