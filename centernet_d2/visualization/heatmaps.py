"""Heatmaps laid over the image that they belong to."""

from __future__ import annotations

import cv2
import numpy as np

from .detections import class_color


def overlay_heatmap(
    image: np.ndarray,
    heatmap: np.ndarray,
    *,
    scale: float | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    strength: float = 0.8,
) -> np.ndarray:
    """Lay a heatmap over a copy of the image, each class in its color.

    Output cell k lies on network pixel k * ratio exactly, without the half-pixel shift of a plain
    resize, so that a peak stands where its center was found.

    Args:
        image: (H, W, 3) uint8 BGR.
        heatmap: (C, h, w) or (h, w) float in 0..1 (array or tensor); with C = 1 or without C the
            color is a class's.
        scale: image pixels per cell; None: the image's width over the map's.
        shift: image position (x, y) of cell (0, 0), negative where the image was padded.
        strength: opacity of value 1.
    """
    heatmap = np.asarray(getattr(heatmap, "detach", lambda: heatmap)(), dtype=np.float32)
    if heatmap.ndim == 2:
        heatmap = heatmap[None]
    if heatmap.ndim != 3 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"overlay_heatmap takes an (H, W, 3) image and a (C, h, w) heatmap, not {image.shape} "
            f"and {heatmap.shape}."
        )
    height, width = image.shape[:2]
    scale = width / heatmap.shape[2] if scale is None else scale
    strongest = heatmap.argmax(axis=0)  # one color per cell: that of its strongest class
    colors = np.array([class_color(k) for k in range(len(heatmap))], dtype=np.float32)[strongest]
    value = np.clip(heatmap.max(axis=0), 0, 1)
    # Colors are weighted before they are interpolated, so that empty cells do not tint peaks.
    layers = np.concatenate([colors * value[..., None], value[..., None]], axis=2)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float64)
    layers = cv2.warpAffine(layers, matrix, (width, height), flags=cv2.INTER_LINEAR)
    mixed = image * (1 - strength * layers[..., 3:]) + strength * layers[..., :3]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)
