from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from centernet_d2 import cli

ROOT = Path(__file__).resolve().parents[2]

# Make a corner config of configs/Shapes tiny.
CORNER_OVERRIDES = [
    *("MODEL.HOURGLASS.STEM_CHANNELS", "8"),
    *("MODEL.HOURGLASS.CHANNELS", "[8, 8, 8]"),
    *("MODEL.HOURGLASS.BLOCKS", "[1, 1, 1]"),
    *("MODEL.HOURGLASS.OUT_CHANNELS", "8"),
    *("MODEL.CORNERNET.HEAD_CHANNELS", "8"),
    *("MODEL.CORNERNET.POOL_CHANNELS", "4"),
]


@pytest.fixture
def verb(monkeypatch):
    """A function that gives the module of a verb, with `main` and `parse_arguments`."""

    def load(name: str):
        module = importlib.import_module(f"centernet_d2.cli.{name.replace('-', '_')}")
        monkeypatch.setattr(module, "parse_arguments", partial(cli.parse, name), raising=False)
        main = lambda arguments: module.run(cli.parse(name, arguments))  # noqa: E731
        monkeypatch.setattr(module, "main", main, raising=False)
        return module

    return load


@pytest.fixture
def squares(tmp_path):
    """Spec "coco:<json>:<folder>" of four images of one or two bright squares each."""
    folder = tmp_path / "squares"
    folder.mkdir()
    images, annotations = [], []
    for number in range(4):
        picture = np.full((64, 64, 3), 40, dtype=np.uint8)
        for left, top, side in ((8, 10, 20), (36, 30, 24))[: 1 + number % 2]:
            picture[top : top + side, left : left + side] = 220
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 5,
                    "bbox": [left, top, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                }
            )
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
    dataset = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 5, "name": "square"}],
    }
    file = tmp_path / "squares.json"
    file.write_text(json.dumps(dataset))
    registered = set(DatasetCatalog.list())
    yield f"coco:{file}:{folder}"
    for name in set(DatasetCatalog.list()) - registered:
        DatasetCatalog.remove(name)


@pytest.fixture
def tiny_overrides(squares):
    """Overrides that make any points config tiny, on the squares."""
    return [
        *("MODEL.DEVICE", "cpu", "LOGGING.REPORT", "False"),
        *("MODEL.ENCODER_DECODER.CHANNELS", "[8, 8, 8, 8]"),
        *("MODEL.ENCODER_DECODER.OUT_CHANNELS", "8"),
        *("MODEL.POINTS_CENTERNET.HEAD_CHANNELS", "8"),
        *("DATASETS.TRAIN", f"('{squares}',)"),
        *("DATASETS.TEST", f"('{squares}',)"),
        *("INPUT.TRAIN_SIZE", "[64, 64]"),
        *("DATALOADER.NUM_WORKERS", "0"),
        *("SOLVER.IMS_PER_BATCH", "2"),
    ]


@pytest.fixture
def tiny_yaml() -> str:
    return str(ROOT / "configs" / "Shapes" / "points_tiny.yaml")
