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
        pixels = warp(pixels, step, first, canvas)
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
    begin = [(width * down - shown) / down, (height * across - shown) / across]
    return shown / (across * down), torch.stack(begin) / 2


def warp(pixels: Tensor, step: Tensor, first: Tensor, canvas: Size) -> Tensor:
    """Bilinear samples (N, 3, H, W), rounded, of pixels (N, 3, height, width); black outside.

    Column x is at `step * x + first[0]` of the picture. This is the arithmetic of OpenCV's
    warpAffine from version 5 on, with its fused multiply-adds.
    """
    for axis, length, begin in ((3, canvas[1], first[0]), (2, canvas[0], first[1])):
        place = torch.arange(length, device=pixels.device, dtype=torch.float32)
        if axis == 3:
            place = _fused(place, step, begin)
        else:
            place = place * step + begin
        cell = place.floor()
        share = (place - cell).view(-1, 1) if axis == 2 else place - cell
        side = pixels.shape[axis]
        padded = F.pad(pixels, [1, 1] if axis == 3 else [0, 0, 1, 1])  # black at both ends
        low, high = (
            padded.index_select(axis, (cell.long() + more).clamp(0, side + 1)) for more in (1, 2)
        )
        pixels = _fused(share, high - low, low)
    return pixels.round().clamp(0, 255)


def _fused(first: Tensor, second: Tensor, added: Tensor) -> Tensor:
    """`first * second + added` in single precision, rounded once."""
    return (first.double() * second.double() + added.double()).float()
