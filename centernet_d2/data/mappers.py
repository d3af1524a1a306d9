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
from detectron2.structures import Boxes, BoxMode, Instances
from fvcore.transforms.transform import Transform

from .checks import DatasetError, check_image_size
from .color import RandomColor
from .images import read_image
from .transforms import RandomCenterCrop, RandomFlip


class DetectionMapper:
    """Maps one standard dataset record to what a detector takes.

    In training: the augmented image in the network frame and `instances` with `gt_boxes` (XYXY) and
    `gt_classes` (int64). Boxes reach over the image where the crop cuts them (targets clip, each in
    its own way); those without any part inside are left out. Images without objects are kept. In
    evaluation: the image as it is, and no instances.

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
    ):
        """Args are explicit; `from_config` builds them from INPUT.

        Args:
            is_train: attach ground truth and augment.
            augmentations: applied in order, in training only.
            crowd_as_objects: crowd regions are objects (as in the published training) or left out.
            difficult_as_objects: VOC's difficult objects likewise.
        """
        self.is_train = is_train
        self.augmentations = AugmentationList(augmentations if is_train else ())
        self.crowd_as_objects = crowd_as_objects
        self.difficult_as_objects = difficult_as_objects

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Read INPUT; raises ValueError for a FORMAT that the transforms are not made for."""
        if cfg.INPUT.FORMAT != "BGR":
            raise ValueError(
                f"INPUT.FORMAT is {cfg.INPUT.FORMAT!r}: images are read, augmented and normalised "
                "as 'BGR'; set it so"
            )
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg) if is_train else (),
            "crowd_as_objects": cfg.INPUT.CROWD_AS_OBJECTS,
            "difficult_as_objects": cfg.INPUT.DIFFICULT_AS_OBJECTS,
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
        ]
        boxes = _source_boxes(kept, file_name)
        visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # COCO has a few boxes of zero width
        boxes = transforms.apply_box(boxes).reshape(-1, 4)
        height, width = image_size
        visible &= (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        classes = np.array([annotation["category_id"] for annotation in kept], dtype=np.int64)
        instances = Instances((int(height), int(width)))
        instances.gt_boxes = Boxes(torch.as_tensor(boxes[visible], dtype=torch.float32))
        instances.gt_classes = torch.from_numpy(classes[visible])
        return instances


def build_augmentations(cfg: CfgNode) -> list[Augmentation]:
    """Return the training augmentations of INPUT: mirror, crop to the network frame, colour.

    The mirror comes before the crop as in the published points code, whose crop centre is mirrored
    with the image. The published corner code mirrors the crop, which shows the same one pixel
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
        )
    )
    if options.COLOR_JITTER > 0 or options.PCA_LIGHTING > 0:
        augmentations.append(RandomColor(options.COLOR_JITTER, options.PCA_LIGHTING))
    return augmentations


def _source_boxes(annotations: list[dict], file_name: str) -> np.ndarray:
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
