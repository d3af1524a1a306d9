"""What predictions are written as beside `predictions.json`, of whose records they are made.

A format is called with the records of `records.Recorder`, in the order of their files, with what
else stands in that JSON, and with the output folder. It yields a name below the folder, the text,
and the image file whose own it is, or "" where it is of all; one's own is not written twice.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from ..text_files import read_text

Record = Mapping[str, Any]
Files = Iterator[tuple[str, str, str]]
Format = Callable[[Sequence[Record], Record, str], Files]
PREDICTION_FORMATS: dict[str, Format] = {"json": lambda records, heading, folder: iter(())}
CSV_COLUMNS = (
    *("file", "width", "height", "frame", "time", "track_id", "class_name", "class_index"),
    *("score", "left", "top", "right", "bottom", "more"),
)


def register_prediction_format(name: str, form: Format) -> None:
    """Add a format, which `--format` then knows; ValueError where the name is taken."""
    if name in PREDICTION_FORMATS:
        raise ValueError(f"the format '{name}' is registered already; take another name")
    PREDICTION_FORMATS[name] = form


def xyxy(found: Record, heading: Record) -> list[float]:
    """Left, top, right, bottom of a detection, in whatever form its record has them."""
    x, y, *end = found["box"]
    is_xyxy = heading["box_format"].startswith("XYXY")
    return [x, y, *(end if is_xyxy else (round(x + end[0], 3), round(y + end[1], 3)))]


def csv_text(records: Sequence[Record], heading: Record, *, header: bool = True) -> str:
    """Return a row per detection; `more` is JSON of what has no column, as joints."""
    table = csv.DictWriter(text := io.StringIO(), CSV_COLUMNS, "", "ignore", lineterminator="\n")
    if header:
        table.writeheader()
    for record in records:
        for found in record["detections"]:
            more = {k: value for k, value in found.items() if k not in (*CSV_COLUMNS, "box")}
            shown = {"more": json.dumps(more, ensure_ascii=False) if more else ""}
            box = dict(zip(CSV_COLUMNS[-5:-1], xyxy(found, heading), strict=True))
            table.writerow({**record, **found, **box, **shown})
    return text.getvalue()


def _coco(records: Sequence[Record], heading: Record, folder: str) -> Files:
    """Results that `COCO.loadRes` takes, and the COCO file of images and categories that it needs.

    Ids count from 1, or are those of a COCO file, "image_ids", by names of files and of classes.
    """
    images: dict[str, Any] = {record["file"]: k for k, record in enumerate(records, 1)}
    categories: dict[str, Any] = {name: k for k, name in enumerate(heading["class_names"], 1)}
    if given := heading.get("image_ids"):
        content = json.loads(read_text(given))
        ids = {entry["file_name"]: entry["id"] for entry in content.get("images", ())}
        known = {entry["name"]: entry["id"] for entry in content.get("categories", ())}
        for file in images:  # by the longest end of its path that is a name there
            parts = PurePath(file).parts
            ends = ("/".join(parts[start:]).replace("//", "/") for start in range(len(parts)))
            images[file] = next((ids[end] for end in ends if end in ids), None)
        categories = {name: known.get(name) for name in categories}
        if strange := [name for name, i in (categories | images).items() if i is None]:
            raise ValueError(f"--image-ids '{given}' has no image or category '{strange[0]}'.")
    results = []
    for record in records:
        for found in record["detections"]:
            left, top, right, bottom = xyxy(found, heading)
            row = {"image_id": images[record["file"]], "score": found["score"]}
            row["category_id"] = categories.get(found["class_name"], found["class_index"] + 1)
            row["bbox"] = [left, top, round(right - left, 3), round(bottom - top, 3)]
            if joints := found.get("joints"):
                row["keypoints"] = [value for joint in joints for value in joint]
            results.append(row)
    whole: dict[str, Any] = {"images": [], "annotations": []}
    for record in records:
        size = {key: record[key] for key in ("height", "width")}
        whole["images"].append({"id": images[record["file"]], "file_name": record["file"], **size})
    whole["categories"] = [{"id": k, "name": name} for name, k in categories.items()]
    yield "coco_results.json", json.dumps(results), ""
    yield "coco_images.json", json.dumps(whole, ensure_ascii=False), ""


def _yolo(records: Sequence[Record], heading: Record, folder: str) -> Files:
    """Lines as Ultralytics saves them: class, center, size, joints (x, y, score), confidence."""
    names = heading.get("joint_names") or ()
    content: dict[str, Any] = {"names": dict(enumerate(heading["class_names"]))}
    content |= {"kpt_shape": [len(names), 3]} if names else {}
    yield "data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False), ""
    for record in records:
        width, height, lines = record["width"], record["height"], []
        for found in record["detections"]:
            left, top, right, bottom = xyxy(found, heading)
            line = [(left + right) / 2 / width, (top + bottom) / 2 / height]
            line += [(right - left) / width, (bottom - top) / height]
            for x, y, score in found.get("joints") or [(-0.5, -0.5, 0.0)] * len(names):
                line += [(x + 0.5) / width, (y + 0.5) / height, score]  # 0 is a pixel's middle
            numbers = " ".join(f"{value:.6g}" for value in (*line, found["score"]))
            lines.append(f"{found['class_index']} {numbers}\n")
        stem = os.path.splitext(record["name"])[0]
        yield os.path.join("labels", f"{stem}.txt"), "".join(lines), record["file"]


def _labelme(records: Sequence[Record], heading: Record, folder: str) -> Files:
    """What LabelMe opens: rectangles, and joints as points of the same group."""
    names = dict(enumerate(heading.get("joint_names") or ()))
    for record in records:
        shapes = []
        for number, found in enumerate(record["detections"], 1):
            box, joints = xyxy(found, heading), found.get("joints") or ()
            rows = [("rectangle", found["class_name"], found["score"], [box[:2], box[2:]])]
            for k, (x, y, score) in enumerate(joints):
                rows.append(("point", names.get(k, f"joint {k}"), score, [[x + 0.5, y + 0.5]]))
            for kind, label, score, points in rows:
                shape = {"label": label, "points": points, "group_id": number if joints else None}
                shape |= {"description": f"score {score:.3f}", "shape_type": kind, "flags": {}}
                shapes.append(shape)
        name = os.path.join("labelme", f"{os.path.splitext(record['name'])[0]}.json")
        at = os.path.dirname(os.path.abspath(os.path.join(folder, name)))
        path = PurePath(os.path.relpath(os.path.abspath(record["file"]), at)).as_posix()
        whole: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes}
        whole |= {"imagePath": path, "imageData": None, "imageHeight": record["height"]}
        whole |= {"imageWidth": record["width"]}
        yield name, json.dumps(whole, ensure_ascii=False, indent=1), record["file"]


_FORMS: dict[str, Format] = {
    "coco": _coco,
    "csv": lambda rows, heading, folder: iter([("predictions.csv", csv_text(rows, heading), "")]),
    "yolo": _yolo,
    "labelme": _labelme,
}
for _name, _form in _FORMS.items():
    register_prediction_format(_name, _form)
