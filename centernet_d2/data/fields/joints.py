"""Joints through the input: from a dataset record to the network frame, exactly as the pixels go.

Two conventions meet here. detectron2's records count x from the left *edge* of the first pixel (its
loader adds 0.5 to what a COCO JSON says); the network frame, as the JSON, counts from the *middle*
of the first pixel (pixel indices). `source_joints` takes the half pixel off, and `move_points`
knows which transforms want it back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Keypoints
from fvcore.transforms.transform import Transform, TransformList

from ...structures.skeleton import (
    HALF_PIXEL,
    HOW_TO_NAME_JOINTS,
    check_flip_indices,
    missing_flip_map,
)
from ..checks import DatasetError
from ..datasets.skeletons import skeleton_of
from .base import GroundTruthField, MovedImage

NO_FLIPS = "(INPUT.FLIP_PROBABILITY 0.0, TEST.FLIP False)"
"""How to do without flips, for messages."""


class JointsField(GroundTruthField):
    """Joints of each object, as the point task `pose` learns them.

    `gt_keypoints`: `Keypoints` (P, J, 3) float32, x and y as pixel indices of the network frame,
    visibility 0 (not labelled, or outside the frame: 0, 0, 0), 1 (covered) or 2. And
    `gt_without_joints` (P,) bool: objects whose annotation has joints and labels none of them,
    which is not the same as having all of them outside the frame.
    """

    annotation_columns = ("keypoints",)

    def __init__(self, *, num_joints: int, flip_indices: Sequence[int] = ()) -> None:
        """`flip_indices`: the joint in each one's place in a flipped image; (): not known."""
        check_flip_indices(flip_indices, num_joints)
        self.num_joints = num_joints
        self.flip_indices = tuple(flip_indices)

    def rows(self, annotations: Sequence[Mapping[str, Any]], image: MovedImage) -> dict[str, Any]:
        joints, without = source_joints(annotations, self.num_joints, image.file_name)
        joints = torch.from_numpy(move_joints(joints, image, self.flip_indices))
        without = torch.from_numpy(without)
        return {"gt_keypoints": Keypoints(joints), "gt_without_joints": without}

    def check_records(self, records: Sequence[Mapping[str, Any]], source: str) -> None:
        labelled = (
            np.any(np.ravel(annotation["keypoints"])[2::3])
            for record in records
            for annotation in record.get("annotations", ())
            if "keypoints" in annotation
        )
        if not any(labelled):
            raise ValueError(
                "DATASETS.TRAIN: MODEL.POINTS_CENTERNET.TASKS has 'pose', and no annotation of "
                f"{source} has a labelled joint in its 'keypoints'. {HOW_TO_NAME_JOINTS}. To "
                "learn boxes alone set TASKS ['box2d']"
            )

    def build_augmentation(self, cfg: CfgNode) -> None:
        """The usual crop; raises where the joints, or what a flip exchanges, are not known."""
        source = f"dataset '{', '.join(cfg.DATASETS.TRAIN)}'"
        if self.num_joints <= 0:
            raise ValueError(
                f"MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS is {self.num_joints}: call "
                f"centernet_d2.setup(cfg), which takes the number from {source}, or set it"
            )
        if cfg.INPUT.FLIP_PROBABILITY > 0 and not self.flip_indices:
            skeleton = skeleton_of(cfg.DATASETS.TRAIN[0]) if cfg.DATASETS.TRAIN else None
            names = skeleton.names if skeleton else [f"{self.num_joints} joints"]
            raise ValueError(f"{missing_flip_map(source, names)} {NO_FLIPS}")


def source_joints(
    annotations: Sequence[Mapping[str, Any]], num_joints: int, file_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the joints of a record's N annotations, and whose annotation labels none of them.

    (N, J, 3) float64 in pixel indices of the file, unlabelled joints 0, 0, 0; and (N,) bool, True
    where "keypoints" is there and labels no joint.
    """
    joints = np.zeros((len(annotations), num_joints, 3))
    without = np.zeros(len(annotations), dtype=bool)
    for row, annotation in enumerate(annotations):
        if "keypoints" not in annotation:
            continue
        values = np.asarray(annotation["keypoints"], dtype=np.float64)
        if values.size != 3 * num_joints:
            raise DatasetError(
                f"image file '{file_name}': 'keypoints' of annotation {row} has {values.size} "
                f"numbers, {num_joints} joints take {3 * num_joints} (x, y, visibility). Correct "
                "the annotation, or set MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS to the dataset's "
                "number (0: from its metadata)"
            )
        joints[row] = values.reshape(num_joints, 3)
        without[row] = not (joints[row, :, 2] > 0).any()
    joints[..., :2] -= HALF_PIXEL
    joints[~(joints[..., 2] > 0)] = 0
    bad = ~np.isfinite(joints).all(axis=(1, 2))
    if bad.any():
        raise DatasetError(
            f"image file '{file_name}': 'keypoints' of annotation {int(np.flatnonzero(bad)[0])} "
            "has a labelled joint at NaN or infinity: correct it, or give it visibility 0"
        )
    return joints, without


def move_joints(joints: np.ndarray, image: MovedImage, flip_indices: Sequence[int]) -> np.ndarray:
    """Move (N, J, 3) joints of `source_joints` with their image; a flip exchanges left and right.

    Returns (N, J, 3) float32. Joints outside the new image (published: inside is x in [0, width), y
    in [0, height)) become unlabelled, as if they had never been annotated: 0, 0, 0.
    """
    moved = joints.copy()
    points = joints[..., :2].reshape(-1, 2)
    moved[..., :2] = move_points(image.transforms, points).reshape(*joints.shape[:2], 2)
    if is_flipped(image.transforms):
        if len(flip_indices) != joints.shape[1]:
            raise DatasetError(
                f"image file '{image.file_name}' was flipped, and nothing says which joints become "
                f"which: {len(flip_indices)} flip indices for {joints.shape[1]} joints. Give the "
                "dataset's metadata a keypoint_flip_map, or use no flip "
                "(INPUT.FLIP_PROBABILITY 0.0)"
            )
        moved = moved[:, list(flip_indices)]
    moved = moved.astype(np.float32)  # before the comparison, which rounding could undo
    height, width = image.size
    inside = ((moved[..., :2] >= 0) & (moved[..., :2] < (width, height))).all(axis=-1)
    moved[~(inside & (moved[..., 2] > 0))] = 0
    return moved


def move_points(transforms: Transform, points: np.ndarray) -> np.ndarray:
    """Move (N, 2) points (x, y) in pixel indices to where the pixels under them went.

    detectron2's transforms take coordinates from the edge of the first pixel, this package's (which
    say so by `in_pixel_indices`) from its middle.
    """
    if isinstance(transforms, TransformList):
        for transform in transforms.transforms:
            points = move_points(transform, points)
        return points
    half = 0.0 if getattr(transforms, "in_pixel_indices", False) else HALF_PIXEL
    return np.asarray(transforms.apply_coords(points + half)) - half


def is_flipped(transforms: Transform) -> bool:
    """Whether left and right hands look exchanged: three points change their sense of rotation."""
    origin, right, down = move_points(transforms, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    (a, b), (c, d) = right - origin, down - origin
    return bool(a * d - b * c < 0)
