"""The verb `check-data`: all that is wrong with data, as tables, a page, and a corrected copy."""

import argparse
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from itertools import combinations
from logging.handlers import MemoryHandler
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data.catalog import Metadata
from tabulate import tabulate

from ..atomic_write import atomic_write, write_json
from ..data.checks.findings import SEVERITIES, Finding, reading_on
from ..data.checks.fixed_copy import write_fixed_copy
from ..data.checks.pictures import Pictures, judge_leaks, judge_pictures, look
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.datasets.recognize import splits_of
from ..data.fields.base import build_fields
from ..data.loader import check_training_dicts
from ..data.mapper import DetectionMapper
from ..data.records import CheckedRecords, checked_records
from ..data.statistics import Facts, describe, spread
from ..engine.class_names import configured_class_names
from ..engine.data_checks import judge_records
from ..engine.object_scale import Learned, Records, check_object_scale, sizes_in_testing
from ..engine.setup import load_config, register_datasets, setup
from ..engine.user_modules import import_all
from ..modeling.inference_protocol import InferenceProtocol
from ..progress import say_again
from ..structures.names import counted
from .faults import sentence


class Looked(NamedTuple):
    """What was seen of a dataset."""

    metadata: Metadata
    records: CheckedRecords  # with boxes as the file has them
    usable: Records  # as a training takes them
    pictures: Pictures
    facts: Facts


