"""Soft-NMS against the published algorithm, written out box by box in `published_soft_nms`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from centernet_d2.decoding.soft_nms import SoftNmsRule, soft_nms
from centernet_d2.decoding.soft_nms_rounds import VECTOR, Rounds

from .published_soft_nms import published_soft_nms

METHODS = ("gaussian", "linear", "hard")


def random_rows(count: int, seed: int, *, side: float = 60.0, ties: bool = False) -> np.ndarray:
    """x1, y1, x2, y2, score and the two corner scores, (count, 7) float32."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, side, (count, 2)), rng.uniform(0, 40, (count, 2))
    scores = rng.uniform(0, 1, (count, 1))
    if ties:  # equal boxes and equal scores abound
        corner, size, scores = corner.round(-1), size.round(-1), scores.round(1)
    corner_scores = rng.uniform(0.1, 1, (count, 2))
    rows = np.concatenate([corner, corner + size, scores, corner_scores], axis=1)
    return rows.astype(np.float32)


def ours(rows: np.ndarray, classes=None, images=None, *, merged: bool = False, limit=None, **rule):
    """Rows x1, y1, x2, y2, score, input row: as soft_nms gives them."""
    table = torch.from_numpy(np.asarray(rows, dtype=np.float32))
    classes = torch.zeros(len(table), dtype=torch.int64) if classes is None else classes
    found = soft_nms(
        table[:, :4],
        table[:, 4],
        torch.as_tensor(classes),
        None if images is None else torch.as_tensor(images),
        rule=SoftNmsRule(**rule),
        limit=limit,
        corner_scores=table[:, 5:] if merged else None,
    )
    columns = (found.boxes, found.scores[:, None], found.rows[:, None])
    return torch.cat(columns, dim=1).numpy()


def published(rows: np.ndarray, classes: np.ndarray, *, limit=None, whole=True, **rule):
    """The same by the oracle; `whole` with the rows behind the kept ones."""
    parts = []
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        result, origin, kept = published_soft_nms(rows[members], **rule)
        stop = len(members) if whole else kept
        parts.append(np.concatenate([result[:, :5], members[origin][:, None]], axis=1)[:stop])
    found = np.concatenate(parts)
    if limit is not None and len(found) > limit:
        found = found[found[:, 4] >= np.sort(found[:, 4])[-limit]]
    return found


