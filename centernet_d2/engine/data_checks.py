"""What annotations are suspected of, by a config: before a training, and for `check-data`."""

from collections.abc import Mapping, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import BoxMode

from ..data.checks.annotations import Objects, judge_classes, judge_crowding, judge_objects
from ..data.checks.findings import Finding
from ..data.records import Record
from ..evaluation.build import detection_limits
from ..modeling.inference_protocol import InferenceProtocol

# What a training goes on with, and nothing else tells.
SUSPICIOUS = ("like-names", "repeated-box", "colliding", "under-two-cells")
MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
FRAME, STRIDE = 512, 4  # of networks in general, where no config is given; of all detectors here


def judge_records(
    cfg: CfgNode, records: Sequence[Record], class_names: Sequence[str], *, is_given: bool = True
) -> tuple[list[Finding], list[Record]]:
    """Findings of labelled records, and the records without the boxes that cannot be meant.

    Where no config `is_given`, objects are measured in a frame of `FRAME` pixels.
    """
    objects = Objects.of(records)
    found, wrong = judge_objects(objects)
    kept = iter(wrong[""].tolist())
    records = [{**r, "annotations": [e for e in r["annotations"] if next(kept)]} for r in records]
    objects, protocol = Objects.of(records), InferenceProtocol.from_config(cfg)
    scales, frame = np.ones(len(records)), "in testing, at the pictures' own size"
    if not is_given:
        scales = FRAME / objects.sizes.max(axis=1)
        frame = f"where the longer side is {FRAME} pixels"
    elif protocol.resolution == "fixed":
        size = height, width = protocol.fixed_size
        sides = [protocol.shown_side((int(h), int(w)), size) for w, h in objects.sizes]
        scales, frame = width / np.array(sides), f"in testing at {height} x {width}"
    limits = detection_limits(cfg, is_own=True)
    limits["TEST.COCO_MAX_DETECTIONS"] = cfg.TEST.COCO_MAX_DETECTIONS or 100
    found += judge_classes(objects, class_names)
    return found + judge_crowding(objects, limits, scales / STRIDE, frame), records


def suspicions(
    cfg: CfgNode, records: Sequence[Record], class_names: Sequence[str], source: str
) -> list[str]:
    """What annotations are suspected of; ValueError of that where DATASETS.CHECK_RECORDS is "stop".

    [] of records of another package that do not say enough.
    """
    how = cfg.DATASETS.CHECK_RECORDS
    known = all(
        isinstance(record, Mapping)
        and {"annotations", "width", "height"} <= record.keys()
        and all(entry.get("bbox_mode") in MODES for entry in record["annotations"])
        for record in records
    )
    found = judge_records(cfg, records, class_names)[0] if how != "none" and known else []
    found = [each for each in found if each.kind in SUSPICIOUS and each.severity == "warning"]
    told = [f"{source}: {each}" for each in found]
    if told and how == "stop":
        raise ValueError(f"{' '.join(told)} (DATASETS.CHECK_RECORDS 'warn' goes on with them.)")
    return told
