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
from .matching import IOU, Objects


@dataclass(frozen=True)
class Judged(Objects):
    """G objects; those that are not `known` to the measure, and crowds, have boxes alone."""

    measure: str
    rule: str  # as in "a detection is right at ..."
    field: str  # of detections, which is compared
    known: np.ndarray  # (G,) bool
    least: np.ndarray  # (G,) lowest value of what is right
    compare: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (P, ...), P known rows -> (P,)

    def values(self, found: Instances) -> np.ndarray:
        """The field (D, ...) as an array."""
        return np.asarray(getattr(found.get(self.field), "tensor", found.get(self.field)), float)

    def overlaps(self, found: Any, rows: np.ndarray) -> np.ndarray:
        """As `Objects.overlaps`, of detections with `values`."""
        shared, known = super().overlaps(found, rows), (self.known & ~self.crowd)[rows]
        own = self.compare(found.values[known], rows[known])
        shared[known] = np.where(own >= self.least[rows[known]], own, 0)
        return shared


def judged(
    entries: Sequence[Mapping[str, Any]],
    objects: Objects,
    found: Sequence[Instances],
    class_names: Sequence[str],
    sigmas: Sequence[float] | None,
) -> Judged:
    """By OKS or by KITTI's overlap in space, where all detections and some objects have these.

    Others of the classes that have them are neutral. `sigmas`: tolerances of joints, () where there
    are none; None: by boxes, whatever there is.
    """
    fields = set.intersection(*({*part.get_fields()} for part in found)) if found else set()
    blank = (np.zeros(len(objects), bool), np.full(len(objects), IOU), lambda found, rows: found)
    told, how = ("IoU", f"IoU {IOU} of the boxes in the picture", "scores"), blank
    if sigmas is not None and "pred_boxes3d" in fields:
        boxes = np.array([box3d_row(entry, "") for entry in entries]).reshape(-1, 8)
        loose = min_overlaps(class_names)["loose"]["space"]
        each = ", ".join(f"{o:g} of {name}" for name, o in zip(class_names, loose, strict=True))
        rule = f"more than KITTI's loose IoU in space: {each}; objects without such a box are"
        rule += " neutral"
        least = np.nextafter(loose, 1)[objects.category]
        if (known := (boxes[:, 3] > 0) & (boxes[:, 6] != NO_ANGLE)).any():
            told = ("3-D IoU", rule, "pred_boxes3d")
            how = (known, least, lambda found, rows: rotated_overlap(found, boxes[rows])[1])
    if sigmas and "pred_keypoints" in fields:
        joints, _ = source_joints(entries, len(sigmas), "")
        joints[..., :2] += HALF_PIXEL  # as those of detections
        areas = np.array([entry.get("area") or 0 for entry in entries])
        areas = np.where(areas > 0, areas, box_area(objects.boxes)) + np.spacing(1)
        if (labelled := (joints[..., 2] > 0).any(axis=1)).any():
            rule = f"OKS {IOU} of the joints; objects without labelled joints are neutral"
            told, sizes = ("OKS", rule, "pred_keypoints"), np.square(sigmas) * areas[:, None]
            how = (labelled, blank[1], lambda f, r: keypoint_similarity(f, joints[r], sizes[r]))
    same = np.isin(objects.category, objects.category[how[0]])
    columns = vars(objects) | {"difficult": objects.difficult | same & ~how[0]}
    return Judged(*columns.values(), *told, *how)
