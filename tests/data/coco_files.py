"""Small COCO datasets on disk for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def coco_content(images=3, size=(40, 30)) -> dict:
    """Images of (width, height) `size`, one box each, two categories with ids 3 and 7."""
    width, height = size
    return {
        "images": [
            {"id": 10 + k, "file_name": f"{k}.png", "width": width, "height": height}
            for k in range(images)
        ],
        "annotations": [
            {
                "id": 100 + k,
                "image_id": 10 + k,
                "category_id": (3, 7)[k % 2],
                "bbox": [4.0 + k, 5.0, 10.0, 12.5],
                "area": 125.0,
                "iscrowd": 0,
                "segmentation": [[4, 5, 14, 5, 14, 17]],
            }
            for k in range(images)
        ],
        "categories": [{"id": 7, "name": "second"}, {"id": 3, "name": "first"}],
    }


def write_dataset(folder: Path, content: dict, *, json_name="boxes.json") -> tuple[Path, Path]:
    """Write the JSON and an image for each of its records; returns (json, image folder)."""
    root = folder / "images"
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    for record in content.get("images", []):
        if {"width", "height", "file_name"} <= set(record):
            pixels = random.randint(0, 255, (record["height"], record["width"], 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / record["file_name"])
    path = folder / json_name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path, root
