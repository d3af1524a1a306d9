"""A generated split on disk, as a folder of KITTI's form."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict

import cv2
import numpy as np

from ..kitti_folder import CALIBRATION_FOLDER, IMAGE_FOLDER, LABEL_FOLDER
from ..kitti_labels import PROJECTION_KEY, format_label_row
from ..made_once import make_once
from .render import Picture3d, render3d
from .scenes import Camera, Scene3d
from .split import Split3dSettings, make_scenes3d

# Raise it whenever the same settings give other pictures or labels: it is part of the folder's
# name.
GENERATOR_VERSION = 1
SPLIT_NAME = "all"
TRAINING_FOLDER = "training"
_LIST = os.path.join("ImageSets", f"{SPLIT_NAME}.txt")


def split3d_stamp(split: Split3dSettings) -> str:
    """Return a folder name that changes with the generator's version and with every setting."""
    settings = json.dumps(asdict(split), sort_keys=True)
    digest = hashlib.sha256(f"{GENERATOR_VERSION} {settings}".encode()).hexdigest()[:8]
    return f"v{GENERATOR_VERSION}-{digest}"


def ensure_split3d(split: Split3dSettings, folder: str) -> None:
    """Make the split in `folder` unless it is there; see `make_once`."""
    make_once(folder, _LIST, lambda temporary: write_split3d(split, temporary))


def write_split3d(split: Split3dSettings, folder: str) -> None:
    """Write pictures, calibrations, labels and the list of a split into an existing folder."""
    part = os.path.join(folder, TRAINING_FOLDER)
    for name in (IMAGE_FOLDER, CALIBRATION_FOLDER, LABEL_FOLDER):
        os.makedirs(os.path.join(part, name))
    # Most of the work is in numpy and OpenCV, which run beside each other.
    with ThreadPoolExecutor(max_workers=2) as pool:
        writing: deque[Future] = deque()
        for index, (scene, random) in enumerate(make_scenes3d(split)):
            writing.append(pool.submit(_write_frame, part, f"{index:06d}", scene, random))
            if len(writing) > 8:
                writing.popleft().result()
        for future in writing:
            future.result()
    os.makedirs(os.path.join(folder, "ImageSets"))
    with open(os.path.join(folder, _LIST), "w", encoding="utf-8") as file:
        file.writelines(f"{index:06d}\n" for index in range(split.images))


def _write_frame(part: str, name: str, scene: Scene3d, random: np.random.RandomState) -> None:
    picture: Picture3d = render3d(scene, random)
    image_file = os.path.join(part, IMAGE_FOLDER, f"{name}.png")
    if not cv2.imwrite(image_file, picture.image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"cannot write '{image_file}'")
    with open(os.path.join(part, LABEL_FOLDER, f"{name}.txt"), "w", encoding="utf-8") as file:
        file.writelines(format_label_row(item) + "\n" for item in picture.labels)
    with open(os.path.join(part, CALIBRATION_FOLDER, f"{name}.txt"), "w", encoding="utf-8") as file:
        file.write(calibration_text(scene.camera))


def calibration_text(camera: Camera) -> str:
    """Return a calibration file: the one projection as P0 to P3, as KITTI's readers expect them."""
    numbers = " ".join(f"{value:.12e}" for value in camera.matrix.ravel())
    keys = ["P0", "P1", PROJECTION_KEY, "P3"]
    return "".join(f"{key}: {numbers}\n" for key in keys)
