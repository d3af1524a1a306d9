"""Detections in files, of any program: read, matched to the pictures of a dataset, checked.

Taken are COCO's list of results, this package's `predictions.json`, folders of VOC's texts (one per
class, pixels from 1) or of one text per picture, of KITTI (16 columns), YOLO (`class x y width
height score`, shares of the picture) or `class score left top width height`, and the folder that an
evaluation wrote.
"""

import json
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from detectron2.data import MetadataCatalog

from ..data.datasets.coco_json import load_coco_records
from ..data.datasets.from_files import say
from ..data.datasets.kitti_labels import read_labels
from ..data.records import CheckedRecords, checked_records
from ..evaluation.box_evaluator import Detections
from ..evaluation.coco import RESULTS_FILE
from ..evaluation.coco_ground_truth import load_ground_truth
from ..evaluation.kitti_evaluation import RESULT_FOLDER
from ..evaluation.voc import result_file_name
from ..structures.box3d_records import NO_BOX3D, box3d_row
from ..text_files import read_text

logger = logging.getLogger(__name__)

PLACES = (RESULTS_FILE, "predictions.json", RESULT_FOLDER, "results")  # in folders of our own
# Results with ids of their own -> the file beside them that has these, of `predict` and detectron2.
IMAGES_OF = {"coco_results.json": "coco_images.json", RESULTS_FILE: "*_coco_format.json"}
HARMLESS = 0.1  # share of boxes without extent that are no other form of boxes
FORMS = "a COCO results list, a predictions.json, or a folder of VOC's, KITTI's or YOLO's texts"


class Row(NamedTuple):
    """One detection as a file has it."""

    image: Hashable  # id or file
    label: Hashable  # category id, name or index
    box: Sequence[float]  # XYXY pixels
    score: float
    joints: Sequence[float] = ()  # x, y, score of each, in COCO's pixels
    box3d: Sequence[float] = ()  # as `Boxes3D`


class Dataset:
    """Pictures, which need not be there, and classes of a registered dataset, by all names."""

    def __init__(self, name: str) -> None:
        truth, metadata = load_ground_truth(name), MetadataCatalog.get(name)
        self.name, self.class_names = name, list(truth.class_names)
        self.ids = {key: index for index, key in enumerate(truth.category_ids)}
        # Of a share of the images, or some of the classes, the records are what was chosen.
        if file := not metadata.get("selection") and metadata.get("json_file"):
            found = load_coco_records(file, metadata.get("image_root", ""), needs_images=False)
        self.records = CheckedRecords(found) if file else checked_records(name)
        self.is_labelled, self.pictures = truth.is_labelled, dict[Hashable, dict | None]()
        for record in self.records:
            key = record["image_id"]
            for known in (key, str(key), *_endings(record["file_name"])):  # None: of two
                same = self.pictures.get(known, record) is record
                self.pictures[known] = record if same else None

    def picture(self, key: Hashable) -> dict | None:
        """The record of an id, or of the longest known end of a path, with its ending or not."""
        names = (key, *(_endings(key) if isinstance(key, str) else ()))
        return next(filter(None, map(self.pictures.get, names)), None)


def weights_of(path: str) -> str:
    """The weights that results are of: those that a predictions.json names, or its run's; or ""."""
    place = Path(path)
    file = place / PLACES[1] if place.is_dir() else place
    with suppress(OSError, ValueError, TypeError, KeyError):  # texts, or a JSON of others
        return str(json.loads(read_text(str(file)))["weights"])
    files = (folder / "model_final.pth" for folder in (place, *place.absolute().parents[:3]))
    return next((str(file) for file in files if file.is_file()), "")


def _endings(path: str) -> Iterator[str]:
    parts = PurePath(path.replace("\\", "/")).parts
    for end in ("/".join(parts[start:]) for start in range(len(parts))):
        yield from (end, os.path.splitext(end)[0])


