"""What COCO's keypoint scores need besides boxes: joints of ground truth and of detections.

Joints here are COCO's: pixel indices, the middle of the first pixel is (0, 0). detectron2 adds 0.5
on reading and its evaluator takes it off again; so does this one.
"""

from collections.abc import Sequence

import numpy as np
from detectron2.data import Metadata
from detectron2.structures import Instances
from numpy.typing import ArrayLike

from ..structures.skeleton import HALF_PIXEL, HOW_TO_NAME_JOINTS, Skeleton
from .box_overlap import ratio


def skeleton_of(metadata: Metadata, name: str) -> Skeleton:
    """The joints of a dataset, or an error that says how to name them."""
    skeleton = Skeleton.from_metadata(metadata, name)
    if skeleton is None:
        raise ValueError(
            f"Dataset '{name}' names no joints, so that joints cannot be scored. "
            f"{HOW_TO_NAME_JOINTS}."
        )
    return skeleton


def without_half_pixel(joints: ArrayLike) -> np.ndarray:
    """detectron2's joints (..., 3), or one after the other, as COCO's: (N, 3) float64."""
    return np.reshape(joints, (-1, 3)).astype(np.float64) - (HALF_PIXEL, HALF_PIXEL, 0)


def complete_joints(
    dataset: dict, skeleton: Skeleton, name: str, pose_ids: Sequence[int] = ()
) -> tuple[int, ...]:
    """Fill in what COCO's keypoint scoring reads; return the ids of the categories with joints.

    These are `pose_ids`; where there are none, those of annotations with joints, else all. Their
    annotations without `keypoints` get unlabelled ones, and `num_keypoints`, the number of labelled
    joints, is counted. Objects without labelled joints are neither to be found nor false when
    found. `dataset`, COCO ground truth, is changed in place.
    """
    annotations = dataset["annotations"]
    ids = list(pose_ids)
    ids = ids or sorted({a["category_id"] for a in annotations if a.get("keypoints")})
    ids = ids or [category["id"] for category in dataset["categories"]]
    count = len(skeleton.names)
    for annotation in annotations:
        if annotation["category_id"] not in ids:
            continue
        joints = annotation.get("keypoints") or [0] * (3 * count)
        if len(joints) != 3 * count:
            raise ValueError(
                f"Dataset '{name}': annotation {annotation['id']}, of image id "
                f"{annotation['image_id']}, has {len(joints)} numbers in 'keypoints', its metadata "
                f"names {count} joints (x, y, visibility each). Correct the annotation or "
                "keypoint_names"
            )
        annotation["keypoints"] = joints
        annotation["num_keypoints"] = sum(v > 0 for v in joints[2::3])
    return tuple(ids)


def detected_joints(instances: Instances, skeleton: Skeleton, where: str) -> np.ndarray:
    """Return `pred_keypoints` (N, J, 3) as COCO has them: (N, J, 3) float64 x, y, score."""
    count = len(skeleton.names)
    if not instances.has("pred_keypoints"):
        raise ValueError(
            f"{where}: joints are to be scored, and the detections have no 'pred_keypoints'. Add "
            '"pose" to MODEL.POINTS_CENTERNET.TASKS, or score boxes only (iou_types=("bbox",))'
        )
    joints = instances.pred_keypoints.detach().double().cpu().numpy()
    if joints.shape[1:] != (count, 3):
        raise ValueError(
            f"{where}: detections have {joints.shape[1]} joints, the dataset {count}. The model "
            "was made for another skeleton: set MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS 0, which "
            "takes the number from the dataset, and the weights that belong to it"
        )
    return without_half_pixel(joints).reshape(joints.shape)


def keypoint_similarity(found: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """COCO's OKS (P,) of joints (P, J, 3), pair by pair; `scale` (P, J) is sigma^2 x area."""
    labelled = (truth[..., 2] > 0).astype(float)
    square = ((found[..., :2] - truth[..., :2]) ** 2).sum(axis=2)
    return ratio((np.exp(-square / (8 * scale)) * labelled).sum(axis=1), labelled.sum(axis=1))
