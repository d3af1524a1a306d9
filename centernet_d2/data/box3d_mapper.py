"""Dataset record with a projection and 3-D boxes -> image and ground truth in the network frame.

It serves KITTI and any camera whose records have the same keys, see `datasets/kitti.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data.transforms import AugInput, Augmentation, AugmentationList, TransformList
from detectron2.structures import Boxes, Instances
from fvcore.transforms.transform import Transform

from ..structures.box3d_records import box3d_row
from ..structures.boxes3d import Boxes3D, rescaled_projection
from .box3d_transforms import RandomHalfJitter, affine_matrix, keeps_distances
from .checks import DatasetError, check_image_size
from .color import RandomColor
from .datasets.kitti_labels import check_projection
from .images import read_image
from .mappers import source_boxes


class Box3dMapper:
    """Maps one record with 3-D boxes to what a detector with the point task `box3d` takes.

    In training `image` is the network frame and `instances` hold, for the P objects and ignored
    regions of which a part is inside it:

    - `gt_boxes` (XYXY in the network frame) and `gt_classes` (int64; -1: a region that is ignored
      for every class);
    - `gt_boxes3d`: `Boxes3D` in the camera frame, which no augmentation changes; zeros where
      `gt_ignored`;
    - `gt_ignored` (P,) bool: neither object nor background;
    - `gt_3d_supervised` (P,) bool: depth and dimensions can be learnt here; False for ignored ones
      and in an image that anything but its fit into the network frame (`FitTransform`) moved or
      scaled: there, objects do not seem as far as they are.

    In evaluation `image` is as it is, and there are no instances. In both, `projection` (3, 4)
    float32 leads to pixels of the file, and `image_projection` to pixels of `image`.

    All randomness comes from numpy's global state.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[Augmentation | Transform] = (),
    ):
        """Args are explicit; `from_config` builds them from INPUT.

        Args:
            is_train: attach ground truth and augment.
            augmentations: applied in order, in training only; shifts, scales and colors, but no
                flip and no rotation, which would need another camera. Boxes and projection follow
                any shift and scale; depth and dimensions are learnt without, see
                `gt_3d_supervised`.
        """
        self.is_train = is_train
        self.augmentations = AugmentationList(augmentations if is_train else ())

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Read INPUT; raises ValueError for a FORMAT, flip or turn that cannot be followed."""
        options = cfg.INPUT
        if options.FORMAT != "BGR":
            raise ValueError(
                f"INPUT.FORMAT is {options.FORMAT!r}: images are read, augmented and normalised "
                "as 'BGR'; set it so"
            )
        if is_train and options.FLIP_PROBABILITY > 0:
            raise ValueError(
                f"INPUT.FLIP_PROBABILITY is {options.FLIP_PROBABILITY}: a flipped image shows "
                "another camera and other headings; set it to 0 to train 3-D boxes"
            )
        if is_train and options.CENTER_CROP.ROTATION > 0:
            raise ValueError(
                f"INPUT.CENTER_CROP.ROTATION is {options.CENTER_CROP.ROTATION}: a turned image "
                "shows a camera that leans, which 3-D boxes with one heading cannot follow; set it "
                "to 0 to train them"
            )
        return {
            "is_train": is_train,
            "augmentations": build_box3d_augmentations(cfg) if is_train else (),
        }

    def __call__(self, dataset_dict: dict) -> dict:
        """Return a new dict; the given record stays as it is.

        Raises:
            FileNotFoundError, ImageFileError, DatasetError: naming the file and the cure.
        """
        annotations = dataset_dict.get("annotations", [])
        record = {k: copy.deepcopy(v) for k, v in dataset_dict.items() if k != "annotations"}
        file_name = record["file_name"]
        image = read_image(file_name, upright=not record.get("as_stored", False))
        height, width = image.shape[:2]
        recorded = (record.get("width", width), record.get("height", height))
        check_image_size(file_name, recorded, (width, height))
        record["height"], record["width"] = height, width

        augmented = AugInput(image)
        transforms = self.augmentations(augmented)
        image = augmented.image
        record["image"] = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        self._add_projections(record, transforms)
        if self.is_train:
            size = (int(image.shape[0]), int(image.shape[1]))
            record["instances"] = box3d_instances(annotations, transforms, size, file_name)
        return record

    def _add_projections(self, record: dict, transforms: TransformList) -> None:
        if record.get("projection") is None:
            if self.is_train:
                raise DatasetError(
                    f"image file '{record['file_name']}': its record has no 'projection'. Add the "
                    "3 x 4 matrix that takes (x, y, z, 1) of the camera frame, in metres, to "
                    "pixels of this file"
                )
            record.pop("projection", None)  # the model has a default and says so
            return
        where = f"image file '{record['file_name']}': 'projection' of its record"
        projection = torch.from_numpy(check_projection(record["projection"], where))
        matrix = torch.from_numpy(affine_matrix(transforms))
        record["projection"] = projection.float()
        record["image_projection"] = rescaled_projection(projection, matrix).float()


def build_box3d_augmentations(cfg: CfgNode) -> list[Augmentation]:
    """Return the training augmentations of INPUT: the network frame with jitter, then colour."""
    options = cfg.INPUT
    augmentations: list[Augmentation] = [
        RandomHalfJitter(
            output_size=options.TRAIN_SIZE,
            resolution=options.BOX3D.RESOLUTION,
            probability=options.BOX3D.JITTER_PROBABILITY,
            shift=options.CENTER_CROP.SHIFT,
            scale=options.CENTER_CROP.SCALE,
        )
    ]
    if options.COLOR_JITTER > 0 or options.PCA_LIGHTING > 0:
        augmentations.append(RandomColor(options.COLOR_JITTER, options.PCA_LIGHTING))
    return augmentations


def box3d_instances(
    annotations: Sequence[dict],
    transforms: TransformList,
    image_size: tuple[int, int],
    file_name: str,
) -> Instances:
    """Return the ground truth of one image, see `Box3dMapper`.

    Args:
        annotations: P dicts, see `datasets/kitti.py` and, for what may be left out, `box3d_row`.
        transforms: from the file's frame to the network frame.
        image_size: (height, width) of the network frame.
        file_name: for messages.

    Raises:
        DatasetError: an object lacks a key or has values that no box in front of a camera has.
    """
    ignored = np.array([bool(entry.get("ignored", False)) for entry in annotations], dtype=bool)
    boxes3d = torch.zeros(len(annotations), 8)
    for row, annotation in enumerate(annotations):
        if not ignored[row]:
            boxes3d[row] = torch.tensor(_box3d_row(annotation, row, file_name))
    boxes = source_boxes(list(annotations), file_name)
    visible = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes = transforms.apply_box(boxes).reshape(-1, 4)
    height, width = image_size
    visible &= (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    rows = torch.from_numpy(np.flatnonzero(visible))
    classes = np.array([entry["category_id"] for entry in annotations], dtype=np.int64)

    instances = Instances(image_size)
    instances.gt_boxes = Boxes(torch.as_tensor(boxes[visible], dtype=torch.float32))
    instances.gt_classes = torch.from_numpy(classes[visible])
    instances.gt_boxes3d = Boxes3D(boxes3d[rows])
    instances.gt_ignored = torch.from_numpy(ignored[visible])
    instances.gt_3d_supervised = ~instances.gt_ignored & keeps_distances(transforms)
    return instances


def _box3d_row(annotation: dict, row: int, file_name: str) -> list[float]:
    try:
        return box3d_row(annotation, f"image file '{file_name}': annotation {row}")
    except ValueError as error:
        raise DatasetError(str(error)) from error
