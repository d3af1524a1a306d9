"""Radii and Gaussians against the published numbers and against a slow loop."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.structures.targets import PeakIndex
from centernet_d2.targets.gaussian import (
    GaussianRule,
    RadiusRule,
    draw_gaussians,
    overlap_radius,
)

# height, width, published (legacy) radius, exact radius at overlap 0.7
GOLDEN = [
    (1, 1, 0.273, 0.082),
    (2, 2, 0.547, 0.163),
    (5, 5, 1.367, 0.408),
    (10, 10, 2.733, 0.817),
    (10, 20, 3.678, 1.077),
    (8, 32, 3.608, 1.011),
    (20, 20, 5.466, 1.633),
    (32, 32, 8.746, 2.613),
    (64, 64, 17.492, 5.227),
    (100, 30, 12.928, 3.669),
    (128, 128, 34.985, 10.454),
]


def whole_radius(size, *rule) -> torch.Tensor:
    height, width = size
    return GaussianRule(*rule).radius(torch.stack([width, height], dim=1))


@pytest.mark.parametrize(("height", "width", "legacy", "exact"), GOLDEN)
def test_published_radii(height, width, legacy, exact):
    size = torch.tensor([float(height)]), torch.tensor([float(width)])
    for rule, value in ((RadiusRule.LEGACY, legacy), (RadiusRule.EXACT, exact)):
        assert overlap_radius(*size, 0.7, rule).item() == pytest.approx(value, abs=6e-4)
        assert whole_radius(size, rule).item() == int(value)


# height, width; exact radius at overlap 0.3 and 0.7, legacy radius at 0.7 and 0.3
CORNER_GOLDEN = [
    (1, 1, 0.2261, 0.0817, 0.2733, 0.4954),
    (5, 5, 1.1307, 0.4083, 1.3666, 2.4772),
    (10, 10, 2.2614, 0.8167, 2.7332, 4.9545),
    (10, 40, 3.2129, 1.2639, 4.5095, 8.6854),
    (30, 30, 6.7842, 2.4501, 8.1996, 14.8634),
    (100, 20, 6.5479, 2.6139, 9.4666, 18.5527),
    (128, 128, 28.9458, 10.4538, 34.9850, 63.4170),
]


@pytest.mark.parametrize(
    ("height", "width", "exact_3", "exact_7", "legacy_7", "legacy_3"), CORNER_GOLDEN
)
def test_radii_of_the_published_corner_code(height, width, exact_3, exact_7, legacy_7, legacy_3):
    size = torch.tensor([float(height)]), torch.tensor([float(width)])
    columns = (
        (RadiusRule.EXACT, 0.3, exact_3),
        (RadiusRule.EXACT, 0.7, exact_7),
        (RadiusRule.LEGACY, 0.7, legacy_7),
        (RadiusRule.LEGACY, 0.3, legacy_3),
    )
    for rule, overlap, value in columns:
        assert overlap_radius(*size, overlap, rule).item() == pytest.approx(value, abs=6e-5)
        assert whole_radius(size, rule, overlap).item() == int(value)


def test_a_20_pixel_box_at_overlap_0_3():
    size = torch.tensor([20.0]), torch.tensor([20.0])
    assert overlap_radius(*size, 0.3, RadiusRule.LEGACY).item() == pytest.approx(9.91, abs=5e-3)
    assert overlap_radius(*size, 0.3, RadiusRule.EXACT).item() == pytest.approx(4.52, abs=5e-3)


def overlap(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (10, 40), (7, 3)])
def test_exact_radius_is_the_largest_shift_that_keeps_the_overlap(height, width):
    size = torch.tensor([float(height)]), torch.tensor([float(width)])
    r = overlap_radius(*size, 0.7, RadiusRule.EXACT).item()
    box = (0, 0, width, height)
    shifted = [
        (r, r, width + r, height + r),
        (r, r, width - r, height - r),
        (-r, -r, width + r, height + r),
    ]
    assert min(overlap(box, other) for other in shifted) == pytest.approx(0.7, abs=1e-6)


def test_other_rules():
    size = torch.tensor([50.0, 3.0]), torch.tensor([50.0, 3.0])
    assert whole_radius(size, RadiusRule.FIXED, 0.7, 4).tolist() == [4, 4]
    assert whole_radius(size, RadiusRule.NONE).tolist() == [0, 0]


def test_the_radius_is_that_of_whole_cells_where_asked():
    size = torch.tensor([[19.4, 19.2]])
    up, exact = (GaussianRule(round_up=choice).radius(size).item() for choice in (True, False))
    assert up == GaussianRule().radius(torch.tensor([[20.0, 20.0]])).item() == 5
    assert exact == int(overlap_radius(size[:, 1], size[:, 0], 0.7, RadiusRule.LEGACY).item())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"radius_rule": "big"}, "radius_rule must be one of .*'legacy'.* got 'big'"),
        ({"min_overlap": 0.0}, "min_overlap must be in"),
        ({"min_overlap": math.nan}, "min_overlap must be in"),
        ({"fixed_radius": -1}, "fixed_radius must be 0 or more"),
    ],
)
def test_rules_that_cannot_be_used_are_named(choice, message):
    with pytest.raises(ValueError, match=message):
        GaussianRule(**choice)


def peaks(*rows: tuple[int, int, int]) -> PeakIndex:
    image, y, x = torch.tensor(rows, dtype=torch.int64).view(-1, 3).T
    return PeakIndex(image=image, y=y, x=x)


def test_published_center_row_of_radius_3():
    drawn = draw_gaussians(
        torch.zeros(1, 1, 9, 9), peaks((0, 4, 4)), torch.tensor([0]), torch.tensor([3])
    )
    side = [0.03665804, 0.2300663, 0.69256932]
    expected = torch.tensor([0.0, *side, 1.0, *reversed(side), 0.0])
    assert torch.allclose(drawn[0, 0, 4], expected, atol=1e-7)
    assert torch.allclose(drawn[0, 0, :, 4], expected, atol=1e-7)


@pytest.mark.parametrize(
    ("divisor", "side"), [(6.0, (0.056135, 0.486752)), (5.0, (0.135335, 0.606531))]
)
def test_published_rows_of_radius_2(divisor, side):
    """Of corners, and of the triplet's wider centers."""
    drawn = draw_gaussians(
        torch.zeros(1, 1, 7, 7), peaks((0, 3, 3)), torch.tensor([0]), torch.tensor([2]), divisor
    )
    expected = torch.tensor([0.0, *side, 1.0, *reversed(side), 0.0])
    assert torch.allclose(drawn[0, 0, 3], expected, rtol=0, atol=6e-7)


