"""Images that are too large: refused by a limit, or explained when memory runs out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2

from ..structures.padded_images import Size
from .inputs import source_of

_CURES = (
    "Make it smaller: TEST.RESOLUTION fixed scales images to TEST.FIXED_SIZE, smaller TEST.SCALES "
    "look at them smaller, TEST.CANVAS fit spares the border"
)
# How allocators say it: torch on CUDA, torch on a CPU (two wordings), OpenCV, NumPy.
_OUT_OF_MEMORY = (
    *("out of memory", "not enough memory", "can't allocate memory"),
    *("insufficient memory", "unable to allocate"),
)
_USUAL = (512, 512)


def check_canvas(entry: dict[str, Any], canvas: Size, max_pixels: int) -> None:
    """Raise an error that names the image where its canvas has more pixels than `max_pixels`."""
    if max_pixels and canvas[0] * canvas[1] > max_pixels:
        raise ValueError(
            f"{_describe(entry)} needs a canvas of {canvas[1]} x {canvas[0]}, more than "
            f"TEST.MAX_PIXELS = {max_pixels}. {_CURES}; or raise TEST.MAX_PIXELS (0: no limit)."
        )


@contextmanager
def annotate_oom(
    entries: Sequence[dict[str, Any]], canvas: Size, *, flip: bool = False
) -> Iterator[None]:
    """Where memory runs out inside, add to the error which images these are and what helps."""
    try:
        yield
    except (RuntimeError, MemoryError, cv2.error) as error:
        told = any(words in str(error).lower() for words in _OUT_OF_MEMORY)
        if not told and not isinstance(error, MemoryError):
            raise
        kind = type(error) if isinstance(error, RuntimeError) else MemoryError
        count = len(entries) * (2 if flip else 1)
        times = count * canvas[0] * canvas[1] / (_USUAL[0] * _USUAL[1])
        images = ", ".join(_describe(entry) for entry in entries[:3])
        more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
        raise kind(
            f"{error}\nWhile detecting in {images}{more}: a batch of {count} canvases of "
            f"{canvas[1]} x {canvas[0]}, which takes about {times:.3g} times the memory of one of "
            f"{_USUAL[1]} x {_USUAL[0]}. {_CURES}; TEST.IMS_PER_BATCH, TEST.FLIP and TEST.SCALES "
            "say how much is held at once."
        ) from error


def _describe(entry: dict[str, Any]) -> str:
    height, width = entry["image"].shape[-2:]
    return f"{source_of(entry)} ({width} x {height})"
