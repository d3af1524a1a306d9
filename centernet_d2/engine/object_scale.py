"""How large objects are for the network in training and in testing, which has to agree."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.transforms import AugInput, AugmentationList

from ..data.fields.base import source_boxes
from ..data.samplers import seeded
from ..data.statistics import box_sizes, countable
from ..modeling.inference_protocol import InferenceProtocol

logger = logging.getLogger(__name__)

RATIO = 1.5  # beyond which sizes do not agree
NEAR = 1.2  # what a cure must reach
SAMPLE = 100  # images that are looked at
FEW = 20  # objects whose median says little

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Learned:
    """What a training sees of its objects."""

    size: float  # median of the sides of squares as large as the objects, network pixels; 0: none
    frame: tuple[int, int]  # (height, width) of the training crop
    records: Records = ()  # of the training images; () of those of a checkpoint

    @classmethod
    def of(cls, records: Records, mapper: Any) -> Learned | None:
        """Look at what a mapper makes of records; None for one that does not tell its crop."""
        augmentations = getattr(getattr(mapper, "augmentations", None), "augs", ())
        frames = [aug.output_size for aug in augmentations if hasattr(aug, "output_size")]
        if not frames:
            return None
        sizes = trained_sizes(records, augmentations)
        return cls(median(sizes), tuple(frames[-1]), records)


def sample(records: Records) -> Records:
    """Up to `SAMPLE` records with objects, evenly spaced, whose sizes are known."""
    told = [r for r in records if r.get("annotations") and r.get("height") and r.get("width")]
    return told[:: -(-len(told) // SAMPLE) or 1]


def median(sizes: np.ndarray) -> float:
    """The median, 0 of none."""
    return float(np.median(sizes)) if len(sizes) else 0.0


def tested_sizes(records: Records, protocol: InferenceProtocol) -> np.ndarray:
    """(P,) sizes in the network's frame, in testing at scale 1, of the objects of `sample`."""
    found, (height, width) = [np.zeros(0)], protocol.fixed_size
    for record in sample(records):
        side = protocol.shown_side((record["height"], record["width"]), (height, width))
        scale = width / side if protocol.resolution == "fixed" else 1.0
        found.append(scale * box_sizes(countable(record["annotations"])))
    return np.concatenate(found)


def trained_sizes(records: Records, augmentations: Sequence[Any]) -> np.ndarray:
    """The same in training, of objects that are in the crop.

    The augmentations up to the crop see empty pictures of the images' sizes: no file is read. The
    global random states are as before.
    """
    last = max(k for k, aug in enumerate(augmentations) if hasattr(aug, "output_size"))
    moves, found = AugmentationList(list(augmentations)[: last + 1]), [np.zeros(0)]
    for number, record in enumerate(sample(records)):
        picture = AugInput(np.zeros((record["height"], record["width"], 1), dtype=np.uint8))
        with seeded(0, number):
            transforms = moves(picture)
        boxes = transforms.apply_box(source_boxes(countable(record["annotations"]), ""))
        boxes = boxes.reshape(-1, 4)
        height, width = picture.image.shape[:2]
        seen = (boxes[:, :2] < (width, height)).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
        found.append(np.sqrt((boxes[seen, 2:] - boxes[seen, :2]).clip(0).prod(axis=1)))
    return np.concatenate(found)


