"""Text in any script: by OpenCV, 4 of which draws ASCII alone, or Pillow where it draws "?"."""

import functools
import logging
import os
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

logger = logging.getLogger(__name__)

FONT = cv2.FONT_HERSHEY_SIMPLEX
_PIXELS = 29  # of a font as high as cv2's is at scale 1
_NO_LETTERS = "Last Resort"  # part of the names of fonts that draw a frame for every letter


def text_size(text: str, scale: float, stroke: int = 1) -> tuple[int, int, int]:
    """Return (width, height above the line, depth below it) of a text as it is drawn, in pixels."""
    text, file = _drawable(text)
    (width, height), below = cv2.getTextSize("Ag" if file else text, FONT, scale, stroke)
    if not file:
        return width, height, below
    _, top, right, bottom = _font(file, scale).getbbox(text, anchor="ls")
    return int(right), max(height, int(-top)), max(below, int(bottom))


def draw_text(
    picture: np.ndarray,
    text: str,
    place: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
    stroke: int = 1,
) -> None:
    """Write in place; (x, y) is the left end of the line that the letters stand on."""
    (x, y), (text, file) = place, _drawable(text)
    if not file:
        cv2.putText(picture, text, place, FONT, scale, color, stroke, cv2.LINE_AA)
        return
    _, height, below = text_size(text, scale, stroke)
    top, bottom = max(0, y - height), max(0, y + below + 1)
    strip = Image.fromarray(np.ascontiguousarray(picture[top:bottom]))  # color: B, G, R as well
    ImageDraw.Draw(strip).text((x, y - top), text, color, _font(file, scale), "ls")
    picture[top:bottom] = np.asarray(strip)


def line_size(texts: Iterable[str], scale: float) -> tuple[int, int]:
    """Return (height, depth) of a line that any of these texts, and of ASCII, can stand in."""
    sizes = [text_size(text, scale) for text in ("Ag", *texts)]
    return max(height for _, height, _ in sizes), max(depth for *_, depth in sizes)


@functools.lru_cache(maxsize=4096)
def _drawable(text: str) -> tuple[str, str | None]:
    """What is drawn for a text, codes such as "U+0E41" too, and the font file, None: cv2's own."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    unknown = frozenset(letter for letter in text if not _cv2_draws(letter))
    if not unknown:
        return text, None
    if file := _font_with(frozenset(map(ord, text)) - {ord(" ")}):
        return text, file
    _tell(unknown)
    return "".join(f"U+{ord(c):04X}" if c in unknown else c for c in text), None


@functools.cache
def _tell(letters: frozenset[str]) -> None:
    logger.warning(
        "No font here has all of the letters %s: pictures show their codes. Install one that has, "
        "such as Noto Sans (of Chinese, Japanese and Korean, Noto Sans CJK).",
        " ".join(sorted(letters)),
    )


@functools.cache
def _cv2_draws(letter: str) -> bool:
    """Whether cv2 draws a letter, and not nothing or question marks, one for each byte."""
    pictures = np.zeros((6, 40, 120), np.uint8)
    for picture, drawn in zip(pictures, (letter, "", "?", "??", "???", "????"), strict=True):
        cv2.putText(picture, drawn, (4, 28), FONT, 1.0, 255)
    return letter.isascii() or not (pictures[0] == pictures[1:]).all(axis=(1, 2)).any()


@functools.cache
def _font_with(codes: frozenset[int]) -> str | None:
    """The first font file, matplotlib's own and then the system's, that has all these letters."""
    import matplotlib as mpl  # only here: it takes its time
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    own = os.path.join(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    for file in [own, *sorted(font_manager.findSystemFonts())]:
        try:
            font = FT2Font(file)
            if _NO_LETTERS not in font.family_name and codes <= font.get_charmap().keys():
                return file
        except (RuntimeError, OSError):  # a file of another kind, or damaged
            continue
    return None


@functools.cache
def _font(file: str, scale: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, max(1, round(_PIXELS * scale)))
