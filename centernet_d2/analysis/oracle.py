"""Ground truth in place of predictions: what each part of a corner detector costs.

CornerNet's Table 6 (journal version) replaces heatmaps, then heatmaps and offsets; the triplet
paper's Table 5 the centers. Neither says how; the choices are stated below.
"""

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..modeling.meta_arch.cornernet import CORNERS, CornerNet
from ..modeling.meta_arch.triplet_centernet import TripletCandidates, TripletCenterNet
from ..structures.padded_images import PaddedImages
from ..structures.predictions import CornerPredictions, KeypointMaps
from ..structures.targets import KeypointTargets

SUBSTITUTES = ("heatmaps", "offsets", "centers")


class Oracle(nn.Module):
    """A corner detector that is told part of the answer; used like the detector in evaluation.

    - "heatmaps": the corners' heatmaps are 1 in the cells of true corners and 0 elsewhere (whether
      Gaussians surround the ones does not matter, only their peaks are read). Pairs with a corner
      that only fills up the best K are dropped. Embeddings are predicted always.
    - "offsets": in the cells of true corners the offsets are true. Where several corners share a
      cell they share its offset.
    - "centers": of the triplet detector: exactly the true centers are found, with score 1.

    In the flipped image the corners change roles. What is no object in an input's `instances`, such
    as crowd regions, is not told.
    """

    def __init__(self, model: CornerNet, substitutes: Collection[str]) -> None:
        """Keep the detector, which is not changed; no `substitutes`: all is predicted."""
        super().__init__()
        if unknown := sorted(set(substitutes).difference(SUBSTITUTES)):
            raise ValueError(f"No ground truth for {unknown}; known: {', '.join(SUBSTITUTES)}.")
        if not isinstance(model, CornerNet):
            raise ValueError(
                f"{type(model).__name__} has no corners to substitute; MODEL.META_ARCHITECTURE "
                "must be CornerNet or TripletCenterNet."
            )
        if "centers" in substitutes and not isinstance(model, TripletCenterNet):
            raise ValueError(
                f"{type(model).__name__} has no centers: leave 'centers' out, or take a "
                "TripletCenterNet."
            )
        self.model = model
        self.substitutes = frozenset(substitutes)

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
            with _proposing(self.model, partial(self._propose, truth)):
                results += self.model.inference([entry])
        return results

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


@contextmanager
def _proposing(model: CornerNet, propose: Any) -> Iterator[None]:
    """Let a detector propose by another function."""
    model.propose = propose
    try:
        yield
    finally:
        del model.propose  # the class' own shows again
