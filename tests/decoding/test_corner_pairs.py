"""Pairs of corners against plain loops and against what the published code made of random maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from centernet_d2.decoding.corner_pairs import keypoints_at_peaks, pair_corners
from centernet_d2.structures.predictions import CornerPairs, KeypointMaps, Keypoints

Row = tuple[float, ...]


def pairs_by_loops(first: Keypoints, second: Keypoints, image: int, threshold: float) -> list[Row]:
    """All pairs of one image as (score, x1, y1, x2, y2, both corners' scores, class)."""
    rows = []
    for i in range(first.scores.shape[1]):
        for j in range(second.scores.shape[1]):
            x1, y1 = first.points[image, i].tolist()
            x2, y2 = second.points[image, j].tolist()
            distance = abs(first.embedding[image, i].item() - second.embedding[image, j].item())
            label = first.classes[image, i].item()
            if label != second.classes[image, j].item():
                continue
            if distance > threshold or x2 < x1 or y2 < y1:
                continue
            scores = first.scores[image, i].item(), second.scores[image, j].item()
            rows.append((sum(scores) / 2, x1, y1, x2, y2, *scores, label))
    return sorted(rows, reverse=True)


def rows_of(pairs: CornerPairs, image: int) -> list[Row]:
    kept = pairs.scores[image] > -1
    columns = [pairs.scores[image, :, None], pairs.boxes[image], pairs.corner_scores[image]]
    values = torch.cat([*columns, pairs.classes[image, :, None]], dim=1)[kept]
    return [tuple(row) for row in values.tolist()]


def random_corners(generator: torch.Generator, images: int, count: int, grid: int) -> Keypoints:
    """Points and embeddings on coarse grids, so that equal ones are frequent."""

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, (images, count, *shape), generator=generator)

    return Keypoints(
        scores=torch.rand(images, count, generator=generator, dtype=torch.float64),
        classes=draw(3),
        points=draw(grid, 2).double(),
        embedding=draw(6).double() / 4,
    )


def corner(
    x: float, y: float, *, score: float = 0.5, tag: float = 0.0, label: int = 0
) -> Keypoints:
    return Keypoints(
        scores=torch.tensor([[score]]),
        classes=torch.tensor([[label]]),
        points=torch.tensor([[[x, y]]]),
        embedding=torch.tensor([[tag]]),
    )


@pytest.mark.parametrize("seed", range(20))
def test_equals_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    images, first, second = (int(torch.randint(1, 14, (), generator=generator)) for _ in range(3))
    top_left = random_corners(generator, images, first, 6)
    bottom_right = random_corners(generator, images, second, 9)
    threshold = (0.0, 0.25, 0.5)[seed % 3]
    pairs = pair_corners(top_left, bottom_right, embedding_threshold=threshold)
    assert pairs.scores.shape == (images, first * second)  # fewer than 1000
    for image in range(images):
        expected = pairs_by_loops(top_left, bottom_right, image, threshold)
        assert rows_of(pairs, image) == expected
        assert (pairs.scores[image, len(expected) :] == -1).all()


def test_the_best_stay():
    generator = torch.Generator().manual_seed(0)
    corners = random_corners(generator, 2, 30, 4), random_corners(generator, 2, 30, 9)
    pairs = pair_corners(*corners, max_pairs=50)
    assert pairs.boxes.shape == (2, 50, 4)
    assert pairs.corner_scores.shape == (2, 50, 2)
    for image in range(2):
        assert rows_of(pairs, image) == pairs_by_loops(*corners, image, 0.5)[:50]


def test_equal_scores_are_all_there_and_always_in_one_order():
    generator = torch.Generator().manual_seed(0)
    corners = random_corners(generator, 1, 20, 4), random_corners(generator, 1, 20, 9)
    for keypoints in corners:
        keypoints.scores.mul_(3).round_().div_(3)
    pairs = pair_corners(*corners)
    assert sorted(rows_of(pairs, 0), reverse=True) == pairs_by_loops(*corners, 0, 0.5)
    assert rows_of(pair_corners(*corners), 0) == rows_of(pairs, 0)
    few = pair_corners(*corners, max_pairs=30)
    assert torch.equal(few.scores, pairs.scores[:, :30])


BESIDE = float(np.nextafter(np.float32(0.5), np.float32(1)))


@pytest.mark.parametrize(
    ("other", "is_pair"),
    [
        (corner(3, 4), True),
        (corner(2, 1, score=0.7), True),  # neither left of nor above the other corner
        (corner(2, 4), True),
        (corner(3, 1), True),
        (corner(1.5, 4), False),
        (corner(3, 0.5), False),
        (corner(3, 4, tag=0.5), True),
        (corner(3, 4, tag=-0.5), True),
        (corner(3, 4, tag=BESIDE), False),
        (corner(3, 4, tag=-BESIDE), False),
        (corner(3, 4, label=1), False),
    ],
)
def test_what_a_pair_is(other, is_pair):
    pairs = pair_corners(corner(2, 1, score=0.25), other)
    expected = (0.25 + other.scores.item()) / 2 if is_pair else -1
    assert pairs.scores.item() == pytest.approx(expected)
    if is_pair:
        assert pairs.boxes.tolist() == [[[2.0, 1.0, *other.points[0, 0].tolist()]]]
        assert pairs.corner_scores[0, 0].tolist() == [0.25, other.scores.item()]


