"""A generated split on disk: PNG pictures and a COCO JSON, made once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import cv2
import numpy as np

from ..made_once import make_once
from .figure_scenes import FigureSettings, figure_category
from .render import annotate, render
from .split import SplitSettings, make_scenes

# Raise it whenever the same settings give other pictures or annotations: it is part of the folder's
# name.
GENERATOR_VERSION = 1
ANNOTATION_FILE = "annotations.json"
IMAGE_FOLDER = "images"


def split_stamp(split: SplitSettings) -> str:
    """Return a folder name that changes with the generator's version and with every setting."""
    settings = json.dumps(asdict(split), sort_keys=True)
    digest = hashlib.sha256(f"{GENERATOR_VERSION} {settings}".encode()).hexdigest()[:8]
    return f"v{GENERATOR_VERSION}-{digest}"


def ensure_split(split: SplitSettings, folder: str) -> str:
    """Make the split in `folder` unless it is there; returns the path of its JSON.

    Safe for several processes and interrupted runs, see `make_once`.

    Raises:
        OSError: the folder cannot be written; the message names it and the cure.
    """
    make_once(folder, ANNOTATION_FILE, lambda temporary: write_split(split, temporary))
    return os.path.join(folder, ANNOTATION_FILE)


def write_split(split: SplitSettings, folder: str) -> None:
    """Write pictures and JSON of a split into an existing folder."""
    side = split.scenes.side
    os.makedirs(os.path.join(folder, IMAGE_FOLDER), exist_ok=True)
    images, annotations = [], []
    with ThreadPoolExecutor(max_workers=2) as pool:  # compressing is a third of the work
        writing: deque[Future] = deque()
        for index, (scene, random) in enumerate(make_scenes(split)):
            name = f"{index:06d}.png"
            path = os.path.join(folder, IMAGE_FOLDER, name)
            writing.append(pool.submit(_write_image, path, render(scene, side, random)))
            if len(writing) > 32:
                writing.popleft().result()
            images.append({"id": index + 1, "file_name": name, "height": side, "width": side})
            for record in annotate(scene, side):
                category = split.scenes.classes.index(record.pop("kind")) + 1
                annotations.append({"image_id": index + 1, "category_id": category, **record})
        for future in writing:
            future.result()
    for annotation_id, record in enumerate(annotations, start=1):
        record["id"] = annotation_id
    more = figure_category() if isinstance(split.scenes, FigureSettings) else {}
    content = {
        "info": {"description": "generated shapes", "version": split_stamp(split)},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": k, "name": name, **more} for k, name in enumerate(split.scenes.classes, start=1)
        ],
    }
    with open(os.path.join(folder, ANNOTATION_FILE), "w", encoding="utf-8") as file:
        json.dump(content, file)


def _write_image(path: str, image: np.ndarray) -> None:
    if not cv2.imwrite(path, image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"cannot write '{path}'")
