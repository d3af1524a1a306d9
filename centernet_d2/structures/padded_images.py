"""A batch on its canvas; the one place that converts between image, network and output map.

Shape letters: N images, (H, W) network frame, (h, w) output map.

Coordinates are pixel indices: output cell `k` lies on network pixel `ratio * k` exactly, without a
half-pixel shift, and `network = scale * image + shift` (published behaviour of all three detectors;
the ratio is taken from the tensors).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]
"""(height, width)"""
LEAST_LOST = 0.02
"""Share of an image that may be cut without a word; of KITTI's own up to 0.01 is, as published."""


@dataclass(frozen=True)
class PaddedImages:
    """Normalised images on one canvas, with the way back to each image's own frame."""

    tensor: Tensor  # (N, 3, H, W) normalised, network frame; (2 N, ...) where `flipped`
    image_sizes: tuple[Size, ...]  # N sizes in the frame that the mapper handed over
    scale: Tensor  # (N,) network pixels per image pixel
    shift: Tensor  # (N, 2) network (x, y) of image pixel (0, 0)
    # Whether the flipped image of each canvas follows in the second half of the batch; conversions
    # are between the images and the maps of the first half.
    flipped: bool = False
    zoom: float = 1.0  # the scale of the test protocol at which the images are seen
    # What else the detector reads of its inputs: name -> N rows, such as the images' projections.
    inputs: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_sizes)

    def image_to_map(self, points: Tensor, image: Tensor, map_size: Size) -> Tensor:
        """Points (P, ..., 2) as (x, y), of images `image` (P,): image frame -> output map."""
        scale, shift = _beside(points, self.scale[image, None], self.shift[image])
        return (points * scale + shift) / self._ratio(map_size)

    def map_to_image(self, points: Tensor, map_size: Size) -> Tensor:
        """Points (N, ..., 2) as (x, y), first axis the image: output map -> image frame."""
        scale, shift = _beside(points, self.scale[:, None], self.shift)
        return (points * self._ratio(map_size) - shift) / scale

    def _ratio(self, map_size: Size) -> Tensor:
        height, width = self.tensor.shape[-2:]
        sides = numbers(self.shift, width, height, map_size[1], map_size[0])
        return sides[:2] / sides[2:]


def numbers(like: Tensor, *values: float) -> Tensor:
    """Numbers as a tensor (D,) of the dtype and on the device of another.

    Sizes may be symbols while a graph is exported, of which `new_tensor` makes constants. And it
    copies: on CUDA that waits for all that is under way there, and cannot be recorded.
    """
    if not (torch.compiler.is_exporting() or like.is_cuda):
        return like.new_tensor(values)
    return torch.stack(
        [torch.scalar_tensor(v, dtype=like.dtype, device=like.device) for v in values]
    )


def _beside(points: Tensor, *values: Tensor) -> list[Tensor]:
    """Values (N, D) with axes of length 1 for the middle axes of points (N, ..., 2)."""
    middle = [1] * (points.dim() - 2)
    return [value.view(len(value), *middle, value.shape[1]) for value in values]


