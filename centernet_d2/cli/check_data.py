"""The verb `check-data`: what a training looks at before its first step, as one table."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tabulate import tabulate

from ..atomic_write import write_json
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.fields.base import build_fields, source_boxes
from ..data.image_files import find_faults
from ..data.loader import build_mapper, check_training_dicts
from ..data.records import Record, checked_records
from ..data.samplers import seeded
from ..engine.setup import register_datasets, setup
from ..engine.user_modules import read_config
from ..modeling.inference_protocol import InferenceProtocol
from ..structures.names import difference

EXPECTED = (ValueError, OSError, KeyError)  # what the checks raise, in one sentence
SMALL, MEDIUM = 32**2, 96**2  # square pixels, COCO's
SAMPLE = 100  # images that are augmented
_SHOWN = 5
Facts = dict[str, Any]  # what -> a number, or (least, median, most) and the like


class _Warnings(logging.Handler):
    """Keeps what is logged as a warning, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.found[record.getMessage()] = None


def run(args: argparse.Namespace) -> int:
    """Look and print; return the exit status, 1 where there are faults."""
    cfg = read_config(args.config_file or "", args.opts, imports=args.imports)
    if not args.config_file or args.datasets:
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(args.datasets), ()
    specs = list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    if not specs:
        raise ValueError(
            "Nothing to check: name datasets, such as coco:my/train.json:my/images, or give the "
            "--config-file of a training."
        )
    level, kept = args.images or cfg.DATASETS.CHECK_IMAGES, _Warnings()
    logger = logging.getLogger("centernet_d2")
    logger.addHandler(kept)
    faults: list[str] = []
    try:
        is_ready = _prepare(cfg, setup if args.config_file else register_datasets, faults)
        ready = cfg if args.config_file and is_ready else None
        looked_at = {spec: look_at(spec, level, ready, faults) for spec in specs}
    finally:
        logger.removeHandler(kept)
    tables = {spec: facts for spec, facts in looked_at.items() if facts}  # those that can be read
    faults, warnings = list(dict.fromkeys(faults)), list(kept.found)  # some said by two datasets
    warnings += other_classes({spec: [*facts["classes"]] for spec, facts in tables.items()})
    if tables:
        print(as_table(tables))
    kinds = {"fault": faults, "warning": warnings}
    for sentence in (f"{kind}: {each}" for kind, found in kinds.items() for each in found):
        print(f"\n{sentence}")
    counts = [f"{len(found)} {kind}{'s' * (len(found) != 1)}" for kind, found in kinds.items()]
    print(f"\n{', '.join(counts)}")
    if args.json:
        write_json(args.json, {"datasets": tables, "faults": faults, "warnings": warnings})
    return 1 if faults else 0


def _prepare(cfg: CfgNode, prepare: Callable[[CfgNode], object], faults: list[str]) -> bool:
    """Let data be read as `cfg` says; whether it and the data agree."""
    try:
        prepare(cfg)
    except EXPECTED as error:
        faults.append(_sentence(error))
        return False
    return True


def look_at(spec: str, level: str, cfg: CfgNode | None, faults: list[str]) -> Facts:
    """Read a dataset as a training does, add its faults to `faults`, and return what it holds."""
    try:
        name = register_from_files(spec) if is_file_spec(spec) else spec
        records = checked_records(name)
    except EXPECTED as error:
        faults.append(_sentence(error))
        return {}
    found = find_faults(records, level)
    missing = [repr(records[row]["file_name"]) for row in found.missing]
    for what, which in (("do not exist", missing), ("cannot be used", found.unusable.values())):
        if which:
            count = f"{len(which)} of {len(records)} image files {what}"
            faults.append(f"dataset '{spec}': {count}: {_first(which)}")
    facts = describe(records, MetadataCatalog.get(name).get("thing_classes") or ())
    if not records.labelled:
        return facts
    try:
        fields = build_fields(cfg) if cfg else ()
        check_training_dicts(records, [name], fields)
        wrong = {*found.missing, *found.unusable}
        usable = [record for row, record in enumerate(records) if row not in wrong]
        facts |= in_network(usable, cfg) if cfg else {}
    except EXPECTED as error:
        faults.append(_sentence(error))
    return facts