def run(args: argparse.Namespace) -> int:
    cfg = load_config(args.config_file or "", args.opts, import_all(args.imports))
    cfg.MODEL.DEVICE = "cpu"  # nothing is computed
    if args.datasets:
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = named(args.datasets, cfg), ()
    specs = tuple(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    if not specs:
        raise ValueError(
            "Nothing to check: name datasets, such as coco:my/train.json:my/images, or give the "
            "--config-file of a training."
        )
    if args.fix and os.path.exists(args.fix) and os.listdir(args.fix):
        raise ValueError(f"--fix '{args.fix}' exists and is not empty: name a new folder.")
    pairs = [(a, b) for a in cfg.DATASETS.TRAIN for b in cfg.DATASETS.TEST if a != b]
    pairs = [*combinations(specs, 2)] if args.datasets else pairs
    looked, findings = look_at_all(cfg, specs, args)
    for first, second in (pair for pair in pairs if {*pair} <= looked.keys()):
        found = judge_leaks(looked[first].pictures, looked[second].pictures, second)
        findings += [replace(finding, dataset=first) for finding in found]
    findings.sort(key=lambda each: (SEVERITIES.index(each.severity), each.kind == "reading"))
    tables = {spec: each.facts for spec, each in looked.items()}
    counts = print_findings(tables, findings)
    if args.json:
        levels = {"faults": "error", "warnings": "warning"}
        told = {k: [str(f) for f in findings if f.severity == kind] for k, kind in levels.items()}
        told |= {"findings": [asdict(finding) for finding in findings]}
        write_json(args.json, {"datasets": tables, **told})
    if args.html:
        from .check_data_page import page  # draws

        with atomic_write(args.html, "w") as file:
            shown = {s: (each.records, [*each.facts["classes"]]) for s, each in looked.items()}
            file.write(page(as_table(tables, "html"), findings, shown))
    for spec, each in looked.items() if args.fix else ():
        others = [looked[b].pictures for a, b in pairs if a == spec and b in looked]
        place = os.path.join(args.fix, "" if len(looked) == 1 else each.metadata.name)
        fix(place.rstrip(os.sep), spec, each, findings, others, not args.copy)
    return int(counts["error"] > 0)


def print_findings(tables: dict[str, Facts], findings: Sequence[Finding]) -> Counter[str]:
    """Print what datasets hold and what is wrong with them; return how many are how severe."""
    if tables:
        print(f"{as_table(tables)}\n")
    numbers = {spec: f"({number})" for number, spec in enumerate(tables, start=1)}
    for each in findings:
        said = replace(each, dataset=numbers.get(each.dataset, ""))
        print(f"{each.severity}: {each.kind}: {said}\n")
    counts = Counter(finding.severity for finding in findings)
    print(", ".join(counted(counts[severity], severity) for severity in SEVERITIES))
    return counts


def named(datasets: Sequence[str], cfg: CfgNode) -> tuple[str, ...]:
    """Return those of the command line, of an export all; ValueError of overrides among them."""
    if keys := [name for name in datasets if name.partition(".")[0] in cfg]:
        raise ValueError(f"'{keys[0]}' is a config key and no dataset: write --opts before it.")
    return tuple(each for name in datasets for each in splits_of(name))


def look_at_all(
    cfg: CfgNode, specs: Sequence[str], args: argparse.Namespace
) -> tuple[dict[str, Looked], list[Finding]]:
    """What is in datasets that can be read, and what is wrong with each, and in reading them."""
    looked: dict[str, Looked] = {}
    findings: list[Finding] = []
    noted: dict[Finding, str] = {}  # in reading, and the first dataset that has it, if known
    train, test = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST  # `setup` names them anew
    logger, kept = logging.getLogger("centernet_d2"), MemoryHandler(10**6, logging.CRITICAL + 1)
    kept.addFilter(lambda r: r.levelno >= logging.WARNING or vars(r).get("shown", False))

    def told(spec: str, look: Callable[..., Any], *given: Any) -> Any:
        start = len(kept.buffer)
        try:
            with reading_on() as found:
                return look(*given)
        except (ValueError, OSError, KeyError) as error:  # what a training would stop at
            findings.append(Finding("dataset", "error", 1, sentence(error, "")))
        finally:
            rows = [(r.levelno >= logging.WARNING, r.getMessage()) for r in kept.buffer[start:]]
            said = [Finding("reading", "warning" if w else "note", 1, text) for w, text in rows]
            noted.update({each: spec for each in (*found, *said) if not noted.get(each)})

    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    say_again()
    try:
        ready = told("", prepare, cfg, args.config_file)
        for spec in specs:
            if seen := told(spec, look_at, spec, cfg, args.images, ready is not None):
                looked[spec], found = seen
                findings += found
                if looked[spec].records.labelled:
                    told(spec, learnable, looked[spec], ready)
        if ready:
            usable = {spec: each.usable for spec, each in looked.items() if each.records.labelled}
            learned = [record for spec in train for record in usable.get(spec, ())]
            told("", compare, ready, learned, {spec: usable.get(spec, ()) for spec in test})
    finally:
        logger.removeHandler(kept)
        logger.setLevel(level)
    read = [replace(each, dataset=spec) for each, spec in noted.items()]
    return looked, list(dict.fromkeys([*read, *findings]))


def prepare(cfg: CfgNode, config_file: str) -> CfgNode | None:
    """Set up as a training does; return the config where one was given."""
    (setup if config_file else register_datasets)(cfg)
    configured_class_names(cfg)
    return cfg if config_file else None


def look_at(spec: str, cfg: CfgNode, images: str, is_ready: bool) -> tuple[Looked, list[Finding]]:
    classes = cfg.DATASETS.CLASSES
    name = register_from_files(spec, classes) if is_file_spec(spec) or classes else spec
    records, metadata = checked_records(name), MetadataCatalog.get(name)
    names = metadata.get("thing_classes") or ()
    pictures = look(records, images or cfg.DATASETS.CHECK_IMAGES)
    found, usable = judge_pictures(records, pictures), list(records)
    if records.labelled:
        judged, usable = judge_records(cfg, records, names, is_given=is_ready)
        found += judged
    facts = describe(usable, names)
    usable = [record for row, record in enumerate(usable) if row not in pictures.errors]
    if records.labelled and is_ready and usable:
        facts |= in_network(usable, cfg)
    found = [replace(finding, dataset=spec) for finding in found]
    return Looked(metadata, records, usable, pictures, facts), found


def learnable(looked: Looked, cfg: CfgNode | None) -> None:
    name, fields = looked.metadata.name, build_fields(cfg) if cfg else ()
    check_training_dicts(looked.usable, [name], fields)


def fix(
    place: str, spec: str, looked: Looked, found: list[Finding], others: list[Pictures], link: bool
) -> None:
    if not looked.records.labelled:
        return print(f"{spec} has no annotations: nothing is written.")
    known = {digest for other in others for digest in other.digests.values()}
    leaked = {row for row, digest in looked.pictures.digests.items() if digest in known}
    lost = (f for f in found if f.kind in ("value", "reading") and f.severity != "note")
    read = (f for f in lost if f.dataset in (spec, ""))
    rows = [("", "", f"not read: {what}") for f in read for what in f.left_out or (f.what,)]
    given = (looked.records, looked.pictures, place, looked.metadata, leaked, link, rows)
    repairs = counted(len(write_fixed_copy(*given)), "repair")
    print(f"{repairs} of {spec}, listed in {place}/repairs.csv. Now:")
    print(f"centernet-d2 check-data coco:{place}/annotations.json:{place}/images")


def in_network(records: Records, cfg: CfgNode) -> Facts:
    """How large objects are in the network's frame, in testing and in training, in its pixels."""
    learned = Learned.of(records, DetectionMapper(cfg, is_train=True))
    tested = sizes_in_testing(records, InferenceProtocol.from_config(cfg))
    sizes = {"testing": tested, "training": learned.sizes if learned else ()}
    return {f"object size for the network, {when}": spread(found) for when, found in sizes.items()}


def compare(cfg: CfgNode, train: Records, test: Mapping[str, Records]) -> None:
    """Raise ValueError where objects differ in size for the network."""
    learned = Learned.of(train, DetectionMapper(cfg, is_train=True))
    check_object_scale(cfg, learned, test, InferenceProtocol.from_config(cfg))


def as_table(tables: dict[str, Facts], form: str = "simple") -> str:
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
    table = tabulate(rows, headers, form, disable_numparse=True, colalign=alignment)
    lines = [f"{number} {spec}" for number, spec in zip(headers[1:], tables, strict=True)]
    lines += ["Lengths are in pixels: least / median / most."]
    breaks = "<br>\n" if form == "html" else "\n"
    return breaks.join([*(map(escape, lines) if form == "html" else lines), table])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(f"{number:,g}" for number in value) or "none"
    return "" if value is None else f"{value:,}"
