"""Corner pairs of an image and of its flipped image -> candidates in the image's frame.

N images, M pairs per view, K centers per view, (h, w) output map.
"""

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..decoding.corner_pairs import NO_PAIR
from ..structures.padded_images import PaddedImages, Size
from ..structures.predictions import CornerPairs, Keypoints
from .test_time_augmentation import halves, zoomed_size

FLIP_CONVENTIONS = ("edge", "pixel")


def unflip_width(images: PaddedImages, map_size: Size, convention: str) -> float:
    """The width w' of the rule `x' = w' - x` from the map of a flipped image to that of the image.

    "edge": the map's width, as published for corners; the boxes of the flipped image then lie one
    network pixel to the right of those of the image. "pixel": network pixels 0 and W - 1 change
    places exactly.
    """
    width = map_size[1]
    return width if convention == "edge" else width - width / images.tensor.shape[-1]


def unite_pairs(pairs: CornerPairs, width: float) -> CornerPairs:
    """Pairs (2 N, M) of images and their flipped images -> (N, 2 M), the images' own first.

    Boxes are on the output map; `width` is that of `unflip_width`.
    """
    own, flipped = halves(pairs.boxes)
    x1, y1, x2, y2 = flipped.unbind(-1)
    turned = torch.stack([width - x2, y1, width - x1, y2], dim=-1)
    return CornerPairs(
        boxes=torch.cat([own, turned], dim=1),
        scores=_united(pairs.scores),
        corner_scores=_united(pairs.corner_scores),
        classes=_united(pairs.classes),
    )


def unite_keypoints(keypoints: Keypoints, width: float) -> Keypoints:
    """Keypoints (2 N, K) of images and their flipped images -> (N, 2 K), likewise."""
    own, flipped = halves(keypoints.points)
    x, y = flipped.unbind(-1)
    return Keypoints(
        scores=_united(keypoints.scores),
        classes=_united(keypoints.classes),
        points=torch.cat([own, torch.stack([width - x, y], dim=-1)], dim=1),
        embedding=None if keypoints.embedding is None else _united(keypoints.embedding),
    )


def _united(values: Tensor) -> Tensor:
    return torch.cat(halves(values), dim=1)


def pairs_in_image(
    pairs: CornerPairs, map_size: Size, images: PaddedImages, outside_margin: float | None
) -> list[Instances]:
    """Pairs (N, M) on the output map -> per image those that are pairs, cut to the image.

    What counts as the image is what the view shows of it: seen at another scale its sides are
    rounded down to whole pixels, and the last part of a pixel is cut off too (published). A box
    without area after the cut stays (published): `TEST.DROP_EMPTY` drops it. NaN stays visible.

    A pair whose box reaches `outside_margin` pixels of the view (an image pixel is `images.zoom` of
    them) over the image is left out; None: none is.

    Returns:
        Per image `pred_boxes`, `scores`, `pred_classes` and `corner_scores` (rows, 2).
    """
    sides = [_shown_sides(size, images.zoom) for size in images.image_sizes]
    limits = pairs.boxes.new_tensor(sides)
    boxes, keep = cut_pairs(pairs, map_size, images, limits, outside_margin)
    kept = [of_image.nonzero()[:, 0] for of_image in keep]  # a mask would be read for each field
    return [
        Instances(
            size,
            pred_boxes=Boxes(boxes[row, rows]),
            scores=pairs.scores[row, rows],
            pred_classes=pairs.classes[row, rows],
            corner_scores=pairs.corner_scores[row, rows],
        )
        for row, (size, rows) in enumerate(zip(images.image_sizes, kept, strict=True))
    ]


def cut_pairs(
    pairs: CornerPairs,
    map_size: Size,
    images: PaddedImages,
    limits: Tensor,
    outside_margin: float | None,
) -> tuple[Tensor, Tensor]:
    """Boxes (N, M, 4) in the image's frame, and (N, M) bool which are pairs; `pairs_in_image`.

    `limits` (N or 1, 2) are width and height of what the views show, in pixels of the image.
    """
    boxes = images.map_to_image(pairs.boxes.unflatten(-1, (2, 2)), map_size).flatten(-2)
    limits = limits.repeat(1, 2)[:, None]
    keep = pairs.scores != NO_PAIR  # keeps NaN
    if outside_margin is not None:
        margin = outside_margin / images.zoom
        outside = (boxes[..., :2] <= -margin) | (boxes[..., 2:] >= limits[..., 2:] + margin)
        keep = keep & ~outside.any(-1)
    return torch.minimum(boxes.clamp(min=0), limits), keep


def _shown_sides(size: Size, zoom: float) -> list[float]:
    """Width and height of what a view at a scale shows of an image, in pixels of the image."""
    shown = zip(zoomed_size(size, zoom), size, strict=True)
    height, width = (min(pixels / zoom, side) for pixels, side in shown)
    return [width, height]


def keypoints_in_image(
    keypoints: Keypoints, map_size: Size, images: PaddedImages
) -> list[Instances]:
    """Keypoints (N, K) on the output map -> per image `pred_centers`, `scores`, `pred_classes`.

    Nothing is cut: they may lie outside the image (published).
    """
    points = images.map_to_image(keypoints.points, map_size)
    columns = (images.image_sizes, points, keypoints.scores, keypoints.classes)
    return [
        Instances(size, pred_centers=centers, scores=scores, pred_classes=classes)
        for size, centers, scores, classes in zip(*columns, strict=True)
    ]
