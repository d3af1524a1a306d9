"""Large pictures in overlapping tiles, whose detections are merged: objects keep their pixels.

A window is (left, top, right, bottom) in pixels of the whole picture.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torchvision.ops import box_area, box_iou

from ..engine.object_scale import RATIO
from ..modeling.inference_protocol import InferenceProtocol
from ..structures.output_fields import OUTPUT_FIELDS, OutputField, scale_boxes, scale_points

Window = tuple[int, int, int, int]
LEAST = 8  # network pixels, two cells of the output
_SAME = 0.5  # IoU from which on detections of two windows are one object
_PART = 0.5  # share of a cut box that lies in another one, from which on it is a part of it


def usual_tile(protocol: InferenceProtocol, told: Mapping[str, Any], crop: Sequence[int]) -> int:
    """Side of tiles that show objects as large as the training did; 0: its weights do not say."""
    if protocol.scale_of((1, 1)) == protocol.scale_of((2, 2)):  # not all scaled to one canvas
        return max(crop)
    size = told.get("image_size")
    return round(protocol.scale_of((1, 1)) / protocol.scale_of(size)) if size else 0


def hint_at_tiles(
    protocol: InferenceProtocol, training: Mapping[str, Any], sizes: Iterable[tuple[int, int]]
) -> str:
    """Say where objects as large as the training's have under `LEAST` pixels; "" of no picture."""
    if not (learned := training.get("image_size")):
        return ""
    scale = min(map(protocol.scale_of, sizes)) / protocol.scale_of(learned)
    if scale * training["object_size"] >= LEAST or scale * RATIO >= 1:
        return ""
    return (
        f"Pictures are much larger than the training's ({learned[1]} x {learned[0]}). Where an "
        "object has as many of their pixels as it had there, the network sees under two cells of "
        f"it: then take --tiles (of {usual_tile(protocol, training, ())} pixels)."
    )


def plan_tiles(size: tuple[int, int], tile: int, overlap: int) -> list[Window]:
    """Windows of side `tile`, spread evenly over a picture of (height, width), all in pixels.

    They overlap by `overlap` or more (ValueError: by all); a side up to that of a tile is not cut.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap}: give less")
    spans = []
    for side in size:
        steps = max(0, -(-(side - tile) // (tile - overlap)))  # after the first
        starts = [round(k * (side - tile) / steps) for k in range(steps + 1)] if steps else [0]
        spans.append([(start, min(side, start + tile)) for start in starts])
    return [(left, top, right, low) for top, low in spans[0] for left, right in spans[1]]


def predict_in_tiles(
    predict: Callable[[list[np.ndarray]], list[dict[str, Any]]],
    image: np.ndarray,
    *,
    tile: int,
    overlap: int,
    whole: bool = False,
) -> Instances:
    """Return the detections of an image, (H, W, 3), by tiles; of a single one, the detector's own.

    Args:
        predict: images -> results with "instances", as of `Predictor.batch`.
        image: in the form that `predict` takes.
        tile: side of a tile, pixels.
        overlap: of neighbours, pixels; objects that are larger may come in parts,
        whole: unless the detector looks at the whole image too.
    """
    height, width = image.shape[:2]
    windows = plan_tiles((height, width), tile, overlap)
    windows += [(0, 0, width, height)] * (whole and len(windows) > 1)
    results = predict([image[top:low, left:right] for left, top, right, low in windows])
    found = [result["instances"].to("cpu") for result in results]
    return merge_tiles(found, windows, (height, width)) if len(windows) > 1 else found[0]


def merge_tiles(
    found: Sequence[Instances], windows: Sequence[Window], size: tuple[int, int]
) -> Instances:
    """Unite the detections of windows of a picture of (height, width), each object once.

    Of detections of a class that are one object in two windows, the best stays: rather one that no
    window's border cuts, then of the smaller window, then of the higher score. Those of one window
    leave each other alone, as the detector did; so no NMS over all of them is used.
    """
    area = torch.tensor(windows, dtype=torch.float32)
    every = Instances.cat([moved(*pair, size) for pair in zip(found, windows, strict=True)])
    counts = torch.tensor([len(rows) for rows in found])
    boxes, border = every.pred_boxes.tensor, area.repeat_interleave(counts, 0)
    margin = 0.01 * (border[:, 2:] - border[:, :2]).clamp(min=200)  # pixels
    low = (boxes[:, :2] < border[:, :2] + margin) & (border[:, :2] > 0)
    high = (boxes[:, 2:] > border[:, 2:] - margin) & (border[:, 2:] < torch.tensor(size[::-1]))
    cut, areas = (low | high).any(1), box_area(boxes)
    rank = torch.from_numpy(np.lexsort((-every.scores, box_area(border), cut))).argsort()
    rows, pairs = torch.arange(len(every)).split(counts.tolist()), [rank.new_empty(2, 0)]
    for one, other in (box_iou(area, area).triu(1) > 0).nonzero().tolist():
        a, b = torch.cartesian_prod(rows[one], rows[other]).view(-1, 2).T
        a, b = torch.where(rank[a] < rank[b], a, b), torch.where(rank[a] < rank[b], b, a)
        start, end = boxes[a, :2].maximum(boxes[b, :2]), boxes[a, 2:].minimum(boxes[b, 2:])
        common = (end - start).clamp(min=0).prod(1)
        same = common > _SAME * (areas[a] + areas[b] - common)
        same |= cut[b] & (common > _PART * areas[b])
        same &= every.pred_classes[a] == every.pred_classes[b]
        pairs.append(torch.stack([a[same], b[same]]))
    return every[_staying(len(every), *torch.cat(pairs, dim=1))]


def _staying(count: int, better: Tensor, worse: Tensor) -> Tensor:
    """Which of `count` rows stay, where the worse one of a pair goes if the better one stays."""
    stays, after = torch.zeros(count, dtype=torch.bool), torch.ones(count, dtype=torch.bool)
    while not after.equal(stays):  # it ends, as pairs make no circle
        stays, after = after, torch.ones_like(after)
        after[worse[stays[better]]] = False
    return stays


def moved(found: Instances, window: Window, size: tuple[int, int]) -> Instances:
    """Return detections of a window as those of the picture, boxes, centers and joints alike."""
    result, shift = Instances(size), torch.tensor([float(side) for side in window[:2]])
    for name, value in found.get_fields().items():
        scale = OUTPUT_FIELDS.get(name, OutputField()).scale
        if scale is scale_boxes:
            value = Boxes(value.tensor + shift.repeat(2))
        elif scale is scale_points:
            value = torch.cat([value[..., :2] + shift, value[..., 2:]], dim=-1)
        elif scale or name == "pred_boxes3d":
            raise ValueError(f"--tiles: '{name}' is of a whole picture; predict without tiles")
        result.set(name, value)
    return result
