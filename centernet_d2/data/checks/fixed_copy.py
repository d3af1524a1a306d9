"""A corrected copy of a dataset: COCO's form, whatever it was, with a list of each repair."""

import csv
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

from ...atomic_write import atomic_write, write_json
from ..images import ImageFileError
from .annotations import Objects, judge_objects
from .pictures import Pictures

# EXIF orientation - 1 -> whether x and y are flipped; from 5 on both are then exchanged.
_FLIPS = ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (0, 1), (1, 1), (1, 0))
_SAME_SHAPE = 0.02  # of two ratios of width to height
_REPAIRED = ("swapped", "normalised", "repeated-box")
_OWN = {"bbox", "bbox_mode", "category_id", "keypoints", "ignored", "id", "area", "iscrowd"}
_OWN |= {"file_name", "image_id", "annotations", "width", "height", "as_stored"}
Records = Sequence[Mapping[str, Any]]
Repair = tuple[str, str, str]  # file, object, what was done
Move = Callable[[np.ndarray], np.ndarray]  # of (N, 2) points of a record to the file written


def write_fixed_copy(
    records: Records,
    seen: Pictures,
    folder: str,
    metadata: Any,
    leaked: set[int],
    link: bool,
    not_read: Sequence[Repair] = (),
) -> list[Repair]:
    """Write `images/`, `annotations.json` and `repairs.csv`; return the repairs, first `not_read`.

    Files are hard links where that can be and `link` is set; damaged and turned pictures are
    encoded anew. Rows of `leaked` are left out, and of equal files all but the first.
    """
    os.makedirs(os.path.join(folder, "images"))
    repairs, copies, images, annotations = [*not_read], seen.copies(), {}, []
    left_out = dict.fromkeys(copies, "a copy") | dict.fromkeys(leaked, "in the test set")
    for row, record in enumerate(records):
        file, name = seen.files[row], os.path.basename(seen.files[row])
        name = f"{row}_{name}" if name in images else name
        try:
            if row in left_out:
                raise ImageFileError(left_out[row])
            target = os.path.join(folder, "images", name)
            (width, height), move, told = _write_picture(record, seen, row, target, link)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            repairs.append((file, "", f"left out: {error}"))
            continue
        same = [records[r] for r, first in copies.items() if first == row and seen.files[r] == file]
        entries = [entry for each in (record, *same) for entry in each["annotations"]]
        images[name] = {"id": len(images) + 1, "file_name": name, "width": width, "height": height}
        images[name] |= {key: value for key, value in record.items() if key not in _OWN}
        boxes, done = _repaired({**record, "annotations": entries}, (width, height), move)
        annotations += [{"image_id": images[name]["id"], **box} for box in boxes]
        repairs += [*((file, "", each) for each in told), *((file, *each) for each in done)]
    annotations = [{"id": k, **each} for k, each in enumerate(annotations, start=1)]
    content = {"images": list(images.values()), "annotations": annotations}
    joints = list(metadata.get("keypoint_names", ()))
    more = {"keypoints": joints} if joints else {}
    names = enumerate(metadata.get("thing_classes"), start=1)
    content["categories"] = [{"id": number, "name": name, **more} for number, name in names]
    write_json(os.path.join(folder, "annotations.json"), content)
    with atomic_write(os.path.join(folder, "repairs.csv"), "w") as stream:
        csv.writer(stream).writerows([("file", "object", "repair"), *repairs])
    return repairs


def _write_picture(
    record: Mapping[str, Any], seen: Pictures, row: int, target: str, link: bool
) -> tuple[tuple[int, int], Move, list[str]]:
    """Write the file of a record; return its (width, height), what moves points, and repairs."""
    file, recorded = seen.files[row], (record["width"], record["height"])
    orientation, told = seen.orientations[row], []
    with Image.open(file) as image:
        stored, turned = image.size, image.size[:: -1 if orientation > 4 else 1]
        # Drawn as the size says; where that is the same either way, as a training takes it.
        as_stored = recorded == stored if turned != stored else record.get("as_stored", False)
        if isinstance(seen.errors.get(row), ImageFileError):
            told.append("encoded anew of what can be read of it")
        if orientation > 1:
            where = "pixels as stored" if as_stored else "upright picture"
            how = f"its boxes taken as drawn on the {where}"
            told.append(f"turned upright (EXIF {orientation}), {how}")
        if told:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                quality = {"quality": 95} if image.format == "JPEG" else {}
                ImageOps.exif_transpose(image).save(target, image.format, **quality)
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False
    if not told:
        _same_file(file, target, link=link)
    drawn = stored if as_stored else turned
    scale = np.divide(drawn, recorded)
    if recorded != drawn:
        is_scaled = abs(scale[0] / scale[1] - 1) < _SAME_SHAPE
        scale = scale if is_scaled else np.ones(2)
        how = "scaled with it, as the shape is the same" if is_scaled else "as they were"
        told.append(f"size {recorded} corrected to {drawn}, boxes {how}")

    def move(points: np.ndarray) -> np.ndarray:
        points = points * scale
        if as_stored:
            points = np.where(_FLIPS[orientation - 1], np.array(stored) - points, points)
        return points[:, ::-1] if as_stored and orientation > 4 else points

    return turned, move, told


def _same_file(file: str, target: str, *, link: bool) -> None:
    with suppress(OSError):  # of another disk
        os.link(os.path.realpath(file), target) if link else None
    if not os.path.exists(target):
        shutil.copyfile(file, target)


def _repaired(
    record: Mapping[str, Any], size: tuple[int, int], move: Move
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """The annotations of an image as COCO has them, and (object, what was done)."""
    objects, annotations, repairs = Objects.of([record]), [], []
    _, wrong = judge_objects(objects)
    for k, (box, entry) in enumerate(zip(objects.boxes, record["annotations"], strict=True)):
        done = [name for name in _REPAIRED if name in wrong and wrong[name][k]]
        ends = np.array([box[:2], box[:2] + box[2:]])
        ends = np.sort(move(ends * objects.sizes[0] if "normalised" in done else ends), axis=0)
        inner = ends.clip(0, size)
        sides = (inner[1] - inner[0]).round(3)
        done += ["clipped"] if np.abs(inner - ends).max() > 1e-3 else []
        done += ["ignored for every class"] if entry["category_id"] < 0 else []
        is_used = (sides > 0).all() and not {"repeated-box", "ignored for every class"} & {*done}
        done += [] if is_used else ["left out"]
        repairs += [(str(k), f"{', '.join(done)}: bbox {box.round(2).tolist()}")] if done else []
        points = np.array(entry.get("keypoints", []), dtype=float).reshape(-1, 3)
        points[:, :2] = np.where(points[:, 2:] > 0, move(points[:, :2]) - 0.5, 0)
        found = {key: value for key, value in entry.items() if key not in _OWN}
        found |= {"category_id": entry["category_id"] + 1, "area": round(float(sides.prod()), 3)}
        found |= {"bbox": [*inner[0].round(3).tolist(), *sides.tolist()]}
        found |= {"ignore": 1} if entry.get("ignored") else {"iscrowd": entry.get("iscrowd") or 0}
        found |= {"keypoints": points.ravel().tolist()} if len(points) else {}
        annotations += [found] if is_used else []
    return annotations, repairs
