"""Dataset record -> image and ground truth in the network frame.

Nothing here knows a stride, a number of classes or a detector.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.transforms import AugInput, Augmentation, AugmentationList
from detectron2.structures import Boxes, BoxMode, Instances, Keypoints
from fvcore.transforms.transform import Transform

from ..structures.skeleton import check_flip_indices, missing_flip_map
from .checks import DatasetError, check_image_size
from .color import RandomColor
from .datasets.skeletons import skeleton_of
from .images import read_image
from .joints import move_joints, source_joints
from .transforms import RandomCenterCrop, RandomFlip


class DetectionMapper:
    """Maps one standard dataset record to what a detector takes.

    In training: the augmented image in the network frame and `instances` with `gt_boxes` (XYXY) and
    `gt_classes` (int64). Boxes reach over the image where the crop cuts them (targets clip, each in
    its own way); those without any part inside are left out. Images without objects are kept. In
    evaluation: the image as it is, and no instances.

    With joints, `instances` have `gt_keypoints` besides: `Keypoints` (P, J, 3) float32, x and y as
    pixel indices of the network frame, visibility 0 (not labelled, or outside the frame: 0, 0, 0),
    1 (covered) or 2; and `gt_without_joints` (P,) bool: objects whose annotation has joints and
    labels none of them, which is not the same as having all of them outside the frame.

    All randomness comes from numpy's global state, so that a sample is repeated by seeding it.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[Augmentation | Transform] = (),
        crowd_as_objects: bool = True,
        difficult_as_objects: bool = True,
        num_joints: int = 0,
        flip_indices: Sequence[int] = (),
    ):
        """Args are explicit; `from_config` builds them from INPUT.

        Args:
            is_train: attach ground truth and augment.
            augmentations: applied in order, in training only.
            crowd_as_objects: crowd regions are objects (as in the published training) or left out.
            difficult_as_objects: VOC's difficult objects likewise.
            num_joints: J; 0: annotations are taken without their joints.
            flip_indices: the joint that takes each one's place in a flipped image.
        """
        check_flip_indices(flip_indices, num_joints)
        self.is_train = is_train
        self.augmentations = AugmentationList(augmentations if is_train else ())
        self.crowd_as_objects = crowd_as_objects
        self.difficult_as_objects = difficult_as_objects
        self.num_joints = num_joints
        self.flip_indices = tuple(flip_indices)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Read INPUT and, with the point task "pose", what the model says of the joints.

        Raises:
            ValueError: FORMAT is one that the transforms are not made for, or joints are to be
                flipped and their pairs are not known.
        """
        if cfg.INPUT.FORMAT != "BGR":
            raise ValueError(
                f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}: images are read, augmented and normalised "
                "as 'BGR'; set it so"
            )
        joints = {}
        if is_train and "pose" in cfg.MODEL.POINTS_CENTERNET.TASKS:
            joints = _joint_arguments(
                cfg.MODEL.POINTS_CENTERNET.POSE,
                cfg.DATASETS.TRAIN,
                flipped=cfg.INPUT.FLIP_PROBABILITY > 0,
            )
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg) if is_train else (),
            "crowd_as_objects": cfg.INPUT.CROWD_AS_OBJECTS,
            "difficult_as_objects": cfg.INPUT.DIFFICULT_AS_OBJECTS,
            **joints,
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Return a new dict; the given record stays as it is.

        Raises:
            FileNotFoundError, ImageFileError, DatasetError: naming the file and the cure.
        """
        annotations = dataset_dict.get("annotations", [])
        record = {k: copy.deepcopy(v) for k, v in dataset_dict.items() if k != "annotations"}
        image = read_image(record["file_name"], upright=not record.get("as_stored", False))
        height, width = image.shape[:2]
        recorded = (record.get("width", width), record.get("height", height))
        check_image_size(record["file_name"], recorded, (width, height))
        record["height"], record["width"] = height, width

        augmented = AugInput(image)
        transforms = self.augmentations(augmented)
        image = augmented.image
        record["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        if self.is_train:
            record["instances"] = self._instances(
                annotations, transforms, image.shape[:2], record["file_name"]
            )
        return record

    def _instances(
        self,
        annotations: list[dict],
        transforms: Transform,
        image_size: tuple[int, int],
        file_name: str,
    ) -> Instances:
        kept = [
            annotation
            for annotation in annotations
            if (self.crowd_as_objects or not annotation.get("iscrowd", 0))
            and (self.difficult_as_objects or not annotation.get("difficult", 0))
            and not annotation.get("ignored", False)  # of KITTI: neither object nor background
        ]
        boxes = source_boxes(kept, file_name)
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # COCO has a few boxes of zero width
        boxes = transforms.apply_box(boxes).reshape(-1, 4)
        height, width = image_size
        seen &= (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        classes = np.array([annotation["category_id"] for annotation in kept], dtype=np.int64)
        instances = Instances((int(height), int(width)))
        instances.gt_boxes = Boxes(torch.as_tensor(boxes[seen], dtype=torch.float32))
        instances.gt_classes = torch.from_numpy(classes[seen])
        if self.num_joints:
            joints, without = source_joints(kept, self.num_joints, file_name)
            joints = move_joints(joints, transforms, image_size, self.flip_indices, file_name)
            instances.gt_keypoints = Keypoints(torch.from_numpy(joints[seen]))
            instances.gt_without_joints = torch.from_numpy(without[seen])
        return instances


def _joint_arguments(pose: CfgNode, datasets: Sequence[str], *, flipped: bool) -> dict:
    """Check what the config says of joints (its POSE block) against what the input does."""
    source = f"dataset '{', '.join(datasets)}'"
    if pose.NUM_JOINTS <= 0:
        raise ValueError(
            f"MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS is {pose.NUM_JOINTS}: call "
            f"centernet_d2.setup(cfg), which takes the number from {source}, or set it"
        )
    if flipped and not pose.FLIP_INDICES:
        skeleton = skeleton_of(datasets[0]) if datasets else None
        names = skeleton.names if skeleton else [f"{pose.NUM_JOINTS} joints"]
        raise ValueError(
            missing_flip_map(source, names) + ": INPUT.FLIP_PROBABILITY 0.0 and TEST.FLIP False"
        )
    return {"num_joints": pose.NUM_JOINTS, "flip_indices": pose.FLIP_INDICES}


def build_augmentations(cfg: CfgNode) -> list[Augmentation]:
    """Return the training augmentations of INPUT: flip, crop to the network frame, colour.

    The flip comes before the crop as in the published points code, whose crop centre is flipped
    with the image. The published corner code flips the crop, which shows the same one pixel
    further to the left.
    """
    options = cfg.INPUT
    augmentations: list[Augmentation] = []
    if options.FLIP_PROBABILITY > 0:
        augmentations.append(RandomFlip(options.FLIP_PROBABILITY, options.FLIP_CONVENTION))
    augmentations.append(
        RandomCenterCrop(
            output_size=options.TRAIN_SIZE,
            mode=options.CENTER_CROP,
            scales=options.CROP_SCALES,
            border=options.CROP_BORDER,
            shift=options.SHIFT,
            scale=options.SCALE,
            base=options.CROP_BASE,
            rotation=options.ROTATION,
            rotation_probability=options.ROTATION_PROBABILITY,
        )
    )
    if options.COLOR_JITTER > 0 or options.PCA_LIGHTING > 0:
        augmentations.append(RandomColor(options.COLOR_JITTER, options.PCA_LIGHTING))
    return augmentations


def source_boxes(annotations: list[dict], file_name: str) -> np.ndarray:
    """Return (N, 4) XYXY float64 boxes in the frame of the file."""
    boxes = np.zeros((len(annotations), 4))
    for row, annotation in enumerate(annotations):
        boxes[row] = annotation["bbox"]
    modes = np.array([annotation["bbox_mode"] for annotation in annotations], dtype=np.int64)
    for mode in np.unique(modes):  # one mode, in all data sets known
        rows = modes == mode
        boxes[rows] = BoxMode.convert(boxes[rows], BoxMode(int(mode)), BoxMode.XYXY_ABS)
    bad = ~np.isfinite(boxes).all(axis=1)
    if bad.any():
        raise DatasetError(
            f"image file '{file_name}': annotation {int(np.flatnonzero(bad)[0])} has 'bbox' "
            f"{annotations[int(np.flatnonzero(bad)[0])]['bbox']}: correct it or remove the "
            "annotation"
        )
    return boxes
