"""What tells whether a detection is right: boxes in the picture, or what its task finds beside.

D detections, G objects, P pairs of them.
"""

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
    """A measure; objects that are not `known` to it are compared by boxes."""

    name: str
    told: str  # the rule, as in "a detection is right at ..."
    known: np.ndarray  # (G,) bool
    values: Callable[[Instances], np.ndarray]  # (D, ...) what it compares of detections
    # (P, ...) of these and P rows of known objects -> (P,), 0: too little
    overlap: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def overlaps(self, found: Any, objects: Objects, rows: np.ndarray) -> np.ndarray:
        """`matching.Overlaps`; `found` have `values`. Crowds are compared by boxes too."""
        shared, known = box_overlaps(found, objects, rows), (self.known & ~objects.crowd)[rows]
        shared[known] = self.overlap(found.values[known], rows[known])
        return shared


def likeness(
    entries: Sequence[Mapping[str, Any]],
    columns: Mapping[str, np.ndarray],
    found: Sequence[Instances],
    class_names: Sequence[str],
    sigmas: Sequence[float] | None,
) -> Likeness:
    """By OKS or by KITTI's overlap in space where all detections and some objects have these.

    Args:
        entries: of G objects, see `annotation_columns`.
        columns: theirs.
        found: detections of all pictures and models.
        class_names: decide on KITTI's overlap.
        sigmas: tolerances of the J joints, () where there are none; None: by boxes, in any case.
    """
    fields = set.intersection(*({*part.get_fields()} for part in found)) if found else set()
    if sigmas and "pred_keypoints" in fields:
        by_joints = _of_joints(entries, columns["boxes"], sigmas)
        if by_joints.known.any():
            return by_joints
    if sigmas is not None and "pred_boxes3d" in fields:
        in_space = _in_space(entries, columns["category"], class_names)
        if in_space.known.any():
            return in_space
    nothing = np.zeros(len(entries), bool)
    told = f"IoU {IOU} of the boxes in the picture"
    return Likeness("IoU", told, nothing, lambda part: np.zeros((len(part), 0)), lambda a, b: b)


def _of_joints(
    entries: Sequence[Mapping[str, Any]], boxes: np.ndarray, sigmas: Sequence[float]
) -> Likeness:
    truth, _ = source_joints(entries, len(sigmas), "")
    areas = np.array([entry.get("area") or 0.0 for entry in entries])
    areas = np.where(areas > 0, areas, box_area(boxes))

    def overlap(joints: np.ndarray, rows: np.ndarray) -> np.ndarray:
        similarity = keypoint_similarity(joints, truth[rows], areas[rows], sigmas)
        return np.where(similarity >= IOU, similarity, 0)

    def values(part: Instances) -> np.ndarray:
        return part.pred_keypoints.double().numpy() - (HALF_PIXEL, HALF_PIXEL, 0)

    told = f"OKS {IOU} of the joints (of objects without labelled joints: IoU {IOU} of the boxes)"
    return Likeness("OKS", told, (truth[..., 2] > 0).any(axis=1), values, overlap)


def _in_space(
    entries: Sequence[Mapping[str, Any]], category: np.ndarray, class_names: Sequence[str]
) -> Likeness:
    truth = np.array([box3d_row(entry, "") for entry in entries]).reshape(-1, 8)
    least = np.array(min_overlaps(class_names)["loose"]["space"])

    def overlap(boxes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        _, shared = rotated_overlap(boxes, truth[rows])
        return np.where(shared > least[category[rows]], shared, 0)

    pairs = zip(class_names, least, strict=True)
    told = "more than KITTI's loose 3-D IoU (" + ", ".join(f"{n} {o:g}" for n, o in pairs)
    told += f"; of objects without a box in space: IoU {IOU} of those in the picture)"
    known = (truth[:, 3] > 0) & (truth[:, 6] != NO_ANGLE)

    def values(part: Instances) -> np.ndarray:
        return part.pred_boxes3d.tensor.double().numpy()

    return Likeness("3-D IoU", told, known, values, overlap)
