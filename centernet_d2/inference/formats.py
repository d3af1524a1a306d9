"""What predictions are written as, beside `predictions.json`, from whose records they are made.

A record is that of `records.Recorder`, `heading` what else stands in `predictions.json`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..text_files import read_text

Record = Mapping[str, Any]
CSV_COLUMNS = (
    *("file", "width", "height", "frame", "time", "track_id", "class_name", "class_index"),
    *("score", "left", "top", "right", "bottom", "more"),
)
_OF_DETECTION = {"class_name", "class_index", "score", "box", "track_id"}


@dataclass(frozen=True)
class PredictionFormat:
    """One form of output.

    Attributes:
        of_run: (records, heading) -> file name -> text, of all images together.
        of_image: (record, heading, path of the file) -> text, of each image its own file.
        place: of that file below the output folder; {} is the image's name without its ending.
    """

    of_run: Callable[[Sequence[Record], Record], dict[str, str]] = lambda records, heading: {}
    of_image: Callable[[Record, Record, str], str] | None = None
    place: str = ""


PREDICTION_FORMATS: dict[str, PredictionFormat] = {"json": PredictionFormat()}
"""Name -> what is written; that of "json" is always there, as a second run goes on from it."""


def register_prediction_format(name: str, **parts: Any) -> None:
    """Add a form of output, which `--format` then knows: `of_run`, `of_image`, `place`.

    Raises:
        ValueError: the name is taken.
    """
    if name in PREDICTION_FORMATS:
        raise ValueError(f"the format '{name}' is registered already; take another name")
    PREDICTION_FORMATS[name] = PredictionFormat(**parts)


def xyxy(detection: Record, heading: Record) -> list[float]:
    """Left, top, right, bottom of a detection, whatever `box_format` its record has."""
    x, y, third, fourth = detection["box"]
    is_xyxy = heading["box_format"].startswith("XYXY")
    return [x, y, *((third, fourth) if is_xyxy else (x + third, y + fourth))]


def csv_text(records: Sequence[Record], heading: Record, *, header: bool = True) -> str:
    """A row per detection; `more` is the JSON of what has no column, as joints."""
    text = io.StringIO()
    table = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n", extrasaction="ignore")
    if header:
        table.writeheader()
    for record in records:
        for found in record["detections"]:
            more = {key: value for key, value in found.items() if key not in _OF_DETECTION}
            box = dict(zip(CSV_COLUMNS[-5:-1], xyxy(found, heading), strict=True))
            shown = {"more": json.dumps(more, ensure_ascii=False) if more else ""}
            table.writerow({**record, **found, **box, **shown})
    return text.getvalue()


def coco_files(records: Sequence[Record], heading: Record) -> dict[str, str]:
    """Results that `COCO.loadRes` takes, and the COCO file of images and categories that it needs.

    Ids count from 1, images in the order of their paths, unless `heading` has a COCO file,
    "image_ids", which gives those of images by their file names and those of classes by theirs.
    """
    images = {record["file"]: number for number, record in enumerate(records, 1)}
    categories = {name: number for number, name in enumerate(heading["class_names"], 1)}
    if given := heading.get("image_ids"):
        content = json.loads(read_text(given))
        ids = {entry["file_name"]: entry["id"] for entry in content["images"]}
        images = {file: _id_of(file, ids, given) for file in images}
        known = {entry["name"]: entry["id"] for entry in content["categories"]}
        categories = {name: known.get(name, "") for name in categories}
        if unknown := [name for name, identifier in categories.items() if identifier == ""]:
            raise ValueError(f"--image-ids '{given}' has no category {unknown}: it has {[*known]}.")
    results = []
    for record in records:
        for found in record["detections"]:
            left, top, right, bottom = xyxy(found, heading)
            box = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            name, image = found["class_name"], images[record["file"]]
            category = categories.get(name, found["class_index"] + 1)
            row = {"image_id": image, "category_id": category, "bbox": box, "score": found["score"]}
            if found.get("joints"):
                row["keypoints"] = [value for joint in found["joints"] for value in joint]
            results.append(row)
    sizes = [{key: record[key] for key in ("height", "width")} for record in records]
    listed = [
        {"id": images[record["file"]], "file_name": record["file"], **size}
        for record, size in zip(records, sizes, strict=True)
    ]
    named = [{"id": identifier, "name": name} for name, identifier in categories.items()]
    whole = {"images": listed, "categories": named, "annotations": []}
    return {"coco_results.json": json.dumps(results), "coco_images.json": json.dumps(whole)}


def _id_of(file: str, ids: Mapping[str, Any], source: str) -> Any:
    parts = Path(file).parts
    for start in range(len(parts)):
        if (name := "/".join(parts[start:])) in ids:
            return ids[name]
    raise ValueError(f"--image-ids '{source}' has no image '{parts[-1]}' (of '{file}').")


def yolo_text(record: Record, heading: Record, path: str) -> str:
    """Lines as Ultralytics saves them: class, center, size, joints (x, y, score), confidence."""
    width, height = record["width"], record["height"]
    joints = len(heading.get("joint_names") or ())
    lines = []
    for found in record["detections"]:
        left, top, right, bottom = xyxy(found, heading)
        box = [(left + right) / 2 / width, (top + bottom) / 2 / height]
        box += [(right - left) / width, (bottom - top) / height]
        for x, y, score in found.get("joints") or [(-0.5, -0.5, 0.0)] * joints:
            box += [(x + 0.5) / width, (y + 0.5) / height, score]  # 0 is a pixel's middle
        numbers = " ".join(f"{value:.6g}" for value in (*box, found["score"]))
        lines.append(f"{found['class_index']} {numbers}\n")
    return "".join(lines)


def yolo_names(records: Sequence[Record], heading: Record) -> dict[str, str]:
    """The `data.yaml` of class names, and of joints their number."""
    content: dict[str, Any] = {"names": dict(enumerate(heading["class_names"]))}
    if joints := heading.get("joint_names"):
        content |= {"kpt_shape": [len(joints), 3], "kpt_names": {0: [*joints]}}
    return {"data.yaml": yaml.safe_dump(content, allow_unicode=True, sort_keys=False)}


def labelme_text(record: Record, heading: Record, path: str) -> str:
    """What LabelMe opens: rectangles, and joints as points of the same group."""
    names, shapes = heading.get("joint_names") or (), []
    for number, found in enumerate(record["detections"], 1):
        left, top, right, bottom = xyxy(found, heading)
        joints = found.get("joints") or ()
        group = number if joints else None
        told = f"score {found['score']:.3f}"
        drawn = [("rectangle", found["class_name"], [[left, top], [right, bottom]], told)]
        for joint, (x, y, score) in enumerate(joints):
            name = names[joint] if joint < len(names) else f"joint {joint}"
            drawn.append(("point", name, [[x + 0.5, y + 0.5]], f"score {score:.3f}"))
        for kind, label, points, text in drawn:
            shape = {"label": label, "points": points, "group_id": group, "description": text}
            shapes.append({**shape, "shape_type": kind, "flags": {}, "mask": None})
    place = os.path.relpath(os.path.abspath(record["file"]), os.path.dirname(os.path.abspath(path)))
    whole = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None}
    whole |= {"imagePath": place.replace(os.sep, "/"), "imageHeight": record["height"]}
    return json.dumps(whole | {"imageWidth": record["width"]}, ensure_ascii=False, indent=1)


register_prediction_format("coco", of_run=coco_files)
register_prediction_format(
    "csv", of_run=lambda records, heading: {"predictions.csv": csv_text(records, heading)}
)
register_prediction_format(
    "yolo", of_run=yolo_names, of_image=yolo_text, place=os.path.join("labels", "{}.txt")
)
register_prediction_format(
    "labelme", of_image=labelme_text, place=os.path.join("labelme", "{}.json")
)