def describe(records: Sequence[Record], class_names: Sequence[str]) -> Facts:
    """Count what records hold; lengths are (least, median, most), in pixels."""
    entries = [entry for record in records for entry in record.get("annotations", ())]
    objects = _objects(entries)
    facts: Facts = {"images": len(records)}
    for side in ("width", "height"):
        facts[f"image {side}"] = spread([r[side] for r in records if r.get(side)])
    facts["images without objects"] = sum(not record.get("annotations") for record in records)
    facts["objects"] = len(objects)
    for key, what in {"ignored": "ignored", "iscrowd": "crowd", "difficult": "difficult"}.items():
        if count := sum(bool(entry.get(key)) for entry in entries):
            facts[f"{what} objects"] = count
    areas = np.square(_sides(objects))
    facts["object size"] = spread(np.sqrt(areas))
    borders = [(0, SMALL), (SMALL, MEDIUM), (MEDIUM, np.inf)]
    counts = [int(((low <= areas) & (areas < high)).sum()) for low, high in borders]
    facts["small, medium, large objects"] = counts
    joints = [
        entry["keypoints"][2::3] for entry in objects if any(entry.get("keypoints", ())[2::3])
    ]
    if joints:
        seen = np.concatenate(joints)
        facts["objects with joints"] = len(joints)
        shares = [round(float((seen == value).mean()), 3) for value in (2, 1, 0)]
        facts["share of joints visible, hidden, not labelled"] = shares
    numbers = Counter(entry["category_id"] for entry in objects)
    facts["classes"] = {name: numbers[index] for index, name in enumerate(class_names)}
    return facts


def in_network(records: Sequence[Record], cfg: CfgNode) -> Facts:
    """How large objects are in the network's frame, in testing and in training, in its pixels."""
    protocol = InferenceProtocol.from_config(cfg)
    seen: list[np.ndarray] = []
    for record in records:
        scale, size = 1.0, (record["height"], record["width"])
        if protocol.resolution == "fixed":
            canvas = protocol.fixed_size
            scale = canvas[1] / protocol.shown_side(size, canvas)
        seen.append(scale * _sides(_objects(record["annotations"])))
    facts = {"object size for the network, testing": spread(np.concatenate(seen))}
    mapper, learned = build_mapper(cfg, is_train=True), []
    for number, record in enumerate(records[:: -(-len(records) // SAMPLE)]):
        with seeded(0, number):
            boxes = mapper(record)["instances"].gt_boxes
        learned.append(boxes.area().sqrt().numpy())
    return facts | {"object size for the network, training": spread(np.concatenate(learned))}


def _objects(annotations: Iterable[dict]) -> list[dict]:
    """Those that are no region of a crowd, and none that is ignored (which is marked as both)."""
    return [e for e in annotations if not e.get("iscrowd") and not e.get("ignored")]


def _sides(annotations: Sequence[dict]) -> np.ndarray:
    """(N,) lengths of the sides of squares as large as the boxes."""
    boxes = source_boxes(annotations, "")
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1))


def spread(lengths: Sequence[float] | np.ndarray) -> list[float]:
    """The least, the median and the greatest; [] of none."""
    if not len(lengths):
        return []
    return [round(float(f(lengths)), 1) for f in (np.min, np.median, np.max)]


def other_classes(classes: dict[str, list[str]]) -> list[str]:
    """Say which datasets have other classes than the first."""
    first = next(iter(classes), "")
    return [
        f"'{first}' and '{spec}' have different classes ({difference(classes[first], names)}): "
        "they cannot be trained or scored together"
        for spec, names in classes.items()
        if names != classes[first]
    ]


def as_table(tables: dict[str, Facts]) -> str:
    """The datasets, numbered, and a line for each fact and each class of them."""
    columns = []
    for facts in tables.values():
        counts = {f"- {name}": count for name, count in facts["classes"].items()}
        others = {name: value for name, value in facts.items() if name != "classes"}
        columns.append({**others, "classes": len(counts), **counts})
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(_cell(column.get(name)) for column in columns)] for name in names]
    lines = [f"({number}) {spec}" for number, spec in enumerate(tables, 1)]
    headers = ["", *(line.partition(" ")[0] for line in lines)]
    alignment = ["left", *["right"] * len(columns)]
    table = tabulate(rows, headers, disable_numparse=True, colalign=alignment)
    return "\n".join([*lines, "Lengths are in pixels: least / median / most.", table])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(f"{number:,g}" for number in value) or "none"
    return "" if value is None else f"{value:,}"


def _sentence(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _first(found: Iterable[Any]) -> str:
    words = list(map(str, found))
    return "; ".join(words[:_SHOWN]) + ("; ..." if len(words) > _SHOWN else "")
