"""A corrected copy of a dataset: COCO's form, whatever it was, with a list of each repair."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from ...atomic_write import write_json
from .annotations import Objects, judge_objects
from .pictures import Pictures

# EXIF orientation -> whether x and y are flipped; from 5 on both are then exchanged.
_FLIPS = dict(enumerate(((0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (0, 1), (1, 1), (1, 0)), start=1))
_OWN = ("bbox", "bbox_mode", "category_id", "keypoints", "ignored", "id")
_IMAGE = ("file_name", "image_id", "annotations", "width", "height", "as_stored")


def write_fixed_copy(
    records: Sequence[Mapping[str, Any]],
    seen: Pictures,
    folder: str,
    *,
    metadata: Mapping[str, Any],
    leaked: Iterable[int] = (),
    link: bool = True,
) -> list[tuple[str, str, str]]:
    """Write `images/`, `annotations.json` and `repairs.csv`; return the repairs.

    A repair is (file, object, what was done). Files are hard links where that can be, unless `link`
    is False; only damaged and turned pictures are encoded anew. Rows of `leaked` are left out.
    """
    os.makedirs(os.path.join(folder, "images"))
    repairs: list[tuple[str, str, str]] = []
    copies, names, kept = seen.copies(), set(), []
    for row, record in enumerate(records):
        file = seen.files[row]
        if row in copies or row in {*leaked}:
            repairs.append(
                (file, "", "left out: " + ("copy" if row in copies else "in the test set"))
            )
            continue
        stem, ending = os.path.splitext(os.path.basename(file))
        name = stem + ending if stem + ending not in names else f"{stem}_{row}{ending}"
        target = os.path.join(folder, "images", name)
        try:
            size, moved, told = _write_picture(file, target, record, row, seen, link)
        except (OSError, ValueError, SyntaxError) as error:
            repairs.append((file, "", f"left out: {error}"))
            continue
        names.add(name)
        twins = [records[r] for r, first in copies.items() if first == row]
        best = max([record, *twins], key=lambda each: len(each["annotations"]))
        repairs += [(file, "", each) for each in told]
        kept.append(_with_boxes(best, {"file_name": name, "size": size}, moved, repairs))
    _write_json(kept, os.path.join(folder, "annotations.json"), metadata)
    with open(os.path.join(folder, "repairs.csv"), "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file", "object", "repair"), *repairs])
    return repairs


def _write_picture(
    file: str, target: str, record: Mapping[str, Any], row: int, seen: Pictures, link: bool
) -> tuple[tuple[int, int], Any, list[str]]:
    """Write a file; return its (width, height), what moves (N, 2) points to it, and repairs."""
    recorded, orientation, told = (record["width"], record["height"]), seen.orientations[row], []
    with Image.open(file) as image:
        stored = image.size
        turned = stored[::-1] if orientation > 4 else stored
        # Drawn as the size says; where both are the same, as a training takes it.
        as_stored = recorded == stored if turned != stored else bool(record.get("as_stored"))
        drawn = stored if as_stored else turned
        is_damaged = isinstance(seen.errors.get(row), Exception) and recorded == drawn
        if is_damaged or orientation > 1:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                ImageOps.exif_transpose(image).save(target, **_options(image))
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            told += ["what can be read of it is encoded anew"] * is_damaged
            words = f"turned upright (EXIF {orientation}); boxes taken as drawn on the "
            told += [words + ("stored pixels" if as_stored else "upright picture")] * (
                orientation > 1
            )
    if not told:
        with suppress(OSError):  # of another disk
            os.link(os.path.realpath(file), target) if link else None
        if not os.path.exists(target):
            shutil.copyfile(file, target)
    factor = np.ones(2)
    if recorded != drawn:
        ratio = np.divide(drawn, recorded)
        told += [f"size {recorded} corrected to {drawn}"]
        if abs(ratio[0] / ratio[1] - 1) < 0.02:
            factor, told = ratio, [*told, "boxes scaled with it, as the shape is the same"]

    def moved(points: np.ndarray) -> np.ndarray:
        points = points * factor
        if orientation == 1 or not as_stored:
            return points
        points = np.where(_FLIPS[orientation], np.array(stored) - points, points)
        return points[:, ::-1] if orientation > 4 else points

    return turned, moved, told


def _options(image: Image.Image) -> dict[str, Any]:
    """How a picture is encoded anew."""
    return {"format": image.format, **({"quality": 95} if image.format == "JPEG" else {})}


def _with_boxes(
    record: Mapping[str, Any], image: dict[str, Any], moved: Any, repairs: list
) -> dict[str, Any]:
    """An image of COCO's form with its annotations, repaired."""
    objects = Objects.of([record])
    _, wrong = judge_objects(objects)
    names = {k: wrong[k] for k in wrong if k in ("swapped", "normalised", "repeated-box")}
    annotations, (width, height) = [], image["size"]
    for k, entry in enumerate(record["annotations"]):
        x, y, w, h = objects.boxes[k]
        ends = np.array([[x, y], [x + w, y + h]])
        done = [name for name, rows in names.items() if rows[k]]
        if "normalised" in done:
            ends *= objects.sizes[0]
        corners = moved(ends)
        low, high = corners.min(axis=0), corners.max(axis=0)
        inner = np.clip([low, high], 0, [width, height])
        if np.abs(inner - [low, high]).max() > 1e-3:
            done.append("clipped")
        if "repeated-box" in done or not (inner[1] - inner[0] > 1e-3).all():
            done.append("left out")
        if done:
            told = f"{', '.join(done)}: bbox {objects.boxes[k].round(2).tolist()}"
            repairs.append((str(record["file_name"]), str(k), told))
        if "left out" in done:
            continue
        points = np.array(entry.get("keypoints", []), dtype=float).reshape(-1, 3)
        points[:, :2] = np.where(points[:, 2:] > 0, moved(points[:, :2]) - 0.5, 0)
        annotations.append(
            {key: value for key, value in entry.items() if key not in _OWN}
            | {"category_id": entry["category_id"] + 1, "iscrowd": int(entry.get("iscrowd") or 0)}
            | {"bbox": [*inner[0].round(3).tolist(), *(inner[1] - inner[0]).round(3).tolist()]}
            | {"area": round(float((inner[1] - inner[0]).prod()), 3)}
            | ({"ignore": 1, "iscrowd": 0} if entry.get("ignored") else {})
            | ({"keypoints": points.ravel().tolist()} if len(points) else {})
        )
    others = {key: value for key, value in record.items() if key not in _IMAGE}
    return {**others, **image, "annotations": annotations}


def _write_json(kept: list[dict[str, Any]], file: str, metadata: Mapping[str, Any]) -> None:
    categories = [{"id": k + 1, "name": n} for k, n in enumerate(metadata["thing_classes"])]
    images, annotations = [], []
    for number, image in enumerate(kept, start=1):
        width, height = image.pop("size")
        for entry in image.pop("annotations"):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
        images.append({"id": number, "width": int(width), "height": int(height), **image})
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(file, content)