def assert_same_rows(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal as sets: the order of equal scores is nobody's."""
    assert len(found) == len(expected)
    for rows in (found, expected):  # by input row, then score, then box
        rows[:] = rows[np.lexsort((rows[:, :4].sum(axis=1), rows[:, 4].round(4), rows[:, 5]))]
    assert np.array_equal(found[:, 5], expected[:, 5])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


DEMO = [[0, 0, 10, 10, 0.9], [0, 0, 10, 10, 0.002], [50, 50, 60, 60, 0.3], [1, 1, 11, 11, 0.25]]


@pytest.mark.parametrize(
    ("mode", "scores", "rows"),
    [
        ("clean", [0.9, 0.3, 0.0927], [0, 2, 3]),
        # The box that fell below the floor was overwritten by the last one, whose row stays.
        ("reference", [0.9, 0.3, 0.25, 0.0927], [0, 2, 3, 3]),
    ],
)
def test_published_demonstration_of_the_stale_row(mode, scores, rows):
    found = ours(DEMO, mode=mode)
    assert found[:, 4] == pytest.approx(scores, abs=5e-5)
    assert found[:, 5].tolist() == rows


# Coordinates of the published demonstration: with the rows the other way round, the published code
# weights the boxes by each other's corner scores.
@pytest.mark.parametrize(
    ("order", "mode", "first"),
    [
        ("AB", "reference", (0.9775, 10.9864)),
        ("BA", "reference", (0.9959, 10.9932)),
        ("AB", "clean", (0.9959, 10.9932)),
        ("BA", "clean", (0.9959, 10.9932)),
    ],
)
def test_published_demonstration_of_merging(order, mode, first):
    rows = {"A": [0, 0, 10, 10, 0.5, 0.4, 0.6], "B": [1, 1, 11, 11, 0.9, 0.95, 0.85]}
    far = [90, 90, 95, 95, 0.3, 0.3, 0.3]
    found = ours([*(rows[name] for name in order), far], mode=mode, merged=True)
    low, high = first
    assert found[0, :4] == pytest.approx([low, low, high, high], abs=5e-5)
    assert found[1, :4].tolist() == far[:4]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("floor", [0.001, 0.1, 0.3])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("exponent", [None, 10.0])
def test_reference_mode_is_the_published_algorithm(method, floor, ties, exponent):
    stale = 0
    for seed in range(6):
        count, limit = (90, 30, 150)[seed % 3], (None, 100, 20)[seed % 3]
        rows = random_rows(count, seed, side=(20, 60, 300)[seed % 3], ties=ties)
        classes = np.random.default_rng(seed).integers(0, 1 + seed % 5, count)
        rule = {"method": method}
        expected = published(rows, classes, limit=limit, floor=floor, exponent=exponent, **rule)
        found = ours(
            rows,
            classes,
            mode="reference",
            merged=exponent is not None,
            limit=limit,
            score_floor=floor,
            **rule,
        )
        stale += len(found) - len(np.unique(found[:, 5]))
        assert_same_rows(found, expected)
    assert stale >= 3  # there was something to reproduce


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("extent", ["inclusive", "continuous"])
def test_clean_mode_is_the_published_algorithm_cut_to_its_kept_rows(method, extent):
    pixel = {"inclusive": 1.0, "continuous": 0.0}[extent]
    dropped = 0
    for seed in range(6):
        rows = random_rows(100, seed)
        classes = np.random.default_rng(seed).integers(0, 3, 100)
        expected = published(rows, classes, whole=False, method=method, floor=0.05, extent=pixel)
        found = ours(rows, classes, method=method, extent=extent, score_floor=0.05)
        dropped += 100 - len(found)
        assert_same_rows(found, expected)
    assert dropped > 20


def test_clean_mode_takes_the_first_of_equal_scores():
    box = [0, 0, 10, 10]
    rows = [[*box, 0.5], [1, 1, 11, 11, 0.5], [2, 2, 12, 12, 0.5]]
    found = ours(rows, method="hard")
    assert found[:, 5].tolist() == [0]
    found = ours(rows[::-1], method="hard")
    assert found[0, :2].tolist() == [2, 2]


@pytest.mark.parametrize("mode", ["clean", "reference"])
@pytest.mark.parametrize("method", METHODS)
def test_few_boxes(mode, method):
    rule = {"mode": mode, "method": method}
    assert ours(np.zeros((0, 7), np.float32), **rule).shape == (0, 6)
    assert ours([[1, 2, 3, 4, 0.5]], **rule).tolist() == [[1, 2, 3, 4, 0.5, 0]]
    # Far below the floor but overlapped by nothing: it stays, as published. So does a score of 0.
    apart = [[0, 0, 9, 9, 0.9], [20, 20, 29, 29, 1e-6], [40, 40, 49, 49, 0.0]]
    assert ours(apart, **rule)[:, 5].tolist() == [0, 1, 2]


def test_inclusive_boxes_that_share_one_pixel_touch():
    rows = [[0, 0, 10, 10, 0.9], [10, 10, 10, 10, 0.8]]
    expected = 0.8 * np.exp(-((1 / 121) ** 2) / 0.5)
    assert ours(rows)[1, 4] == pytest.approx(expected)
    assert ours(rows)[1, 4] < np.float32(0.8)
    assert ours(rows, extent="continuous")[1, 4] == np.float32(0.8)


@pytest.mark.parametrize("mode", ["clean", "reference"])
@pytest.mark.parametrize("limit", [None, 15])
@pytest.mark.parametrize("merged", [False, True])
def test_a_batch_of_images_gives_what_each_gives_alone(mode, limit, merged):
    sizes = (70, 0, 1, 33)
    parts = [random_rows(size, seed) for seed, size in enumerate(sizes)]
    classes = [np.arange(size) % 4 for size in sizes]
    rule = {"mode": mode, "limit": limit, "score_floor": 0.05, "merged": merged}
    alone = [ours(*args, **rule) for args in zip(parts, classes, strict=True)]
    together = ours(
        np.concatenate(parts), np.concatenate(classes), np.repeat(np.arange(4), sizes), **rule
    )
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for found, start in zip(alone, first, strict=True):
        found[:, 5] += start
    assert len(alone[0]) >= 15
    expected = np.concatenate(alone)
    assert np.array_equal(together[:, 4:], expected[:, 4:])
    np.testing.assert_allclose(together, expected, rtol=1e-5)  # merging sums in another order


@pytest.mark.parametrize("mode", ["clean", "reference"])
def test_ties_with_the_last_of_the_limit_stay(mode):
    scores = [0.9] + [0.5] * 6 + [0.1]
    rows = [[50 * i, 0, 50 * i + 9, 9, score] for i, score in enumerate(scores)]
    classes = torch.arange(8) % 2
    found = ours(rows, classes, mode=mode, limit=3)
    assert found[:, 4].tolist() == pytest.approx(scores[:7])
    assert len(ours(rows, classes, mode=mode, limit=8)) == 8


@pytest.mark.parametrize("mode", ["clean", "reference"])
def test_groups_of_every_size_around_a_vector(mode):
    sizes = [1, VECTOR - 1, VECTOR, VECTOR + 1, 2 * VECTOR, 2]
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = random_rows(len(classes), 1)
    whole = mode == "reference"
    assert_same_rows(
        ours(rows, classes, mode=mode, score_floor=0.05),
        published(rows, classes, whole=whole, floor=0.05),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("limit", [None, 7, 40])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [5, 128, 500])
def test_box_by_box_is_what_rounds_give(method, limit, ties, count, monkeypatch):
    rows, classes = random_rows(count, 3, ties=ties), np.arange(count) % 7 // 4
    found = []
    for turns in (0, 4):
        monkeypatch.setattr("centernet_d2.decoding.soft_nms_rounds.TURNS", turns)
        found.append(ours(rows, classes, method=method, limit=limit, score_floor=0.05))
    assert len(found[0]) >= min(count - 1, limit or 20)
    assert np.array_equal(*found)


@pytest.mark.parametrize("mode", ["clean", "reference"])
@pytest.mark.parametrize("turns", [0, 4])
def test_boxes_without_a_number_that_overlap_are_one(mode, turns, monkeypatch):
    monkeypatch.setattr("centernet_d2.decoding.soft_nms_rounds.TURNS", turns)
    box = [0, 0, 10, 10]
    found = ours([[*box, np.nan], [*box, np.nan], [*box, 0.5]], mode=mode, method="hard", limit=2)
    assert np.isnan(found[0, 4])
    assert found[0, 5] == 0
    assert len(found) == (1 if mode == "clean" else 2)


def test_no_more_rounds_than_the_limit(monkeypatch):
    monkeypatch.setattr("centernet_d2.decoding.soft_nms_rounds.TURNS", 0)
    rounds = []
    highest = Rounds.highest
    monkeypatch.setattr(
        Rounds, "highest", lambda self, values: rounds.append(1) or highest(self, values)
    )
    rows = random_rows(3000, 0, side=2000)
    ours(rows, limit=100)
    assert len(rounds) == 101  # the last one finds that the best 100 are known
    rounds.clear()
    ours(rows, np.arange(3000) % 80, limit=100)
    assert len(rounds) < 20  # classes select side by side


def test_inputs_are_not_changed():
    table = torch.from_numpy(random_rows(60, 0))
    before = table.clone()
    for mode in ("clean", "reference"):
        soft_nms(
            table[:, :4],
            table[:, 4],
            torch.zeros(60, dtype=torch.int64),
            rule=SoftNmsRule(mode=mode, score_floor=0.2),
            corner_scores=table[:, 5:],
        )
    assert torch.equal(table, before)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("method", "softest", r"^method must .*'linear', 'gaussian', 'hard'.*'softest'"),
        ("mode", "dirty", r"^mode must .*'clean', 'reference'"),
        ("extent", "half", r"^extent must"),
        ("sigma", 0.0, r"^sigma must be a number, more than 0"),
    ],
)
def test_wrong_rules_name_their_argument(field, value, message):
    with pytest.raises(ValueError, match=message):
        SoftNmsRule(**{field: value})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("mode", ["clean", "reference"])
