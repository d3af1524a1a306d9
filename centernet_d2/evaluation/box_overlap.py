"""Overlap of boxes in images, pair by pair, and which pairs there are."""

from collections.abc import Iterator

import numpy as np

PAIRS_AT_ONCE = 200_000  # bounds the memory that an image with many detections takes


def pairs_of_equals(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Rows (P,) and (P,) of two columns that have equal values, in portions; `second` ascends.

    Sorted by the row of `first`, whose pairs are all in one portion.
    """
    begin, end = np.searchsorted(second, first, "left"), np.searchsorted(second, first, "right")
    ends = np.cumsum(end - begin)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, total, PAIRS_AT_ONCE), "left")
    for rows in np.split(np.arange(len(first)), np.unique(cuts)):
        counts = (end - begin)[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield np.repeat(rows, counts), np.repeat(begin[rows], counts) + within


def box_area(boxes: np.ndarray, extra: float = 0.0) -> np.ndarray:
    """Areas (P,) of boxes (P, 4) XYXY; `extra` is 1 where corners are pixels of the box (VOC)."""
    return (boxes[:, 2:] - boxes[:, :2] + extra).prod(axis=1)


def intersection(first: np.ndarray, second: np.ndarray, extra: float = 0.0) -> np.ndarray:
    """Areas (P,) that boxes share, see `box_area`."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    return (high - low + extra).clip(min=0).prod(axis=1)


def intersection_over_union(
    first: np.ndarray, second: np.ndarray, extra: float = 0.0
) -> np.ndarray:
    """IoU (P,) of boxes, see `box_area`."""
    shared = intersection(first, second, extra)
    return ratio(shared, box_area(first, extra) + box_area(second, extra) - shared)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Shares, 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
