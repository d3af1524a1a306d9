"""`yolo:<data.yaml or folder>[:<split>]`: YOLO's label files, of boxes or outlines.

A label file is beside its image, or where `labels` stands for the last folder `images` of the path.
An image without label file has no objects.
"""

from __future__ import annotations

import os
from typing import Any

import yaml

from ...text_files import read_text
from ..checks import DatasetError
from ..images import read_image_size
from .coco_json import coco_dataset
from .from_files import FileDataset, form_error, path_and_rest
from .label_files import coco_content, files_in
from .voc_xml import VocObject


def read_form(spec: str) -> FileDataset:
    """Read a specification; see `from_files.register_dataset_form`."""
    path, split = path_and_rest(spec, "data.yaml or folder")
    path = os.path.join(path, "data.yaml") if os.path.isdir(path) else path
    splits = [key for key in ("train", "val", "valid", "test") if key in _config(path)]
    split = {"val": "valid", "valid": "val"}.get(split, split) if split not in splits else split
    split = split or (splits[0] if len(splits) == 1 else "")
    if split not in splits:
        raise form_error(spec, f"'{path}' has the splits {splits}")
    folder = os.path.basename(os.path.dirname(path))
    return coco_dataset(f"{folder}_{split}", (path, split), f"yolo:{path}:{split}")


def _config(path: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
        names = content["names"]
        content["names"] = [names[k] for k in range(len(names))]
    except (OSError, ValueError, TypeError, LookupError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise DatasetError(f"'{path}' is no data.yaml with 'names': {told}. Correct it") from error
    return content


def read(spec: str) -> tuple[dict, list[str]]:
    """Return the COCO dictionary of an absolute specification, and the files behind it."""
    path, split = path_and_rest(spec, "")
    config, base, pages, files = _config(path), os.path.dirname(path), {}, [path]
    for entry in [config[split]] if isinstance(config[split], str) else config[split]:
        # Roboflow writes ../train/images for what lies beside the file.
        places = (os.path.join(base, config.get("path") or "", entry), os.path.join(base, entry))
        places += (os.path.join(base, entry.removeprefix("../")),)
        root = next((os.path.normpath(place) for place in places if os.path.isdir(place)), None)
        if root is None or "kpt_shape" in config:
            what = f"'{entry}' is no folder" if root is None else "joints (kpt_shape) are not read"
            raise DatasetError(f"'{path}': {what}: correct it, or give the data as a COCO JSON")
        names, folders = files_in(root)
        for image in (os.path.join(root, name) for name in names):
            label = f"{os.path.splitext(image)[0]}.txt"
            head, middle, tail = label.rpartition(f"{os.sep}images{os.sep}")
            if middle and not os.path.isfile(label):
                label = os.path.join(head, "labels", tail)
            size = read_image_size(image, upright=True)
            lines = read_text(label).split("\n") if os.path.isfile(label) else []
            found = [_object(line, size, config["names"], label) for line in lines if line.strip()]
            pages[image] = (label, *size, found)
            files += [image, label, os.path.dirname(label)]
        files += folders
    if not any(os.path.isfile(label) for label, *_ in pages.values()):
        told = f"'{path}': none of the images of '{split}' has a label file"
        raise DatasetError(f"{told}, '{label}': correct the folders" if pages else told)
    return coco_content(pages, [str(name) for name in config["names"]]), files


def _object(line: str, size: tuple[int, int], names: list, label: str) -> VocObject:
    """The object of one line, whose corners count pixels from 1."""
    try:
        kind, *values = map(float, line.split())
        name = str(names[int(kind)] if kind >= 0 else names[len(names)])
        outline = [values[::2], values[1::2]]
        if len(values) == 4:
            x, y, w, h = values
            outline = [[x - w / 2, x + w / 2], [y - h / 2, y + h / 2]]
        if len(values) < 4 or len(values) % 2 or not -0.01 <= min(values) <= max(values) <= 1.01:
            raise ValueError(line)
    except (ValueError, IndexError) as error:
        raise DatasetError(
            f"'{label}': '{line:.60}' must be a class from 0 to {len(names) - 1} and x, y, width "
            "and height, or the x, y of an outline, as shares of the image"
        ) from error
    (x1, *_, x2), (y1, *_, y2) = (sorted(axis) for axis in outline)
    return name, (x1 * size[0] + 1, y1 * size[1] + 1, x2 * size[0], y2 * size[1]), 0