def test_same_on_a_gpu(mode):
    table = torch.from_numpy(random_rows(500, 0))
    classes = torch.arange(500) % 7
    rule = SoftNmsRule(mode=mode, score_floor=0.05)
    here, there = (
        soft_nms(
            table[:, :4].to(device), table[:, 4].to(device), classes.to(device), rule=rule, limit=50
        )
        for device in ("cpu", "cuda")
    )
    assert torch.equal(here.rows, there.rows.cpu())
    assert torch.allclose(here.scores, there.scores.cpu(), atol=1e-6)


@pytest.mark.parametrize("mode", ["clean", "reference"])
@pytest.mark.parametrize("method", METHODS)
def test_nan_comes_out_and_changes_no_other_image_or_class(mode, method):
    rows = random_rows(60, 0)
    images, classes = np.arange(60) % 2, np.arange(60) // 2 % 3
    expected = ours(rows, classes, images, mode=mode, method=method)
    broken = rows.copy()
    broken[[0, 6], 4] = np.nan  # both of image 0 and class 0
    found = ours(broken, classes, images, mode=mode, method=method)
    assert set(found[np.isnan(found[:, 4]), 5]) >= {0, 6}
    is_other = [(images[int(row)], classes[int(row)]) != (0, 0) for row in found[:, 5]]
    was_other = [(images[int(row)], classes[int(row)]) != (0, 0) for row in expected[:, 5]]
    np.testing.assert_array_equal(found[is_other], expected[was_other])
