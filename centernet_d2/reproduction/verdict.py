"""What several seeds say of a claim: an interval of the difference, and a word."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev, variance

# Two-sided 95 % quantiles of Student's t by degrees of freedom, any statistics book's; between two
# of them the larger one is taken, which makes the wider interval.
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306}
STUDENT |= {9: 2.262, 10: 2.228, 12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000}
HOLDS, OPPOSITE, UNDECIDED = "holds", "the opposite", "undecided"
Interval = tuple[float, float, float]  # difference of two means, and its least and largest (95 %)


def difference(first: Sequence[float], second: Sequence[float], *, paired: bool) -> Interval:
    """Return first - second, of two values each or more: Welch's interval, or, `paired`, Student's.

    Trainings of one seed and one architecture start from equal weights and see the same pictures;
    where that ties them Welch's interval is only too wide. What two tests of the same weights share
    falls out of their differences, seed by seed. NaN: of values that are not all finite numbers.
    """
    if not all(map(math.isfinite, (*first, *second))):
        return math.nan, math.nan, math.nan
    if paired:
        each = [a - b for a, b in zip(first, second, strict=True)]
        error, freedom = stdev(each) / math.sqrt(len(each)), len(each) - 1.0
    else:
        parts = [(variance(values) / len(values), len(values) - 1) for values in (first, second)]
        error = math.sqrt(sum(part for part, _ in parts))
        freedom = error**4 / sum(p**2 / n for p, n in parts) if error else math.inf
    # Rounding must not make 3 - 1e-16 the 2 that is known before it.
    quantile = STUDENT[max(known for known in STUDENT if known <= freedom + 1e-9)]
    middle, reach = fmean(first) - fmean(second), error * quantile
    return middle, middle - reach, middle + reach


def verdict(found: Interval, *, same_within: float = 0.0) -> str:
    """Return whether a difference, positive where the paper says so, bears a claim out.

    With `same_within` the claim is that there is none: it holds where the whole interval is that
    near to 0, and its opposite where none of it is.
    """
    _, low, high = found
    if not same_within:
        return HOLDS if low > 0 else OPPOSITE if high < 0 else UNDECIDED
    if max(-low, high) < same_within:
        return HOLDS
    return OPPOSITE if max(low, -high) > same_within else UNDECIDED
