"""What the page shows of a picture, by functions that know nothing of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..data.images import read_image_size
from ..inference.records import Recorder
from ..structures.cameras import camera_doubt, checked_projection
from ..structures.skeleton import HALF_PIXEL
from ..visualization.boxes3d import detections3d_views
from ..visualization.detections import SURE_JOINT
from ..visualization.heatmaps import draw_heatmaps
from ..visualization.results import draw_result, enlarged
from .models import Model

_SIDES = ("left", "top", "right", "bottom")
HEADERS = ("class", "score", *_SIDES)  # of a table without rows
MOST_PIXELS = 25_000_000  # of a visitor's picture: a small file can be a picture without end
_READABLE = 360  # pixels; a smaller picture is shown enlarged
_CAMERA = "the camera"


@dataclass(frozen=True)
class Seen:
    """What a model found in a picture, whatever its score."""

    model: Model
    name: str  # of the file
    picture: np.ndarray  # (H, W, 3) uint8 BGR
    result: dict[str, Any]  # as `Predictor` returns it
    notes: Sequence[str] = ()  # what a visitor should know of it


@dataclass(frozen=True)
class Shown:
    """The detections of a picture from a score on."""

    picture: np.ndarray  # with detections drawn; BGR
    above: np.ndarray | None  # boxes in space from above; BGR
    headers: list[str]
    rows: list[list[Any]]  # of the table, best first
    record: dict[str, Any]  # as `centernet-d2 predict` writes it


def look(model: Model, file: str, name: str, camera: str = "") -> Seen:
    """Detect in a picture file; `name` is what the visitor calls it, `camera` see `camera_of`.

    Raises:
        OSError, RuntimeError, ValueError: the picture or the camera cannot be used.
    """
    across, down = read_image_size(file)
    if across * down > MOST_PIXELS:
        raise ValueError(
            f"'{name}' has {across} x {down} pixels, more than the {MOST_PIXELS:,} that this page "
            "takes: scale it down"
        )
    picture, notes = model.read(file), list[str]()
    size = picture.shape[:2]
    with Image.open(file) as image:
        if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
            notes.append(f"Of its {frames} pictures the first one is shown.")
    projection = camera_of(camera, size) if model.has_cameras else None
    if projection is not None and (doubt := camera_doubt(projection, size, _CAMERA)):
        notes.append(f"Is it the camera of this picture? Of its numbers, {doubt}.")
    if model.has_cameras and projection is None:
        notes.append("No camera is given: boxes in space are placed by the model's default one.")
    return Seen(model, name, picture, model.detect(picture, projection), notes)


def camera_of(text: str, size: tuple[int, int]) -> np.ndarray | None:
    """Read a projection (3, 4) to pixels of a picture of (height, width); None of an empty text.

    Nine or twelve numbers are the matrix, row by row. One is the focal length in pixels of a camera
    that looks at the middle.

    Raises:
        ValueError: it is none of these, or no camera can have it.
    """
    words = re.sub(r"[\[\](),;]", " ", text).split()
    if not words:
        return None
    try:
        numbers = np.array(words, dtype=np.float64)
    except ValueError:
        raise ValueError(f"{_CAMERA} must be numbers, not '{text.strip()[:60]}'") from None
    if len(numbers) == 1:
        y, x = ((side - 1) / 2 for side in size)  # 0 is the middle of the first pixel
        numbers = np.array([numbers[0], 0, x, 0, numbers[0], y, 0, 0, 1])
    if len(numbers) not in (9, 12):
        raise ValueError(
            f"{_CAMERA} has {len(numbers)} numbers: give the focal length in pixels alone, or the "
            "9 or 12 numbers of the matrix, row by row"
        )
    projection = checked_projection(numbers.reshape(3, -1), _CAMERA)
    camera_doubt(projection, size, _CAMERA)  # raises of what cannot be
    return projection


def show(seen: Seen, threshold: float) -> Shown:
    """Choose, draw and list the detections that score `threshold` or more; ValueError of none."""
    names, above = seen.model.class_names, None
    recorder = Recorder(names, threshold)
    record, shown = recorder.of(seen.name, seen.picture, seen.result)
    if seen.model.has_cameras:
        given = (seen.picture, shown["instances"], shown["projection"], names, threshold)
        picture, above = detections3d_views(*given)
    else:
        how = {"drawing": seen.model.drawing, "keypoints": True}
        picture, factor = _enlarged(seen.picture)
        shown = {"instances": enlarged(shown["instances"], factor)}
        picture = draw_result(picture, shown, names, threshold, **how)
    heading = {"model": seen.model.label, **recorder.heading, **seen.model.names}
    entries = sorted(record["detections"], key=lambda entry: -entry["score"])
    lines = [_line(entry) for entry in entries]
    headers = list(lines[0]) if lines else list(HEADERS)
    rows = [list(line.values()) for line in lines]
    return Shown(picture, above, headers, rows, heading | {"images": [record]})


def _line(entry: dict[str, Any]) -> dict[str, Any]:
    """A detection's record as a line of the table."""
    line = {"class": entry["class_name"], "score": round(entry["score"], 3)}
    if box := entry.get("box3d"):
        x, _, z = box["location"]
        line |= {"right (m)": round(x, 1), "ahead (m)": round(z, 1)}
        sides = ("height (m)", "width (m)", "length (m)")
        return line | dict(zip(sides, (round(m, 1) for m in box["dimensions"]), strict=True))
    line |= dict(zip(_SIDES, map(round, entry["box"]), strict=True))
    if joints := entry.get("joints"):
        line["joints"] = f"{sum(j[2] >= SURE_JOINT for j in joints)} of {len(joints)}"
    return line


def heatmaps(seen: Seen) -> np.ndarray | None:
    """Draw where the model sees keypoints; None of a model that does not show it."""
    if seen.model.heatmap is None:
        return None
    found, (picture, factor) = seen.model.heatmap(seen.picture), _enlarged(seen.picture)
    names = (seen.model.class_names, seen.model.drawing.names)
    scale = tuple(factor * cell for cell in found.scale)
    shift = tuple(factor * (place + HALF_PIXEL) - HALF_PIXEL for place in found.shift)
    return draw_heatmaps(picture, found.probabilities, *names, scale=scale, shift=shift)


def _enlarged(picture: np.ndarray) -> tuple[np.ndarray, int]:
    """A small picture enlarged by a whole factor, and the factor."""
    factor = max(1, round(_READABLE / max(picture.shape[:2])))
    if factor == 1:
        return picture, 1
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), factor
