"""What tells whether a detection is right: boxes in the picture, or what its task finds beside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.structures import Instances

from ..data.fields.joints import source_joints
from ..evaluation.box_overlap import box_area
from ..evaluation.coco_joints import keypoint_similarity
from ..evaluation.kitti_evaluation import min_overlaps
from ..evaluation.kitti_overlap import rotated_overlap
from ..structures.box3d_records import NO_ANGLE, box3d_row
from ..structures.skeleton import HALF_PIXEL
from .matching import IOU, Objects, box_overlaps


@dataclass(frozen=True)
class Likeness:
    """A measure of G objects; those that are not `known` to it, and crowds, have boxes alone."""

    name: str
    told: str  # the rule, as in "a detection is right at ..."
    field: str  # of detections, which it compares
    known: np.ndarray  # (G,) bool
    least: np.ndarray  # (G,) lowest value of what is right
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (P, ...), P known rows -> (P,)

    def values(self, found: Instances) -> np.ndarray:
        """The field (D, ...) as an array."""
        return np.asarray(getattr(found.get(self.field), "tensor", found.get(self.field)), float)

    def overlaps(self, found: Any, objects: Objects, rows: np.ndarray) -> np.ndarray:
        """(P,) of detections with `values` and rows of objects, 0: too little to be right."""
        shared, known = box_overlaps(found, objects, rows), (self.known & ~objects.crowd)[rows]
        own = self.overlap(found.values[known], rows[known])
        shared[known] = np.where(own >= self.least[rows[known]], own, 0)
        return shared


def likeness(
    entries: Sequence[Mapping[str, Any]],
    objects: Objects,
    found: Sequence[Instances],
    class_names: Sequence[str],
    sigmas: Sequence[float] | None,
) -> Likeness:
    """By OKS or by KITTI's overlap in space, where all detections and some objects have these.

    `sigmas`: tolerances of joints, () where there are none; None: by boxes, whatever there is.
    """
    fields = set.intersection(*({*part.get_fields()} for part in found)) if found else set()
    least = np.full(len(objects), IOU)
    if sigmas and "pred_keypoints" in fields:
        joints, _ = source_joints(entries, len(sigmas), "")
        joints[..., :2] += HALF_PIXEL  # as those of detections
        pairs = zip(entries, box_area(objects.boxes), strict=True)
        areas = np.array([entry.get("area") or area for entry, area in pairs])
        if (known := (joints[..., 2] > 0).any(axis=1)).any():
            told = f"OKS {IOU} of the joints; objects without labelled joints are neutral"

            def oks(found: np.ndarray, rows: np.ndarray) -> np.ndarray:
                return keypoint_similarity(found, joints[rows], areas[rows], sigmas)

            return Likeness("OKS", told, "pred_keypoints", known, least, oks)
    if sigmas is not None and "pred_boxes3d" in fields:
        boxes = np.array([box3d_row(entry, "") for entry in entries]).reshape(-1, 8)
        if (known := (boxes[:, 3] > 0) & (boxes[:, 6] != NO_ANGLE)).any():
            loose = min_overlaps(class_names)["loose"]["space"]
            told = ", ".join(f"{o:g} of {name}" for name, o in zip(class_names, loose, strict=True))
            told = f"more than KITTI's loose IoU in space: {told}; objects without are neutral"
            least = np.nextafter(np.array(loose)[objects.category], 1)
            rule = (known, least, lambda found, rows: rotated_overlap(found, boxes[rows])[1])
            return Likeness("3-D IoU", told, "pred_boxes3d", *rule)
    nothing, told = np.zeros(len(objects), bool), f"IoU {IOU} of the boxes in the picture"
    return Likeness("IoU", told, "scores", nothing, least, lambda found, rows: found)
