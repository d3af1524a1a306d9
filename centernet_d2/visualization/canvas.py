"""What all pictures share: colors, lines of sub-pixel accuracy, captions, grids of pictures.

Images are (H, W, 3) uint8, channels B, G, R. No window opens.
"""

import colorsys
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from ..checked_values import check_value, whole
from .text import draw_text, line_size, text_size

Color = tuple[int, int, int]
"""(B, G, R)"""

WHITE, BLACK, GRAY = (255, 255, 255), (0, 0, 0), (150, 150, 150)
FRACTION_BITS = 4  # OpenCV's sub-pixel positions: 1/16 pixel
FAR_PIXEL = 30000  # beyond it cv2's integer coordinates overflow

RIGHT, WRONG, MISSED, TRUTH, NEUTRAL = range(5)
# Of a comparison, by `verdict`; the colour-blind tell them apart (Okabe and Ito).
VERDICTS: list[Color] = [(115, 158, 0), (0, 159, 230), (0, 94, 213), (178, 114, 0), GRAY]


def class_color(index: int) -> Color:
    """Return the color of a class; neighbours differ clearly, no two are equal."""
    hue = (index * 0.618034) % 1.0  # steps of the golden ratio
    saturation, brightness = ((0.95, 1.0), (0.6, 1.0), (0.95, 0.75))[index % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, brightness)
    return round(255 * blue), round(255 * green), round(255 * red)


def row_colors(instances: Any, classes: Iterable[int], rows: Any = slice(None)) -> list[Color]:
    """Return the colors of the rows' classes or, where `instances` have a `verdict`, of that."""
    if instances.has("verdict"):
        return [VERDICTS[index] for index in instances.verdict[rows].tolist()]
    return [class_color(int(index)) for index in classes]


def class_name(class_names: Sequence[str], index: int) -> str:
    """Return the name of a class, "class 7" where it has none."""
    return str(class_names[index]) if 0 <= index < len(class_names) else f"class {index}"


def line_thickness(image: np.ndarray) -> int:
    """Return the pixels of a line that is readable on an image of this size."""
    return max(1, round(max(image.shape[:2]) / 250))


def text_scale(image: np.ndarray) -> float:
    """Return cv2's font scale for an image of this size: never under 0.35, which is 8 px high."""
    return max(0.35, max(image.shape[:2]) / 1300)


def as_array(values: object) -> np.ndarray:
    """Return a tensor of any device, or an array, as a float64 array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def pixels(points: np.ndarray, fraction_bits: int = 0) -> list:
    """Return points as the nearest integers that cv2 takes, in units of 1 / 2**bits pixels."""
    near = np.clip(points, -FAR_PIXEL, FAR_PIXEL)
    return np.round(near * 2**fraction_bits).astype(int).tolist()


def draw_line(picture: np.ndarray, ends: np.ndarray, color: Color, thickness: int) -> None:
    """Draw a line between (2, 2) points (x, y), in place."""
    first, second = pixels(ends, FRACTION_BITS)
    cv2.line(picture, first, second, color, thickness, cv2.LINE_AA, FRACTION_BITS)


def draw_rimmed_lines(picture: np.ndarray, lines: Sequence[tuple[np.ndarray, Color, int]]) -> None:
    """Draw (ends, color, thickness) as `draw_line` does, a dark rim below all, in place."""
    for ends, _, thickness in lines:
        draw_line(picture, ends, BLACK, thickness + 2)
    for line in lines:
        draw_line(picture, *line)


def draw_dashed_box(picture: np.ndarray, ends: Sequence, color: Color, thickness: int) -> None:
    """Draw (left, top), (right, bottom) in dashes that meet at the corners, in place."""
    (left, top), (right, bottom) = ends
    outline = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)
    for first, way in zip(outline, np.roll(outline, -1, axis=0) - outline, strict=True):
        count = max(1, round(np.abs(way).sum() / (7 * thickness)))
        shares = np.clip((np.arange(count + 1)[:, None] + (-0.28, 0.28)) / count, 0, 1)
        dashes = first + way * shares[..., None]
        draw_rimmed_lines(picture, [(dash, color, thickness) for dash in dashes])


def draw_caption(
    picture: np.ndarray, text: str, place: Iterable[float], color: Color, scale: float | None = None
) -> None:
    """Write on a plate of a color above (x, y), moved into the picture where needed, in place."""
    left, top = place
    if not (math.isfinite(left) and math.isfinite(top)):
        return
    scale = text_scale(picture) if scale is None else scale
    stroke = max(1, round(scale))
    width, height, below = text_size(text, scale, stroke)
    plate = height + below + 2
    x = int(np.clip(left, 0, max(0, picture.shape[1] - width - 2)))
    y = int(np.clip(top - plate, 0, max(0, picture.shape[0] - plate)))
    cv2.rectangle(picture, (x, y), (x + width + 2, y + plate), color, cv2.FILLED)
    blue, green, red = color
    ink = BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 140 else WHITE
    draw_text(picture, text, (x + 1, y + height + 1), scale, ink, stroke)


def write_picture(path: str, picture: np.ndarray) -> None:
    """Write a picture in the form that its ending names, or raise OSError; its folder is made."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    why = "is the disk full, or the size too large?"
    try:
        if cv2.imwrite(path, picture):
            return
    except cv2.error as error:  # an ending without an encoder, or too many pixels for it
        why = error.err or str(error)
    raise OSError(f"Cannot write the picture {path}: {why}")


def side_by_side(pictures: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures beside each other, each under its title; lower ones are white below."""
    highest = max(picture.shape[0] for picture in pictures)
    titled = []
    for picture, title in zip(pictures, titles, strict=True):
        missing = ((0, highest - len(picture)), (0, 0), (0, 0))
        picture = np.pad(picture, missing, constant_values=255)
        scale = text_scale(picture)
        height, below = line_size(titles, scale)  # equal for all
        bar = np.full((height + below + 4, picture.shape[1], 3), 255, dtype=np.uint8)
        scale *= min(1.0, (picture.shape[1] - 4) / max(text_size(title, scale)[0], 1))
        draw_text(bar, title, (2, height + 2), scale, BLACK)
        titled.append(np.concatenate([bar, picture]))
    return image_grid(titled, columns=len(titled))


def image_grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Put pictures of any sizes into a gray grid whose cells have the size of the largest."""
    check_value("columns", columns, whole(1))
    gap = 4
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    rows = -(-len(pictures) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    grid = np.full(shape, 128, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        y, x = (number // columns) * (height + gap), (number % columns) * (width + gap)
        grid[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return grid