def check_object_scale(
    cfg: CfgNode,
    learned: Learned | None,
    tested: Mapping[str, Records],
    protocol: InferenceProtocol,
    *,
    divisor: int = 32,
) -> None:
    """Compare the median object of a training with that of each dataset to be tested on.

    Datasets with few objects say nothing; where none says anything the training images themselves
    are taken. TEST.SCALES agree if one of them does.

    Raises:
        ValueError: they differ by more than `RATIO`, or objects are larger than the crops that a
            training of constant scale (CENTER_CROP.BASE output) learns; INPUT.SCALE_MISMATCH makes
            it a warning. The message has the values that cure it.
    """
    if not (learned and learned.size):
        return
    found = {name: (records, tested_sizes(records, protocol)) for name, records in tested.items()}
    found = {name: each for name, each in found.items() if len(each[1]) >= FEW}
    if not found and learned.records:
        found = {"": (learned.records, tested_sizes(learned.records, protocol))}
    fault = _beyond_crop(cfg, learned)
    for name, (records, sizes) in found.items():
        ratios = [max(s / learned.size, learned.size / s) for s in _seen(sizes, protocol)]
        if not fault and min(ratios, default=1.0) > RATIO:
            fault = _fault(cfg, learned, name, median(sizes))
            fault += cure(records, learned, protocol, divisor)
    if not fault:
        return
    fault += " If it is meant: INPUT.SCALE_MISMATCH warning."
    if cfg.INPUT.SCALE_MISMATCH == "error":
        raise ValueError(fault)
    logger.warning("%s", fault)


def _seen(sizes: np.ndarray, protocol: InferenceProtocol) -> list[float]:
    middle = median(sizes)
    return [middle * scale for scale in protocol.scales] if middle else []


def _beyond_crop(cfg: CfgNode, learned: Learned) -> str:
    if cfg.INPUT.CENTER_CROP.BASE != "output" or learned.size <= min(learned.frame):
        return ""
    height, width = learned.frame
    return (
        f"Half of the training objects are larger than {learned.size:.0f} pixels, and the crops "
        f"that are learned have {width} x {height} (INPUT.TRAIN_SIZE) pixels of the image "
        "(INPUT.CENTER_CROP.BASE output). Bring whole images there: INPUT.CENTER_CROP.BASE image "
        f'TEST.RESOLUTION fixed TEST.FIXED_SIZE "[{height}, {width}]"; a larger INPUT.TRAIN_SIZE '
        "and FIXED_SIZE show more."
    )


def _fault(cfg: CfgNode, learned: Learned, name: str, size: float) -> str:
    crop, test = cfg.INPUT.CENTER_CROP, cfg.TEST
    scales = f" SCALES {list(crop.SCALES)}" if crop.MODE == "random_crop" else ""
    frame = f"TEST.RESOLUTION {test.RESOLUTION}"
    frame += f", FIXED_SIZE {list(test.FIXED_SIZE)}" if test.RESOLUTION == "fixed" else ""
    frame += f", SCALES {list(test.SCALES)}" if list(test.SCALES) != [1.0] else ""
    place = f" on {name}" if name else ""
    learned_by = (
        f"INPUT.TRAIN_SIZE {list(learned.frame)}, CENTER_CROP.MODE {crop.MODE}{scales} BASE "
        f"{crop.BASE}"
        if learned.records
        else "as MODEL.WEIGHTS tell"
    )
    return (
        f"For the network the median object has a side of {learned.size:.0f} pixels in training "
        f"({learned_by}) and of {size:.0f} in testing{place} ({frame}): what is learned at one "
        "size is not found at another. "
    )


def cure(records: Records, learned: Learned, protocol: InferenceProtocol, divisor: int) -> str:
    """The keys of TEST with which objects have the size that is learned."""
    less = int(protocol.canvas == "odd")
    frame = replace(protocol, resolution="fixed", fixed_size=learned.frame)
    native = replace(protocol, resolution="keep_res")
    factor = learned.size / max(median(tested_sizes(records, frame)), 1e-9)
    sides = (max(round((s * factor + less) / divisor), 1) for s in learned.frame)
    scaled = replace(frame, fixed_size=tuple(side * divisor - less for side in sides))
    for each in (frame, native, scaled):
        ratio = median(tested_sizes(records, each)) / learned.size
        if 1 / NEAR <= ratio <= NEAR:
            break
    height, width = each.fixed_size
    if each.resolution == "keep_res":
        return "Set TEST.RESOLUTION keep_res."
    return f'Set TEST.RESOLUTION fixed TEST.FIXED_SIZE "[{height}, {width}]".'
