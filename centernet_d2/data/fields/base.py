"""What a ground-truth field says about itself, and the boxes that every record has."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.transforms import Augmentation
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import BoxMode
from fvcore.transforms.transform import TransformList

from ..checks import DatasetError
from ..datasets.columns import keep_annotation_columns, keep_image_columns


@dataclass(frozen=True)
class MovedImage:
    """An image file, and what the input made of it."""

    file_name: str
    transforms: TransformList  # from the file's pixels to those of the image that is handed over
    size: tuple[int, int]  # (height, width) of the latter
    is_train: bool


class GroundTruthField(ABC):
    """One kind of ground truth: how it is read from a record, moved with the image and checked.

    A detector lists what it learns beside boxes and classes (its class method
    `ground_truth_fields`, for the points detector that of its tasks), and `DetectionMapper` moves
    the list. One method is enough; the others have defaults that most fields keep.
    """

    annotation_columns: tuple[str, ...] = ()
    """Keys of a COCO annotation that it reads, beside those that every record has."""
    image_columns: tuple[str, ...] = ()
    """Keys of an entry of a COCO file's "images" likewise."""
    keeps_ignored = False
    """Whether ignored annotations stay, told apart by `gt_ignored` (P,) bool."""

    @abstractmethod
    def rows(self, annotations: Sequence[Mapping[str, Any]], image: MovedImage) -> dict[str, Any]:
        """Names and values of `Instances` fields, a row per annotation, in the network frame.

        The annotations have detectron2's standard form, in pixels of the file. Values are what
        `Instances` holds and a (P,) bool tensor indexes: a tensor, `Boxes`, `Keypoints` ... Objects
        without any part inside the image are left out by the mapper. A ValueError names image, key
        and cure of an annotation that cannot be used.
        """

    def add_inputs(self, record: dict[str, Any], image: MovedImage) -> dict[str, Any]:
        """The model's input with what it has besides, in training and in evaluation."""
        return record

    def check_records(self, records: Sequence[Mapping[str, Any]], source: str) -> None:  # noqa: B027
        """Raise ValueError where nothing can be learned from the training records of `source`."""

    def check_test_records(self, records: Sequence[Mapping[str, Any]], source: str) -> None:  # noqa: B027
        """Say what is wrong with the evaluation records of `source`, which may have no labels."""

    def build_augmentation(self, cfg: CfgNode) -> Augmentation | None:
        """What brings training images to the network frame in place of the usual crop; None: that.

        ValueError where INPUT does to images what this ground truth cannot follow.
        """
        return None


def build_fields(cfg: CfgNode) -> list[GroundTruthField]:
    """What the detector of `cfg` learns beside boxes and classes; see `keep_columns` too."""
    ask = getattr(detector_class(cfg.MODEL.META_ARCHITECTURE), "ground_truth_fields", None)
    fields = list(ask(cfg)) if ask else []
    keep_columns(fields)
    return fields


def detector_class(name: str) -> Any:
    """The detector that is registered as MODEL.META_ARCHITECTURE; None: there is none."""
    return META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None


def keep_columns(fields: Iterable[GroundTruthField]) -> None:
    """Let what the fields read survive the loading of COCO files from now on."""
    for field in fields:
        keep_annotation_columns(*field.annotation_columns)
        keep_image_columns(*field.image_columns)


def source_boxes(annotations: Sequence[Mapping[str, Any]], file_name: str) -> np.ndarray:
    """(N, 4) XYXY float64 boxes in the frame of the file; DatasetError of NaN and infinity."""
    boxes = np.zeros((len(annotations), 4))
    for row, annotation in enumerate(annotations):
        boxes[row] = annotation["bbox"]
    modes = np.array([annotation["bbox_mode"] for annotation in annotations], dtype=np.int64)
    for mode in np.unique(modes):  # one mode, in all data sets known
        rows = modes == mode
        boxes[rows] = BoxMode.convert(boxes[rows], BoxMode(int(mode)), BoxMode.XYXY_ABS)
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
    if len(bad):
        raise DatasetError(
            f"image file '{file_name}': annotation {bad[0]} has 'bbox' "
            f"{annotations[bad[0]]['bbox']}: correct it or remove the annotation"
        )
    return boxes
