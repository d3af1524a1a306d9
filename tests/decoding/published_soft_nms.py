"""Soft-NMS as published, box by box, in float32: a slow oracle.

Written from the description of the algorithm in the papers' repositories; rows are
x1, y1, x2, y2, score[, top-left score, bottom-right score].
"""

from __future__ import annotations

import numpy as np

F = np.float32


def published_soft_nms(
    rows: np.ndarray,
    *,
    method: str = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.5,
    floor: float = 0.001,
    extent: float = 1.0,
    exponent: float | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the rearranged rows, the input row of each, and how many of them are kept."""
    rows = rows.astype(F).copy()
    origin = np.arange(len(rows))
    kept = len(rows)
    for i in range(len(rows)):
        best = i
        for k in range(i + 1, kept):
            if rows[k, 4] > rows[best, 4]:
                best = k
        # Only box and score move; corner scores stay in their rows.
        rows[[i, best], :5] = rows[[best, i], :5]
        origin[[i, best]] = origin[[best, i]]
        chosen = rows[i].copy()
        merged = _Mean(chosen) if exponent is not None else None
        k = i + 1
        while k < kept:
            factor = _factor(chosen, rows[k], method, sigma, threshold, extent)
            if factor is not None:
                if merged is not None:
                    merged.add(rows[k], (F(1) - factor) ** F(exponent))
                rows[k, 4] *= factor
                if rows[k, 4] < F(floor):
                    rows[k, :5] = rows[kept - 1, :5]
                    origin[k] = origin[kept - 1]
                    kept -= 1
                    continue
            k += 1
        if merged is not None:
            rows[i, :4] = merged.value()
    return rows, origin, kept


class _Mean:
    def __init__(self, row: np.ndarray) -> None:
        self.total = np.zeros(4)
        self.weight = np.zeros(4)
        self.add(row, 1.0)

    def add(self, row: np.ndarray, weight: float) -> None:
        corner = row[[5, 5, 6, 6]].astype(np.float64) * float(weight)
        self.total += corner * row[:4]
        self.weight += corner

    def value(self) -> np.ndarray:
        return self.total / self.weight


def _factor(chosen, row, method, sigma, threshold, extent) -> np.float32 | None:
    """What the score of `row` is multiplied by; None: the boxes do not touch."""
    e = F(extent)
    width = min(chosen[2], row[2]) - max(chosen[0], row[0]) + e
    height = min(chosen[3], row[3]) - max(chosen[1], row[1]) + e
    if width <= 0 or height <= 0:
        return None
    areas = [(box[2] - box[0] + e) * (box[3] - box[1] + e) for box in (chosen, row)]
    overlap = width * height / (areas[0] + areas[1] - width * height)
    if method == "gaussian":
        return F(np.exp(-(overlap * overlap) / F(sigma)))
    if overlap <= threshold:
        return F(1)
    return F(1) - overlap if method == "linear" else F(0)
