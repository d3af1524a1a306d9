"""The verb `check-data`: what a training looks at before its first step, as one table."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from logging.handlers import MemoryHandler
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tabulate import tabulate

from ..atomic_write import write_json
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.fields.base import build_fields
from ..data.image_files import find_faults
from ..data.loader import build_mapper, check_training_dicts
from ..data.records import checked_records
from ..data.statistics import Facts, describe, spread
from ..engine.class_names import configured_class_names
from ..engine.object_scale import Learned, Records, check_object_scale, sizes_in_testing
from ..engine.setup import load_config, register_datasets, setup
from ..engine.user_modules import import_all
from ..modeling.inference_protocol import InferenceProtocol
from .faults import sentence

SHOWN = 5  # wrong images that are named


def run(args: argparse.Namespace) -> int:
    """Look and print; return the exit status, 1 where there are faults."""
    cfg = load_config(args.config_file or "", args.opts, import_all(args.imports))
    cfg.MODEL.DEVICE = "cpu"  # nothing is computed
    if args.datasets:
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = tuple(args.datasets), ()
    train, test = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    tables: dict[str, Facts] = {spec: {} for spec in (*train, *test)}
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
        options = (level, faults, ready, cfg.DATASETS.CLASSES)
        of = {spec: told(look_at, spec, tables[spec], *options) for spec in tables}
        if ready:
            learned = [record for spec in train for record in of[spec] or ()]
            told(compare, ready, learned, {spec: of[spec] or () for spec in test})
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
    spec: str, facts: Facts, level: str, faults: list[str], cfg: CfgNode | None, classes: list[str]
) -> Records:
    """Add what a dataset holds to `facts`, and what its images lack; return its usable records."""
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
    bad = {*missing, *unusable}
    usable = [record for row, record in enumerate(records) if row not in bad]
    if records.labelled:
        check_training_dicts(records, [name], build_fields(cfg) if cfg else ())
        facts |= in_network(usable, cfg) if cfg and usable else {}
    return usable


def in_network(records: Records, cfg: CfgNode) -> Facts:
    """How large objects are in the network's frame, in testing and in training, in its pixels."""
    learned = Learned.of(records, build_mapper(cfg, is_train=True))
    tested = sizes_in_testing(records, InferenceProtocol.from_config(cfg))
    sizes = {"testing": tested, "training": learned.sizes if learned else ()}
    return {f"object size for the network, {when}": spread(found) for when, found in sizes.items()}


def compare(cfg: CfgNode, train: Records, test: Mapping[str, Records]) -> None:
    """Raise ValueError where objects differ in size for the network."""
    learned = Learned.of(train, build_mapper(cfg, is_train=True))
    check_object_scale(cfg, learned, test, InferenceProtocol.from_config(cfg))


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
