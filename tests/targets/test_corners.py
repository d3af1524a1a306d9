"""Corner targets against the worked examples of the published data pipeline."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.targets.corners import corner_targets
from centernet_d2.targets.gaussian import GaussianRule, RadiusRule

SIDE, CELLS = 511, 128
RATIO = CELLS / SIDE
# box; cells (x, y) of top-left, bottom-right, center; their offsets; width and height; radii of
# CornerNet (exact, 0.3) and of the triplet (legacy, 0.7); flat indices
WORKED = [
    (
        (100.3, 50.7, 300.9, 400.2),
        ((25, 12), (75, 100), (50, 56)),
        ((0.12407, 0.69980), (0.37221, 0.24579), (0.24814, 0.47280)),
        (51, 88),
        (14, 17),
        (1561, 12875, 7218),
    ),
    (
        (10, 20, 30, 25),
        ((2, 5), (7, 6), (5, 5)),
        ((0.50489, 0.00978), (0.51468, 0.26223), (0.00978, 0.63601)),
        (6, 2),
        (0, 0),
        (642, 775, 645),
    ),
    (
        (0, 0, 510, 510),
        ((0, 0), (127, 127), (63, 63)),
        ((0, 0), (0.74951, 0.74951), (0.87476, 0.87476)),
        (128, 128),
        (28, 34),
        (0, 16383, 8127),
    ),
]


CORNER_RULE = GaussianRule(RadiusRule.EXACT, 0.3)


def targets_of(boxes, classes=None, images=None, gaussian=CORNER_RULE, **options):
    boxes = torch.as_tensor(boxes, dtype=torch.float64).view(-1, 4) * RATIO
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    arguments = {"num_images": 1, "num_classes": 2, "map_size": (CELLS, CELLS)} | options
    return corner_targets(
        boxes,
        zeros if classes is None else torch.as_tensor(classes),
        zeros if images is None else torch.as_tensor(images),
        frame_size=(SIDE, SIDE),
        gaussian=gaussian,
        **arguments,
    )


KINDS = ("top_left", "bottom_right", "center")


@pytest.mark.parametrize(("box", "cells", "offsets", "size", "radii", "flat"), WORKED)
def test_worked_examples(box, cells, offsets, size, radii, flat):
    found = targets_of([box], center_sigma_divisor=5.0)
    for kind, cell, offset, index in zip(KINDS, cells, offsets, flat, strict=True):
        keypoint = getattr(found, kind)
        assert (keypoint.peaks.x.item(), keypoint.peaks.y.item()) == cell
        assert keypoint.peaks.y.item() * CELLS + keypoint.peaks.x.item() == index
        assert keypoint.offset[0].tolist() == pytest.approx(offset, abs=5e-6)
        assert keypoint.heatmap[0, 0, cell[1], cell[0]] == 1
        assert keypoint.heatmap[0, 1].max() == 0
    width, height = (torch.tensor([float(side)]) for side in size)
    rules = ((RadiusRule.EXACT, 0.3), (RadiusRule.LEGACY, 0.7))
    for (rule, overlap), radius in zip(rules, radii, strict=True):
        assert GaussianRule(rule, overlap).radius(torch.stack([width, height], 1)).item() == radius
        found = targets_of([box], center_sigma_divisor=5.0, gaussian=GaussianRule(rule, overlap))
        for kind, (x, y) in zip(KINDS, cells, strict=True):  # from the box, not from its size
            row = getattr(found, kind).heatmap[0, 0, y]
            assert (row > 0).sum() == min(radius, x) + 1 + min(radius, CELLS - 1 - x)


@pytest.mark.parametrize("rule", list(RadiusRule))
def test_gaussians_have_the_rules_radius_and_each_kinds_sigma(rule):
    box = (200.0, 180.0, 320.0, 300.0)
    found = targets_of([box], center_sigma_divisor=5.0, gaussian=GaussianRule(rule, 0.7, 3))
    size = torch.tensor([float(math.ceil(120 * RATIO))])
    radius = GaussianRule(rule, 0.7, 3).radius(torch.stack([size, size], 1)).item()
    for kind, divisor in zip(KINDS, (6, 6, 5), strict=True):
        keypoint = getattr(found, kind)
        y, x = keypoint.peaks.y.item(), keypoint.peaks.x.item()
        sigma = (2 * radius + 1) / divisor
        row = keypoint.heatmap[0, 0, y]
        for step in range(radius + 1):
            assert row[x + step].item() == pytest.approx(math.exp(-(step**2) / (2 * sigma**2)))
        assert row[x + radius + 1] == 0
        assert (keypoint.heatmap > 0).sum() == (2 * radius + 1) ** 2


def test_boxes_are_cut_at_the_frames_last_pixel():
    found = targets_of([(-50, -20, 700, 600)], center_sigma_divisor=5.0)
    assert found.bottom_right.peaks.x.item() == 127
    assert found.bottom_right.offset[0].tolist() == pytest.approx([0.74951] * 2, abs=5e-6)
    assert (found.center.peaks.x.item(), found.center.peaks.y.item()) == (63, 63)  # of the rest


def test_objects_outside_and_without_area_are_left_out():
    boxes = [(600, 10, 700, 50), (-90, 5, -1, 50), (30, 30, 30, 80), (40, 40, 90, 90)]
    found = targets_of(boxes, classes=[0, 0, 0, 1])
    assert len(found.image) == len(found.top_left.peaks) == 1
    assert found.top_left.heatmap[0, 0].max() == 0
    assert found.center is None


def test_objects_that_share_a_cell_are_all_kept():
    found = targets_of([(40, 40, 90, 90), (41, 41, 200, 200), (40, 40, 90, 90)])
    assert found.top_left.peaks.x.tolist() == [10, 10, 10]
    assert (found.top_left.heatmap == 1).sum() == 1
    assert (found.bottom_right.heatmap == 1).sum() == 2


def drawn_by_loop(shape, rows, divisor):
    """Heatmap of (image, class, x, y, radius), cell after cell from the definition."""
    heatmap = torch.zeros(shape, dtype=torch.float64)
    for image, kind, x, y, radius in rows:
        sigma = (2 * radius + 1) / divisor
        for dy in range(-radius, radius + 1):
            for dx in range(-radius, radius + 1):
                if 0 <= y + dy < shape[2] and 0 <= x + dx < shape[3]:
                    value = math.exp(-(dx**2 + dy**2) / (2 * sigma**2))
                    old = heatmap[image, kind, y + dy, x + dx].item()
                    heatmap[image, kind, y + dy, x + dx] = max(old, value)
    return heatmap


def test_equals_the_published_steps_one_object_at_a_time():
    height, width, frame = 24, 40, (95, 159)
    generator = torch.Generator().manual_seed(4)
    corners = torch.rand(60, 2, 2, generator=generator, dtype=torch.float64)
    corners = corners * torch.tensor([200.0, 130.0]) - 20
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)  # network frame
    boxes[7] = boxes[3]  # two objects on the same cells
    classes, image = torch.arange(60) % 3, torch.arange(60) // 30
    classes[7] = classes[3]
    found = corner_targets(
        boxes * torch.tensor([width / frame[1], height / frame[0]] * 2, dtype=torch.float64),
        classes,
        image,
        num_images=2,
        num_classes=3,
        map_size=(height, width),
        frame_size=frame,
        gaussian=CORNER_RULE,
        center_sigma_divisor=5.0,
    )
    points, rows = ([], [], []), ([], [], [])
    for index, box in enumerate(boxes.tolist()):
        x1, x2 = (min(max(value, 0), frame[1] - 1) * width / frame[1] for value in box[::2])
        y1, y2 = (min(max(value, 0), frame[0] - 1) * height / frame[0] for value in box[1::2])
        if x2 <= x1 or y2 <= y1:
            continue
        size = torch.tensor([math.ceil(y2 - y1)]), torch.tensor([math.ceil(x2 - x1)])
        radius = CORNER_RULE.radius(torch.stack(size[::-1], 1)).item()
        for kind, point in enumerate(((x1, y1), (x2, y2), ((x1 + x2) / 2, (y1 + y2) / 2))):
            points[kind].append(point)
            cell = (int(point[0]), int(point[1]))
            rows[kind].append((index // 30, int(classes[index]), *cell, radius))
    assert 40 < len(points[0]) < 60
    assert max(row[-1] for row in rows[0]) > 3
    for kind, divisor, wanted, drawn in zip(KINDS, (6, 6, 5), points, rows, strict=True):
        keypoint = getattr(found, kind)
        cells = torch.stack([keypoint.peaks.x, keypoint.peaks.y], 1)
        assert torch.allclose(cells + keypoint.offset, torch.tensor(wanted, dtype=torch.float64))
        assert [[*row[2:4]] for row in drawn] == cells.tolist()
        assert keypoint.peaks.image.tolist() == [row[0] for row in drawn]
        assert keypoint.offset.dtype == keypoint.heatmap.dtype == torch.float64
        expected = drawn_by_loop((2, 3, height, width), drawn, divisor)
        assert torch.allclose(keypoint.heatmap, expected, atol=1e-12)


def test_two_hundred_objects_of_several_images():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(200, 2, generator=generator) * 400
    boxes = torch.cat([low, low + 20 + 80 * torch.rand(200, 2, generator=generator)], dim=1)
    images = torch.randint(0, 3, (200,), generator=generator)
    classes = torch.randint(0, 2, (200,), generator=generator)
    found = targets_of(boxes, classes, images, num_images=3)
    assert found.num_images == 3
    assert torch.equal(found.image, images)
    for kind in KINDS[:2]:
        keypoint = getattr(found, kind)
        peaks = keypoint.peaks
        assert (keypoint.heatmap[peaks.image, classes, peaks.y, peaks.x] == 1).all()
        assert (keypoint.offset >= 0).all()
        assert (keypoint.offset < 1).all()


def test_no_objects():
    found = targets_of([], center_sigma_divisor=5.0)
    assert len(found.image) == 0
    assert found.center.heatmap.shape == (1, 2, CELLS, CELLS)
    assert found.top_left.heatmap.max() == 0


def test_frames_that_are_not_square():
    boxes = torch.tensor([[0.0, 0.0, 1000.0, 1000.0]])
    zeros = torch.zeros(1, dtype=torch.int64)
    found = corner_targets(
        boxes,
        zeros,
        zeros,
        num_images=1,
        num_classes=1,
        map_size=(32, 64),
        frame_size=(127, 255),
        gaussian=CORNER_RULE,
    )
    assert (found.bottom_right.peaks.x.item(), found.bottom_right.peaks.y.item()) == (63, 31)
