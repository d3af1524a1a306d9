"""The verb `check-data`: what a training looks at before its first step, as one table."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from logging.handlers import MemoryHandler
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
from ..engine.class_names import configured_class_names
from ..engine.setup import load_config, register_datasets, setup
from ..engine.user_modules import import_all
from ..modeling.inference_protocol import InferenceProtocol
from .faults import sentence

SMALL, MEDIUM = 32**2, 96**2  # square pixels, COCO's
SAMPLE, SHOWN = 100, 5  # images that are augmented; wrong ones that are named
Facts = dict[str, Any]  # what -> a number, or (least, median, most) and the like


def run(args: argparse.Namespace) -> int:
    """Look and print; return the exit status, 1 where there are faults."""
    cfg = load_config(args.config_file or "", args.opts, import_all(args.imports))
    cfg.MODEL.DEVICE = "cpu"  # nothing is computed
    if args.datasets:
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(args.datasets), ()
    tables: dict[str, Facts] = {spec: {} for spec in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)}
    if not tables:
        raise ValueError(
            "Nothing to check: name datasets, such as coco:my/train.json:my/images, or give the "
            "--config-file of a training."
        )
    level, faults = args.images or cfg.DATASETS.CHECK_IMAGES, []
    kept = MemoryHandler(capacity=10**6, flushLevel=logging.CRITICAL + 1)
    kept.setLevel(logging.WARNING)
    logger, ready = logging.getLogger("centernet_d2"), None
    logger.addHandler(kept)
    try:
        with _told(faults):
            (setup if args.config_file else register_datasets)(cfg)
            configured_class_names(cfg)
            ready = cfg if args.config_file else None
        for spec, facts in tables.items():
            with _told(faults):
                look_at(spec, level, facts, faults, cfg=ready)
    finally:
        logger.removeHandler(kept)
    tables = {spec: facts for spec, facts in tables.items() if facts}  # those that can be read
    said = {"fault": faults, "warning": [record.getMessage() for record in kept.buffer]}
    found = {kind: list(dict.fromkeys(each)) for kind, each in said.items()}
    if tables:
        print(f"{as_table(tables)}\n")
    print("".join(f"{kind}: {each}\n\n" for kind in found for each in found[kind]), end="")
    print(", ".join(f"{len(each)} {kind}{'s' * (len(each) != 1)}" for kind, each in found.items()))
    if args.json:
        write_json(args.json, {"datasets": tables, **{f"{k}s": each for k, each in found.items()}})
    return 1 if faults else 0


@contextlib.contextmanager
def _told(faults: list[str]) -> Iterator[None]:
    """Take an error that a check raises as a fault, and go on behind the block."""
    try:
        yield
    except (ValueError, OSError, KeyError) as error:
        faults.append(sentence(error, ""))


def look_at(
    spec: str, level: str, facts: Facts, faults: list[str], *, cfg: CfgNode | None = None
) -> None:
    """Read a dataset as a training does; add what it holds to `facts`, and what its images lack."""
    name = register_from_files(spec) if is_file_spec(spec) else spec
    records = checked_records(name)
    facts |= describe(records, MetadataCatalog.get(name).get("thing_classes") or ())
    missing, unusable = find_faults(records, level)
    paths = [repr(records[row]["file_name"]) for row in missing]
    for what, wrong in {"do not exist": paths, "cannot be used": [*unusable.values()]}.items():
        if wrong:
            told = "; ".join(map(str, wrong[:SHOWN])) + "; ..." * (len(wrong) > SHOWN)
            count = f"{len(wrong)} of {len(records)} image files {what}"
            faults.append(f"dataset '{spec}': {count}: {told}")
    if records.labelled:
        check_training_dicts(records, [name], build_fields(cfg) if cfg else ())
        bad = {*missing, *unusable}
        usable = [record for row, record in enumerate(records) if row not in bad]
        facts |= in_network(usable, cfg) if cfg and usable else {}


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
    kinds = np.digitize(areas, [SMALL, MEDIUM])
    facts["small, medium, large objects"] = np.bincount(kinds, minlength=3).tolist()
    visibility = [entry.get("keypoints", ())[2::3] for entry in objects]
    if joints := [row for row in visibility if any(row)]:
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
    fixed, seen, learned = protocol.fixed_size, [], []
    for record in records:
        side = protocol.shown_side((record["height"], record["width"]), fixed)
        scale = fixed[1] / side if protocol.resolution == "fixed" else 1.0
        seen.append(scale * _sides(_objects(record["annotations"])))
    mapper = build_mapper(cfg, is_train=True)
    for number, record in enumerate(records[:: -(-len(records) // SAMPLE)]):
        with seeded(0, number):
            learned.append(mapper(record)["instances"].gt_boxes.area().sqrt().numpy())
    sizes = {"testing": seen, "training": learned}
    key = "object size for the network, "
    return {key + when: spread(np.concatenate(found)) for when, found in sizes.items()}


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
