"""From image files to training inputs: ours, the published way of computing, and detectron2's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.data.color import RandomColor
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.images import read_image
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.data.transforms import RandomCenterCrop, RandomFlip
from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule, RadiusRule, overlap_radius

from .comparing import comparison_rows

REFERENCE = "published form"
PICTURES, SIDE, STRIDE, CLASSES = 40, 512, 4, 80
MEAN, STD = (104.04, 113.985, 119.85), (73.695, 69.87, 70.89)  # published, of 0..255
Record = dict[str, Any]


@BENCHMARK_REGISTRY.register()
def training_input(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds a picture in one process with one thread; flip, crop to 512 x 512, colours.

    Pictures are those of coco_mini, a part of COCO, in the folder of CENTERNET_D2_TEST_DATA;
    where that is not set, generated ones. The published loader draws the heatmaps, which ours
    leaves to the training step; once it draws them here too.
    """
    augmentations = RandomFlip(), RandomCenterCrop((SIDE, SIDE)), RandomColor()
    ours = DetectionMapper(is_train=True, augmentations=augmentations)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        with tempfile.TemporaryDirectory() as folder:
            records, name = pictures(Path(folder))
            forms: dict[str, Callable[[Record], Any]] = {
                REFERENCE: partial(published_form, augmentations),
                "detectron2's DatasetMapper": detectron2_mapper(),
                "ours": ours,
                "ours, with heatmaps": lambda record: heatmap(ours(record)),
                "ours, reading alone": lambda record: read_image(record["file_name"]),
            }
            calls = {form: partial(_each, mapper, records) for form, mapper in forms.items()}
            timings = options.time(calls)
            return comparison_rows({"pictures": name}, timings, REFERENCE, len(records))
    finally:
        cv2.setNumThreads(threads)


def pictures(folder: Path) -> tuple[list[Record], str]:
    """Records and what they are; `folder` takes generated pictures."""
    if data := os.environ.get("CENTERNET_D2_TEST_DATA"):
        coco = Path(data, "coco_mini")
        file = coco / "annotations" / "instances_val2017.json"
        return load_coco_records(str(file), str(coco / "val2017"))[:PICTURES], "coco_mini"
    random, records = np.random.default_rng(0), []
    for number in range(PICTURES):
        file = str(folder / f"{number}.jpg")
        coarse = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(file, cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC))
        boxes = random.uniform((0, 0, 20, 20), (500, 400, 300, 300), (7, 4))
        objects = [
            {"bbox": box.tolist(), "bbox_mode": BoxMode.XYWH_ABS, "category_id": index}
            for index, box in enumerate(boxes)
        ]
        records.append({"file_name": file, "image_id": number, "annotations": objects})
    return records, "generated, 640 x 480"


def _each(mapper: Callable[[Record], Any], records: Sequence[Record]) -> None:
    np.random.seed(0)  # noqa: NPY002 - mappers draw from numpy's global state
    for record in records:
        mapper(record)


def heatmap(sample: Record) -> torch.Tensor:
    """(1, C, h, w) of a sample."""
    objects = sample["instances"]
    targets = center_targets(
        objects.gt_boxes.tensor / STRIDE,
        objects.gt_classes,
        torch.zeros_like(objects.gt_classes),
        num_images=1,
        num_classes=CLASSES,
        map_size=(SIDE // STRIDE, SIDE // STRIDE),
        gaussian=GaussianRule(),
    )
    return targets.heatmap


def detectron2_mapper() -> DatasetMapper:
    """With comparable augmentations: objects scaled by 1 / 1.3 to 1 / 0.6, cut to 512 x 512."""
    return DatasetMapper(
        is_train=True,
        augmentations=[
            T.RandomFlip(),
            T.ResizeScale(1 / 1.3, 1 / 0.6, SIDE, SIDE),
            T.FixedSizeCrop((SIDE, SIDE)),
            T.RandomBrightness(0.6, 1.4),
            T.RandomContrast(0.6, 1.4),
            T.RandomSaturation(0.6, 1.4),
            T.RandomLighting(0.1),
        ],
        image_format="BGR",
    )


def published_form(
    augmentations: Sequence[T.Augmentation], record: Record
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised picture (3, H, W) and heatmap (C, h, w) of what the augmentations draw.

    Everything is computed on its own, on float pictures in 0..1, and per object.
    """
    image = cv2.imread(record["file_name"])
    flip, crop, color = (each.get_transform(image) for each in augmentations)
    flipped, width = isinstance(flip, T.HFlipTransform), image.shape[1]
    if flipped:
        image = image[:, ::-1, :]
    matrix = np.array([[crop.scale, 0, crop.shift[0]], [0, crop.scale, crop.shift[1]]])
    image = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    image = image.astype(np.float32) / 255
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    gray_mean = gray.mean()
    for name, factor in color.steps:
        image *= factor
        if name == "contrast":
            image += (1 - factor) * gray_mean
        elif name == "saturation":
            image += (1 - factor) * gray[:, :, None]
    image += np.array(color.shift) / 255
    image = (image - np.array(MEAN, np.float32) / 255) / (np.array(STD, np.float32) / 255)
    side = SIDE // STRIDE
    maps = np.zeros((CLASSES, side, side), dtype=np.float32)
    for annotation in record["annotations"]:
        x, y, w, h = annotation["bbox"]
        left, right = (width - x - w - 1, width - x - 1) if flipped else (x, x + w)
        corners = np.array([[left, y, 1], [right, y + h, 1]]) @ matrix.T / STRIDE
        corners = np.clip(corners, 0, side - 1)
        w, h = corners[1] - corners[0]
        if w > 0 and h > 0:
            sides = (torch.tensor([float(np.ceil(value))]) for value in (h, w))
            radius = int(overlap_radius(*sides, 0.7, RadiusRule.LEGACY))
            draw(maps[annotation["category_id"]], corners.mean(0).astype(int), radius)
    return image.transpose(2, 0, 1), maps


def draw(plane: np.ndarray, center: np.ndarray, radius: int) -> None:
    """Lift a plane (h, w) to a Gaussian of side 2 r + 1 around `center` (x, y)."""
    steps, (x, y) = np.arange(-radius, radius + 1), center
    sigma = (2 * radius + 1) / 6
    window = np.exp(-(steps**2 + steps[:, None] ** 2) / (2 * sigma**2))
    (left, right), (top, bottom) = (
        (min(at, radius), min(length - at, radius + 1))
        for at, length in zip((x, y), plane.shape[::-1], strict=True)
    )
    part = plane[y - top : y + bottom, x - left : x + right]
    own = window[radius - top : radius + bottom, radius - left : radius + right]
    np.maximum(part, own, out=part)
