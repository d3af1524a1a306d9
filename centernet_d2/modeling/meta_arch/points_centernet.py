"""Points CenterNet: objects as their centers ("Objects as Points", Zhou et al. 2019)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import Tensor

from ...data.fields.base import GroundTruthField
from ...decoding.center_boxes import peak_centers
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions, Peaks
from ...structures.skeleton import Skeleton
from ...structures.targets import CenterTargets
from ...targets.centers import center_targets
from .. import inputs
from ..heads.branches import check_head, points_head
from ..point_tasks.base import (
    PointTask,
    all_branches,
    decoded_maps,
    merged,
    named_branches,
    point_tasks,
    regression_mask,
    size_bounds,
)
from ..registration import register_detector
from ..rules import CenterDecoding, CenterLearning
from ..test_time_augmentation import unite
from .heatmap_detector import HeatmapDetector, SharedParts


@register_detector
class PointsCenterNet(HeatmapDetector):
    """A heatmap of centers, an offset within the cell, and what the point tasks read there."""

    @configurable
    def __init__(
        self,
        *,
        tasks: Sequence[PointTask],
        learning: CenterLearning | None = None,
        decoding: CenterDecoding | None = None,
        offset: bool = True,
        **shared: Unpack[SharedParts],
    ) -> None:
        """Put the parts together.

        The head gives branch name -> map for each stack, such as `points_head` of the same tasks
        and `offset`, without which centers lie in the middle of their cells.
        """
        super().__init__(**shared)
        self.tasks, self.offset = list(tasks), offset
        self.learning, self.decoding = learning or CenterLearning(), decoding or CenterDecoding()
        check_head(self.head, all_branches(self.tasks, self.num_classes, offset=offset))
        self.output_fields = tuple(name for task in self.tasks for name in task.output_fields)
        self.evaluators = tuple({name: 0 for task in self.tasks for name in task.evaluators})
        self.size_bounds = [side / self.stride for side in size_bounds(self.tasks)]  # cells
        self.named_branches = named_branches(self.tasks)
        own = {"heatmap": self.learning.heatmap_loss}
        self.branch_forms = merged("branches", own, *(task.forms for task in self.tasks))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        shared = super().from_config(cfg)
        tasks = [task.from_config(cfg) for task in point_tasks(cfg)]
        points = cfg.MODEL.POINTS_CENTERNET
        head = points_head(
            tasks=tasks,
            in_channels=inputs.head_widths(shared["backbone"], shared["in_features"]),
            num_classes=cfg.MODEL.HEATMAP.NUM_CLASSES,
            hidden_channels=points.HEAD_CHANNELS,
            prior_bias=cfg.MODEL.HEATMAP.PRIOR_BIAS,
            regression_init=points.REGRESSION_INIT,
            offset=points.OFFSET,
            heatmap_loss=points.HEATMAP_LOSS,
        )
        return {
            **shared,
            "head": head,
            "tasks": tasks,
            "offset": points.OFFSET,
            "learning": CenterLearning.from_config(cfg),
            "decoding": CenterDecoding.from_config(cfg, shared["protocol"].soft_nms),
        }

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        return [field for task in point_tasks(cfg) for field in task.ground_truth_fields(cfg)]

    @classmethod
    def complete_config(cls, cfg: CfgNode) -> list[str]:
        return [warning for task in point_tasks(cfg) if (warning := task.complete_config(cfg))]

    @classmethod
    def output_skeleton(cls, cfg: CfgNode) -> Skeleton | None:
        """The joints that the first task finds that finds any."""
        skeletons = (task.output_skeleton(cfg) for task in point_tasks(cfg))
        return next((skeleton for skeleton in skeletons if skeleton), None)

    def protocol_notes(self) -> list[str]:
        """What NMS and the tasks do in another way than published."""
        notes = [note for task in self.tasks for note in task.protocol_notes()]
        return self.decoding.protocol_notes(self.protocol) + notes

    @property
    def heatmap_losses(self) -> dict[str, float]:
        own = {"loss_heatmap": self.learning.heatmap_weight}
        return merged("losses", own, *(task.heatmap_losses() for task in self.tasks))

    def predict(self, images: PaddedImages) -> list[CenterPredictions]:
        return [
            CenterPredictions(
                maps.pop("heatmap"), maps.pop("offset") if self.offset else None, regressions=maps
            )
            for maps in self.head(self.features(images))
        ]

    def read_inputs(self, entries: list[dict[str, Any]]) -> dict[str, Tensor]:
        return merged("inputs", *(task.read_inputs(entries) for task in self.tasks))

    def extra_outputs(self, entry: dict[str, Any]) -> dict[str, Any]:
        return merged("outputs", *(task.extra_outputs(entry) for task in self.tasks))

    def checked_objects(self, entry: dict[str, Any]) -> Instances:
        """The ground truth of one input, with what the tasks read, or an error that names it."""
        instances = inputs.checked_classes(entry, self.num_classes)
        for task in self.tasks:
            instances = inputs.with_fields(instances, **task.no_objects())
            task.check(instances, inputs.source_of(entry))
        return instances

    def targets(
        self, images: PaddedImages, instances: list[Instances], map_size: tuple[int, int]
    ) -> CenterTargets:
        """Ground truth of the heatmap and of the centers, on the output map."""
        ignored = torch.cat([inputs.ignored_rows(entry) for entry in instances])
        return center_targets(
            *inputs.objects_on_map(images, instances, map_size),
            num_images=len(images),
            num_classes=self.num_classes,
            map_size=map_size,
            regression_mask=regression_mask(self.tasks, instances),
            ignored=ignored if ignored.any() else None,
            ignored_region=self.learning.ignored_region,
            gaussian=self.learning.gaussian,
            border=self.learning.border,
            size_bounds=self.size_bounds,
        )

    def losses(
        self, predictions: list[CenterPredictions], images: PaddedImages, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """`loss_heatmap`, `loss_offset` and the tasks' losses, averaged over stacks."""
        centers = self.targets(images, instances, predictions[0].map_size)
        task_targets = [task.targets(instances, images, centers) for task in self.tasks]
        return self.maybe_compiled("losses_against", predictions, centers, task_targets)

    def losses_against(
        self,
        predictions: list[CenterPredictions],
        centers: CenterTargets,
        task_targets: Sequence[Any],
    ) -> dict[str, Tensor]:
        """The losses against given targets, of each task one element."""
        per_stack = []
        for stack in predictions:
            pairs = zip(self.tasks, task_targets, strict=True)
            of_tasks = (task.losses(stack, targets, centers) for task, targets in pairs)
            per_stack.append(merged("losses", self.learning.losses(stack, centers), *of_tasks))
        return inputs.stacks_united(per_stack, "mean")

    def propose(
        self, predictions: list[CenterPredictions], images: PaddedImages
    ) -> list[Instances]:
        """The best peaks of the last stack with their fields, in the image frame."""
        maps, peaks, centers = self.read_peaks(predictions, images)
        rows = zip(images.image_sizes, peaks.scores, peaks.classes, strict=True)
        candidates = [Instances(size, scores=s, pred_classes=k) for size, s, k in rows]
        for task in self.tasks:
            fields_of_images = task.decode(maps, peaks, centers, images)
            for found, fields in zip(candidates, fields_of_images, strict=True):
                for name, value in fields.items():
                    found.set(name, value)
        return candidates

    def read_peaks(
        self, predictions: list[CenterPredictions], images: PaddedImages
    ) -> tuple[CenterMaps, Peaks, Tensor]:
        """Maps of the last stack, their (N, K) peaks and (N, K, 2) centers on the output map."""
        maps = self.decoded_maps(predictions[-1], flipped=images.flipped)
        peaks = self.decoding.peaks(maps.heatmap)
        if self.size_bounds:
            sizes = len(self.size_bounds) + 1
            peaks = replace(peaks, classes=peaks.classes // sizes, slot=peaks.classes % sizes)
        if self.learning.heatmap_loss == "mse":  # not before: cells above 1 would all be peaks
            peaks = replace(peaks, scores=peaks.scores.clamp(max=1))
        return maps, peaks, peak_centers(peaks, maps.offset)

    def finalize(self, candidates: list[Instances]) -> list[Instances]:
        """Unite scales, and drop low scores and, where asked, overlapping boxes of one class."""
        protocol = self.protocol
        soft_nms = protocol.soft_nms if len(protocol.scales) > 1 else self.decoding.soft_nms
        if soft_nms is not None:
            candidates = unite(candidates, soft_nms, protocol.detections_per_image)
        return [self.decoding.select(found) for found in candidates]

    def decoded_maps(self, last: CenterPredictions, *, flipped: bool) -> CenterMaps:
        """Probabilities and values of the last stack, the mean of both views where `flipped`.

        Offsets are always those of the image itself, as published.
        """
        options = {"flipped": flipped, "heatmap_loss": self.learning.heatmap_loss}
        return decoded_maps(self.tasks, last, self.num_classes, **options)

    def decoded_heatmaps(self, last: CenterPredictions, *, flipped: bool) -> dict[str, Tensor]:
        """Keypoint -> probabilities (N, C, h, w) of the last stack, as they are decoded."""
        maps = self.decoded_maps(last, flipped=flipped)
        known = all_branches(self.tasks, self.num_classes).heatmaps  # without those of "mse"
        heatmaps = [n for n in maps.regressions if n in known or self.branch_forms.get(n) == "mse"]
        center = maps.heatmap.unflatten(1, (self.num_classes, -1)).amax(2)  # of several sizes
        return {"center": center, **{name: maps.regressions[name] for name in heatmaps}}
