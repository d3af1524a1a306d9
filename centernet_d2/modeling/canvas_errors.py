"""What is said where a canvas does not suit a network."""

from __future__ import annotations

import functools
import logging

from ..structures.padded_images import Size

logger = logging.getLogger(__name__)


def canvas_error(canvas: Size, divisor: int, stride: int) -> str:
    """The error where a backbone gives no map of the size that targets and decoding expect."""
    height, width = canvas
    return (
        f"MODEL.BACKBONE gives no map of stride {stride}, rounded up, of a canvas of {width} x "
        f"{height}. Give it sides that are multiples of {divisor}: TEST.CANVAS 'fit' (or "
        "'strict'), and INPUT.TRAIN_SIZE of such sides."
    )


@functools.cache  # tells each case once
def warn_of_border(size: Size, canvas: Size, divisor: int, rule: str) -> None:
    """Warn that training images of `size` need a larger canvas, and of which sides would not."""
    less = 1 if rule == "odd" else 0
    smaller = [max((side + less) // divisor, 1) * divisor - less for side in size]
    logger.warning(
        "Training images of %d x %d are put on a canvas of %d x %d, whose border costs time and "
        "memory and holds nothing. Sides that fit this network are those of INPUT.TRAIN_SIZE %s "
        "or %s (height, width).",
        *(size[1], size[0], canvas[1], canvas[0], smaller, list(canvas)),
    )
