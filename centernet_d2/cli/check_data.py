"""The verb `check-data`: what a training looks at before its first step, as one table."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from logging.handlers import MemoryHandler
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tabulate import tabulate

from ..atomic_write import write_json
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.fields.base import build_fields
from ..data.image_files import find_faults
from ..data.loader import build_mapper, check_training_dicts
from ..data.records import Record, checked_records
from ..data.samplers import seeded
from ..data.statistics import Facts, box_sizes, countable, describe, spread
from ..engine.class_names import configured_class_names
from ..engine.setup import load_config, register_datasets, setup
from ..engine.user_modules import import_all
from ..modeling.inference_protocol import InferenceProtocol
from .faults import sentence

SAMPLE, SHOWN = 100, 5  # images that are augmented; wrong ones that are named


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
    faults: list[str] = []

    def told(look: Callable[..., Any], *given: Any) -> Any:
        try:
            return look(*given)
        except (ValueError, OSError, KeyError) as error:  # what a training would stop at
            faults.append(sentence(error, ""))

    level, logger = args.images or cfg.DATASETS.CHECK_IMAGES, logging.getLogger("centernet_d2")
    kept = MemoryHandler(capacity=10**6, flushLevel=logging.CRITICAL + 1)
    kept.setLevel(logging.WARNING)
    logger.addHandler(kept)
    try:
        ready = told(prepare, cfg, args.config_file)
        for spec, facts in tables.items():
            told(look_at, spec, level, facts, faults, ready, cfg.DATASETS.CLASSES)
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


def prepare(cfg: CfgNode, config_file: str) -> CfgNode | None:
    """Set up as a training does; return the config where one was given."""
    (setup if config_file else register_datasets)(cfg)
    configured_class_names(cfg)
    return cfg if config_file else None


def look_at(
    spec: str,
    level: str,
    facts: Facts,
    faults: list[str],
    cfg: CfgNode | None,
    classes: Sequence[str],
) -> None:
    """Read a dataset as a training does; add what it holds to `facts`, and what its images lack."""
    name = register_from_files(spec, classes) if is_file_spec(spec) or classes else spec
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


def in_network(records: Sequence[Record], cfg: CfgNode) -> Facts:
    """How large objects are in the network's frame, in testing and in training, in its pixels."""
    protocol = InferenceProtocol.from_config(cfg)
    fixed, seen, learned = protocol.fixed_size, [], []
    for record in records:
        side = protocol.shown_side((record["height"], record["width"]), fixed)
        scale = fixed[1] / side if protocol.resolution == "fixed" else 1.0
        seen.append(scale * box_sizes(countable(record["annotations"])))
    mapper = build_mapper(cfg, is_train=True)
    for number, record in enumerate(records[:: -(-len(records) // SAMPLE)]):
        with seeded(0, number):
            learned.append(mapper(record)["instances"].gt_boxes.area().sqrt().numpy())
    sizes = {"testing": seen, "training": learned}
    key = "object size for the network, "
    return {key + when: spread(np.concatenate(found)) for when, found in sizes.items()}


def as_table(tables: dict[str, Facts]) -> str:
    """The datasets, numbered, and a line for each fact and each class of them."""
    columns = []
    for facts in tables.values():
        counts = {f"- {name}": count for name, count in facts["classes"].items()}
        others = {name: value for name, value in facts.items() if name != "classes"}
        columns.append({**others, "classes": len(counts), **counts})
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(_cell(column.get(name)) for column in columns)] for name in names]
    headers = ["", *(f"({number})" for number in range(1, len(columns) + 1))]
    alignment = ["left", *["right"] * len(columns)]
    table = tabulate(rows, headers, disable_numparse=True, colalign=alignment)
    lines = [f"{number} {spec}" for number, spec in zip(headers[1:], tables, strict=True)]
    return "\n".join([*lines, "Lengths are in pixels: least / median / most.", table])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(f"{number:,g}" for number in value) or "none"
    return "" if value is None else f"{value:,}"
