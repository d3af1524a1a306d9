"""Ground truth in place of predictions: what each part of a detector costs.

"Objects as Points" has it in Table 7. CornerNet's Table 6 (journal version) replaces heatmaps, then
heatmaps and offsets; the triplet paper's Table 5 the centers. The latter two do not say how; the
choices are stated below.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..modeling.meta_arch.cornernet import CORNERS, CornerNet
from ..modeling.meta_arch.points_centernet import PointsCenterNet
from ..modeling.meta_arch.triplet_centernet import TripletCandidates, TripletCenterNet
from ..structures.padded_images import PaddedImages
from ..structures.predictions import (
    CenterMaps,
    CenterPredictions,
    CornerPredictions,
    KeypointMaps,
)
from ..structures.targets import KeypointTargets
from .point_oracle import known_substitutes, told_maps

Detector = CornerNet | PointsCenterNet

SUBSTITUTES = ("heatmaps", "offsets", "centers")


class Oracle(nn.Module):
    """A detector that is told part of the answer; used like the detector in evaluation.

    The points detector: branches of its head by their names, see `point_oracle.told_maps`. The
    corner detectors:

    - "heatmaps": the corners' heatmaps are 1 in the cells of true corners and 0 elsewhere (whether
      Gaussians surround the ones does not matter, only their peaks are read). Pairs with a corner
      that only fills up the best K are dropped. Embeddings are predicted always.
    - "offsets": in the cells of true corners the offsets are true. Where several corners share a
      cell they share its offset.
    - "centers": of the triplet detector: exactly the true centers are found, with score 1.

    In the flipped image the corners change roles. What is no object in an input's `instances`, such
    as crowd regions, is not told.
    """

    def __init__(self, model: Detector, substitutes: Collection[str]) -> None:
        """Keep the detector, which is not changed; no `substitutes`: all is predicted."""
        super().__init__()
        self.model, self.substitutes = model, frozenset(substitutes)
        if isinstance(model, PointsCenterNet):
            check_known(substitutes, known_substitutes(model))
            return
        if not isinstance(model, CornerNet):
            raise ValueError(
                f"{type(model).__name__} is none of the detectors that can be told: "
                "PointsCenterNet, CornerNet, TripletCenterNet."
            )
        check_known(substitutes, SUBSTITUTES[: 3 if isinstance(model, TripletCenterNet) else 2])

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detections as of the detector; each input has `instances` with `gt_boxes`, `gt_classes`.

        `gt_boxes` are in the frame of the input's `image`, as in training.
        """
        results = []
        for entry in batched_inputs:  # one by one: what is told belongs to one image
            if "instances" not in entry:
                raise ValueError(
                    f"{entry.get('file_name', '(no file name)')}: no 'instances' to tell. Give the "
                    "loader a mapper that attaches them without augmenting."
                )
            truth = self.model.checked_objects(entry).to(self.model.device)
            is_points = isinstance(self.model, PointsCenterNet)
            propose = self._propose_points if is_points else self._propose
            with replaced(self.model, "propose", partial(propose, truth)):
                results += self.model.inference([entry])
        return results

    def _propose_points(
        self, truth: Instances, predictions: list[CenterPredictions], images: PaddedImages
    ) -> list[Instances]:
        model: Any = self.model
        centers = model.targets(images, [truth], predictions[-1].map_size)
        of_tasks = {task.name: task.targets([truth], images, centers) for task in model.tasks}

        def decoded_maps(last: CenterPredictions, *, flipped: bool) -> CenterMaps:
            maps = type(model).decoded_maps(model, last, flipped=flipped)
            return told_maps(maps, centers, of_tasks, self.substitutes)

        with replaced(model, "decoded_maps", decoded_maps):
            (found,) = type(model).propose(model, predictions, images)
        # What only fills up the best K is no detection.
        return [found[found.scores > 0] if "heatmap" in self.substitutes else found]

    def _propose(
        self, truth: Instances, predictions: list[CornerPredictions], images: PaddedImages
    ) -> list[Any]:
        told = self._tell(predictions[-1], images, truth)
        (candidates,) = type(self.model).propose(self.model, [told], images)
        is_triplet = isinstance(candidates, TripletCandidates)
        pairs = candidates.pairs if is_triplet else candidates
        if "heatmaps" in self.substitutes:
            pairs = pairs[pairs.corner_scores.amin(1) > 0]
        if not is_triplet:
            return [pairs]
        centers = true_centers(truth) if "centers" in self.substitutes else candidates.centers
        return [TripletCandidates(pairs, centers)]

    def _tell(
        self, maps: CornerPredictions, images: PaddedImages, truth: Instances
    ) -> CornerPredictions:
        views = [truth, flipped(truth, images)] if images.flipped else [truth]
        targets = [self.model.targets(images, [view], maps.map_size) for view in views]
        told = {
            name: self._told_keypoint(getattr(maps, name), [getattr(t, name) for t in targets])
            for name in CORNERS
        }
        return replace(maps, **told)

    def _told_keypoint(self, maps: KeypointMaps, targets: list[KeypointTargets]) -> KeypointMaps:
        """Maps (views, ...) of one kind of corner, with the ground truth of each view."""
        heatmap, offset = maps.heatmap, maps.offset
        if "heatmaps" in self.substitutes:
            is_corner = torch.cat([target.heatmap for target in targets]) == 1
            heatmap = torch.where(is_corner, math.inf, -math.inf).to(heatmap)  # logits of 1 and 0
        if "offsets" in self.substitutes:
            offset = offset.clone()
            for view, target in enumerate(targets):
                offset[view, :, target.peaks.y, target.peaks.x] = target.offset.T.to(offset)
        return replace(maps, heatmap=heatmap, offset=offset)


def flipped(truth: Instances, images: PaddedImages) -> Instances:
    """Ground truth of one image -> what it is in the flipped image of its canvas.

    Network pixels 0 and W - 1 change places, as in `with_flipped_images`. Boxes stay in the image
    frame, of which the flipped image has its own.
    """
    last = images.tensor.shape[-1] - 1
    width = (last - 2 * images.shift[0, 0]) / images.scale[0]
    left, top, right, bottom = truth.gt_boxes.tensor.unbind(1)
    boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    return Instances(truth.image_size, gt_boxes=Boxes(boxes), gt_classes=truth.gt_classes)


def true_centers(truth: Instances) -> Instances:
    """Ground truth (P objects) as centers that were found: `pred_centers` (P, 2), scores 1."""
    centers: Tensor = truth.gt_boxes.get_centers()
    found = {"scores": centers.new_ones(len(centers)), "pred_classes": truth.gt_classes}
    return Instances(truth.image_size, pred_centers=centers, **found)


def check_known(substitutes: Collection[str], known: Sequence[str]) -> None:
    """Raise ValueError of what a detector cannot be told."""
    if unknown := sorted(set(substitutes).difference(known)):
        raise ValueError(
            f"this detector cannot be told {', '.join(unknown)}; it predicts {', '.join(known)}"
        )


@contextmanager
def replaced(model: nn.Module, name: str, method: Any) -> Iterator[None]:
    """Let a detector use another function for a method."""
    setattr(model, name, method)
    try:
        yield
    finally:
        delattr(model, name)  # the class' own shows again
