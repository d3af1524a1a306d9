"""Heatmaps laid over the image that they belong to: what a detector predicts or learns from."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from ..checked_values import check_value, share
from ..structures.targets import CenterTargets, JointTargets
from . import canvas
from .canvas import BLACK, Color, as_array, class_color, class_name, side_by_side, text_scale
from .text import draw_text, line_size, text_size

_MOST_NAMED = 8  # classes in a legend
# Branches of the point task whose channels are joints, not classes.
JOINTS, DISPLACEMENT = "joint_heatmap", "joint_displacement"


def overlay_heatmap(
    image: np.ndarray,
    heatmap: np.ndarray | Tensor,
    *,
    scale: float | tuple[float, float] | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
    strength: float = 0.8,
) -> np.ndarray:
    """Lay a heatmap over a copy of the image, each class in its color.

    Cell k lies on network pixel k * ratio exactly, without a resize's shift of half a pixel.

    Args:
        image: (H, W, 3) uint8 BGR.
        heatmap: (C, h, w) or (h, w) in 0..1; with C = 1 or without C the color is a class's.
        scale: image pixels per cell, also as (x, y); None: the image's width over the map's.
        shift: image position (x, y) of cell (0, 0), negative where the image was padded.
        strength: opacity of value 1.
    """
    heatmap = _channels(heatmap)
    if heatmap.ndim != 3 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"overlay_heatmap takes an (H, W, 3) image and a (C, h, w) heatmap, not {image.shape} "
            f"and {heatmap.shape}."
        )
    scale = image.shape[1] / heatmap.shape[2] if scale is None else scale
    scale_x, scale_y = scale if isinstance(scale, Sequence) else (scale, scale)
    strongest = heatmap.argmax(axis=0)  # one color per cell: that of its strongest class
    colors = np.array([class_color(k) for k in range(len(heatmap))], dtype=np.float32)[strongest]
    value = np.clip(heatmap.max(axis=0), 0, 1)
    # Colors are weighted before they are interpolated, so that empty cells do not tint peaks.
    layers = np.concatenate([colors * value[..., None], value[..., None]], axis=2)
    matrix = np.array([[scale_x, 0, shift[0]], [0, scale_y, shift[1]]], dtype=np.float64)
    return _blended(image, layers, matrix, strength)


def _blended(
    image: np.ndarray, layers: np.ndarray, matrix: np.ndarray, strength: float = 1.0
) -> np.ndarray:
    """Lay (h, w, 4) weighted colors and weights over an image, to which the matrix takes cells."""
    layers = cv2.warpAffine(layers, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)
    mixed = image * (1 - strength * layers[..., 3:]) + strength * layers[..., :3]
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8)


def draw_heatmap(
    image: np.ndarray,
    heatmap: np.ndarray | Tensor,
    class_names: Sequence[str] = (),
    *,
    threshold: float = 0.1,
    **place: Any,
) -> np.ndarray:
    """Overlay a heatmap on the dimmed gray image, and name the classes with their highest values.

    The picture keeps the image's width and grows by the lines of the names at its bottom: those
    that reach `threshold` (0.1: an untrained detector's value everywhere), eight at most. `place`
    is `scale` and `shift` of `overlay_heatmap`.
    """
    check_value("threshold", threshold, share)
    # Colors of the image would pass for classes, bright parts drown low values.
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    overlay = overlay_heatmap(np.round(gray * 0.6).astype(np.uint8), heatmap, strength=1.0, **place)
    highest = _channels(heatmap).max(axis=(1, 2))
    entries = [
        (f"{class_name(class_names, k)} {highest[k]:.2f}", class_color(int(k)))
        for k in np.argsort(-highest, kind="stable")[:_MOST_NAMED]
        if highest[k] >= threshold
    ]
    legend = _legend(entries or [(f"no class reaches {threshold:g}", BLACK)], overlay)
    return np.concatenate([overlay, legend])


def draw_heatmaps(
    image: np.ndarray,
    heatmaps: Mapping[str, np.ndarray | Tensor],
    class_names: Sequence[str] = (),
    joint_names: Sequence[str] = (),
    **options: Any,
) -> np.ndarray:
    """Draw heatmaps by keypoint ("top_left", "center" ...) with `draw_heatmap`, side by side.

    `joint_names` are those of the channels of "joint_heatmap".
    """
    if not heatmaps:
        raise ValueError("draw_heatmaps takes one heatmap or more, and was given none.")
    pictures = [
        draw_heatmap(image, maps, joint_names if name == JOINTS else class_names, **options)
        for name, maps in heatmaps.items()
    ]
    if len(pictures) == 1:
        return pictures[0]
    return side_by_side(pictures, [name.replace("_", " ") for name in heatmaps])


def draw_kinds(image: np.ndarray, seen: Any, factor: float = 1.0) -> np.ndarray:
    """Draw heatmaps over one image, a color for each keypoint whatever the class.

    `seen` (`ImageHeatmaps`) is of an image of 1 / `factor` of the size.
    """
    highest = np.stack([_channels(maps).max(axis=0) for maps in seen.probabilities.values()])
    names = [name.replace("_", " ") for name in seen.probabilities]
    x, y = (factor * value + (factor - 1) / 2 for value in seen.shift)
    scale = (factor * seen.scale[0], factor * seen.scale[1])
    return draw_heatmap(image, highest, names, scale=scale, shift=(x, y))


def draw_maps(
    image: np.ndarray, seen: Any, joint_names: Sequence[str] = (), *, side: int = 320
) -> np.ndarray:
    """Draw each channel of all maps in a picture of its own, where the heatmap sees something.

    Colors go from the 2nd percentile there, dark, to the 98th, bright, alike for all kinds of
    keypoints; titles tell both. `seen` is an `ImageHeatmaps`, `side` that of a square picture.
    """
    factor = side / np.sqrt(image.shape[0] * image.shape[1])
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    image = np.repeat(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None] // 2, 3, axis=2)
    x, y = (factor * value + (factor - 1) / 2 for value in seen.shift)
    scale, tiles, shown = (factor * seen.scale[0], factor * seen.scale[1]), [], {}
    matrix = np.array([[scale[0], 0, x], [0, scale[1], y]], dtype=np.float64)
    for name, maps in seen.probabilities.items():
        tiles.append((name, overlay_heatmap(image, maps, scale=scale, shift=(x, y), strength=1)))
    for name, maps in seen.values.items():
        # Offsets are those of their own peaks, and maps of a kind of keypoint begin with its name.
        peaks, kinds = name.replace("offset", "heatmap"), [*seen.probabilities]
        kind = next((k for k in kinds if k == peaks or name.startswith(k)), kinds[0])
        weight = np.clip(10 * as_array(seen.probabilities[kind]).max(axis=0) - 0.5, 0, 1)
        shown[name] = (name.removeprefix(kind), as_array(maps), weight)
    for name, (branch, maps, weight) in shown.items():
        for k in range(len(maps)):
            alike = [(m[k], w) for other, m, w in shown.values() if other == branch]
            values = np.concatenate([m[w == 1] if (w == 1).any() else m.ravel() for m, w in alike])
            low, high = np.percentile(values, (2, 98))
            gray = 255 * np.clip((maps[k] - low) / max(high - low, 1e-6), 0, 1)
            colors = cv2.applyColorMap(gray.astype(np.uint8), cv2.COLORMAP_VIRIDIS)
            layers = np.dstack([colors * weight[..., None], weight]).astype(np.float32)
            joint = joint_names[k * len(joint_names) // len(maps)] if name == DISPLACEMENT else ""
            title = " ".join([name, *[joint] * bool(joint), *[str(k)] * (len(maps) > 1)])
            told = f"{title}: {low:.3g} to {high:.3g}"
            tiles.append((told, _blended(image, layers, matrix)))
    titled = [side_by_side([tile], [title.replace("_", " ")]) for title, tile in tiles]
    return canvas.image_grid(titled, columns=4 if len(titled) <= 24 else 8)


def target_heatmaps(targets: Any, image: int = 0) -> dict[str, Tensor]:
    """Keypoint -> heatmap (C, h, w) that a detector or a task is to learn for one image of a batch.

    `targets` are those of `structures.targets`, or of a task without heatmaps: {}.
    """
    if isinstance(targets, (CenterTargets, JointTargets)):
        name = JOINTS if isinstance(targets, JointTargets) else "center"
        return {} if targets.heatmap is None else {name: targets.heatmap[image]}
    names = ("top_left", "bottom_right", "center")
    kinds = {name: getattr(targets, name, None) for name in names}
    return {name: kind.heatmap[image] for name, kind in kinds.items() if kind is not None}


def _channels(heatmap: np.ndarray | Tensor) -> np.ndarray:
    heatmap = as_array(heatmap).astype(np.float32)
    return heatmap[None] if heatmap.ndim == 2 else heatmap


def _legend(entries: Sequence[tuple[str, Color]], picture: np.ndarray) -> np.ndarray:
    """Draw texts behind plates of their colors, as many in a line as fit the picture's width."""
    scale = text_scale(picture)
    height, below = line_size((text for text, _ in entries), scale)
    line, x = np.full((height + below + 6, picture.shape[1], 3), 255, dtype=np.uint8), 4
    lines = [line.copy()]
    for text, color in entries:
        needed = height + 4 + text_size(text, scale)[0]
        if x > 4 and x + needed > picture.shape[1]:
            lines.append(line.copy())
            x = 4
        plate = (x, 3), (x + height, 3 + height)
        cv2.rectangle(lines[-1], *plate, color, cv2.FILLED)
        cv2.rectangle(lines[-1], *plate, BLACK, 1)
        draw_text(lines[-1], text, (x + height + 4, 3 + height), scale, BLACK)
        x += needed + 12
    return np.concatenate(lines)
