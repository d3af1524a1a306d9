from __future__ import annotations

import numpy as np
import pytest

from centernet_d2.evaluation.polygon_overlap import polygon_area, shared_area

SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], dtype=np.float64)


def rectangles(rng: np.random.Generator, count: int) -> np.ndarray:
    """Rectangles (count, 4, 2) of cars and pedestrians, within 4 m, any heading."""
    size = rng.uniform(0.3, 5, (count, 1, 2))
    unit = np.array([[0.5, 0.5], [0.5, -0.5], [-0.5, -0.5], [-0.5, 0.5]])
    angle = rng.uniform(-np.pi, np.pi, count)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned = np.einsum("ijn,nvj->nvi", turn, unit * size)
    return turned + rng.uniform(-2, 2, (count, 1, 2)) + rng.uniform(-60, 60, 2)


def one(first, second) -> float:
    return float(shared_area(np.array([first]), np.array([second]))[0])


def test_by_hand():
    assert one(SQUARE, SQUARE) == 4
    assert one(SQUARE, SQUARE + 1) == 1
    assert one(SQUARE, SQUARE / 2 + 0.5) == 1  # one within the other
    assert one(SQUARE / 2 + 0.5, SQUARE) == 1
    assert one(SQUARE, SQUARE + np.array([5, 0])) == 0
    diamond = np.array([[1, -0.5], [2.5, 1], [1, 2.5], [-0.5, 1]])
    assert one(SQUARE, diamond) == pytest.approx(4 - 4 * 0.125)  # four corners are cut off
    triangle = np.array([[0, 0], [2, 0], [0, 2]])
    assert one(SQUARE, triangle) == 2
    assert one(triangle, SQUARE[::-1]) == 2


@pytest.mark.parametrize("shift", [(2, 0), (0, -2), (2, 2), (2, 0.5)])
def test_touching_is_not_overlapping(shift):
    assert one(SQUARE, SQUARE + shift) == 0


def test_edges_that_run_along_each_other():
    assert one(SQUARE, SQUARE * [0.5, 1]) == 2
    assert one(SQUARE, SQUARE * [0.5, 1] + [1, 0]) == 2
    assert one(SQUARE, SQUARE + np.array([0, 1.5])) == 1


def test_neither_order_nor_sense_of_rotation_matter():
    rng = np.random.default_rng(0)
    first, second = rectangles(rng, 200), rectangles(rng, 200)
    second += first.mean(axis=(0, 1)) - second.mean(axis=(0, 1))
    area = shared_area(first, second)
    assert (area > 0.01).sum() > 100
    for a, b in ((second, first), (first[:, ::-1], second), (first, second[:, ::-1])):
        assert np.allclose(shared_area(a, b), area, atol=1e-10)


def test_without_area_or_without_pairs():
    flat = SQUARE * [1, 0]
    assert one(SQUARE, flat) == one(flat, SQUARE) == one(flat, flat) == 0
    assert shared_area(np.zeros((0, 4, 2)), np.zeros((0, 4, 2))).shape == (0,)
    assert polygon_area(np.zeros((0, 4, 2))).shape == (0,)
    with pytest.raises(ValueError, match="1 polygons cannot be paired with 2"):
        shared_area(SQUARE[None], np.stack([SQUARE, SQUARE]))


def test_signed_area():
    both = np.stack([SQUARE, SQUARE[::-1]])
    assert polygon_area(both).tolist() == [4, -4]


@pytest.mark.parametrize("seed", range(4))
def test_as_shapely_computes_it(seed):
    shapely = pytest.importorskip("shapely", reason="the oracle: pip install shapely")
    rng = np.random.default_rng(seed)
    first, second = rectangles(rng, 5000), rectangles(rng, 5000)
    second += first.mean(axis=(0, 1)) - second.mean(axis=(0, 1))
    polygons = shapely.polygons(first), shapely.polygons(second)
    expected = shapely.area(shapely.intersection(*polygons))
    assert (expected > 0.01).mean() > 0.5
    assert (expected == 0).mean() > 0.05
    assert np.allclose(shared_area(first, second), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shift", [0, 1e-16, 1e-14, 1e-12, 1e-8, 1e-4])
def test_rectangles_that_all_but_coincide(shift):
    """Where clipping often goes wrong (shapely gives 0 for one of 10^5 such pairs)."""
    rng = np.random.default_rng(5)
    first = rectangles(rng, 20000)
    second = np.roll(first, 1, axis=1) + shift * rng.normal(size=first.shape)
    sides = np.linalg.norm(first - np.roll(first, 1, axis=1), axis=2).sum(axis=1)
    error = np.abs(shared_area(first, second) - np.abs(polygon_area(first)))
    assert (error <= 5 * shift * sides + 1e-11).all()
