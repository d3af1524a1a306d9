"""Area that convex polygons share, many pairs at once, in double precision and NumPy alone.

A polygon is cut by the edges of the other one, one after the other (Sutherland and Hodgman). An
edge that runs along a cut, as equal boxes have four of, is kept or left out as a whole and changes
nothing, so no tolerance is needed.
"""

import numpy as np


def polygon_area(polygons: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Signed areas (N,) of polygons (N, V, 2), positive where x turns towards y.

    Of the V corners of each, in order, the first `counts` (N,) belong to it; None: all.
    """
    polygons = np.asarray(polygons, dtype=np.float64)
    if not polygons.size:
        return np.zeros(len(polygons))
    spread = polygons - polygons[:, :1]  # near the origin, for the digits
    if counts is not None:  # the others become the first corner, which encloses nothing more
        spread[np.arange(polygons.shape[1]) >= counts[:, None]] = 0
    return _cross(spread, np.roll(spread, -1, axis=1)).sum(axis=1) / 2


def shared_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Area (N,) that convex polygons (N, V, 2) and (N, W, 2) share, pair by pair.

    Corners are in order, either way round. 0 where a polygon has no area.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} polygons cannot be paired with {len(second)}")
    if not len(first):
        return np.zeros(0)
    turning = np.sign(polygon_area(second))
    origin = second.mean(axis=1, keepdims=True)
    first, second = first - origin, second - origin
    counts = np.full(len(first), first.shape[1])
    for edge in range(second.shape[1]):
        start, end = second[:, edge], second[:, (edge + 1) % second.shape[1]]
        first, counts = _cut(first, counts, start, (end - start) * turning[:, None])
    # A second polygon without area cuts nothing away.
    return np.where(turning == 0, 0.0, np.abs(polygon_area(first, counts)))


def _cut(
    polygons: np.ndarray, counts: np.ndarray, start: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keep what lies to the inner side of lines; corners (N, V, 2), counts (N,), lines (N, 2).

    Each edge hands on the point where it crosses the line and then its end, where that lies inside.
    """
    vertices = np.arange(polygons.shape[1])
    used = vertices < counts[:, None]
    following = np.where(vertices + 1 < counts[:, None], vertices + 1, 0)
    side = _cross(direction[:, None], polygons - start[:, None])
    end_side = np.take_along_axis(side, following, axis=1)
    end = np.take_along_axis(polygons, following[..., None], axis=1)
    inside, end_inside = side >= 0, end_side >= 0
    crosses = inside != end_inside
    share = np.divide(side, side - end_side, out=np.zeros_like(side), where=crosses)
    crossing = polygons + share[..., None] * (end - polygons)
    handed_on = np.stack([used & crosses, used & end_inside], axis=2).reshape(len(polygons), -1)
    points = np.stack([crossing, end], axis=2).reshape(len(polygons), -1, 2)
    counts = handed_on.sum(axis=1)
    width = max(1, int(counts.max()))
    order = np.argsort(~handed_on, axis=1, kind="stable")[:, :width]
    return np.take_along_axis(points, order[..., None], axis=1), counts


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
