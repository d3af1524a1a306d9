"""What the points detector regresses at a center: an interface, and a registry to add to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.structures import Instances
from fvcore.common.registry import Registry
from torch import Tensor

from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.targets import CenterTargets

POINT_TASK_REGISTRY = Registry("POINT_TASK")
POINT_TASK_REGISTRY.__doc__ = """
Registry of point tasks. An entry is a function `build(cfg) -> PointTask`; its name is the one that
`MODEL.POINTS_CENTERNET.TASKS` uses.
"""


class PointTask(ABC):
    """One thing that the points detector reads at each center beside class and offset.

    A task names its branches, makes their targets, turns them into losses and decodes them into
    fields of the detections; what has a default here most tasks do without. It has no parameters of
    its own: the branches live in the detector's head.

    Attributes:
        needs_camera: whether `decode` reads the images' projections.
        output_fields: names of the fields that `decode` gives.
        evaluators: entries of `EVALUATOR_REGISTRY` that score them, beside the dataset's own.
    """

    needs_camera = False
    output_fields: Collection[str] = ()
    evaluators: Collection[str] = ()

    @abstractmethod
    def regressions(self, num_classes: int) -> dict[str, int]:
        """Branch name -> number of channels."""

    def heatmaps(self, num_classes: int) -> dict[str, int]:
        """Further heatmap branches (such as joints): name -> number of channels."""
        return {}

    def heatmap_losses(self) -> dict[str, float]:
        """Names of the losses of such branches -> their weights."""
        return {}

    def required_branches(self) -> tuple[str, ...]:
        """Branches of other tasks without which there are no complete detections."""
        return ()

    def protocol_notes(self) -> list[str]:
        """How `decode` departs from the published protocol, for the name printed beside scores."""
        return []

    def check(self, instances: Instances, source: str) -> None:  # noqa: B027 - most check nothing
        """Raise ValueError where the ground truth of an image lacks what `targets` reads.

        Args:
            instances: of one image.
            source: the image's name, for messages.
        """

    def regression_mask(self, instances: Sequence[Instances]) -> Tensor | None:
        """Whose offset and size are learned: (P0,) bool, all objects of the batch in order.

        The others are positives of the heatmap alone. None: a task that has no say in it.
        """
        return None

    @abstractmethod
    def targets(
        self, instances: Sequence[Instances], images: PaddedImages, centers: CenterTargets
    ) -> Any:
        """Ground truth on the output map, computed once for all stacks: whatever `losses` takes.

        The P objects of `centers` are rows `centers.kept` of the P0 ones in `instances`.
        """

    @abstractmethod
    def losses(
        self, predictions: CenterPredictions, targets: Any, centers: CenterTargets
    ) -> dict[str, Tensor]:
        """Weighted scalar losses of one stack; zero but in the graph without objects."""

    def unflip(self, branch: str, maps: Tensor) -> Tensor | None:
        """What a branch says of an image, from its maps of the flipped image (flip test).

        The mean of this and the image's own maps is decoded. A task whose values have a side
        negates x components and swaps left and right channels here.

        Args:
            branch: one of the task's branches.
            maps: (N, D, h, w), reversed along x already; of a heatmap branch probabilities.

        Returns:
            (N, D, h, w), or None to decode the image's own maps alone, as by default.
        """
        return None

    @abstractmethod
    def decode(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> list[dict[str, Any]]:
        """Fields of the detections, per image, each with K rows, in the image frame.

        Args:
            maps: of the last stack, heatmaps as probabilities.
            peaks: (N, K) peaks.
            centers: (N, K, 2) refined centers on the output map.
            images: converts to the image frame.
        """


def merge_named(known: dict[str, Any], added: Mapping[str, Any], what: str) -> None:
    """Add the entries of `added` to `known`, in place; a name that is there already is an error."""
    for name, value in added.items():
        if name in known:
            raise ValueError(
                f"two {what} are named '{name}'; rename that of one of the point tasks, or remove "
                "the task from MODEL.POINTS_CENTERNET.TASKS"
            )
        known[name] = value


def check_required_branches(tasks: Sequence[PointTask], branches: Collection[str]) -> None:
    """Raise ValueError where a task needs a branch that none of the tasks has."""
    for task in tasks:
        if missing := [name for name in task.required_branches() if name not in branches]:
            raise ValueError(
                f"the point task {type(task).__name__} needs the branches {missing}, which no task "
                "has; add the one that does to MODEL.POINTS_CENTERNET.TASKS ('box2d' has 'size')"
            )


def build_point_tasks(cfg: CfgNode) -> list[PointTask]:
    """The tasks of `MODEL.POINTS_CENTERNET.TASKS`, in order."""
    names = cfg.MODEL.POINTS_CENTERNET.TASKS
    unknown = [name for name in names if name not in POINT_TASK_REGISTRY]
    if unknown or not names:
        known = sorted(name for name, _ in POINT_TASK_REGISTRY)
        raise ValueError(
            f"MODEL.POINTS_CENTERNET.TASKS is {list(names)}; "
            f"it must name at least one of the registered point tasks {known}"
        )
    return [POINT_TASK_REGISTRY.get(name)(cfg) for name in names]
