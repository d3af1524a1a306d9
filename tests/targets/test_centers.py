"""Center targets against a per-object loop written from the published steps."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule, RadiusRule, overlap_radius

RULE = GaussianRule()


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * 60 - 10
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def test_equals_the_published_steps_one_object_at_a_time():
    height, width = 36, 44
    boxes = random_boxes(40, seed=3)
    classes = torch.arange(40) % 3
    image = torch.arange(40) // 20
    targets = center_targets(
        boxes, classes, image, num_images=2, num_classes=3, map_size=(height, width), gaussian=RULE
    )
    row = 0
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        x1, x2 = (min(max(v, 0), width - 1) for v in (x1, x2))
        y1, y2 = (min(max(v, 0), height - 1) for v in (y1, y2))
        w, h = x2 - x1, y2 - y1
        if w <= 0 or h <= 0:
            assert index not in targets.kept.tolist()
            continue
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        assert targets.kept[row] == index
        assert (targets.peaks.x[row], targets.peaks.y[row]) == (int(cx), int(cy))
        assert targets.peaks.image[row] == index // 20
        assert torch.allclose(targets.offset[row], torch.tensor([cx % 1, cy % 1]), atol=1e-5)
        assert torch.allclose(targets.size[row], torch.tensor([w, h]), atol=1e-5)
        # The Gaussian reaches exactly the radius of the size rounded up.
        size = torch.tensor([float(math.ceil(h))]), torch.tensor([float(math.ceil(w))])
        radius = int(overlap_radius(*size, 0.7, RadiusRule.LEGACY).item())
        heatmap = targets.heatmap[index // 20, index % 3]
        assert heatmap[int(cy), int(cx)] == 1
        if int(cx) + radius < width:
            assert heatmap[int(cy), int(cx) + radius] > 0
        row += 1
    assert row == len(targets.peaks)
    assert 20 < row < 40


def test_each_size_of_a_class_has_its_own_heatmap():
    """By the side of what is seen: 4, 8 and, of 40 x 16 that leaves a map of 20 cells, 16."""
    boxes = torch.tensor(
        [[2.0, 2, 6, 6], [4, 4, 12, 12], [4, 4, 44, 20], [8, 2, 12, 6], [8, 8, 9, 9]]
    )
    classes, ignored = torch.tensor([1, 1, 0, 0, -1]), torch.arange(5) >= 3
    options = {"num_images": 1, "num_classes": 2, "map_size": (20, 20), "gaussian": RULE}
    rows = (boxes, classes, torch.zeros(5, dtype=torch.int64))
    targets = center_targets(*rows, ignored=ignored, size_bounds=[4, 8.5], **options)
    assert targets.slot.tolist() == [0, 1, 2]
    assert targets.classes.tolist() == [1, 1, 0]
    assert (targets.heatmap == 1).flatten(2).sum(2).tolist() == [[0, 0, 1, 1, 1, 0]]
    assert targets.heatmap[0, :, 4, 10].eq(0.9999).tolist() == [True] + [False] * 5  # its own
    assert targets.heatmap[0, :, 8, 8].eq(0.9999).tolist() == [True] * 3 + [True, False, True]


@pytest.mark.parametrize(("border", "size"), [("last_cell", (2.5, 4)), ("map", (3.5, 5))])
def test_an_object_at_the_lower_right_border(border, size):
    targets = center_targets(
        torch.tensor([[12.5, 7, 20, 30]]),
        torch.tensor([0]),
        torch.tensor([0]),
        num_images=1,
        num_classes=1,
        map_size=(12, 16),
        gaussian=RULE,
        border=border,
    )
    assert targets.size[0].tolist() == pytest.approx(size, abs=1e-4)
    middle = (targets.peaks.x[0] + targets.offset[0, 0]).item()
    assert middle == pytest.approx(12.5 + size[0] / 2, abs=1e-4)


@pytest.mark.parametrize("side", [16, 1024, 16384])
def test_a_sliver_at_the_very_end_has_its_center_in_the_last_cell(side):
    start = torch.nextafter(torch.tensor(float(side)), torch.tensor(0.0)) * (1 - 2e-6)
    targets = center_targets(
        torch.tensor([[start, 0, side + 3.0, 4]]),
        torch.tensor([0]),
        torch.tensor([0]),
        num_images=1,
        num_classes=1,
        map_size=(8, side),
        gaussian=RULE,
        border="map",
    )
    assert targets.peaks.x.tolist() == [side - 1]


def test_two_objects_of_one_class_on_one_cell_are_both_kept():
    boxes = torch.tensor([[4.0, 4, 8, 8], [5.0, 5, 7.5, 7.5]])
    targets = center_targets(
        boxes,
        torch.tensor([1, 1]),
        torch.tensor([0, 0]),
        num_images=1,
        num_classes=2,
        map_size=(16, 16),
        gaussian=RULE,
    )
    assert len(targets.peaks) == 2
    assert (targets.heatmap == 1).sum() == 1
    assert targets.size.tolist() == [[4, 4], [2.5, 2.5]]


def test_no_objects_give_empty_targets_of_the_right_shape():
    targets = center_targets(
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
        num_images=2,
        num_classes=3,
        map_size=(8, 12),
        gaussian=RULE,
    )
    assert targets.heatmap.shape == (2, 3, 8, 12)
    assert not targets.heatmap.any()
    assert len(targets.peaks) == 0
    assert targets.size.shape == (0, 2) == targets.offset.shape


def test_arguments_are_not_changed_and_the_answer_repeats():
    boxes = random_boxes(10, seed=5)
    before = boxes.clone()
    arguments = {"num_images": 1, "num_classes": 1, "map_size": (20, 20), "gaussian": RULE}
    zeros = torch.zeros(10, dtype=torch.int64)
    first = center_targets(boxes, zeros, zeros, **arguments)
    second = center_targets(boxes, zeros, zeros, **arguments)
    assert torch.equal(boxes, before)
    assert torch.equal(first.heatmap, second.heatmap)


def test_one_positive_cell_without_a_radius():
    targets = center_targets(
        torch.tensor([[0.0, 0, 15, 15]]),
        torch.tensor([0]),
        torch.tensor([0]),
        num_images=1,
        num_classes=1,
        map_size=(16, 16),
        gaussian=GaussianRule(RadiusRule.NONE),
    )
    assert targets.heatmap.sum() == 1