def read_results(path: str, dataset: Dataset, *, own: bool = False) -> dict[Hashable, Detections]:
    """Read detections by image id, an entry for every picture, as evaluators keep them.

    What the dataset does not have is left out and told with examples. In results of this package,
    `own` or beside weights, boxes without extent are detections of nothing.

    Raises:
        FileNotFoundError, ValueError: the file is not there or has no known form, nothing of it is
            the dataset's, classes are counted from another number, boxes are shares of the picture
            or end before they begin.
    """
    rows, classes = _rows(path, dataset)
    ids = [record["image_id"] for record in dataset.records]
    records = _known("picture", [row.image for row in rows], dataset.picture, ids, path)
    labels = _known("class", [row.label for row in rows], classes.get, [*classes], path)
    kept = [k for k in range(len(rows)) if records[k] is not None and labels[k] is not None]
    rows, records = [rows[k] for k in kept], [records[k] for k in kept]
    columns = {
        "boxes": np.array([row.box for row in rows], np.float64).reshape(-1, 4),
        "scores": np.array([row.score for row in rows], np.float64),
        "classes": np.array([labels[k] for k in kept], np.int64),
    }
    _check_boxes(columns["boxes"], records, path, own=own or bool(weights_of(path)))
    _check_joints(rows, [dataset.class_names[labels[k]] for k in kept], dataset.name, path)
    if values := max((len(row.joints) for row in rows), default=0):
        joints = [row.joints or [0.0] * values for row in rows]
        columns["joints"] = np.array(joints).reshape(-1, values // 3, 3)
    if any(len(row.box3d) and row.box3d[3] > 0 for row in rows):
        columns["boxes3d"] = np.array([row.box3d or NO_BOX3D for row in rows])
    if (some := len({record["image_id"] for record in records})) < len(ids):
        say(f"{path}: detections in {some} of the {len(ids)} pictures.")
    found: dict[Hashable, list[int]] = {key: [] for key in ids}
    for place, record in enumerate(records):
        found[record["image_id"]].append(place)
    return {
        key: {name: column[np.array(places, int)] for name, column in columns.items()}
        for key, places in found.items()
    }


def _known(what: str, keys: list, find: Callable[[Any], Any], there: list, path: str) -> list[Any]:
    """What each key stands for, None where that is not known; an error where nothing is."""
    known = {key: find(key) for key in dict.fromkeys(keys)}
    found = [known[key] for key in keys]
    if not (unknown := [key for key, value in known.items() if value is None]):
        return found
    told = (
        f"{path}: {found.count(None)} of {len(keys)} detections name a {what} that the dataset "
        f"does not have, such as {unknown[:3]}; it has {there[:3]}{' ...' * (len(there) > 3)}"
    )
    if what == "class" and all(isinstance(key, int) for key in known):
        for shift in (1, -1):
            if all(key + shift in there for key in known):
                raise ValueError(f"{told}. With {shift:+d} all fit: class ids are off by one")
        if set(known) <= set(range(len(there))):
            raise ValueError(f"{told}. They look like places in the list of classes: write ids")
    if len(unknown) == len(known):
        raise ValueError(f"{told}. Name the dataset that these results are of")
    logger.warning("%s. They are left out.", told)
    return found


def _check_boxes(boxes: np.ndarray, records: Sequence[dict], path: str, *, own: bool) -> None:
    if not len(boxes):
        return
    if not np.isfinite(boxes).all():
        raise ValueError(f"{path}: {(~np.isfinite(boxes)).sum()} coordinates are no finite numbers")
    if np.abs(boxes).max() <= 2 and not own:
        raise ValueError(f"{path}: no coordinate is above 2: shares of the picture? Write pixels")
    if (wrong := (boxes[:, 2:] < boxes[:, :2]).any(axis=1)).any():
        told = f"{path}: {wrong.sum()} of {len(boxes)} boxes end before they begin, such as (XYXY)"
        told += f" {boxes[wrong][0].tolist()}"
        if wrong.mean() > HARMLESS and not own:  # a network that has just begun to learn has some
            raise ValueError(told)
        logger.warning("%s. They find nothing.", told)
    sizes = np.array([(r.get("width", np.inf), r.get("height", np.inf)) for r in records])
    if (far := (boxes[:, 2:] > 1.1 * sizes).any(axis=1)).mean() > 0.2:
        logger.warning(
            "%s: %d of %d boxes reach far out of their pictures: corners where width and height "
            "belong (COCO's are XYWH), or pictures of another size?",
            *(path, far.sum(), len(far)),
        )


def _check_joints(rows: Sequence[Row], classes: Sequence[str], dataset: str, path: str) -> None:
    """Raise where joints are not those of the dataset, and warn where they are missing."""
    metadata, counts = MetadataCatalog.get(dataset), {len(row.joints) for row in rows} - {0}
    names = metadata.get("keypoint_names") or ()
    wanted = 3 * len(names) or max(counts, default=0)
    if wrong := counts - {wanted}:
        told = f"{path}: 'keypoints' of {min(wrong)} numbers where {wanted} belong"
        raise ValueError(f"{told}: x, y and score of each of {wanted // 3} joints")
    having = metadata.get("keypoint_classes") or classes
    posed = [bool(row.joints) for row, name in zip(rows, classes, strict=True) if name in having]
    if names and not all(posed):
        told = "%s: %d of %d detections of classes with joints have no 'keypoints': no poses"
        logger.warning(told, path, posed.count(False), len(posed))


def _rows(path: str, dataset: Dataset) -> tuple[list[Row], dict[Any, int]]:
    """All detections, and the class of each label that may be."""
    place = Path(path)
    while place.is_dir() and (inner := [place / n for n in PLACES if (place / n).exists()]):
        place = inner[0]
    by_name = {name: index for index, name in enumerate(dataset.class_names)}
    if place.is_file() and place.suffix == ".json":
        content = json.loads(read_text(str(place)))
        if isinstance(content, list):
            rows = [*_coco_rows(content, path)]
            beside = [*place.parent.glob(IMAGES_OF.get(place.name, "no file"))]
            if len(beside) != 1:
                return rows, dataset.ids
            say(f"Ids in {place} are those of {beside[0].name}.")
            whole = json.loads(read_text(str(beside[0])))
            files = {image["id"]: image["file_name"] for image in whole["images"]}
            names = {category["id"]: category["name"] for category in whole["categories"]}
            rows = [Row(files.get(row[0]), names.get(row[1]), *row[2:]) for row in rows]
            return rows, by_name
        if isinstance(content, dict) and "box_format" in content:
            return [*_predicted_rows(content)], by_name
    files = [file for file in sorted(place.rglob("*.txt")) if not file.name.startswith("log.")]
    if not files:
        raise FileNotFoundError(f"'{path}' is not there, or none of: {FORMS}")
    if of_class := [file for file in files if "_det_" in file.name]:
        return [row for file in of_class for row in _voc_rows(file, dataset)], by_name
    lines = ((file, line.split()) for file in files for line in read_text(str(file)).splitlines())
    words = [(file, row) for file, row in lines if row]
    if words and words[0][1][0].isdecimal():
        rows = [_yolo_row(file, row, dataset) for file, row in words]
        return rows, {index: index for index in by_name.values()}
    return [row for file in files for row in _kitti_rows(file)], by_name


def _coco_rows(content: Iterable[dict], path: str) -> Iterator[Row]:
    for number, row in enumerate(content):
        try:
            joints = row.get("keypoints") or ()
            ends = [f(joints[axis::3]) for f in (min, max) for axis in (0, 1)] if joints else ()
            if "bbox" in row or not joints:  # else that of the joints, as COCO's own reader
                x, y, width, height = row["bbox"]
                ends = (x, y, x + width, y + height)
            yield Row(row["image_id"], row["category_id"], ends, float(row["score"]), joints)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: entry {number} is no COCO result (image_id, category_id, bbox of 4 "
                f"numbers, score): {row!s:.150} ({type(error).__name__}: {error})"
            ) from error


def _predicted_rows(content: dict) -> Iterator[Row]:
    corners = content["box_format"].startswith("XYXY")
    for image in content["images"]:
        for found in image["detections"]:
            x, y, *end = found["box"]
            box = (x, y, *(end if corners else (x + end[0], y + end[1])))
            joints = [value for joint in found.get("joints", ()) for value in joint]
            box3d = box3d_row(found["box3d"], image["file"]) if "box3d" in found else ()
            yield Row(image["file"], found["class_name"], box, found["score"], joints, box3d)


def _numbers(file: Path, words: Sequence[str], columns: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != len(columns.split()):
        raise ValueError(f"'{file}': '{' '.join(words)}' is not '{columns}'")
    return values


def _voc_rows(file: Path, dataset: Dataset) -> Iterator[Row]:
    ends = {name: result_file_name("", name)[len("comp4_det_") :] for name in dataset.class_names}
    fitting = [name for name, end in ends.items() if file.name.endswith(end)]
    label = max(fitting, key=len) if fitting else file.stem.rpartition("_")[2]
    for line in filter(None, read_text(str(file)).splitlines()):
        image, *words = line.rsplit(maxsplit=5)
        score, *box = _numbers(file, words, "score left top right bottom")
        yield Row(image, label, [value - 1 for value in box], score)


def _kitti_rows(file: Path) -> Iterator[Row]:
    for item in read_labels(str(file)):
        if item.score is None:
            raise ValueError(f"'{file}' has no scores (column 16): labels and no results")
        box3d = box3d_row(vars(item), str(file))
        yield Row(file.stem, item.type, item.box, item.score, (), box3d)


def _yolo_row(file: Path, words: Sequence[str], dataset: Dataset) -> Row:
    label, *values = _numbers(file, words, "class x y width height score")
    if max(values[1:]) > 2 >= values[0]:  # class score left top width height
        score, x, y, width, height = values
        return Row(str(file), int(label), (x, y, x + width, y + height), score)
    if max(values[:4]) > 2:
        raise ValueError(f"'{file}': '{' '.join(words)}': YOLO's boxes are shares of the picture")
    record = dataset.picture(str(file)) or {"width": 1, "height": 1}
    x, y, width, height = np.multiply(values[:4], 2 * (record["width"], record["height"])).tolist()
    ends = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Row(str(file), int(label), ends, values[4])
