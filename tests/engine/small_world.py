"""A small COCO dataset on disk and a small detector: what the engine is tried on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from PIL import Image

from centernet_d2.engine.setup import load_config
from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.registration import ANNOTATION_FILE, IMAGE_FOLDER, STREET_SPLIT
from centernet_d2.synthetic.settings import (
    FigureSettings,
    ShapeSettings,
    SplitSettings,
    StreetSettings,
)

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("bright", "dark")
IMAGE_SIZES = ((40, 48), (33, 31), (48, 40))  # (height, width)


def write_dataset(folder: Path, *, images: int = 10, classes=CLASSES, seed: int = 0) -> str:
    """Write a COCO JSON and PNG files, one or two plain boxes on noise each; return its spec."""
    generator = np.random.default_rng(seed)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
    }
    for number in range(images):
        height, width = IMAGE_SIZES[number % len(IMAGE_SIZES)]
        pixels = generator.integers(90, 160, (height, width, 3)).astype(np.uint8)
        for _ in range(1 + number % 2):
            label = int(generator.integers(len(classes)))
            x, y = generator.integers(1, 12, 2).tolist()
            w, h = generator.integers(8, 18, 2).tolist()
            pixels[y : y + h, x : x + w] = 255 if label == 0 else 0
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number + 1,
                    "category_id": label + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        name = f"{number + 1:04d}.png"
        Image.fromarray(pixels).save(pictures / name)
        content["images"].append(
            {"id": number + 1, "file_name": name, "height": height, "width": width}
        )
    file = folder / "boxes.json"
    file.write_text(json.dumps(content))
    return f"coco:{file}:{pictures}"


def write_poses(folder: Path, names, *, named=True, visibility=2, **category) -> str:
    """`write_dataset` with joints in all boxes of the class "dark"; "bright" has none.

    `category` are further entries of that class: its limbs and pairs.
    """
    spec = write_dataset(folder)
    file = folder / "boxes.json"
    content = json.loads(file.read_text())
    if named:
        content["categories"][1] |= {"keypoints": list(names), **category}
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        steps = [k / len(names) for k in range(len(names))]
        if annotation["category_id"] == 2:
            annotation["keypoints"] = [
                v for t in steps for v in (x + t * width, y + t * height, visibility)
            ]
    file.write_text(json.dumps(content))
    return spec


def small_config(spec: str, output: Path, *overrides) -> CfgNode:
    """A config that trains a few thousand parameters on `spec` for six steps of four images."""
    return load_config(
        str(ROOT / "configs" / "Base-PointsCenterNet.yaml"),
        [
            *("DATASETS.TRAIN", (spec,), "DATASETS.TEST", (spec,), "OUTPUT_DIR", str(output)),
            *("MODEL.DEVICE", "cpu", "MODEL.HEATMAP.NUM_CLASSES", 0, "SEED", 7),
            *("MODEL.BACKBONE.NAME", "build_centernet_encoder_decoder_backbone"),
            *("MODEL.HEATMAP.IN_FEATURES", ["decoder"]),
            *("MODEL.ENCODER_DECODER.CHANNELS", [4, 4, 8, 8]),
            *("MODEL.ENCODER_DECODER.OUT_CHANNELS", 8),
            *("MODEL.POINTS_CENTERNET.HEAD_CHANNELS", 8),
            *("INPUT.TRAIN_SIZE", [32, 32], "INPUT.CENTER_CROP.BORDER", 16),
            *("INPUT.SCALE_MISMATCH", "warning"),  # frames of tests are of many sizes
            *("DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 4),
            *("SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (4,), "SOLVER.BASE_LR", 0.01),
            *("SOLVER.CHECKPOINT_PERIOD", 3, "LOGGING.REPORT", False),
            *overrides,
        ],
    )


def generated_datasets(folder: Path, *, images: int, streets: int) -> dict[str, str]:
    """Specs of generated pictures by what the names of their configs begin with, "" for shapes."""
    specs = {}
    for kind, scenes in (("", ShapeSettings()), ("pose", FigureSettings())):
        split = folder / f"shapes{kind}" / "split"
        ensure_split(SplitSettings(images=images, seed=1, scenes=scenes), str(split))
        specs[kind] = f"coco:{split / ANNOTATION_FILE}:{split / IMAGE_FOLDER}"
    split = folder / "streets" / "split"
    ensure_split(SplitSettings(streets, 1, StreetSettings()), str(split))  # longer to draw
    specs["box3d"] = f"kitti:{split}:{STREET_SPLIT}"
    return specs
