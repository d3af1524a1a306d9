"""What a published file of weights is, once it is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .rename import RenameTable

State = Mapping[str, Tensor]
Overrides = dict[str, Any]

POINTS = "the points repository"
MMDETECTION = "mmdetection"
EXTREMENET = "ExtremeNet"
IMAGENET = "ImageNet classification"
CORNERNET = "CornerNet"
TRIPLET = "triplet CenterNet"


class UnknownWeightsError(ValueError):
    """The keys of a file fit no table."""


@dataclass(frozen=True)
class Recognised:
    """What a published file is.

    Attributes:
        source: who published files of this form.
        architecture: the source's own name, e.g. "resdcn_18".
        task: "box2d", "pose" or "box3d" (both with boxes), or "start" for weights that only
            initialise a part of a detector.
        num_classes: of the heatmap; None where there is none.
        table: how the keys are renamed.
        model: config keys and values that build the matching model.
        as_bgr: the network reads R, G, B images and has to be turned.
        num_joints: of "pose".
    """

    source: str
    architecture: str
    task: str
    num_classes: int | None
    table: RenameTable
    model: Overrides
    as_bgr: bool = False
    num_joints: int = 0

    def describe(self) -> str:
        """One phrase for messages."""
        if self.task == "start":
            return f"{self.architecture} of {self.source} (a start for training, no detector)"
        classes = f"{self.num_classes} class{'es' * (self.num_classes != 1)}"
        joints = f", {self.num_joints} joints" if self.num_joints else ""
        return f"{self.architecture} of {self.source}, {self.task}, {classes}{joints}"
