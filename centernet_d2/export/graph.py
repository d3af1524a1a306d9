"""A detector as a module from pictures to detections, of tensors alone; N pictures, L detections.

It is made of the functions that the detectors themselves call. What differs is what a graph cannot
do: rows that are no detections stay, behind the others, and a count tells how many are some.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..decoding.center_check import check_candidates
from ..decoding.soft_nms import SoftNmsRule
from ..decoding.soft_nms_rounds import NOTHING
from ..decoding.soft_nms_steps import soft_nms_steps
from ..modeling.corner_views import cut_pairs
from ..modeling.meta_arch.cornernet import CornerNet
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..modeling.meta_arch.points_centernet import PointsCenterNet
from ..modeling.meta_arch.triplet_centernet import TripletCenterNet
from ..modeling.point_tasks.base import merged
from ..runtime.detector import COUNT, LARGEST, PICTURES, PROJECTION
from ..structures.padded_images import PaddedImages, Size
from .placing import check_scales, place, shown_sides

SIDES = ("height", "width")
SCORES, CLASSES = "scores", "pred_classes"
LEAST = 1e-30  # a score that hard NMS has not made 0
Fields = dict[str, Tensor]
"""Field name -> (N, M, ...) rows; `scores` are NOTHING where a row is no detection."""
View = tuple[PaddedImages, Any]
"""Pictures on their canvas at one scale, and the raw maps of the last stack."""


@dataclass(frozen=True)
class Sizes:
    """Which pictures a file takes; None: any."""

    batch: int | None = None
    height: int | None = None
    width: int | None = None

    def axes(self, *, least: int) -> dict[int, Dim]:
        """The first three axes of pictures that may have any length; sides of `least` on."""
        dims = (Dim("batch", min=1, max=2**10), *(Dim(n, min=least, max=LARGEST) for n in SIDES))
        given = (self.batch, self.height, self.width)
        return {axis: dim for axis, dim in enumerate(dims) if given[axis] is None}


class DetectorGraph(nn.Module):
    """Pictures (N, height, width, 3) uint8 BGR -> fields of the best detections of each.

    Attributes:
        inputs: names of the arguments of `forward`.
        outputs: names of what it returns: `scores` (N, L), best first, `pred_classes` (N, L), the
            detector's `output_fields` (N, L, ...) in pixels of the picture, and `count` (N,).
            Rows from `count` on are zeros.
    """

    def __init__(self, model: HeatmapDetector, *, unrolled: bool = False) -> None:
        """Wrap a detector in evaluation mode; ValueError says what of it no graph can do.

        `unrolled`: without loops, for formats that have none.
        """
        super().__init__()
        check_exportable(model)
        self.model, self.unrolled = model, unrolled
        self.soft_nms = cast(SoftNmsRule, model.protocol.soft_nms)
        self.has_cameras = "pred_boxes3d" in model.output_fields
        fields = [*model.output_fields]
        fields += ["corner_scores"] * isinstance(model, CornerNet)
        fields += ["pred_centers"] * isinstance(model, TripletCenterNet)
        self.inputs = [PICTURES, PROJECTION] if self.has_cameras else [PICTURES]
        self.outputs = [SCORES, CLASSES, *fields, COUNT]

    def examples(self, sizes: Sizes) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dim], ...]]:
        """Arguments to record the graph at, and which of their axes may have any length."""
        side = 4 * self.model.divisor
        batch, height, width = sizes.batch or 2, sizes.height or side, sizes.width or side + 40
        arguments = [torch.zeros(batch, height, width, 3, dtype=torch.uint8)]
        axes = [sizes.axes(least=least_side(self.model))]
        if self.has_cameras:
            arguments.append(torch.eye(3, 4).expand(batch, 3, 4).clone())
            axes.append({axis: dim for axis, dim in axes[0].items() if axis == 0})
        return tuple(arguments), tuple(axes)

    def forward(self, pictures: Tensor, projection: Tensor | None = None) -> tuple[Tensor, ...]:
        """Detect; `projection` (N, 3, 4) float32 is to pixels of the pictures."""
        size = (pictures.shape[1], pictures.shape[2])
        views = [self._view(pictures, projection, zoom) for zoom in self.model.protocol.scales]
        if isinstance(self.model, PointsCenterNet):
            found = self._centers(self.model, views)
        else:
            found = self._corners(cast(CornerNet, self.model), views, size)
        return self._finished(found, shown_sides(self.model.pixel_mean, size, 1))

    def _view(self, pictures: Tensor, projection: Tensor | None, zoom: float) -> View:
        """The pictures on their canvas at one scale, and the raw maps of the last stack."""
        images = place(pictures, self.model, zoom)
        if projection is not None:
            images = replace(images, inputs={PROJECTION: projection})
        return images, self.model.predict(images)[-1]

    def _centers(self, model: PointsCenterNet, views: list[View]) -> Fields:
        found, rule = _joined([fields_of(model, *view) for view in views]), model.decoding
        if soft := self.soft_nms if len(views) > 1 else rule.soft_nms:
            found = self._suppressed(found, soft)
        found = _above(found, rule.score_threshold)
        if rule.nms_threshold is not None:
            hard = SoftNmsRule("hard", extent="continuous", score_floor=LEAST)
            found = self._suppressed(found, replace(hard, threshold=rule.nms_threshold))
        return found

    def _corners(self, model: CornerNet, views: list[View], size: Size) -> Fields:
        rule = model.decoding

        def of_view(images: PaddedImages, last: Any) -> Fields:
            pairs = model.pairs(last, images)
            limits = shown_sides(images.shift, size, images.zoom)[None]
            boxes, keep = cut_pairs(pairs, last.map_size, images, limits, rule.outside_margin)
            scores = torch.where(keep, pairs.scores, NOTHING)
            found = {SCORES: scores, CLASSES: pairs.classes, "pred_boxes": boxes}
            return found | {"corner_scores": pairs.corner_scores}

        found = _joined([of_view(*view) for view in views])
        if isinstance(model, TripletCenterNet):
            found = self._confirmed(model, found, views)
        merging = (found["corner_scores"], rule.merge_exponent) if model.merges else None
        found = self._suppressed(found, self.soft_nms, merging)
        return _above(found, rule.score_threshold)

    def _confirmed(self, model: TripletCenterNet, found: Fields, views: list[View]) -> Fields:
        """Pairs that have a center, with it and the scores of all three."""

        def of_view(images: PaddedImages, last: Any) -> Fields:
            centers = model.centers(last, images)
            points = images.map_to_image(centers.points, last.map_size)
            return {"points": points, SCORES: centers.scores, CLASSES: centers.classes}

        everywhere = model.triplet.center_scales == "all"
        centers = _joined([of_view(*view) for view in views if everywhere or view[0].zoom == 1])
        stays, scores, place = check_candidates(
            *(found["pred_boxes"], found[SCORES], found[CLASSES], *centers.values()),
            region_side=model.triplet.region_side,
            parts=model.triplet.region_parts,
            choice=model.triplet.center_choice,
        )
        scores = torch.where(stays & (found[SCORES] != NOTHING), scores, NOTHING)
        return found | {SCORES: scores, "pred_centers": rows_of(centers["points"], place)}

    def _suppressed(
        self, found: Fields, rule: SoftNmsRule, merging: tuple[Tensor, float] | None = None
    ) -> Fields:
        """The best rows after NMS or soft-NMS."""
        scores, rows, boxes = soft_nms_steps(
            *(found["pred_boxes"], found[SCORES], found[CLASSES]),
            rule=rule,
            limit=self.model.protocol.detections_per_image or found[SCORES].shape[1],
            unrolled=self.unrolled,
            merging=merging,
        )
        found = {name: rows_of(values, rows) for name, values in found.items()}
        return found | {SCORES: scores, "pred_boxes": boxes}

    def _finished(self, found: Fields, size: Tensor) -> tuple[Tensor, ...]:
        """What the protocol wants of the detections, best first, with zeros behind."""
        protocol, scores = self.model.protocol, found[SCORES]
        if "pred_boxes" in found and (protocol.clip_boxes or protocol.drop_empty):
            boxes = found["pred_boxes"]
            clipped = torch.minimum(boxes.clamp(min=0), size.repeat(2))
            if protocol.clip_boxes:
                found["pred_boxes"] = clipped
            if protocol.drop_empty:
                low, high = clipped.split(2, dim=-1)
                scores = torch.where((high > low).all(-1), scores, NOTHING)
        limit = min(protocol.detections_per_image or scores.shape[1], scores.shape[1])
        scores, order = scores.topk(limit, dim=1)
        found = {name: rows_of(values, order) for name, values in found.items()}
        stays = ~(scores <= NOTHING)  # keeps NaN
        found[SCORES] = scores
        rows = [found[name] for name in self.outputs[:-1]]
        rows = [torch.where(_beside(stays, values), values, 0) for values in rows]
        return *rows, stays.sum(1)


def fields_of(model: PointsCenterNet, images: PaddedImages, last: Any) -> Fields:
    """The best peaks of raw maps with what the tasks read there; `image_sizes` are not needed."""
    maps, peaks, centers = model.read_peaks([last], images)
    each = (task.fields(maps, peaks, centers, images) for task in model.tasks)
    return {SCORES: peaks.scores, CLASSES: peaks.classes, **merged("fields", *each)}


def least_side(model: HeatmapDetector) -> int:
    """The least height and width of pictures for which a graph of any size is right."""
    least = 2 if model.protocol.resolution == "fixed" else model.divisor + 1
    return math.ceil(least / min(1, *model.protocol.scales))


def check_exportable(model: HeatmapDetector) -> None:
    """Raise ValueError for what a graph cannot do."""
    name = type(model).__name__
    if type(model) not in (PointsCenterNet, CornerNet, TripletCenterNet):
        raise ValueError(
            f"{name} is no detector of which a whole graph can be made; export its network alone: "
            "--split"
        )
    check_scales(model.protocol.scales)
    if model.training:
        raise ValueError("only a detector in evaluation mode can be exported: call model.eval()")


def rows_of(values: Tensor, rows: Tensor) -> Tensor:
    """Rows (N, L) of values (N, M, ...): (N, L, ...)."""
    index = _beside(rows, values)
    return values.gather(1, index.expand(-1, -1, *values.shape[2:]))


def _joined(views: list[Fields]) -> Fields:
    """The rows of all views, one after the other."""
    return {name: torch.cat([view[name] for view in views], dim=1) for name in views[0]}


def _above(found: Fields, threshold: float) -> Fields:
    """Rows at or below a score are none."""
    if threshold > 0:
        found[SCORES] = torch.where(found[SCORES] <= threshold, NOTHING, found[SCORES])
    return found


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """Rows (N, L) with as many axes as values."""
    return rows[(...,) + (None,) * (values.dim() - 2)]
