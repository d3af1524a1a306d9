"""Dataset record -> image and ground truth in the network frame.

Nothing here knows a stride, a number of classes, a detector or a task.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.transforms import AugInput, Augmentation, AugmentationList
from detectron2.structures import Boxes, Instances
from fvcore.transforms.transform import Transform

from .checks import DatasetError, check_image_size
from .color import RandomColor
from .fields.base import GroundTruthField, MovedImage, build_fields, source_boxes
from .images import read_image
from .transforms import RandomCenterCrop, RandomFlip


class DetectionMapper:
    """Maps one standard dataset record to what a detector takes.

    In training: the augmented image in the network frame and `instances` with `gt_boxes` (XYXY),
    `gt_classes` (int64) and what the fields add. Boxes reach over the image where the crop cuts
    them (targets clip, each in its own way); objects without any part inside are left out, images
    without objects are kept. In evaluation: the image as it is, and no instances. All randomness
    comes from numpy's global state, so that a sample is repeated by seeding it.
    """

    read_image = staticmethod(read_image)

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[Augmentation | Transform] = (),
        crowd_as_objects: bool = True,
        difficult_as_objects: bool = True,
        fields: Sequence[GroundTruthField] = (),
    ):
        """Or from a config; crowd regions and VOC's difficult objects may be left out."""
        self.is_train = is_train
        self.augmentations = AugmentationList(augmentations if is_train else ())
        self.crowd_as_objects = crowd_as_objects
        self.difficult_as_objects = difficult_as_objects
        self.fields = list(fields)
        self.keeps_ignored = any(field.keeps_ignored for field in self.fields)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        fields = build_fields(cfg)
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, fields) if is_train else (),
            "crowd_as_objects": cfg.INPUT.CROWD_AS_OBJECTS,
            "difficult_as_objects": cfg.INPUT.DIFFICULT_AS_OBJECTS,
            "fields": fields,
        }

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return a new dict; the given record stays as it is.

        Raises:
            FileNotFoundError, ImageFileError, DatasetError: naming the file and the cure.
        """
        annotations = dataset_dict.get("annotations", [])
        record = {k: copy.deepcopy(v) for k, v in dataset_dict.items() if k != "annotations"}
        require_file_names([record], f"image {record.get('image_id', '?')}")
        image = self.read_image(record["file_name"], upright=not record.get("as_stored", False))
        height, width = image.shape[:2]
        recorded = (record.get("width", width), record.get("height", height))
        check_image_size(record["file_name"], recorded, (width, height))
        record["height"], record["width"] = height, width

        augmented = AugInput(image)
        transforms = self.augmentations(augmented)
        image = augmented.image
        # Its memory stays (height, width, 3), which the canvas of a batch has too.
        record["image"] = torch.from_numpy(np.require(image, None, "CW")).permute(2, 0, 1)
        size = (int(image.shape[0]), int(image.shape[1]))
        moved = MovedImage(record["file_name"], transforms, size, self.is_train)
        for field in self.fields:
            record = field.add_inputs(record, moved)
        if self.is_train:
            record["instances"] = self._instances(annotations, moved)
        return record

    def _instances(self, annotations: Sequence[Mapping[str, Any]], image: MovedImage) -> Instances:
        annotations = [entry for entry in annotations if self._is_kept(entry)]
        boxes = source_boxes(annotations, image.file_name)
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # COCO has a few boxes of zero width
        boxes = image.transforms.apply_box(boxes).reshape(-1, 4)
        height, width = image.size
        seen &= (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        classes = np.array([entry["category_id"] for entry in annotations], dtype=np.int64)
        instances = Instances(image.size)
        instances.gt_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32))
        instances.gt_classes = torch.from_numpy(classes)
        if self.keeps_ignored:
            ignored = [bool(entry.get("ignored")) for entry in annotations]
            instances.gt_ignored = torch.tensor(ignored, dtype=torch.bool)
        for field in self.fields:
            try:
                rows = field.rows(annotations, image)
            except KeyError as error:
                if not error.args or error.args[0] not in field.annotation_columns:
                    raise
                raise DatasetError(
                    f"image file '{image.file_name}': an annotation has no '{error.args[0]}', "
                    f"which {type(field).__name__} reads. Add it; COCO files are read with it as "
                    "'coco:<json>:<image dir>', by detectron2's own loader with "
                    "extra_annotation_keys"
                ) from error
            for name, value in rows.items():
                instances.set(name, value)
        return instances[torch.from_numpy(seen)]

    def _is_kept(self, annotation: Mapping[str, Any]) -> bool:
        if annotation.get("ignored"):  # of KITTI: neither object nor background
            return self.keeps_ignored
        return bool(
            (self.crowd_as_objects or not annotation.get("iscrowd", 0))
            and (self.difficult_as_objects or not annotation.get("difficult", 0))
        )


def require_file_names(records: Sequence[Mapping[str, Any]], source: str) -> None:
    """Raise DatasetError of records that a `DetectionMapper` cannot read; `source` begins it."""
    if without := sum(not record.get("file_name") for record in records):
        raise DatasetError(
            f"{source}: {without} of {len(records)} records have no 'file_name'. Give each record "
            "the path of its image, or train and evaluate with a mapper of your own that has the "
            "images from elsewhere"
        )


def build_augmentations(
    cfg: CfgNode, fields: Sequence[GroundTruthField] = ()
) -> list[Augmentation | Transform]:
    """Return the training augmentations of INPUT: flip, crop to the network frame, colour.

    The flip comes before the crop as in the published points code, whose crop centre is flipped
    with the image. The published corner code flips the crop, which shows the same one pixel further
    to the left. A field may have its own way to the network frame in place of flip and crop.
    """
    options = cfg.INPUT
    own = (a for field in fields if (a := field.build_augmentation(cfg)) is not None)
    augmentations: list[Augmentation | Transform] = [*own][:1]
    if not augmentations:
        if options.FLIP_PROBABILITY > 0:
            augmentations.append(RandomFlip(options.FLIP_PROBABILITY, options.FLIP_CONVENTION))
        crop = {key.lower(): value for key, value in options.CENTER_CROP.items()}
        augmentations.append(RandomCenterCrop(options.TRAIN_SIZE, **crop))
    if options.COLOR_JITTER > 0 or options.PCA_LIGHTING > 0:
        augmentations.append(RandomColor(options.COLOR_JITTER, options.PCA_LIGHTING))
    return augmentations