def random_maps(images: int, *, layout: torch.memory_format = torch.contiguous_format):
    generator = torch.Generator().manual_seed(1)
    maps = [torch.rand(images, channels, 5, 6, generator=generator) for channels in (3, 2, 1)]
    heatmap, offset, embedding = (values.to(memory_format=layout) for values in maps)
    return KeypointMaps(heatmap=heatmap, offset=offset, embedding=embedding)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_keypoints_are_read_where_the_peaks_are(layout):
    maps = random_maps(2, layout=layout)
    found = keypoints_at_peaks(maps, 4, kernel=3)
    assert found.points.shape == (2, 4, 2)
    for image in range(2):
        for k in range(4):
            label, point = found.classes[image, k], found.points[image, k]
            x, y = point.floor().long().tolist()  # offsets are below 1
            assert maps.heatmap[image, label, y, x] == found.scores[image, k]
            offset = torch.tensor([x, y]) + maps.offset[image, :, y, x]
            assert torch.equal(point, offset)
            assert found.embedding[image, k] == maps.embedding[image, 0, y, x]


def test_centers_have_no_embedding():
    maps = random_maps(1)
    centers = keypoints_at_peaks(KeypointMaps(heatmap=maps.heatmap, offset=maps.offset), 3)
    assert centers.embedding is None
    assert torch.equal(centers.points, keypoints_at_peaks(maps, 3).points)


def test_more_keypoints_than_the_map_has_cells():
    maps = random_maps(2)
    found = keypoints_at_peaks(maps, 1000, kernel=1)
    assert found.scores.shape == (2, 3 * 5 * 6)
    pairs = pair_corners(found, found)
    assert pairs.scores.shape == (2, 1000)
    for image in range(2):
        assert len(set(found.points[image].flatten().tolist())) == 2 * 5 * 6  # each cell is there
        assert rows_of(pairs, image)[0] == pairs_by_loops(found, found, image, 0.5)[0]


def test_without_a_peak():
    """Corners of score 0 pair as others do (published)."""
    maps = random_maps(1)
    nothing = keypoints_at_peaks(
        KeypointMaps(torch.zeros_like(maps.heatmap), maps.offset, maps.embedding), 10
    )
    pairs = pair_corners(nothing, nothing)
    expected = pairs_by_loops(nothing, nothing, 0, 0.5)
    assert len(expected) >= 10  # each cell with itself
    assert sorted(rows_of(pairs, 0), reverse=True) == expected


def test_without_a_pair():
    pairs = pair_corners(
        random_corners(torch.Generator(), 2, 7, 4), random_corners(torch.Generator(), 2, 9, 4)
    )
    assert (pairs.scores > -1).any()
    corners = random_corners(torch.Generator(), 2, 7, 4)
    others = Keypoints(corners.scores, corners.classes + 3, corners.points, corners.embedding)
    pairs = pair_corners(corners, others, max_pairs=40)
    assert pairs.boxes.shape == (2, 40, 4)
    assert (pairs.scores == -1).all()


def test_an_empty_batch():
    maps = random_maps(2)
    empty = KeypointMaps(maps.heatmap[:0], maps.offset[:0], maps.embedding[:0])
    corners = keypoints_at_peaks(empty, 4)
    assert pair_corners(corners, corners).boxes.shape == (0, 16, 4)


# ---- what the published code made of random maps ----


def published_maps(height: int, width: int) -> list[KeypointMaps]:
    """Top-left, bottom-right and center maps, drawn as tests/fixtures/README.md says."""
    random = np.random.RandomState(1000 * height + width)

    def draw(channels: int, factor: float, summand: float) -> Tensor:
        values = random.standard_normal((2, channels, height, width)).astype(np.float32)
        return torch.from_numpy(values * np.float32(factor) + np.float32(summand))

    heatmaps = [draw(3, 1.5, -1.0).sigmoid() for _ in range(3)]
    embeddings = [draw(1, 0.5, 0.0), draw(1, 0.5, 0.0), None]
    offsets = [draw(2, 0.1, 0.5) for _ in range(3)]
    return [KeypointMaps(*maps) for maps in zip(heatmaps, offsets, embeddings, strict=True)]


@pytest.mark.parametrize(("k", "counts"), [(100, [303, 571]), (70, [133, 285])])
def test_published_pairs(k, counts):
    top_left, bottom_right, center = (
        keypoints_at_peaks(maps, k) for maps in published_maps(32, 64)
    )
    pairs = pair_corners(top_left, bottom_right)
    assert pairs.scores.shape == (2, 1000)
    assert (pairs.scores > -1).sum(1).tolist() == counts
    best = torch.cat([pairs.boxes[0, 0], pairs.scores[0, :1], pairs.corner_scores[0, 0]])
    golden = torch.tensor([33.43643, 0.27202, 58.34287, 2.46831, 0.97714, 0.98309, 0.97118])
    torch.testing.assert_close(best, golden, rtol=0, atol=6e-6)
    assert pairs.classes[0, 0] == 0
    if k == 70:
        best = torch.cat([center.points[0, 0], center.scores[0, :1]])
        golden = torch.tensor([32.43747, 3.44810, 0.98233])
        torch.testing.assert_close(best, golden, rtol=0, atol=6e-6)
        assert center.classes[0, 0] == 1
