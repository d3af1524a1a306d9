"""What several seeds say of a claim: an interval of the difference, and a word."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Two-sided 95 % quantiles of Student's t by degrees of freedom, any statistics book's; between two
# of them the larger one is taken, which makes the wider interval.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}
STUDENT |= {9: 2.262, 10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000}
HOLDS, OPPOSITE, UNDECIDED = "holds", "the opposite", "undecided"


class Interval(NamedTuple):
    """A difference of two means, and what it may as well be (95 %)."""

    difference: float
    low: float
    high: float


def difference(first: Sequence[float], second: Sequence[float], *, paired: bool) -> Interval:
    """Return first - second, of two values each or more: Welch's interval, or, `paired`, Student's.

    Two trainings are independent, as their networks start anew; two tests of the same weights are
    not, and what differs between seeds falls out of their differences, seed by seed.
    """
    mean = statistics.fmean(first) - statistics.fmean(second)
    if paired:
        each = [a - b for a, b in zip(first, second, strict=True)]
        error, freedom = statistics.stdev(each) / math.sqrt(len(each)), len(each) - 1.0
    else:
        parts = [(statistics.variance(v) / len(v), len(v) - 1) for v in (first, second)]
        total = sum(part for part, _ in parts)
        error = math.sqrt(total)
        freedom = total**2 / sum(p**2 / n for p, n in parts) if total else math.inf
    reach = error * student(freedom)
    return Interval(mean, mean - reach, mean + reach)


def student(freedom: float) -> float:
    """Return Student's t of 95 % for degrees of freedom, 1 or more, rounded down to a known one."""
    return STUDENT[max(known for known in STUDENT if known <= freedom + 1e-9)]


def verdict(found: Interval, *, same_within: float | None = None) -> str:
    """Return whether a difference, positive where the paper says so, bears a claim out.

    With `same_within` the claim is that there is none: it holds where the whole interval is that
    near to 0, and its opposite where none of it is.
    """
    if same_within is None:
        return HOLDS if found.low > 0 else OPPOSITE if found.high < 0 else UNDECIDED
    if -same_within < found.low and found.high < same_within:
        return HOLDS
    return OPPOSITE if found.low > same_within or found.high < -same_within else UNDECIDED
