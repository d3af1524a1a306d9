"""A generated split on disk: made once, whole or not at all.

Shapes and figures are PNG pictures and a COCO JSON, streets a folder of KITTI's form.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from iopath.common.file_io import file_lock

from ..atomic_write import atomic_folder, write_json
from ..data.datasets.kitti_labels import PROJECTION_KEY, format_label_row
from ..progress import SHOWN, bar
from .figures import SKELETON, figure_scenes
from .pictures import annotate, render
from .registration import ANNOTATION_FILE, STREET_SPLIT, split_metadata
from .settings import FigureSettings, ShapeSettings, SplitSettings, StreetSettings, split_stamp
from .shapes import shape_scenes
from .street_pictures import render_street
from .streets import PROJECTION, Solid, street_scenes

logger = logging.getLogger(__name__)

_WORLDS = {
    ShapeSettings: shape_scenes,
    FigureSettings: figure_scenes,
    StreetSettings: street_scenes,
}
_FIGURE_CATEGORY = {
    "keypoints": SKELETON.names,
    "skeleton": [(a + 1, b + 1) for a, b in SKELETON.edge_indices()],
    "keypoint_flip_map": SKELETON.flip_map,
    "keypoint_oks_sigmas": SKELETON.oks_sigmas,
}
_STREET_LIST = os.path.join("ImageSets", f"{STREET_SPLIT}.txt")


def make_scenes(split: SplitSettings) -> Iterator[tuple[Any, np.random.RandomState]]:
    """Yield a split's scenes in order, each with the random state for its colours.

    numpy's `RandomState` streams are frozen by its authors, so that a seed means the same scenes
    everywhere.
    """
    scenes = _WORLDS[type(split.scenes)]
    random = np.random.RandomState([split.seed, 0])
    for index, scene in enumerate(scenes(split.scenes, split.images, random)):
        yield scene, np.random.RandomState([split.seed, 1, index])


def ensure_split(split: SplitSettings, folder: str) -> str:
    """Make a split in `folder` unless it is there; returns the path of its JSON or list.

    Safe for several processes: one makes it beside its place and renames it, the others wait. What
    an interrupted run left behind is never taken for a finished split.

    Raises:
        OSError: the folder cannot be written; the message names it and the cure.
    """
    write, last = _write_pictures, ANNOTATION_FILE
    if isinstance(split.scenes, StreetSettings):
        write, last = _write_streets, _STREET_LIST
    finished = os.path.join(folder, last)
    if os.path.isfile(finished):
        return finished
    try:
        os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
        with file_lock(folder):
            if not os.path.isfile(finished):
                start = time.perf_counter()
                told = (split.images, folder)
                logger.info("Making %d generated images in %s.", *told, extra=SHOWN)
                with atomic_folder(folder) as temporary:
                    write(split, temporary)
                seconds = time.perf_counter() - start
                logger.info("made generated images in %s in %.1f s", folder, seconds)
    except OSError as error:
        raise OSError(
            f"the generated dataset cannot be written to '{folder}' ({error.__cause__ or error}): "
            "make room or set the environment variable DETECTRON2_DATASETS to a folder that can be "
            "written"
        ) from error
    return finished


def _write_pictures(split: SplitSettings, folder: str) -> None:
    side, classes = split.scenes.side, split.scenes.classes
    image_folder = split_metadata(split, folder)["image_root"]
    os.makedirs(image_folder, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []

    def jobs() -> Iterator[Callable[[], None]]:
        for number, (scene, random) in enumerate(make_scenes(split), start=1):
            name = f"{number - 1:06d}.png"
            path = os.path.join(image_folder, name)
            yield partial(_write_image, path, render(scene, side, random))
            images.append({"id": number, "file_name": name, "height": side, "width": side})
            for record in annotate(scene, side):
                ids = {"image_id": number, "category_id": classes.index(record.pop("kind")) + 1}
                annotations.append({**ids, **record, "id": len(annotations) + 1})

    _run(jobs(), total=split.images, waiting=32)  # compressing is a third of the work
    more = _FIGURE_CATEGORY if isinstance(split.scenes, FigureSettings) else {}
    content = {
        "info": {"description": "generated shapes", "version": split_stamp(split)},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": k, "name": name, **more} for k, name in enumerate(classes, start=1)],
    }
    write_json(os.path.join(folder, ANNOTATION_FILE), content)


def _write_streets(split: SplitSettings, folder: str) -> None:
    metadata = split_metadata(split, folder)
    folders = [metadata[key] for key in ("image_dir", "label_dir", "calib_dir")]
    for name in (*folders, os.path.join(folder, os.path.dirname(_STREET_LIST))):
        os.makedirs(name)
    names = [f"{index:06d}" for index in range(split.images)]
    scenes = zip(names, make_scenes(split), strict=True)
    # Most of the work is in numpy and OpenCV, which run beside each other.
    frames = (partial(_write_frame, folders, name, *scene) for name, scene in scenes)
    _run(frames, total=split.images, waiting=8)
    _write_rows(os.path.join(folder, _STREET_LIST), names)


def _write_frame(
    folders: list[str], name: str, solids: list[Solid], random: np.random.RandomState
) -> None:
    images, labels, calibrations = (os.path.join(folder, name) for folder in folders)
    image, objects = render_street(solids, random)
    _write_image(f"{images}.png", image)
    _write_rows(f"{labels}.txt", [format_label_row(item) for item in objects])
    numbers = " ".join(f"{value:.12e}" for value in PROJECTION.ravel())
    keys = ("P0", "P1", PROJECTION_KEY, "P3")  # KITTI's readers expect all of them
    _write_rows(f"{calibrations}.txt", [f"{key}: {numbers}" for key in keys])


def _run(jobs: Iterable[Callable[[], None]], *, total: int, waiting: int) -> None:
    """Run `total` jobs on two threads, with at most so many of them waiting."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        running: deque[Future] = deque()
        for job in bar(jobs, total=total, what="Generated images", unit="image"):
            running.append(pool.submit(job))
            if len(running) > waiting:
                running.popleft().result()
        for future in running:
            future.result()


def _write_image(path: str, image: np.ndarray) -> None:
    if not cv2.imwrite(path, image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"cannot write '{path}'")


def _write_rows(path: str, rows: list[str]) -> None:
    Path(path).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
