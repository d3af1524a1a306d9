"""Several views of an image: made before the network, united after it.

Flipped images go through the network in the batch of their originals. A detector whose views agree
cell by cell averages maps before decoding (`average_flipped`); one that pairs corners appends the
candidates of both. Scales are united as candidates in the image frame (`unite`). N images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..decoding.soft_nms import SoftNmsRule, soft_nms
from ..structures.padded_images import (
    PaddedImages,
    Size,
    center_on_canvas,
    eight_bit_pixels,
    scale_to_canvas,
)
from .inference_protocol import InferenceProtocol


def zoomed_size(size: Size, zoom: float) -> Size:
    """(height, width) of an image seen at another scale: rounded down as published, at least 1."""
    return max(1, int(size[0] * zoom)), max(1, int(size[1] * zoom))


def zoom_image(image: Tensor, zoom: float) -> Tensor:
    """Resize an image (3, height, width) of values 0..255 to `zoomed_size`.

    By OpenCV's bilinear interpolation on 8-bit pixels, as published; untouched where nothing
    changes.
    """
    height, width = image.shape[-2:]
    new_height, new_width = zoomed_size((height, width), zoom)
    if (new_height, new_width) == (height, width):
        return image
    pixels = cv2.resize(
        eight_bit_pixels(image), (new_width, new_height), interpolation=cv2.INTER_LINEAR
    )
    return torch.from_numpy(pixels).permute(2, 0, 1)


def place_zoomed(
    images: Sequence[Tensor],
    canvas: Size,
    zoom: float,
    protocol: InferenceProtocol,
    **normalization: Any,
) -> PaddedImages:
    """Images at one scale on a canvas; points convert to and from the images as they were given.

    On a canvas that follows the images ("keep_res") a view at half the scale has half the canvas.
    On a "fixed" one the scaled image keeps its proportion to the canvas, as published: at scale 0.5
    it fills half of it, and at 1.5 the border of the image is cut off. Images are N tensors (3,
    height, width) in 0..255, `normalization` further arguments of `center_on_canvas`.
    """
    zoomed = [zoom_image(image, zoom) for image in images]
    if protocol.resolution == "keep_res":
        placed = center_on_canvas(zoomed, canvas, **normalization)
    else:
        shown_sides = [protocol.shown_side(tuple(image.shape[-2:]), canvas) for image in images]
        placed = scale_to_canvas(zoomed, canvas, shown_sides=shown_sides, **normalization)
    return replace(
        placed,
        image_sizes=tuple((image.shape[-2], image.shape[-1]) for image in images),
        zoom=zoom,
        scale=placed.scale * zoom,  # published: the nominal scale, not that of the rounded sizes
    )


def with_flipped_images(images: PaddedImages) -> PaddedImages:
    """The batch with the flipped image of each canvas behind it."""
    return replace(images, tensor=torch.cat([images.tensor, images.tensor.flip(3)]), flipped=True)


def halves(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (2 N, ...) of images and of their flipped images, apart; also where N is a symbol."""
    count = values.shape[0] // 2
    return values[:count], values[count:]


def average_flipped(maps: Tensor, unflip: Callable[[Tensor], Tensor | None]) -> Tensor:
    """Maps (2 N, D, h, w) of images and their flipped images -> the mean of both, (N, D, h, w).

    What is averaged are probabilities, not logits. `unflip` makes of the flipped image's maps,
    reversed along x already, what they say of the image itself (swapping left and right channels,
    negating x components), or None where only the image's own maps are to be used.
    """
    own, flipped = halves(maps)
    turned = unflip(flipped.flip(3))
    return own if turned is None else (own + turned) / 2


def unite(
    candidates: Sequence[Instances],
    rule: SoftNmsRule,
    limit: int | None,
    *,
    merge_exponent: float | None = None,
) -> list[Instances]:
    """Soft-NMS over the candidates of each image, class by class; the best `limit` stay.

    Further fields follow their `pred_boxes`. Where `merge_exponent` is given, boxes become means
    with those that they overlap, weighted by the candidates' `corner_scores`; see `soft_nms`.
    """
    if not candidates:
        return []
    merging = {}
    if merge_exponent is not None:
        corner_scores = torch.cat([found.corner_scores for found in candidates])
        merging = {"corner_scores": corner_scores, "merge_exponent": merge_exponent}
    boxes = torch.cat([found.pred_boxes.tensor for found in candidates])
    kept = soft_nms(boxes, *joined_rows(candidates), rule=rule, limit=limit, **merging)
    united = []
    for found, (rows, scores, boxes) in zip(
        candidates, split_by_image(kept.rows, candidates, kept.scores, kept.boxes), strict=True
    ):
        chosen = found[rows]
        chosen.scores, chosen.pred_boxes = scores, Boxes(boxes)
        united.append(chosen)
    return united


def joined_rows(candidates: Sequence[Instances]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, classes and image numbers of all images' candidates, one after the other."""
    scores, classes = (
        torch.cat([found.get(name) for found in candidates]) for name in ("scores", "pred_classes")
    )
    return scores, classes, image_of_rows(candidates)


def image_of_rows(candidates: Sequence[Instances]) -> Tensor:
    """Number of its image for each row, of all images' candidates one after the other."""
    device = candidates[0].scores.device
    counts = torch.tensor([len(found) for found in candidates], device=device)
    return torch.arange(len(counts), device=device).repeat_interleave(counts)


def split_by_image(
    rows: Tensor, candidates: Sequence[Instances], *values: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """Per image its own rows, and their values, of `rows` (S,) that count through all images.

    They are ordered by image, and `values` are tensors of S rows.
    """
    counts = torch.tensor([len(found) for found in candidates], device=rows.device)
    images = image_of_rows(candidates)[rows]
    kept = torch.bincount(images, minlength=len(candidates)).tolist()
    own = rows - (counts.cumsum(0) - counts)[images]
    return zip(*(tensor.split(kept) for tensor in (own, *values)), strict=True)
