"""Points CenterNet: objects as their centers ("Objects as Points", Zhou et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import Tensor
from torchvision.ops import batched_nms

from ...data.fields.base import GroundTruthField
from ...decoding.center_boxes import peak_centers
from ...decoding.peaks import check_peak_search, top_peaks
from ...decoding.soft_nms import SoftNmsRule
from ...losses.heatmap_focal import heatmap_focal_loss
from ...losses.peak_regression import peak_regression_loss
from ...structures.padded_images import PaddedImages
from ...structures.predictions import CenterMaps, CenterPredictions
from ...structures.targets import CenterTargets
from ...targets.centers import center_targets
from ...targets.gaussian import RadiusRule
from ...targets.ignored import IGNORED_REGIONS
from ..cameras import Cameras
from ..checked_values import check_choice
from ..heads.branches import BranchHead
from ..point_tasks import (
    POINT_TASK_REGISTRY,
    PointTask,
    build_point_tasks,
    check_required_branches,
    merge_named,
)
from ..registration import register_detector
from ..test_time_augmentation import average_flipped, unite
from .heatmap_detector import HeatmapDetector, checked_classes, ignored_rows, objects_on_map


@register_detector
class PointsCenterNet(HeatmapDetector):
    """A heatmap of centers, an offset within the cell, and what the point tasks read there."""

    @configurable
    def __init__(
        self,
        *,
        tasks: Sequence[PointTask],
        head_channels: int = 64,
        prior_bias: float = -2.19,
        regression_init: str = "normal",
        radius_rule: RadiusRule | str = RadiusRule.LEGACY,
        min_overlap: float = 0.7,
        fixed_radius: int = 2,
        focal_alpha: float = 2.0,
        focal_beta: float = 4.0,
        heatmap_weight: float = 1.0,
        offset_weight: float = 1.0,
        regression_loss: str = "l1",
        regression_normalizer: str = "elements",
        peak_kernel: int = 3,
        top_k: int = 100,
        score_threshold: float = 0.0,
        nms_threshold: float | None = None,
        round_up: bool = True,
        ignored_region: str = "center",
        cameras: Cameras | None = None,
        soft_nms: SoftNmsRule | None = None,
        **shared: Any,
    ) -> None:
        """Put the parts together; `centernet_d2/config.py` says more about each argument.

        Args:
            tasks: point tasks.
            head_channels: width of the 3x3 convolution of each branch; 0: none.
            prior_bias: bias that heatmap branches start with.
            regression_init: how regression branches start, see `BranchHead`.
            radius_rule: see `RadiusRule`.
            min_overlap: overlap that the radius guarantees.
            fixed_radius: cells, for the rule "fixed".
            focal_alpha: exponent on the error of the prediction.
            focal_beta: exponent on the distance from a positive.
            heatmap_weight: weight of the heatmap loss.
            offset_weight: weight of the offset loss.
            regression_loss: "l1" or "smooth_l1".
            regression_normalizer: "elements", "objects" or "max_objects", see
                `peak_regression_loss`.
            peak_kernel: side of the window in which a peak must be the maximum.
            top_k: peaks kept per image.
            score_threshold: detections at or below are dropped.
            nms_threshold: IoU of a class-wise hard NMS; None: no NMS, as published.
            round_up: take the radius of sizes rounded up to whole cells.
            ignored_region: what of an ignored object is no negative, see `with_ignored`.
            cameras: where tasks find an input's projection; None: by the published default camera.
            soft_nms: soft-NMS of detections at one scale; None: none, as published. Several scales
                are united by the test protocol's rule.
            **shared: arguments of `HeatmapDetector`.
        """
        super().__init__(**shared)
        check_peak_search(top_k, peak_kernel)
        check_choice("MODEL.POINTS_CENTERNET.IGNORED_REGION", ignored_region, IGNORED_REGIONS)
        self.tasks = list(tasks)
        heatmaps, regressions = {"heatmap": self.num_classes}, {"offset": 2}
        for task in self.tasks:
            merge_named(heatmaps, task.heatmaps(self.num_classes), "branches")
            merge_named(regressions, task.regressions(self.num_classes), "branches")
        check_required_branches(self.tasks, regressions)
        shapes = self.backbone.output_shape()
        self.head = BranchHead(
            in_channels=[shapes[name].channels for name in self.in_features],
            heatmaps=heatmaps,
            regressions=regressions,
            hidden_channels=head_channels,
            prior_bias=prior_bias,
            regression_init=regression_init,
        )
        self.radius: dict[str, Any] = {
            "radius_rule": RadiusRule(radius_rule),
            "min_overlap": min_overlap,
            "fixed_radius": fixed_radius,
            "round_up": round_up,
        }
        self.ignored_region = ignored_region
        self.cameras = None
        if any(task.needs_camera for task in self.tasks):
            self.cameras = cameras or Cameras()
        self.focal_alpha, self.focal_beta = focal_alpha, focal_beta
        self.heatmap_weight, self.offset_weight = heatmap_weight, offset_weight
        self.regression_loss, self.regression_normalizer = regression_loss, regression_normalizer
        self.peak_kernel, self.top_k = peak_kernel, top_k
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.soft_nms = soft_nms
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from `MODEL.HEATMAP`, `MODEL.POINTS_CENTERNET` and `TEST`."""
        heatmap, points = cfg.MODEL.HEATMAP, cfg.MODEL.POINTS_CENTERNET
        if points.BOX2D.NMS not in ("none", "hard", "linear", "gaussian"):
            raise ValueError(
                "MODEL.POINTS_CENTERNET.BOX2D.NMS must be 'none', 'hard', 'linear' or 'gaussian', "
                f"got '{points.BOX2D.NMS}'"
            )
        shared = super().from_config(cfg)
        soft_nms = None
        if points.BOX2D.NMS in ("linear", "gaussian"):
            soft_nms = replace(
                shared["protocol"].soft_nms,
                method=points.BOX2D.NMS,
                threshold=points.BOX2D.NMS_THRESHOLD,
            )
        return {
            **shared,
            "tasks": build_point_tasks(cfg),
            "head_channels": points.HEAD_CHANNELS,
            "prior_bias": heatmap.PRIOR_BIAS,
            "regression_init": points.REGRESSION_INIT,
            "radius_rule": heatmap.RADIUS_RULE,
            "min_overlap": heatmap.MIN_OVERLAP,
            "fixed_radius": heatmap.FIXED_RADIUS,
            "round_up": heatmap.RADIUS_ROUND_UP,
            "ignored_region": points.IGNORED_REGION,
            "cameras": _default_camera(points.BOX3D),
            "focal_alpha": heatmap.FOCAL_ALPHA,
            "focal_beta": heatmap.FOCAL_BETA,
            "heatmap_weight": points.HEATMAP_WEIGHT,
            "offset_weight": points.OFFSET_WEIGHT,
            "regression_loss": points.REGRESSION_LOSS,
            "regression_normalizer": points.REGRESSION_NORMALIZER,
            "peak_kernel": heatmap.PEAK_KERNEL,
            "top_k": heatmap.TOP_K,
            "score_threshold": heatmap.SCORE_THRESHOLD,
            "nms_threshold": points.BOX2D.NMS_THRESHOLD if points.BOX2D.NMS == "hard" else None,
            "soft_nms": soft_nms,
        }

    @classmethod
    def ground_truth_fields(cls, cfg: CfgNode) -> list[GroundTruthField]:
        """What the tasks learn beside boxes and classes."""
        tasks = [POINT_TASK_REGISTRY.get(name) for name in cfg.MODEL.POINTS_CENTERNET.TASKS]
        given = [getattr(task, "ground_truth_fields", None) for task in tasks]
        return [field for fields in given if fields for field in fields(cfg)]

    @property
    def heatmap_losses(self) -> dict[str, float]:
        """Names of the heatmap losses -> their weights."""
        losses = {"loss_heatmap": self.heatmap_weight}
        for task in self.tasks:
            merge_named(losses, task.heatmap_losses(), "losses")
        return losses

    @property
    def output_fields(self) -> tuple[str, ...]:
        """Names of the fields of detections, of all tasks."""
        return tuple(name for task in self.tasks for name in task.output_fields)

    @property
    def evaluators(self) -> tuple[str, ...]:
        """Names of the evaluators that the tasks ask for."""
        return tuple(dict.fromkeys(name for task in self.tasks for name in task.evaluators))

    def protocol_notes(self) -> list[str]:
        """NMS, which the published detector has over several scales alone, and the tasks' notes."""
        several = len(self.protocol.scales) > 1
        notes = self.protocol.soft_nms_notes() if several else []
        if self.nms_threshold is not None:
            notes.append("hard NMS")
        elif self.soft_nms is not None and not several:
            notes.append(f"{self.soft_nms.method} NMS")
        return notes + [note for task in self.tasks for note in task.protocol_notes()]

    def predict(self, images: PaddedImages) -> list[CenterPredictions]:
        """Raw maps of every stack."""
        return [
            CenterPredictions(
                heatmap=maps.pop("heatmap"), offset=maps.pop("offset"), regressions=maps
            )
            for maps in self.head(self.features(images))
        ]

    def attach_inputs(self, images: PaddedImages, entries: list[dict[str, Any]]) -> PaddedImages:
        """With the projections of the inputs, where a task reads them."""
        if self.cameras is None:
            return images
        projection = self.cameras.of(entries).to(images.shift)
        return replace(images, projection=projection)

    def extra_outputs(self, entry: dict[str, Any]) -> dict[str, Any]:
        """`projection`, 3 x 4 to pixels of the output frame, by which 3-D boxes were placed."""
        if self.cameras is None:
            return {}
        return {"projection": self.cameras.of_output(entry)}

    def checked_objects(self, entry: dict[str, Any]) -> Instances:
        """The ground truth of one input, with what the tasks read, or an error that names it."""
        instances = checked_classes(entry, self.num_classes)
        for task in self.tasks:
            task.check(instances, entry.get("file_name", "(no file name)"))
        return instances

    def targets(
        self, images: PaddedImages, instances: list[Instances], map_size: tuple[int, int]
    ) -> CenterTargets:
        """Ground truth of the heatmap and of the centers, on the output map."""
        boxes, classes, image = objects_on_map(images, instances, map_size)
        regression_mask = [
            rows for task in self.tasks if (rows := task.regression_mask(instances)) is not None
        ]
        return center_targets(
            boxes,
            classes,
            image,
            num_images=len(images),
            num_classes=self.num_classes,
            map_size=map_size,
            regression_mask=torch.stack(regression_mask).all(0) if regression_mask else None,
            ignored=torch.cat([ignored_rows(entry) for entry in instances]),
            ignored_region=self.ignored_region,
            **self.radius,
        )

    def losses(
        self,
        predictions: list[CenterPredictions],
        images: PaddedImages,
        instances: list[Instances],
    ) -> dict[str, Tensor]:
        """`loss_heatmap`, `loss_offset` and the tasks' losses, averaged over stacks."""
        centers = self.targets(images, instances, predictions[0].map_size)
        task_targets = [task.targets(instances, images, centers) for task in self.tasks]
        per_stack = [self._stack_losses(stack, centers, task_targets) for stack in predictions]
        return {
            name: sum(losses[name] for losses in per_stack) / len(per_stack)
            for name in per_stack[0]
        }

    def propose(
        self, predictions: list[CenterPredictions], images: PaddedImages
    ) -> list[Instances]:
        """The best peaks of the last stack with their fields, in the image frame."""
        maps = self.decoded_maps(predictions[-1], flipped=images.flipped)
        peaks = top_peaks(maps.heatmap, self.top_k, self.peak_kernel)
        centers = peak_centers(peaks, maps.offset)
        candidates = []
        for size, scores, classes in zip(
            images.image_sizes, peaks.scores, peaks.classes, strict=True
        ):
            candidates.append(Instances(size, scores=scores, pred_classes=classes))
        for task in self.tasks:
            for found, fields in zip(
                candidates, task.decode(maps, peaks, centers, images), strict=True
            ):
                for name, value in fields.items():
                    found.set(name, value)
        return candidates

    def finalize(self, candidates: list[Instances]) -> list[Instances]:
        """Unite scales, and drop low scores and, where asked, overlapping boxes of one class."""
        several = len(self.protocol.scales) > 1
        soft_nms = self.protocol.soft_nms if several else self.soft_nms
        if soft_nms is not None:
            candidates = unite(candidates, soft_nms, self.protocol.detections_per_image)
        return [self._finalize_image(found) for found in candidates]

    def decoded_maps(self, last: CenterPredictions, *, flipped: bool) -> CenterMaps:
        """Probabilities and values of the last stack, the mean of both views where `flipped`.

        Offsets are always those of the image itself, as published.
        """

        def united(maps: Tensor, unflip: Callable[[Tensor], Tensor | None]) -> Tensor:
            return average_flipped(maps, unflip) if flipped else maps

        regressions = {}
        for task in self.tasks:
            heatmaps = task.heatmaps(self.num_classes)
            for name in (*heatmaps, *task.regressions(self.num_classes)):
                maps = last.regressions[name].float()
                maps = maps.sigmoid() if name in heatmaps else maps
                regressions[name] = united(maps, partial(task.unflip, name))
        return CenterMaps(
            heatmap=united(last.heatmap.float().sigmoid(), lambda maps: maps),
            offset=united(last.offset.float(), lambda maps: None),
            regressions=regressions,
        )

    def decoded_heatmaps(self, last: CenterPredictions, *, flipped: bool) -> dict[str, Tensor]:
        """Keypoint -> probabilities (N, C, h, w) of the last stack, as they are decoded."""
        maps = self.decoded_maps(last, flipped=flipped)
        names = [name for task in self.tasks for name in task.heatmaps(self.num_classes)]
        return {"center": maps.heatmap, **{name: maps.regressions[name] for name in names}}

    def _stack_losses(
        self,
        predictions: CenterPredictions,
        centers: CenterTargets,
        task_targets: list[Any],
    ) -> dict[str, Tensor]:
        heatmap = heatmap_focal_loss(
            predictions.heatmap, centers.heatmap, alpha=self.focal_alpha, beta=self.focal_beta
        )
        offset = peak_regression_loss(
            centers.peaks.gather(predictions.offset)[centers.regression_mask],
            centers.offset[centers.regression_mask],
            kind=self.regression_loss,
            normalizer=self.regression_normalizer,
            num_images=centers.num_images,
        )
        losses = {
            "loss_heatmap": self.heatmap_weight * heatmap,
            "loss_offset": self.offset_weight * offset,
        }
        for task, targets in zip(self.tasks, task_targets, strict=True):
            merge_named(losses, task.losses(predictions, targets, centers), "losses")
        return losses

    def _finalize_image(self, found: Instances) -> Instances:
        if self.score_threshold > 0:
            found = found[found.scores > self.score_threshold]
        if self.nms_threshold is None:
            return found
        keep = batched_nms(
            found.pred_boxes.tensor, found.scores, found.pred_classes, self.nms_threshold
        )
        return found[keep]


def _default_camera(options: CfgNode) -> Cameras:
    """From `MODEL.POINTS_CENTERNET.BOX3D`."""
    size = tuple(options.DEFAULT_SIZE)
    if len(size) != 2 or min(size) <= 0:
        raise ValueError(
            f"MODEL.POINTS_CENTERNET.BOX3D.DEFAULT_SIZE is {list(size)}; it must be the height and "
            "width, in pixels, of the images that DEFAULT_PROJECTION belongs to"
        )
    return Cameras(options.DEFAULT_PROJECTION, size)
