"""Snapping against loops over persons and joints that follow the published steps and the paper."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.decoding.joints import (
    JointPeaks,
    SnappingRule,
    joint_peaks,
    scores_at,
    snap_joints,
)

HEIGHT, WIDTH, JOINTS = 24, 32, 4


def random_maps(seed: int, images: int = 2):
    generator = torch.Generator().manual_seed(seed)
    heatmap = (torch.randn(images, JOINTS, HEIGHT, WIDTH, generator=generator) - 2.5).sigmoid()
    return heatmap, torch.rand(images, 2, HEIGHT, WIDTH, generator=generator)


def random_persons(seed: int, images: int = 2, persons: int = 15):
    generator = torch.Generator().manual_seed(seed + 100)
    center = torch.rand(images, persons, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    size = torch.rand(images, persons, 2, generator=generator) * 16 + 1
    spread = torch.rand(images, persons, JOINTS, 2, generator=generator) - 0.5
    joints = center[:, :, None] + 1.4 * spread * size[:, :, None]
    return joints, torch.cat([center - size / 2, center + size / 2], dim=-1)


def published_candidates(heatmap, offset, k):
    """Per image and joint a list of (score, x, y), the k best maxima above 0.1."""
    found = []
    for image in range(len(heatmap)):
        found.append([])
        for joint in range(heatmap.shape[1]):
            peaks = []
            for y in range(heatmap.shape[2]):
                for x in range(heatmap.shape[3]):
                    value = heatmap[image, joint, y, x].item()
                    window = heatmap[image, joint, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                    if value == window.max().item():
                        dx, dy = (0.5, 0.5) if offset is None else offset[image, :, y, x].tolist()
                        peaks.append((value, x + dx, y + dy))
            best = sorted(peaks, reverse=True)[:k]
            found[-1].append([peak for peak in best if peak[0] > 0.1])
    return found


def snapped_in_a_loop(joints, boxes, candidates, name):
    moved, placed = torch.zeros(joints.shape[:-1]), joints.clone()
    for image in range(joints.shape[0]):
        for person in range(joints.shape[1]):
            left, top, right, bottom = boxes[image, person].tolist()
            for joint in range(JOINTS):
                here = joints[image, person, joint].tolist()
                peaks = candidates[image][joint]

                def inside(peak):
                    return left <= peak[1] <= right and top <= peak[2] <= bottom  # noqa: B023

                if name == "paper":
                    peaks = [peak for peak in peaks if inside(peak)]
                if not peaks:
                    continue
                nearest = min(peaks, key=lambda p: math.dist(here, p[1:]))
                if name == "published":
                    reach = 0.3 * max(right - left, bottom - top)
                    if not inside(nearest) or math.dist(here, nearest[1:]) > reach:
                        continue
                moved[image, person, joint] = nearest[0]
                placed[image, person, joint] = torch.tensor(nearest[1:])
    return placed, moved


@pytest.mark.parametrize("name", ["published", "paper"])
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("with_offset", [True, False])
def test_equals_a_loop_over_persons_and_joints(name, seed, with_offset):
    heatmap, offset = random_maps(seed)
    offset = offset if with_offset else None
    joints, boxes = random_persons(seed)
    expected, scores = snapped_in_a_loop(
        joints, boxes, published_candidates(heatmap, offset, 40), name
    )
    found, moved, peak_scores = snap_joints(
        joints, boxes, joint_peaks(heatmap, offset, 40), SnappingRule(name)
    )
    assert 0.1 < moved.float().mean() < 0.99
    assert torch.equal(moved, scores > 0)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(peak_scores, scores)
    assert torch.equal(found[~moved], joints[~moved])


def one_joint(peaks, joint=(10.0, 10.0), box=(0.0, 0.0, 20.0, 20.0), **rule):
    """Where a single joint goes, given peaks (score, x, y)."""
    scores, x, y = torch.tensor(peaks).T
    candidates = JointPeaks(scores.view(1, 1, -1), x.view(1, 1, -1), y.view(1, 1, -1))
    placed, moved, score = snap_joints(
        torch.tensor(joint).view(1, 1, 1, 2),
        torch.tensor(box).view(1, 1, 4),
        candidates,
        SnappingRule(**rule),
    )
    return placed.flatten().tolist(), moved.item(), score.item()


@pytest.mark.parametrize(
    ("peaks", "published", "paper"),
    [
        # 7 cells away, 0.3 x 20 are allowed.
        ([(0.9, 17, 10)], None, (17, 10)),
        ([(0.9, 16, 10)], (16, 10), (16, 10)),  # just allowed
        ([(0.9, 20, 20)], None, (20, 20)),  # the border of the box is inside
        ([(0.9, 20.5, 10), (0.9, -1, 3)], None, None),
        # No peak, though near.
        ([(0.1, 10, 10), (0.05, 10, 11)], None, None),
        ([(0.1, 10, 10), (0.2, 10, 12)], (10, 12), (10, 12)),
        ([(0.2, 12, 10), (0.9, 13, 10)], (12, 10), (12, 10)),  # the nearest, not the highest
    ],
)
def test_the_two_rules(peaks, published, paper):
    for name, expected in (("published", published), ("paper", paper)):
        place, moved, score = one_joint(peaks, name=name)
        assert moved == (expected is not None)
        assert place == pytest.approx(expected or (10, 10))
        assert (score > 0) == moved


def test_a_nearest_peak_outside_the_box_hides_the_second_nearest_from_the_published_rule():
    peaks = [(0.9, 10.0, -0.5), (0.8, 10.0, 5.0)]
    assert one_joint(peaks, joint=(10.0, 2.0), name="published")[0] == [10, 2]
    assert one_joint(peaks, joint=(10.0, 2.0), name="paper")[0] == [10, 5]
    assert one_joint(peaks[1:], joint=(10.0, 2.0), name="published")[0] == [10, 5]


def test_reach_and_threshold_are_choices():
    far = [(0.15, 17.0, 10.0)]
    assert one_joint(far, max_distance=0.35) == (
        [17, 10],
        True,
        pytest.approx(0.15),
    )
    assert not one_joint(far, max_distance=0.35, score_threshold=0.2)[1]


def test_a_joint_far_outside_its_box_can_come_back_or_stay():
    peaks = [(0.9, 18.0, 10.0)]
    assert one_joint(peaks, joint=(23.0, 10.0))[0] == [18, 10]
    assert one_joint(peaks, joint=(26.0, 10.0))[0] == [26, 10]
    assert one_joint(peaks, joint=(2600.0, 10.0), name="paper")[0] == [18, 10]


def test_peaks_are_found_per_joint_and_refined_by_the_common_offset():
    heatmap = torch.full((1, 2, 6, 8), 0.01)
    heatmap[0, 0, 2, 5], heatmap[0, 1, 4, 1], heatmap[0, 1, 0, 7] = 0.9, 0.8, 0.7
    offset = torch.zeros(1, 2, 6, 8)
    offset[0, :, 4, 1] = torch.tensor([0.25, 0.75])
    found = joint_peaks(heatmap, offset, 2)
    assert found.scores[0, :, 0].tolist() == pytest.approx([0.9, 0.8])
    assert (found.x[0, 1].tolist(), found.y[0, 1].tolist()) == ([1.25, 7], [4.75, 0])
    assert joint_peaks(heatmap, None, 1).x.flatten().tolist() == [5.5, 1.5]
    assert joint_peaks(heatmap, offset, 1000).scores.shape == (1, 2, 48)  # fewer cells than asked


def test_scores_are_those_of_the_cell_and_of_the_border_outside_the_map():
    heatmap = torch.rand(1, JOINTS, HEIGHT, WIDTH)
    joints = torch.tensor([[3.9, 5.1], [-8.0, 5.0], [40.0, 90.0], [float("nan"), 2.0]])
    found = scores_at(heatmap, joints.view(1, 1, JOINTS, 2))
    expected = [
        heatmap[0, 0, 5, 3],
        heatmap[0, 1, 5, 0],
        heatmap[0, 2, -1, -1],
        heatmap[0, 3, 2, 0],
    ]
    assert found.flatten().tolist() == [value.item() for value in expected]


def test_no_persons_and_no_images():
    heatmap, offset = random_maps(seed=1)
    joints, boxes = random_persons(seed=1)
    peaks = joint_peaks(heatmap, offset, 10)
    placed, moved, scores = snap_joints(joints[:, :0], boxes[:, :0], peaks, SnappingRule())
    assert placed.shape == (2, 0, JOINTS, 2)
    assert moved.shape == scores.shape == (2, 0, JOINTS)
    none = joint_peaks(heatmap[:0], offset[:0], 10)
    assert snap_joints(joints[:0], boxes[:0], none, SnappingRule())[0].shape == (0, 15, JOINTS, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "nearest"}, "snapping must be one of .*'paper'"),
        ({"candidates": 0}, "candidates must be 1 or more, got 0"),
    ],
)
def test_wrong_rules_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SnappingRule(**arguments)
