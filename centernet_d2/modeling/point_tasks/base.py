"""What the points detector regresses at a center: an interface, and a registry to add to."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from fvcore.common.registry import Registry
from torch import Tensor

from ...checked_values import nearest
from ...data.fields.base import GroundTruthField
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.skeleton import Skeleton
from ...structures.targets import CenterTargets
from ..test_time_augmentation import average_flipped

KEY = "MODEL.POINTS_CENTERNET.TASKS"
POINT_TASK_REGISTRY = Registry("POINT_TASK")
POINT_TASK_REGISTRY.__doc__ = """
Registry of point tasks: subclasses of `PointTask` by the name that `MODEL.POINTS_CENTERNET.TASKS`
uses. `register_point_task` adds one; this package's own are imported when they are asked for.
"""
BUILT_IN = ("box2d", "box3d", "pose")  # modules beside this one, that register tasks so named


@dataclass(frozen=True)
class Branches:
    """Branches of the detector's head: name -> number of channels."""

    regressions: Mapping[str, int] = field(default_factory=dict)
    heatmaps: Mapping[str, int] = field(default_factory=dict)  # sigmoid is a probability

    def __iter__(self) -> Iterator[str]:
        yield from self.heatmaps
        yield from self.regressions


class PointTask(ABC):
    """One thing that the points detector reads at each center beside class and offset.

    A task names its branches, makes their targets, turns them into losses and decodes them into
    fields of the detections: four methods, the last of which is `fields` or, where it cannot give a
    tensor for all images, `decode`. All else has a default, which a task that needs more overrides.
    It has no parameters of its own: the branches live in the detector's head.
    """

    name: ClassVar[str]  # in `MODEL.POINTS_CENTERNET.TASKS`
    # What `instances` of a training input have beside boxes and classes.
    ground_truth: tuple[str, ...] = ()
    # What the detections have. A field in pixels of the image is scaled to the output by its entry
    # in `structures.output_fields`, which also says how it is written to JSON files and drawn.
    output_fields: tuple[str, ...] = ()
    # What the rows of a field are wrapped in, such as detectron2's Boxes; others stay tensors.
    field_kinds: Mapping[str, Callable[[Tensor], Any]] = {}
    evaluators: tuple[str, ...] = ()  # names in EVALUATOR_REGISTRY of what scores them
    required_branches: tuple[str, ...] = ()  # of other tasks, for complete detections
    forms: Mapping[str, str] = {}  # form of what a branch says, where there are several
    size_bounds: Sequence[float] = ()  # pixels, where a point has several sizes, of one task
    joint_branches: tuple[str, ...] = ()  # those with channels for each joint, joint by joint
    # Branch -> what a picture shows of its decoded maps (D, h, w), in place of them.
    shown: Mapping[str, Callable[[Tensor], Tensor]] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        """The task as a config says; by default it has no keys."""
        return cls()

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        """What reads the task's ground truth from records and moves it with images."""
        return []

    @classmethod
    def complete_config(cls, cfg: CfgNode) -> str:
        """Fill keys that the config leaves open from its data sets' metadata; return a warning."""
        return ""

    @classmethod
    def output_skeleton(cls, cfg: CfgNode) -> Skeleton | None:
        """The joints that the task finds; see `DetectorDefaults.output_skeleton`."""
        return None

    @abstractmethod
    def branches(self, num_classes: int) -> Branches:
        """The task's branches."""

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

    def fields(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> dict[str, Tensor]:
        """Fields of the detections of all images, (N, K, ...) each, in the image frame.

        What `decode` makes its rows of, and a graph that is exported gives.

        Args:
            maps: of the last stack, heatmaps as probabilities.
            peaks: (N, K) peaks.
            centers: (N, K, 2) refined centers on the output map.
            images: converts to the image frame, and has what `read_inputs` read.
        """
        raise NotImplementedError(
            f"the point task '{self.name}' has no method `fields`, of which a graph is made; write "
            "it in place of `decode`"
        )

    def decode(
        self, maps: CenterMaps, peaks: Peaks, centers: Tensor, images: PaddedImages
    ) -> list[dict[str, Any]]:
        """Fields of the detections, per image, each with K rows, of the same arguments."""
        every = self.fields(maps, peaks, centers, images)
        kind = self.field_kinds.get
        return [
            {name: kind(name, torch.as_tensor)(rows[n]) for name, rows in every.items()}
            for n in range(len(centers))
        ]

    def heatmap_losses(self) -> dict[str, float]:
        """Names of the losses of heatmap branches -> their weights; see `HeatmapDetector`."""
        return {}

    def protocol_notes(self) -> list[str]:
        """How `decode` departs from the published protocol, for the name printed beside scores."""
        return []

    def no_objects(self) -> dict[str, Any]:
        """The fields `ground_truth` of an image without objects, where a mapper left them out."""
        return {name: torch.zeros(0) for name in self.ground_truth}

    def check(self, instances: Instances, source: str) -> None:
        """Raise ValueError, naming the image, where its ground truth lacks what `targets` reads."""
        if missing := [name for name in self.ground_truth if not instances.has(name)]:
            raise ValueError(
                f"{source}: the point task '{self.name}' learns from '{missing[0]}', and "
                "'instances' have none. This package's mapper attaches it: call "
                "centernet_d2.setup(cfg) before the data loader is built, from a config whose "
                f"{KEY} has '{self.name}'"
            )

    def regression_mask(self, instances: Sequence[Instances]) -> Tensor | None:
        """Whose offset and size are learned: (P0,) bool, all objects of the batch in order.

        The others are positives of the heatmap alone. None: a task that has no say in it.
        """
        return None

    def values(self, branch: str, maps: Tensor) -> Tensor:
        """What is decoded of a branch of `regressions`, (N, D, h, w) in float32; by default it."""
        return maps

    def unflip(self, branch: str, maps: Tensor) -> Tensor | None:
        """What a branch says of an image, from its maps of the flipped image (flip test).

        The mean of this and the image's own maps is decoded. A task whose values have a side
        negates x components and swaps left and right channels here. `maps` (N, D, h, w) are
        reversed along x already, and probabilities of a heatmap branch. None, as by default: the
        image's own maps alone are decoded.
        """
        return None

    def read_inputs(self, entries: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """What `decode` reads of N inputs beside images, for `PaddedImages.inputs`: N rows each."""
        return {}

    def extra_outputs(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What the output of one input has beside `instances`."""
        return {}


Task = TypeVar("Task", bound=type[PointTask])


def register_point_task(task: Task) -> Task:
    """Class decorator: `MODEL.POINTS_CENTERNET.TASKS` may have the task's name from now on."""
    POINT_TASK_REGISTRY._do_register(task.name, task)
    return task


def point_task(name: str) -> type[PointTask]:
    """The registered class of a name; a built-in one is imported when it is asked for first."""
    if name in BUILT_IN:
        importlib.import_module(f"{__package__}.{name}")
    if name not in POINT_TASK_REGISTRY:
        known = sorted({*BUILT_IN, *(known for known, _ in POINT_TASK_REGISTRY)})
        raise ValueError(
            f"{KEY} has {name!r}{nearest(str(name), known)}; the registered point tasks are "
            f"{known}. A task of your own is registered when its module is imported (--import "
            "file.py)"
        )
    task = POINT_TASK_REGISTRY.get(name)
    if not isinstance(task, type):
        raise ValueError(
            f"the point task {name!r} is registered as a function; register a subclass of "
            "PointTask with @register_point_task, and build it in its `from_config`"
        )
    return task


def point_tasks(cfg: CfgNode) -> list[type[PointTask]]:
    """The classes of `MODEL.POINTS_CENTERNET.TASKS`, in order."""
    names = cfg.MODEL.POINTS_CENTERNET.TASKS
    if not names:
        raise ValueError(f"{KEY} is empty; it must name at least one point task, such as 'box2d'")
    return [point_task(name) for name in names]


def all_branches(
    tasks: Sequence[PointTask],
    num_classes: int,
    *,
    offset: bool = True,
    heatmap_loss: str = "focal",
) -> Branches:
    """Center heatmap, offset and the branches of the tasks, which have each one's required ones.

    With "mse" the heatmap is a regression: its branch starts at 0, which most of a heatmap is.
    """
    of_tasks = [task.branches(num_classes) for task in tasks]
    channels = num_classes * (1 + len(size_bounds(tasks)))
    center, own = {"heatmap": channels}, {"offset": 2} if offset else {}
    center, own = (center, own) if heatmap_loss == "focal" else ({}, center | own)
    heatmaps = merged("branches", center, *(each.heatmaps for each in of_tasks))
    regressions = merged("branches", own, *(each.regressions for each in of_tasks))
    merged("branches", heatmaps, regressions)
    for task in tasks:
        if missing := [name for name in task.required_branches if name not in regressions]:
            raise ValueError(
                f"the point task {type(task).__name__} needs the branches {missing}, which no task "
                f"has; add the one that does to {KEY} ('box2d' has 'size')"
            )
    return Branches(regressions, heatmaps)


def size_bounds(tasks: Sequence[PointTask]) -> Sequence[float]:
    """Pixels of the canvas between the sizes of a point; (): it has one."""
    return next((task.size_bounds for task in tasks if task.size_bounds), ())


def named_branches(tasks: Sequence[PointTask]) -> dict[str, str]:
    """Branches with channels for each "class" or "joint"; see `DetectorDefaults`."""
    one, two = ({**b.heatmaps, **b.regressions} for b in (all_branches(tasks, n) for n in (1, 2)))
    of_classes = {name: "class" for name in one if one[name] != two[name]}
    return of_classes | {name: "joint" for task in tasks for name in task.joint_branches}


def decoded_maps(
    tasks: Sequence[PointTask],
    last: CenterPredictions,
    num_classes: int,
    *,
    flipped: bool,
    heatmap_loss: str = "focal",
) -> CenterMaps:
    """Probabilities and values of raw maps, the mean of both views where `flipped`.

    Offsets are always those of the image itself, as published.
    """

    def united(maps: Tensor, unflip: Callable[[Tensor], Tensor | None]) -> Tensor:
        return average_flipped(maps, unflip) if flipped else maps

    heatmap, regressions = last.heatmap.float(), {}
    heatmap = heatmap.sigmoid() if heatmap_loss == "focal" else heatmap.clamp(min=0)
    for task in tasks:
        branches = task.branches(num_classes)
        for name in branches:
            maps = last.regressions[name].float()
            maps = maps.sigmoid() if name in branches.heatmaps else task.values(name, maps)
            regressions[name] = united(maps, partial(task.unflip, name))
    return CenterMaps(
        heatmap=united(heatmap, lambda maps: maps),
        offset=None if last.offset is None else united(last.offset.float(), lambda maps: None),
        regressions=regressions,
    )


def regression_mask(tasks: Sequence[PointTask], instances: Sequence[Instances]) -> Tensor | None:
    """Whose offset and size are learned by all tasks' leave, (P0,) bool; None: everybody's."""
    masks = [mask for task in tasks if (mask := task.regression_mask(instances)) is not None]
    return torch.stack(masks).all(0) if masks else None


def merged(what: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of all parts, in order; a name that comes twice is an error."""
    found: dict[str, Any] = {}
    for name, value in (item for part in parts for item in part.items()):
        if name in found:
            raise ValueError(
                f"two {what} are named '{name}'; rename that of one of the point tasks, or remove "
                f"the task from {KEY}"
            )
        found[name] = value
    return found
