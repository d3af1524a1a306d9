"""The rule against values worked out by hand and by scipy."""

from __future__ import annotations

import pytest

from centernet_d2.reproduction.verdict import STUDENT, difference, verdict


def test_welch_of_three_seeds():
    """Means 12 and 9, variances 1 and 4: error sqrt(5/3), freedom (5/3)^2 / (1/18 + 16/18) = 2.94.

    2.94 is rounded down to 2, whose quantile is 4.303: 3 +- 5.555.
    """
    found = difference([11.0, 12.0, 13.0], [7.0, 9.0, 11.0], paired=False)
    assert found == pytest.approx((3, -2.5551, 8.5551), abs=1e-4)
    assert verdict(found) == "undecided"


def test_paired_of_three_seeds():
    """Differences 1, 2, 3: deviation 1, error 1 / sqrt(3), 2 +- 4.303 * 0.57735 = 2.4843."""
    found = difference([11.0, 12.0, 13.0], [10.0, 10.0, 10.0], paired=True)
    assert found == pytest.approx((2, -0.4843, 4.4843), abs=1e-4)
    found = difference([50.0, 40.0, 30.0], [48.9, 39.0, 29.1], paired=True)  # 1.1, 1.0, 0.9
    assert found == pytest.approx((1, 0.7516, 1.2484), abs=1e-4)
    assert verdict(found) == "holds"


def test_no_spread_at_all():
    found = difference([50.0, 50.0], [49.0, 49.0], paired=False)
    assert found == (1.0, 1.0, 1.0)
    assert verdict(difference([50.0, 40.0], [50.0, 40.0], paired=True)) == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "first", "same"),
    [
        (0.1, 5.0, "holds", "undecided"),
        (-5.0, -0.1, "the opposite", "undecided"),
        (-0.5, 0.9, "undecided", "holds"),
        (0.1, 0.9, "holds", "holds"),
        (1.1, 2.0, "holds", "the opposite"),
        (-3.0, -1.1, "the opposite", "the opposite"),
        (-1.5, 1.5, "undecided", "undecided"),
    ],
)
def test_words(low, high, first, same):
    found = ((low + high) / 2, low, high)
    assert verdict(found) == first
    assert verdict(found, same_within=1.0) == same


def test_quantiles_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for freedom, quantile in STUDENT.items():
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)


@pytest.mark.parametrize("paired", [False, True])
def test_what_is_no_number_is_undecided(paired):
    for value in (float("nan"), float("inf")):
        found = difference([50.0, value], [49.0, 48.0], paired=paired)
        assert verdict(found) == verdict(found, same_within=1.0) == "undecided"
