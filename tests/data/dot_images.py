"""Pictures of one dot, and where a picture has it."""

from __future__ import annotations

import numpy as np


def dot_image(height: int, width: int, x: int, y: int) -> np.ndarray:
    """A black image with a soft dot whose centre of mass is exactly pixel (x, y)."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]).astype(np.float32)
    image[y - 2 : y + 3, x - 2 : x + 3] = (kernel * 250 / 36).astype(np.uint8)[:, :, None]
    return image


def dot_center(image: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y) in pixel-index coordinates."""
    weights = image[:, :, 0].astype(np.float64)
    rows, columns = np.indices(weights.shape)
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()
