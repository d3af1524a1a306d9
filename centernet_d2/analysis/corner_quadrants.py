"""How well corners are found, and where in the image (CornerNet's journal version, Table 3).

Corners of one kind are detections of points: right when a true corner of their class is within a
radius. The paper does not give the radius, the interpolation of AP, nor how many corners count;
here the radius is an argument, AP is COCO's at 101 recalls, and the corners are those that the
detector pairs (the best K after the peaks' NMS, offsets applied), of the image itself at scale 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ..checked_values import check_at_least, check_choice
from ..modeling.meta_arch.cornernet import CORNERS, CornerNet
from .matching import precision_at_recalls

QUADRANTS = ("all", "top_left", "bottom_right")


@dataclass(frozen=True)
class Corners:
    """Corners of one kind in one image, in the image frame."""

    points: np.ndarray  # (n, 2) x, y
    classes: np.ndarray  # (n,) int64
    scores: np.ndarray | None = None  # (n,), of found ones
    image_size: tuple[int, int] = (0, 0)  # (height, width)

    def within(self, quadrant: str) -> Corners:
        """Those in a quadrant of the image of W x H pixels.

        "top_left" is x < W / 2 and y < H / 2, "bottom_right" x >= W / 2 and y >= H / 2, "all" all.
        """
        if quadrant == "all":
            return self
        height, width = self.image_size
        before = self.points < (width / 2, height / 2)
        keep = before.all(axis=1) if quadrant == "top_left" else (~before).all(axis=1)
        scores = None if self.scores is None else self.scores[keep]
        return Corners(self.points[keep], self.classes[keep], scores, self.image_size)


def match_corners(found: Corners, truth: Corners, radius: float) -> np.ndarray:
    """Which found corners are right: (n,) bool.

    The best first, each takes the nearest true corner of its class within `radius` (inclusive) that
    is not taken yet.
    """
    right = np.zeros(len(found.points), dtype=bool)
    distance = np.linalg.norm(found.points[:, None] - truth.points[None], axis=2)
    distance[found.classes[:, None] != truth.classes[None]] = math.inf
    for row in np.argsort(-found.scores, kind="stable") if distance.size else ():
        column = distance[row].argmin()
        if distance[row, column] <= radius:
            right[row] = True
            distance[:, column] = math.inf
    return right


def corner_mean_average_precision(
    found: Sequence[Corners], truth: Sequence[Corners], *, radius: float, quadrant: str = "all"
) -> float:
    """Mean over classes of the AP of corners of one kind, in percent.

    The mean is over classes with a true corner in the quadrant; NaN where there is none.

    Args:
        found: of each image.
        truth: of each image, without crowd regions.
        radius: pixels of the image.
        quadrant: one of QUADRANTS, for found and true corners alike.
    """
    check_choice("quadrant", quadrant, QUADRANTS)
    check_at_least("radius", radius, 0)
    found, truth = ([corners.within(quadrant) for corners in side] for side in (found, truth))
    pairs, none = zip(found, truth, strict=True), np.zeros(0)
    right = np.concatenate([none, *(match_corners(f, t, radius) for f, t in pairs)])
    scores = np.concatenate([none, *(f.scores for f in found)])
    classes = np.concatenate([none, *(f.classes for f in found)])
    wanted = np.concatenate([none, *(t.classes for t in truth)])
    order = np.argsort(-scores, kind="stable")
    precisions = [
        precision_at_recalls(right[order][classes[order] == k], (wanted == k).sum()).mean()
        for k in np.unique(wanted)
    ]
    return 100 * float(np.mean(precisions)) if precisions else math.nan


@torch.no_grad()
def found_corners(model: CornerNet, entry: dict[str, Any]) -> dict[str, Corners]:
    """The corners of each kind that a detector sees in one input, in the frame of its `image`."""
    size = tuple(entry["image"].shape[-2:])
    images = model.inference_images([entry["image"]], model.protocol.canvas_of(size, model.divisor))
    last = model.predict(images)[-1]
    corners = {}
    for name in CORNERS:
        best = model.best_keypoints(getattr(last, name))
        points = images.map_to_image(best.points[:1], last.map_size)[0]
        columns = [t.cpu().numpy() for t in (points, best.classes[0], best.scores[0])]
        corners[name] = Corners(*columns, image_size=size)
    return corners


def true_corners(truth: Instances) -> dict[str, Corners]:
    """The corners of each kind of `gt_boxes`."""
    boxes, classes = truth.gt_boxes.tensor.cpu().numpy(), truth.gt_classes.cpu().numpy()
    top_left, bottom_right = CORNERS
    return {
        top_left: Corners(boxes[:, :2], classes, image_size=truth.image_size),
        bottom_right: Corners(boxes[:, 2:], classes, image_size=truth.image_size),
    }


def corner_quadrants(
    model: CornerNet, batches: Iterable[list[dict[str, Any]]], *, radius: float
) -> dict[str, dict[str, float]]:
    """Corner mAP in percent by kind of corner and quadrant.

    Inputs have `image` and, in its frame, `instances`; `radius` is in pixels of the image.
    """
    if not isinstance(model, CornerNet):
        raise ValueError(
            f"{type(model).__name__} finds no corners; MODEL.META_ARCHITECTURE must be CornerNet "
            "or TripletCenterNet."
        )
    pairs = [
        (found_corners(model, entry), true_corners(model.checked_objects(entry)))
        for entry in itertools.chain.from_iterable(batches)
    ]

    def score(name: str, quadrant: str) -> float:
        both = ([pair[side][name] for pair in pairs] for side in (0, 1))
        return corner_mean_average_precision(*both, radius=radius, quadrant=quadrant)

    return {name: {quadrant: score(name, quadrant) for quadrant in QUADRANTS} for name in CORNERS}
