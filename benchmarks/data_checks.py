"""What the checks before the first step cost: of image files, of a COCO JSON, of dataset dicts."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.data.datasets import load_coco_json
from PIL import Image

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.image_files import LEVELS, find_faults
from centernet_d2.data.record_checks import check_records

from .comparing import comparison_rows

IMAGES, ANNOTATIONS = 10_000, 100_000
SIDE = 160  # pixels; the time of "decode" grows with their square, that of the others does not


@BENCHMARK_REGISTRY.register()
def data_checks(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds, and times as fast as the first of each group, which is what others do."""
    with tempfile.TemporaryDirectory() as folder:
        names = write_dataset(Path(folder))
        records = [{"file_name": name, "width": SIDE, "height": SIDE} for name in names]
        json_file = os.path.join(folder, "all.json")
        checked = load_coco_records(json_file, folder)
        groups = {
            "image files": {
                "os.path.isfile of each": partial(_each, os.path.isfile, names),
                "exist": partial(find_faults, records, LEVELS[1]),
                "ends": partial(find_faults, records, LEVELS[2]),
                "Pillow's verify of each": partial(_each, _verify, names),
                "header": partial(find_faults, records, LEVELS[3]),
            },
            "COCO JSON": {
                "detectron2's load_coco_json": partial(_detectron2_records, json_file, folder),
                "records, checked": partial(_our_records, json_file, folder),
            },
            "dataset dicts": {
                "json.dumps of them": partial(json.dumps, checked),
                "check_records": partial(check_records, checked, name="made", num_classes=80),
            },
        }
        rows: list[Row] = []
        for group, calls in groups.items():
            timings = options.time(calls, most_rounds=3, warm_up=1)
            rows += comparison_rows({"what": group}, timings, next(iter(calls)))
        return rows


def write_dataset(folder: Path) -> list[str]:
    """Write `IMAGES` JPEG files and all.json with boxes and polygons; returns the files' names."""
    rng = np.random.default_rng(0)
    encoded = io.BytesIO()
    pixels = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(encoded, format="JPEG")
    names = [folder / f"{number:06d}.jpg" for number in range(IMAGES)]
    for name in names:
        name.write_bytes(encoded.getvalue())
    corners = rng.uniform(0, SIDE / 2, (ANNOTATIONS, 4)).round(2)
    outlines = rng.uniform(0, SIDE, (ANNOTATIONS, 40)).round(2)
    annotations = [
        {
            "id": number + 1,
            "image_id": number % IMAGES,
            "category_id": number % 80 + 1,
            "bbox": [x, y, w + 1, h + 1],
            "area": (w + 1) * (h + 1) * 0.6,
            "iscrowd": 0,
            "segmentation": [outline],
        }
        for number, ((x, y, w, h), outline) in enumerate(
            zip(corners.tolist(), outlines.tolist(), strict=True)
        )
    ]
    images = [
        {"id": k, "file_name": name.name, "width": SIDE, "height": SIDE}
        for k, name in enumerate(names)
    ]
    categories = [{"id": k, "name": f"class {k}"} for k in range(1, 81)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "all.json").write_text(json.dumps(content))
    return [str(name) for name in names]


def _each(look, names: list[str]) -> None:
    for name in names:
        look(name)


def _verify(name: str) -> None:
    with Image.open(name) as image:
        image.verify()


def _detectron2_records(json_file: str, folder: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        load_coco_json(json_file, folder)


def _our_records(json_file: str, folder: str) -> None:
    os.utime(json_file)  # else it is not read a second time
    load_coco_records(json_file, folder)
