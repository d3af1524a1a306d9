"""Boxes in space through the input, and the camera by which they are seen.

They serve KITTI and any camera whose records have the same keys, see `datasets/kitti.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode

from ...structures.box3d_records import box3d_row
from ...structures.boxes3d import Boxes3D, rescaled_projection
from ..checks import DatasetError
from ..datasets.kitti_labels import check_projection
from .base import GroundTruthField, MovedImage
from .boxes3d_transforms import RandomHalfJitter, affine_matrix, keeps_distances


class Boxes3DField(GroundTruthField):
    """Boxes in the camera frame, as the point task `box3d` learns them.

    `instances` gain, beside `gt_ignored` (whose classes may be -1: a region that is ignored for
    every class):

    - `gt_boxes3d`: `Boxes3D` in the camera frame, which no augmentation changes; zeros where
      `gt_ignored`;
    - `gt_3d_supervised` (P,) bool: depth and dimensions can be learned here; False for ignored ones
      and in an image that anything but its fit into the network frame (`FitTransform`) moved or
      scaled: there, objects do not seem as far as they are.

    The input gains `projection` (3, 4) float32, which leads to pixels of the file, and
    `image_projection`, to pixels of `image`. In evaluation it may be missing; the model has a
    default and says so.
    """

    annotation_columns = ("location", "dimensions", "rotation_y", "alpha")
    image_columns = ("projection",)
    keeps_ignored = True

    def rows(self, annotations: Sequence[Mapping[str, Any]], image: MovedImage) -> dict[str, Any]:
        """`gt_boxes3d` and `gt_3d_supervised`; see `box3d_row` for what may be left out.

        Raises:
            DatasetError: an object lacks a key or has values that no box in front of a camera has.
        """
        ignored = torch.tensor([bool(entry.get("ignored")) for entry in annotations]).bool()
        boxes3d = torch.zeros(len(annotations), 8)
        for row in torch.nonzero(~ignored).flatten().tolist():
            where = f"image file '{image.file_name}': annotation {row}"
            try:
                boxes3d[row] = torch.tensor(box3d_row(annotations[row], where))
            except ValueError as error:
                raise DatasetError(str(error)) from error
        return {
            "gt_boxes3d": Boxes3D(boxes3d),
            "gt_3d_supervised": ~ignored & keeps_distances(image.transforms),
        }

    def add_inputs(self, record: dict[str, Any], image: MovedImage) -> dict[str, Any]:
        """`projection` and `image_projection`.

        Raises:
            DatasetError: the record of a training image has no projection.
        """
        if record.get("projection") is None:
            if image.is_train:
                raise DatasetError(
                    f"image file '{image.file_name}': its record has no 'projection'. Add the "
                    "3 x 4 matrix that takes (x, y, z, 1) of the camera frame, in metres, to "
                    "pixels of this file"
                )
            return {key: value for key, value in record.items() if key != "projection"}
        where = f"image file '{image.file_name}': 'projection' of its record"
        projection = torch.from_numpy(check_projection(record["projection"], where))
        matrix = torch.from_numpy(affine_matrix(image.transforms))
        moved = rescaled_projection(projection, matrix).float()
        return {**record, "projection": projection.float(), "image_projection": moved}

    def build_augmentation(self, cfg: CfgNode) -> RandomHalfJitter:
        """The whole image on the network frame, a share of the images shifted and scaled.

        Raises:
            ValueError: images are to be flipped or turned.
        """
        options = cfg.INPUT
        if options.FLIP_PROBABILITY > 0:
            raise ValueError(
                f"INPUT.FLIP_PROBABILITY is {options.FLIP_PROBABILITY}: a flipped image shows "
                "another camera and other headings; set it to 0 to train 3-D boxes"
            )
        if options.CENTER_CROP.ROTATION > 0:
            raise ValueError(
                f"INPUT.CENTER_CROP.ROTATION is {options.CENTER_CROP.ROTATION}: a turned image "
                "shows a camera that leans, which 3-D boxes with one heading cannot follow; set it "
                "to 0 to train them"
            )
        return RandomHalfJitter(
            output_size=options.TRAIN_SIZE,
            resolution=options.BOX3D.RESOLUTION,
            probability=options.BOX3D.JITTER_PROBABILITY,
            shift=options.CENTER_CROP.SHIFT,
            scale=options.CENTER_CROP.SCALE,
        )
