"""Pictures of one size onto the canvas of a detector, inside a graph; N pictures, (H, W) canvas.

The same as `structures.padded_images` does on the host, of a batch and with operators that can be
exported. Sizes may be symbols, so numbers that follow from them are tensors here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..modeling.test_time_augmentation import with_flipped_images
from ..structures.padded_images import PaddedImages, Size, numbers


def place(pictures: Tensor, model: HeatmapDetector) -> PaddedImages:
    """Pictures (N, height, width, 3) uint8 on the canvas of the model's test protocol, normalised.

    `scale` and `shift` have one row, for all pictures; `image_sizes` are left out.
    """
    size, protocol = (pictures.shape[1], pictures.shape[2]), model.protocol
    canvas = protocol.canvas_of(size, model.divisor)
    pixels = pictures.permute(0, 3, 1, 2).to(model.pixel_mean.dtype)
    if protocol.resolution == "keep_res":
        top, left = canvas[0] // 2 - size[0] // 2, canvas[1] // 2 - size[1] // 2
        right, bottom = canvas[1] - size[1] - left, canvas[0] - size[0] - top
        pixels = F.pad(pixels, [left, right, top, bottom])
        scale, shift = torch.ones(1, device=pixels.device), numbers(model.pixel_mean, left, top)
    else:
        step, first = sampling(model.pixel_mean, size, canvas, protocol.fixed_fit)
        pixels = warp(pictures, step, first, canvas)
        scale, shift = (1 / step).view(1), -first / step
    normalised = (pixels - model.pixel_mean.view(1, 3, 1, 1)) / model.pixel_std.view(1, 3, 1, 1)
    if model.channels_last:
        normalised = normalised.contiguous(memory_format=torch.channels_last)
    images = PaddedImages(normalised, image_sizes=(), scale=scale, shift=shift[None])
    return with_flipped_images(images) if protocol.flip else images


def sampling(like: Tensor, size: Size, canvas: Size, fit: str) -> tuple[Tensor, Tensor]:
    """Picture pixels per canvas pixel, a scalar, and where canvas pixel (0, 0) is on it, (2,).

    From ratios of whole numbers, which single precision holds, so that it finds the same pixels as
    `scale_to_canvas` does in double precision.
    """
    height, width, down, across = numbers(like, *size, *canvas).unbind()
    shown = {"width": width * down, "none": across * down}.get(fit)
    if shown is None:
        shown = torch.maximum(width * down, height * across)
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
    return place - cell, *(padded.index_select(axis, end) for end in ends)


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
