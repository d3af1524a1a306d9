"""How large objects are for the network in training and in testing, which has to agree."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

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


@dataclass(frozen=True, eq=False)
class Learned:
    """What a training sees of its objects, sides of squares as large as they in network pixels."""

    sizes: Sequence[float] | np.ndarray
    frame: tuple[int, int]  # (height, width) of the training crop
    records: Records = ()  # a sample of the training images; () of those of a checkpoint

    @classmethod
    def of(cls, records: Records, mapper: Any) -> Self | None:
        """What a mapper makes of records; None for one that does not tell its crop.

        Its augmentations up to the crop see empty pictures of the images' sizes: no file is read.
        The global random states are as before. Whether a crop shows an object does not matter.
        """
        steps = list(getattr(getattr(mapper, "augmentations", None), "augs", ()))
        while steps and not hasattr(steps[-1], "output_size"):
            steps.pop()
        records, sizes = sample(records) if steps else (), [np.zeros(0)]
        for number, record in enumerate(records):
            picture = AugInput(np.zeros((record["height"], record["width"], 1), dtype=np.uint8))
            with seeded(0, number):
                moves = AugmentationList(steps)(picture)
            boxes = moves.apply_box(source_boxes(countable(record["annotations"]), ""))
            boxes = boxes.reshape(-1, 4)
            sizes.append(np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)))
        return cls(np.concatenate(sizes), steps[-1].output_size, records) if steps else None

    @property
    def size(self) -> float:
        """The median, 0 of none."""
        return median(self.sizes)

    @property
    def image_size(self) -> list[int]:
        """Median height and width of the training images, in their own pixels."""
        return [int(median([r[side] for r in self.records])) for side in ("height", "width")]


def sample(records: Records) -> Records:
    """Up to `SAMPLE` records with objects, evenly spaced, whose sizes are known."""
    told = [r for r in records if r.get("annotations") and r.get("height") and r.get("width")]
    return told[:: -(-len(told) // SAMPLE) or 1]


def median(sizes: Sequence[float] | np.ndarray) -> float:
    """The median, 0 of none."""
    return float(np.median(sizes)) if len(sizes) else 0.0


def sizes_in_testing(records: Records, protocol: InferenceProtocol) -> np.ndarray:
    """(P,) sizes in the network's frame, in testing at scale 1, of the objects of `sample`."""
    found = [np.zeros(0)]
    for record in sample(records):
        scale = protocol.scale_of((record["height"], record["width"]))
        found.append(scale * box_sizes(countable(record["annotations"])))
    return np.concatenate(found)


def check_object_scale(
    cfg: CfgNode,
    learned: Learned | None,
    tested: Mapping[str, Records],
    protocol: InferenceProtocol,
    *,
    divisor: int = 32,
) -> None:
    """Compare a training's median object with that of each dataset to be tested on.

    Datasets with few objects say nothing; where none says anything the training images are taken.
    TEST.SCALES agree if one of them does. ValueError or, by INPUT.SCALE_MISMATCH, a warning has the
    values that cure it; so where objects are larger than crops of CENTER_CROP.BASE output.
    """
    if not (learned and learned.size):
        return
    seen = {f" on {name}": records for name, records in tested.items()}
    seen = {name: r for name, r in seen.items() if len(sizes_in_testing(r, protocol)) >= FEW}
    if not seen and learned.records:
        seen = {"": learned.records}
    crop, fault, frame = cfg.INPUT.CENTER_CROP, "", list(learned.frame)
    if crop.BASE == "output" and learned.size > min(frame) and learned.records:
        fault = (
            f"The median object of the training is {learned.size:.0f} pixels large, and the crops "
            f"show {frame} of an image (INPUT.TRAIN_SIZE, INPUT.CENTER_CROP.BASE output). Bring "
            "whole images there by INPUT.CENTER_CROP.BASE image TEST.RESOLUTION fixed "
            f'TEST.FIXED_SIZE "{frame}".'
        )
    for name, records in seen.items():
        size = median(sizes_in_testing(records, protocol))
        ratios = [size * scale / learned.size for scale in protocol.scales]
        if fault or not size or any(1 / RATIO <= ratio <= RATIO for ratio in ratios):
            continue
        trained = f"INPUT.TRAIN_SIZE {frame}, CENTER_CROP.SCALES {crop.SCALES} BASE {crop.BASE}"
        shown = f", FIXED_SIZE {list(protocol.fixed_size)}" * (protocol.resolution == "fixed")
        fault = (
            f"For the network the median object is {learned.size:.0f} pixels large in training "
            f"({trained if learned.records else 'as MODEL.WEIGHTS tell'}) and {size:.0f} in "
            f"testing{name} (TEST.RESOLUTION {protocol.resolution}{shown}): what is learned at one "
            "size is not found at the other. "
            f"Set {cure(records, learned, protocol, divisor, crop.BASE)}."
        )
    fault += " If it is meant: INPUT.SCALE_MISMATCH warning." if fault else ""
    if fault and cfg.INPUT.SCALE_MISMATCH == "error":
        raise ValueError(fault)
    if fault:
        logger.warning("%s", fault)


def cure(
    records: Records, learned: Learned, protocol: InferenceProtocol, divisor: int, base: str
) -> str:
    """The keys of TEST with which objects have the size that is learned."""
    native = median(sizes_in_testing(records, replace(protocol, resolution="keep_res")))
    if base == "output" and 1 / NEAR <= native / learned.size <= NEAR:
        return "TEST.RESOLUTION keep_res"
    frame = replace(protocol, resolution="fixed", fixed_size=learned.frame)
    factor = learned.size / max(median(sizes_in_testing(records, frame)), 1e-9)
    less = int(protocol.canvas == "odd")
    sides = (max(round((side * factor + less) / divisor), 1) for side in learned.frame)
    size = [side * divisor - less for side in sides]
    return f'TEST.RESOLUTION fixed TEST.FIXED_SIZE "{size}"'
