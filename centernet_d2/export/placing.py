"""Pictures of one size onto the canvas of a detector, inside a graph; N pictures, (H, W) canvas.

The same as `structures.padded_images` does on the host, of a batch and with operators that can be
exported. Sizes may be symbols, so numbers that follow from them are tensors here.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..modeling.test_time_augmentation import with_flipped_images
from ..runtime.detector import LARGEST
from ..structures.padded_images import PaddedImages, Size, numbers


def place(pictures: Tensor, model: HeatmapDetector, zoom: float = 1.0) -> PaddedImages:
    """Pictures (N, height, width, 3) uint8 on the canvas of the model's test protocol, normalised.

    `scale` and `shift` have one row, for all pictures; `image_sizes` are left out. `zoom` is one of
    the protocol's scales.
    """
    given, protocol = (pictures.shape[1], pictures.shape[2]), model.protocol
    size = zoomed_size(given, zoom)
    pictures = resized(pictures, size) if zoom != 1 else pictures
    canvas = protocol.canvas_of(size, model.divisor)
    if protocol.resolution == "keep_res":
        top, left = canvas[0] // 2 - size[0] // 2, canvas[1] // 2 - size[1] // 2
        right, bottom = canvas[1] - size[1] - left, canvas[0] - size[0] - top
        pixels = pictures.permute(0, 3, 1, 2).to(model.pixel_mean.dtype)
        pixels = F.pad(pixels, [left, right, top, bottom])
        scale, shift = torch.ones(1, device=pixels.device), numbers(model.pixel_mean, left, top)
    else:
        step, first = sampling(model.pixel_mean, given, canvas, protocol.fixed_fit, size)
        pixels = warp(pictures, step, first, canvas)
        scale, shift = (1 / step).view(1), -first / step
    normalised = (pixels - model.pixel_mean.view(1, 3, 1, 1)) / model.pixel_std.view(1, 3, 1, 1)
    if model.channels_last:
        normalised = normalised.contiguous(memory_format=torch.channels_last)
    images = PaddedImages(
        normalised, image_sizes=(), scale=scale * zoom, shift=shift[None], zoom=zoom
    )
    return with_flipped_images(images) if protocol.flip else images


def check_scales(scales: Sequence[float]) -> None:
    """Raise ValueError for scales at which a graph, in whole numbers, may not find the size."""
    for zoom in scales:
        if any(int(side * zoom) != zoomed_size((side, side), zoom)[0] for side in range(LARGEST)):
            raise ValueError(
                f"TEST.SCALES has {zoom}, which is no simple ratio: take one of two decimal places"
            )


def zoomed_size(size: Size, zoom: float) -> Size:
    """(height, width), which may be symbols, of pictures seen at another scale, rounded down."""
    ratio = Fraction(zoom).limit_denominator(1000)
    height, width = (side * ratio.numerator // ratio.denominator for side in size)
    return height, width


def shown_sides(like: Tensor, size: Size, zoom: float) -> Tensor:
    """Width and height (2,) of what a view at a scale shows of pictures of `size`."""
    (height, width), (rows, columns) = size, zoomed_size(size, zoom)
    shown = numbers(like, columns, rows) / zoom
    return torch.minimum(shown, numbers(like, width, height))


def resized(pictures: Tensor, size: Size) -> Tensor:
    """Pictures (N, height, width, 3) uint8 in another size, by the arithmetic of `cv2.resize`.

    OpenCV's bilinear one of bytes, in whole numbers: weights of 11 digits, and products that lose
    the last 4 before, and 16 after the second axis. Here the numbers stay below 2 ** 24.
    """
    weights, left, right = _ends(pictures, 2, size[1])
    left, right = (end.permute(0, 3, 1, 2).float() for end in (left, right))
    across = ((left * weights[0] + right * weights[1]) / 16).floor()
    weights, upper, lower = _ends(across, 2, size[0])

    def product(values: Tensor, weight: Tensor) -> Tensor:
        high = (values / 256).floor()
        low = (weight.view(-1, 1) * (values - 256 * high) / 256).floor()
        return ((weight.view(-1, 1) * high + low) / 256).floor()

    down = product(upper, weights[0]) + product(lower, weights[1])
    return ((down + 2) / 4).floor().permute(0, 2, 3, 1).to(torch.uint8)


def _ends(pixels: Tensor, axis: int, length: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """What is on both sides of each of `length` new pixels along an axis, and their weights."""
    side = pixels.shape[axis]
    place = torch.arange(length, device=pixels.device, dtype=torch.float32)
    old, new = numbers(place, side, length).unbind()
    place = _ratio(_fused(2 * place + 1, old, -new), 2 * new)
    cell = place.floor()
    share = place - cell
    ends = ((cell.long() + more).clamp(0, side - 1) for more in (0, 1))
    weights = [(part * 2048).round() for part in (1 - share, share)]
    before, behind = (pixels.index_select(axis, end) for end in ends)
    return weights, before, behind


def sampling(
    like: Tensor, size: Size, canvas: Size, fit: str, zoomed: Size
) -> tuple[Tensor, Tensor]:
    """Picture pixels per canvas pixel, a scalar, and where canvas pixel (0, 0) is on it, (2,).

    From ratios of whole numbers, which single precision holds, so that it finds the same pixels as
    `scale_to_canvas` does in double precision. The canvas shows as much as of pictures of `size`,
    which are of the size `zoomed` now.
    """
    height, width, down, across = numbers(like, *size, *canvas).unbind()
    shown = {"width": width * down, "none": across * down}.get(fit)
    if shown is None:
        shown = torch.maximum(width * down, height * across)
    height, width = numbers(like, *zoomed).unbind()
    begin = [_ratio(width * down - shown, down), _ratio(height * across - shown, across)]
    return _ratio(shown, across * down), torch.stack(begin) / 2


def warp(pixels: Tensor, step: Tensor, first: Tensor, canvas: Size) -> Tensor:
    """Bilinear samples (N, 3, H, W), rounded, of pictures (N, height, width, 3); black outside.

    Column x is at `step * x + first[0]` of the picture. This is the arithmetic of OpenCV's
    warpAffine from version 5 on, with its fused multiply-adds.
    """
    column, row = (
        torch.arange(side, device=pixels.device, dtype=torch.float32) for side in reversed(canvas)
    )
    share, *ends = _neighbours(_fused(column, step, first[0]), pixels, 2)
    left, right = (end.permute(0, 3, 1, 2).float() for end in ends)
    # Differences are whole, so all but the last sum is exact.
    coarse = (share * 4096).floor() / 4096
    across = ((right - left) * coarse + left) + (right - left) * (share - coarse)
    share, upper, lower = _neighbours(_kept(row * step) + first[1], across, 2)
    return _fused(share.view(-1, 1), lower - upper, upper).round().clamp(0, 255)


def _neighbours(place: Tensor, pixels: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """How far places (L,) are beyond the pixel before them, that pixel and the next; or black."""
    cell, side = place.floor(), pixels.shape[axis]
    padded = F.pad(pixels, [0, 0] * (3 - axis) + [1, 1])
    ends = ((cell.long() + more).clamp(0, side + 1) for more in (1, 2))
    before, behind = (padded.index_select(axis, end) for end in ends)
    return place - cell, before, behind


def _fused(first: Tensor, second: Tensor, added: Tensor) -> Tensor:
    """`first * second + added`, rounded once, in single precision whether or not a runtime fuses.

    Dekker's exact product and Knuth's exact sum: of a runtime that has no double precision.
    """
    (high, low), (other, rest) = _split(first), _split(second)
    product = high * other
    total = product + added
    back = total - product
    lost = (product - (total - back)) + (added - back)
    return total + (lost + (high * rest + low * second))


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """`above / below`, also of runtimes that multiply by the rounded reciprocal instead."""
    about = above / below
    return about + _fused(-about, below, above) / below


def _split(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values as sums of two with half their digits each, whose products are exact."""
    wide = _kept(values * 4097)
    high = wide - (wide - values)
    return high, values - high


def _kept(product: Tensor) -> Tensor:
    """A product as it is; a runtime cannot fuse it with what is added."""
    return product.clamp(max=1e30)