def slow_drawing(shape, objects, divisor):
    """One cell after the other, from the definition."""
    heatmap = torch.zeros(shape)
    for image, y, x, channel, radius in objects:
        sigma = (2 * radius + 1) / divisor
        for row in range(max(0, y - radius), min(shape[2], y + radius + 1)):
            for column in range(max(0, x - radius), min(shape[3], x + radius + 1)):
                distance = (row - y) ** 2 + (column - x) ** 2
                value = math.exp(-distance / (2 * sigma**2))
                old = heatmap[image, channel, row, column].item()
                heatmap[image, channel, row, column] = max(old, value)
    return heatmap


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("divisor", [6.0, 5.0])
def test_drawing_equals_a_slow_loop(divisor, layout):
    generator = torch.Generator().manual_seed(1)
    shape = (3, 4, 21, 17)
    rows = [
        [int(torch.randint(0, high, (1,), generator=generator)) for high in (3, 21, 17, 4, 9)]
        for _ in range(25)
    ]
    table = torch.tensor(rows)
    drawn = draw_gaussians(
        torch.zeros(shape).to(memory_format=layout),
        PeakIndex(image=table[:, 0], y=table[:, 1], x=table[:, 2]),
        table[:, 3],
        table[:, 4],
        divisor,
    )
    assert torch.allclose(drawn, slow_drawing(shape, rows, divisor), atol=1e-6)
    assert drawn.is_contiguous(memory_format=layout)
    assert drawn.max() == 1
    assert (drawn == 1).sum() == len({tuple(row[:4]) for row in rows})


def test_nothing_to_draw_and_no_argument_changed():
    blank = torch.zeros(1, 2, 4, 4)
    empty = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(draw_gaussians(blank, peaks(), empty, empty), blank)
    draw_gaussians(blank, peaks((0, 1, 1)), torch.tensor([1]), torch.tensor([2]))
    assert not blank.any()
