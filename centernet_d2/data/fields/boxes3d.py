"""Boxes in space through the input, and the camera by which they are seen.

They serve KITTI and any camera whose records have the same keys, see `datasets/kitti.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from ...progress import tell_once
from ...structures.box3d_records import box3d_row
from ...structures.boxes3d import Boxes3D, rescaled_projection
from ...structures.cameras import checked_projection
from ..checks import DatasetError
from ..checks3d import Labels3D, NetworkFrame, check_labels3d
from ..images import read_image_size
from .base import GroundTruthField, MovedImage, source_boxes
from .boxes3d_transforms import RandomHalfJitter, affine_matrix, keeps_distances


class Boxes3DField(GroundTruthField):
    """Boxes in the camera frame, as the point task `box3d` learns them.

    `instances` gain, beside `gt_ignored` (whose classes may be -1: a region that is ignored for
    every class):

    - `gt_boxes3d`: `Boxes3D` in the camera frame, which no augmentation changes; zeros where
      `gt_ignored`, and KITTI's marks (`NO_BOX3D`) of objects that have none;
    - `gt_3d_supervised` (P,) bool: depth and dimensions can be learned here; False for ignored
      objects, those without a 3-D box in front of the camera, and in an image that anything but its
      fit into the network frame (`FitTransform`) moved or scaled: there, objects do not seem as far
      as they are.

    The input gains `projection` (3, 4) float32, which leads to pixels of the file, and
    `image_projection`, to pixels of `image`. In evaluation it may be missing; the model has a
    default and says so.
    """

    annotation_columns = ("location", "dimensions", "rotation_y", "alpha")
    image_columns = ("projection",)
    keeps_ignored = True

    def __init__(
        self, *, training: NetworkFrame | None = None, evaluation: NetworkFrame | None = None
    ) -> None:
        """Take what the network will see of images, to say what that leaves out; None: all."""
        self.training, self.evaluation = training, evaluation

    def rows(self, annotations: Sequence[Mapping[str, Any]], image: MovedImage) -> dict[str, Any]:
        boxes3d = torch.tensor(_rows_of(annotations, image.file_name)).float().reshape(-1, 8)
        placed = (boxes3d[:, 2] > 0) & (boxes3d[:, 3:6] > 0).all(dim=1)
        supervised = placed & keeps_distances(image.transforms)
        return {"gt_boxes3d": Boxes3D(boxes3d), "gt_3d_supervised": supervised}

    def add_inputs(self, record: dict[str, Any], image: MovedImage) -> dict[str, Any]:
        found = _projection_of(record, required=image.is_train)
        if found is None:
            return {key: value for key, value in record.items() if key != "projection"}
        projection = torch.from_numpy(found)
        matrix = torch.from_numpy(affine_matrix(image.transforms))
        moved = rescaled_projection(projection, matrix).float()
        return {**record, "projection": projection.float(), "image_projection": moved}

    def check_records(self, records: Sequence[Mapping[str, Any]], source: str) -> None:
        _check(records, source, self.training, trained=True)

    def check_test_records(self, records: Sequence[Mapping[str, Any]], source: str) -> None:
        _check(records, source, self.evaluation, trained=False)

    def build_augmentation(self, cfg: CfgNode) -> RandomHalfJitter:
        options, crop, box3d = cfg.INPUT, cfg.INPUT.CENTER_CROP, cfg.INPUT.BOX3D
        moves = {
            "FLIP_PROBABILITY": (options.FLIP_PROBABILITY, "a flipped image shows another camera"),
            "CENTER_CROP.ROTATION": (crop.ROTATION, "a turned image shows a camera that leans"),
        }
        for key, (value, why) in moves.items():
            if value > 0:
                raise ValueError(
                    f"INPUT.{key} is {value}: {why} and other headings, which 3-D boxes cannot "
                    "follow; set it to 0 to train them"
                )
        moved = {"probability": box3d.JITTER_PROBABILITY, "shift": crop.SHIFT, "scale": crop.SCALE}
        return RandomHalfJitter(options.TRAIN_SIZE, box3d.RESOLUTION, **moved)


def gather_labels(records: Sequence[Mapping[str, Any]], *, need_projection: bool) -> Labels3D:
    """The objects of records that are not ignored."""
    boxes, boxes3d, places, cameras = [np.zeros((0, 4))], [], [], []
    for record in records:
        name, entries = record["file_name"], record.get("annotations", ())
        projection = _projection_of(record, required=need_projection)
        places += [(len(cameras) if projection is not None else -1, k) for k in range(len(entries))]
        if projection is not None:
            size = record.get("width"), record.get("height")
            cameras.append((size if all(size) else read_image_size(name), projection, name))
        boxes3d += _rows_of(entries, name)
        boxes.append(source_boxes(entries, name))
    sizes, projections, names = zip(*cameras, strict=True) if cameras else ((), (), ())
    labels = Labels3D(
        np.concatenate(boxes),
        np.array(boxes3d, dtype=np.float64).reshape(-1, 8),
        *np.array(places, dtype=np.int64).reshape(-1, 2).T,
        np.array(sizes, dtype=np.float64).reshape(-1, 2),
        np.array(projections, dtype=np.float64).reshape(-1, 3, 4),
        names,
    )
    return labels.select(labels.boxes3d.any(axis=1))


def _check(
    records: Sequence[Mapping[str, Any]], source: str, frame: NetworkFrame | None, *, trained: bool
) -> None:
    labels = gather_labels(records, need_projection=trained)
    try:
        messages = check_labels3d(labels, frame=frame, trained=trained)
    except ValueError as error:
        raise DatasetError(f"{source}: {error}") from error
    for message in messages:
        tell_once(f"{source}: {message}")  # records are loaded more than once


def _rows_of(annotations: Sequence[Mapping[str, Any]], file_name: str) -> list[list[float]]:
    """Rows of `box3d_row`, zeros of ignored regions."""
    where = f"image file '{file_name}': annotation"
    return [
        [0.0] * 8 if entry.get("ignored") else box3d_row(entry, f"{where} {place}")
        for place, entry in enumerate(annotations)
    ]


def _projection_of(record: Mapping[str, Any], *, required: bool) -> np.ndarray | None:
    name = record["file_name"]
    if record.get("projection") is not None:
        return checked_projection(record["projection"], f"image file '{name}': 'projection'")
    if required:
        raise DatasetError(
            f"image file '{name}': its record has no 'projection'. Add the 3 x 4 matrix that takes "
            "(x, y, z, 1) of the camera frame, in metres, to pixels of this file; in a KITTI "
            "folder, unpack the archive of calibrations"
        )
    return None
