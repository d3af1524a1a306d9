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
SAMPLE = 50  # images that are looked at
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
        sizes = sizes_in_training(records, augmentations)
        return cls(median(sizes), tuple(frames[-1]), records)


def sample(records: Records) -> Records:
    """Up to `SAMPLE` records with objects, evenly spaced, whose sizes are known."""
    told = [r for r in records if r.get("annotations") and r.get("height") and r.get("width")]
    return told[:: -(-len(told) // SAMPLE) or 1]


def median(sizes: np.ndarray) -> float:
    """The median, 0 of none."""
    return float(np.median(sizes)) if len(sizes) else 0.0


def sizes_in_testing(records: Records, protocol: InferenceProtocol) -> np.ndarray:
    """(P,) sizes in the network's frame, in testing at scale 1, of the objects of `sample`."""
    found, (height, width) = [np.zeros(0)], protocol.fixed_size
    for record in sample(records):
        side = protocol.shown_side((record["height"], record["width"]), (height, width))
        scale = width / side if protocol.resolution == "fixed" else 1.0
        found.append(scale * box_sizes(countable(record["annotations"])))
    return np.concatenate(found)


def sizes_in_training(records: Records, augmentations: Sequence[Any]) -> np.ndarray:
    """The same in training, whether or not a crop shows them.

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
        found.append(np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)))
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
    seen = {f" on {name}": records for name, records in tested.items()}
    seen = {name: r for name, r in seen.items() if len(sizes_in_testing(r, protocol)) >= FEW}
    if not seen and learned.records:
        seen = {"": learned.records}
    faults = [_beyond_crop(cfg, learned)]
    for name, records in seen.items():
        size = median(sizes_in_testing(records, protocol))
        ratios = [size * scale / learned.size for scale in protocol.scales]
        if size and not any(1 / RATIO <= ratio <= RATIO for ratio in ratios):
            faults.append(
                f"For the network the median object is {learned.size:.0f} pixels large in training "
                f"({_crop(cfg, learned)}) and {size:.0f} in testing{name} ({_frame(cfg)}): what is "
                "learned at one size is not found at the other. "
                f"Set {cure(records, learned, protocol, divisor)}."
            )
    if fault := next(filter(None, faults), ""):
        fault += " If it is meant: INPUT.SCALE_MISMATCH warning."
        if cfg.INPUT.SCALE_MISMATCH == "error":
            raise ValueError(fault)
        logger.warning("%s", fault)


def _beyond_crop(cfg: CfgNode, learned: Learned) -> str:
    if cfg.INPUT.CENTER_CROP.BASE != "output" or learned.size <= min(learned.frame):
        return ""
    size = list(learned.frame)
    return (
        f"The median object of the training has {learned.size:.0f} pixels, the crops that are "
        f"learned show {size} of an image (INPUT.TRAIN_SIZE, INPUT.CENTER_CROP.BASE output). Bring "
        "whole images there by INPUT.CENTER_CROP.BASE image TEST.RESOLUTION fixed TEST.FIXED_SIZE "
        f'"{size}"; a larger TRAIN_SIZE and FIXED_SIZE show more of them.'
    )


def _crop(cfg: CfgNode, learned: Learned) -> str:
    crop = cfg.INPUT.CENTER_CROP
    scales = f" SCALES {list(crop.SCALES)}" if crop.MODE == "random_crop" else ""
    told = f"INPUT.TRAIN_SIZE {list(learned.frame)}, CENTER_CROP.MODE {crop.MODE}{scales}"
    return f"{told} BASE {crop.BASE}" if learned.records else "as MODEL.WEIGHTS tell"


def _frame(cfg: CfgNode) -> str:
    size = f", FIXED_SIZE {list(cfg.TEST.FIXED_SIZE)}" * (cfg.TEST.RESOLUTION == "fixed")
    return f"TEST.RESOLUTION {cfg.TEST.RESOLUTION}{size}, SCALES {list(cfg.TEST.SCALES)}"


def cure(records: Records, learned: Learned, protocol: InferenceProtocol, divisor: int) -> str:
    """The keys of TEST with which objects have the size that is learned."""
    less = int(protocol.canvas == "odd")
    whole = replace(protocol, resolution="fixed", fixed_size=learned.frame)
    factor = learned.size / max(median(sizes_in_testing(records, whole)), 1e-9)
    sides = (max(round((s * factor + less) / divisor), 1) for s in learned.frame)
    scaled = replace(whole, fixed_size=tuple(side * divisor - less for side in sides))
    for each in (whole, replace(protocol, resolution="keep_res"), scaled):
        ratio = median(sizes_in_testing(records, each)) / learned.size
        if 1 / NEAR <= ratio <= NEAR:
            break
    size = f' TEST.FIXED_SIZE "{list(each.fixed_size)}"' * (each.resolution == "fixed")
    return f"TEST.RESOLUTION {each.resolution}{size}"