def canvas_size(size: Size, divisor: int, rule: str) -> Size:
    """The network frame of an image of `size` that keeps its resolution.

    Args:
        size: of the image.
        divisor: what the network's height and width must be multiples of; "strict" and "odd" are
            the published bit formulas where it is a power of two.
        rule: "strict", the next multiple that is strictly larger (`(size | divisor - 1) + 1`, so
            512 -> 544); "odd", one pixel less than that (published for corners, `size | divisor -
            1`, so 511 -> 511 and 512 -> 639); "fit", the smallest multiple that holds the image.
    """
    if rule not in ("strict", "fit", "odd"):
        raise ValueError(f"canvas must be 'strict', 'fit' or 'odd', got '{rule}'")
    more, less = int(rule != "fit"), int(rule == "odd")
    height, width = ((side + more + divisor - 1) // divisor * divisor - less for side in size)
    return height, width


def fitting_side(size: Size, canvas: Size) -> float:
    """How many image pixels the canvas' width must show so that the whole image just fits.

    On a square canvas, the only one published for boxes, that is the image's longer side.
    """
    height, width = size
    if height <= 0 or width <= 0:
        raise ValueError(f"an image of (height, width) {(height, width)} has no pixels to show")
    return float(max(width, height * canvas[1] / canvas[0]))


def shown_side(size: Size, canvas: Size, fit: str) -> float:
    """Image pixels that the width of a canvas shows, of an image of `size`.

    By `fit` so many that the "whole" image fits, the image's "width", or with "none" as many as the
    canvas has.
    """
    if fit == "whole":
        return fitting_side(size, canvas)
    return float(size[1] if fit == "width" else canvas[1])


def lost_share(size: Size, canvas: Size, shown_side: float) -> float:
    """Share of an image of `size` that a canvas does not show whose width shows `shown_side`."""
    shown = min(size[0], canvas[0] * shown_side / canvas[1]) * min(size[1], shown_side)
    return 1 - shown / (size[0] * size[1])


def canvas_of_whole(sizes: Sequence[Size], canvas: Size, divisor: int, fit: str) -> Size:
    """A canvas instead of `canvas` that shows the whole of images of `sizes`.

    Both sides are multiples of `divisor`; by the fit "width" the longer one stays about as it is.
    """

    def up(side: float) -> int:
        return max(math.ceil(side / divisor), 1) * divisor

    if fit == "none":
        return up(max(size[0] for size in sizes)), up(max(size[1] for size in sizes))
    tallest = max(sizes, key=lambda size: size[0] / size[1])
    width = up(tallest[1] * max(canvas) / max(tallest))
    return up(tallest[0] * width / tallest[1]), width


def center_on_canvas(
    images: Sequence[Tensor],
    canvas: Size,
    mean: Tensor,
    std: Tensor,
    *,
    channels_last: bool = False,
) -> PaddedImages:
    """Put images on a black canvas, centred, and normalise afterwards.

    So the border holds `-mean / std`, as published.

    Args:
        images: N tensors (3, height, width) in 0..255, none larger than `canvas`.
        canvas: of the network frame.
        mean: (3,) in 0..255 units; the result lives on its device.
        std: (3,) likewise.
        channels_last: memory format of the result.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    batch = torch.empty(
        (len(images), 3, *canvas), dtype=mean.dtype, device=mean.device, memory_format=layout
    ).zero_()
    shifts = []
    for row, image in zip(batch, images, strict=True):
        height, width = image.shape[-2:]
        # Integer halves of both, as published: an odd image lies half a pixel off the middle.
        top, left = canvas[0] // 2 - height // 2, canvas[1] // 2 - width // 2
        row[:, top : top + height, left : left + width] = image.to(mean.device)
        shifts.append((float(left), float(top)))
    batch.sub_(mean.view(1, 3, 1, 1)).div_(std.view(1, 3, 1, 1))
    return PaddedImages(
        tensor=batch,
        image_sizes=tuple((image.shape[-2], image.shape[-1]) for image in images),
        scale=torch.ones(len(images), dtype=mean.dtype, device=mean.device),
        shift=torch.tensor(shifts, dtype=mean.dtype, device=mean.device).view(-1, 2),
    )


def scale_to_canvas(
    images: Sequence[Tensor],
    canvas: Size,
    mean: Tensor,
    std: Tensor,
    *,
    channels_last: bool = False,
    shown_sides: Sequence[float] | None = None,
) -> PaddedImages:
    """Scale images to fit a fixed canvas, centred, black outside (published fixed resolution).

    The whole image fits, as `fitting_side` says, or `shown_sides` image pixels become the canvas'
    width where they are given. The warp is OpenCV's bilinear one on 8-bit pixels: up to version 4
    in fixed point, from 5 on exact, which moves single pixels by up to 3 grey levels.
    """
    if shown_sides is None:
        shown_sides = [fitting_side((i.shape[-2], i.shape[-1]), canvas) for i in images]
    scales = [canvas[1] / shown_side for shown_side in shown_sides]
    shifts = [
        (canvas[1] / 2 - scale * image.shape[-1] / 2, canvas[0] / 2 - scale * image.shape[-2] / 2)
        for image, scale in zip(images, scales, strict=True)
    ]
    placed = zip(images, scales, shifts, strict=True)
    warped = [_warp(image, scale, shift, canvas) for image, scale, shift in placed]
    padded = center_on_canvas(warped, canvas, mean, std, channels_last=channels_last)
    return replace(
        padded,
        image_sizes=tuple((image.shape[-2], image.shape[-1]) for image in images),
        scale=padded.scale.new_tensor(scales),
        shift=padded.shift.new_tensor(shifts).view(-1, 2),
    )


def eight_bit_pixels(image: Tensor) -> np.ndarray:
    """An image (3, height, width) of values 0..255 as OpenCV takes it, (height, width, 3) uint8.

    Float images hold whole numbers (detectron2's DefaultPredictor), so nothing is lost.
    """
    pixels = image.permute(1, 2, 0).clamp(0, 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(pixels)


def _warp(image: Tensor, scale: float, shift: tuple[float, float], canvas: Size) -> Tensor:
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float64)
    warped = cv2.warpAffine(
        eight_bit_pixels(image), matrix, (canvas[1], canvas[0]), flags=cv2.INTER_LINEAR
    )
    return torch.from_numpy(warped).permute(2, 0, 1)
