"""Joint targets against a loop over persons and joints written from the published steps."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule, RadiusRule, overlap_radius
from centernet_d2.targets.joints import joint_targets

HEIGHT, WIDTH, JOINTS = 36, 44, 5


def crowd(count: int, seed: int):
    """Persons in two images, some of them off the map, and their joints, some far away."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * 60 - 10
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    points = torch.rand(count, JOINTS, 2, generator=generator) * 70 - 15
    labelled = torch.rand(count, JOINTS, generator=generator) < 0.7
    return boxes, points, labelled, torch.arange(count) % 2


def centers_of(boxes, image, **arguments):
    return center_targets(
        boxes,
        torch.zeros(len(boxes), dtype=torch.int64),
        image,
        num_images=2,
        num_classes=1,
        map_size=(HEIGHT, WIDTH),
        gaussian=GaussianRule(),
        **arguments,
    )


def published_loop(boxes, points, labelled, image):
    """Rows (person, joint, displacement, cell, offset), and the joint heatmap, one at a time."""
    rows, heatmap = [], torch.zeros(2, JOINTS, HEIGHT, WIDTH)
    person = -1
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        x1, x2 = (min(max(v, 0), WIDTH - 1) for v in (x1, x2))
        y1, y2 = (min(max(v, 0), HEIGHT - 1) for v in (y1, y2))
        if x2 <= x1 or y2 <= y1:
            continue
        person += 1
        center = int((x1 + x2) / 2), int((y1 + y2) / 2)
        size = torch.tensor([math.ceil(y2 - y1)]), torch.tensor([math.ceil(x2 - x1)])
        radius = int(overlap_radius(*size, 0.7, RadiusRule.LEGACY).item())
        for joint in range(JOINTS):
            x, y = points[index, joint].tolist()
            if not labelled[index, joint] or not (0 <= x < WIDTH and 0 <= y < HEIGHT):
                continue
            cell = int(x), int(y)
            rows.append(
                (person, joint, x - center[0], y - center[1], *cell, x - cell[0], y - cell[1])
            )
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    v, u = cell[1] + dy, cell[0] + dx
                    if 0 <= v < HEIGHT and 0 <= u < WIDTH:
                        sigma = (2 * radius + 1) / 6
                        value = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
                        old = heatmap[image[index], joint, v, u]
                        heatmap[image[index], joint, v, u] = max(old, value)
    return torch.tensor(rows), heatmap


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equals_the_published_steps_one_joint_at_a_time(seed):
    boxes, points, labelled, image = crowd(60, seed)
    rows, heatmap = published_loop(boxes, points, labelled, image)
    centers = centers_of(boxes, image)
    assert len(centers.kept) < 60
    found = joint_targets(points[centers.kept], labelled[centers.kept], centers)
    assert 30 < len(rows) < labelled[centers.kept].sum()
    columns = [found.owner, found.joint, *found.displacement.T, found.peaks.x, found.peaks.y]
    columns += [*found.offset.T]
    torch.testing.assert_close(torch.stack([c.float() for c in columns], dim=1), rows)
    assert torch.equal(found.peaks.image, centers.peaks.image[found.owner])
    torch.testing.assert_close(found.heatmap, heatmap)
    assert found.heatmap.shape == (2, JOINTS, HEIGHT, WIDTH)


def test_joints_outside_the_box_are_learned_and_those_off_the_map_are_not():
    centers = centers_of(torch.tensor([[10.0, 10, 14, 20]]), torch.tensor([0]))
    points = torch.tensor([[[30.5, 5.25], [-0.01, 5], [5, 36], [43.99, 35.99], [0, 0]]])
    found = joint_targets(points, torch.ones(1, 5, dtype=torch.bool), centers)
    assert found.joint.tolist() == [0, 3, 4]
    assert found.displacement[0].tolist() == [18.5, -9.75]  # from cell (12, 15)
    assert found.offset[0].tolist() == [0.5, 0.25]
    assert not found.heatmap[:, 1:3].any()


def test_displacements_start_from_the_cell_of_the_center():
    centers = centers_of(torch.tensor([[10.0, 10, 15, 21]]), torch.tensor([1]))
    assert centers.offset.tolist() == [[0.5, 0.5]]
    found = joint_targets(torch.tensor([[[12.0, 15.0]]]), torch.tensor([[True]]), centers)
    assert found.displacement.tolist() == [[0, 0]]
    assert found.peaks.image.tolist() == [1]


@pytest.mark.parametrize("persons", [0, 3])
def test_no_labelled_joint_gives_empty_targets(persons):
    boxes = torch.tensor([[4.0, 4, 20, 30]]).expand(persons, 4)
    centers = centers_of(boxes, torch.zeros(persons, dtype=torch.int64))
    nowhere = torch.full((persons, JOINTS, 2), float("nan"))
    for labelled in (False, True):  # a NaN is nowhere, whatever is said of it
        mask = torch.full((persons, JOINTS), labelled)
        found = joint_targets(nowhere, mask, centers)
        assert found.displacement.shape == found.offset.shape == (0, 2)
        assert found.heatmap.shape == (2, JOINTS, HEIGHT, WIDTH)
        assert not found.heatmap.any()


def test_a_heatmap_is_drawn_only_when_asked_for():
    boxes, points, labelled, image = crowd(6, seed=4)
    centers = centers_of(boxes, image)
    points, labelled = points[centers.kept], labelled[centers.kept]
    before = points.clone()
    assert joint_targets(points, labelled, centers, with_heatmap=False).heatmap is None
    assert torch.equal(points, before)


def test_objects_that_are_not_regressed_follow_their_rows():
    boxes, _points, _labelled, image = crowd(24, seed=1)
    regression_mask = torch.arange(24) % 3 > 0
    centers = centers_of(boxes, image, regression_mask=regression_mask)
    assert torch.equal(centers.regression_mask, regression_mask[centers.kept])
    assert len(centers.regression_mask) == len(centers.peaks) < 24
    assert centers_of(boxes, image).regression_mask.all()
