"""detectron2's RetinaNet on the way up of stacked hourglasses (CornerNet section 4.4.4)."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

from detectron2.config import CfgNode, configurable
from detectron2.layers import batched_nms
from detectron2.modeling import RetinaNet
from detectron2.modeling.meta_arch.retinanet import RetinaNetHead, permute_to_N_HWA_K
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from ...detectron2_versions import anchor_scores
from ...layers.blocks import evaluated_stacks
from ...structures.padded_images import PaddedImages
from ..inputs import objects_on_map, stacks_united
from ..registration import register_detector
from .heatmap_detector import HeatmapDetector, SharedParts


class AnchorPredictions(NamedTuple):
    """Per level A anchors on the canvas, their logits (N, A, C) and deltas (N, A, 4)."""

    anchors: list[Boxes]
    logits: list[Tensor]
    deltas: list[Tensor]


class StackedHeads(nn.Module):
    """A head of RetinaNet per stack, which the stack's levels share."""

    def __init__(self, stacks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(stacks)

    def forward(self, features: Sequence[list[Tensor]]) -> list[Any]:
        """Maps per stack and level -> logits and deltas per level, per stack."""
        return [head(maps) for head, maps in evaluated_stacks(self, features)]


class AnchorRules(RetinaNet):
    """detectron2's RetinaNet without its network: anchors, which of them are objects, losses, NMS.

    Losses are divided by the positive anchors of their batch (RetinaNet's paper), not by a moving
    average over the steps, which a resumed training would not have.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts, head=nn.Identity(), max_detections_per_image=sys.maxsize)
        del self.backbone  # the detector's
        self.loss_normalizer_momentum = 0.0  # of 0.5

    def _ema_update(self, name: str, value: float, *_: Any) -> float:  # of main
        return value


@register_detector
class StackedRetinaNet(HeatmapDetector):
    """RetinaNet whose every stack of the backbone is supervised and whose last one predicts.

    Images are seen as by the other detectors; boxes of all views are united by RetinaNet's NMS.
    """

    published_canvas = "odd"
    reads = ("MODEL.RETINANET.*", "MODEL.ANCHOR_GENERATOR.*")

    @configurable
    def __init__(
        self,
        *,
        rules: RetinaNet,
        levels: Sequence[Sequence[str]],  # outputs of the backbone by stack, the finest first
        stack_reduction: str = "mean",  # of the losses, or "sum"
        **shared: Unpack[SharedParts],
    ) -> None:
        super().__init__(**shared)
        self.rules, self.levels, self.stack_reduction = rules, levels, stack_reduction

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """As detectron2's, with the classes and stacks of MODEL.HEATMAP."""
        given, cfg = cfg, cfg.clone()
        cfg.defrost()
        block, stacks = cfg.MODEL.RETINANET, cfg.MODEL.HEATMAP.IN_FEATURES
        levels = [[f"{stack}_{level}" for level in block.IN_FEATURES] for stack in stacks]
        block.IN_FEATURES, block.NUM_CLASSES = levels[-1], cfg.MODEL.HEATMAP.NUM_CLASSES
        try:
            parts = RetinaNet.from_config(cfg)
            shapes = parts["backbone"].output_shape()
            heads = [RetinaNetHead(cfg, [shapes[name] for name in names]) for names in levels]
        except (KeyError, AssertionError) as error:
            raise ValueError(
                f"{error}: the backbone must have all maps {levels} (MODEL.HEATMAP and MODEL."
                "RETINANET.IN_FEATURES, MODEL.HOURGLASS.PYRAMID True), MODEL.ANCHOR_GENERATOR a "
                "list for each level or one for all."
            ) from error
        del parts["head"], parts["max_detections_per_image"]
        return {
            **super().from_config(given, parts["backbone"]),
            "in_features": [names[0] for names in levels],
            "head": StackedHeads(heads),
            "rules": AnchorRules(**parts | {"head_in_features": list(shapes)}),
            "levels": levels,
            "stack_reduction": cfg.MODEL.CORNERNET.STACK_REDUCTION,
        }

    def predict(self, images: PaddedImages) -> list[AnchorPredictions]:
        maps = iter(self.features(images, [name for names in self.levels for name in names]))
        stacks = [[next(maps) for _ in names] for names in self.levels]
        anchors = self.rules.anchor_generator(stacks[-1])
        return [
            AnchorPredictions(
                anchors,
                [permute_to_N_HWA_K(each, self.num_classes) for each in logits],
                [permute_to_N_HWA_K(each, 4) for each in deltas],
            )
            for logits, deltas in self.head(stacks)
        ]

    def losses(
        self, predictions: list[AnchorPredictions], images: PaddedImages, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """`loss_cls` and `loss_box_reg`."""
        canvas = tuple(images.tensor.shape[-2:])
        boxes, classes, image = objects_on_map(images, instances, canvas)
        visible = Boxes(boxes)
        visible.clip(canvas)
        every = Instances(canvas, gt_boxes=visible, gt_classes=classes)
        truth = [every[visible.nonempty() & (image == k)] for k in range(len(images))]
        labels, matched = self.rules.label_anchors(predictions[0][0], truth)
        with EventStorage():  # which has to be there, wherever losses are asked for
            per_stack = [
                self.rules.losses(anchors, logits, labels, deltas, matched)
                for anchors, logits, deltas in predictions
            ]
        return stacks_united(per_stack, self.stack_reduction)

    def propose(
        self, predictions: list[AnchorPredictions], images: PaddedImages
    ) -> list[Instances]:
        """Boxes of the last stack that NMS leaves in each view, in the image, cut to it."""
        anchors, logits, deltas = predictions[-1]
        canvas = tuple(images.tensor.shape[-2:])
        proposed: list[list[Instances]] = [[] for _ in images.image_sizes]
        for view in range(len(images.tensor)):
            own = ([each[view] for each in maps] for maps in (anchor_scores(logits), deltas))
            found, k = self.rules.inference_single_image(anchors, *own, canvas), view % len(images)
            corners = found.pred_boxes.tensor.view(1, -1, 2, 2)
            if view >= len(images):  # of the flipped image: right becomes left
                corners[..., 0] = canvas[1] - 1 - corners[..., 0].flip(2)
            of_image = replace(images, scale=images.scale[[k]], shift=images.shift[[k]])
            boxes = Boxes(of_image.map_to_image(corners, canvas).view(-1, 4))
            boxes.clip(images.image_sizes[k])
            fields = {**found.get_fields(), "pred_boxes": boxes}
            proposed[k].append(Instances(images.image_sizes[k], **fields))
        return [self.join(views) for views in proposed]

    def protocol_notes(self) -> list[str]:
        """NMS and the least score, which are RetinaNet's own."""
        least = self.rules.test_score_thresh
        return [f"NMS at {self.rules.test_nms_thresh:g}", f"scores above {least:g}"]

    def finalize(self, candidates: list[Instances]) -> list[Instances]:
        threshold = self.rules.test_nms_thresh
        return [
            found[batched_nms(found.pred_boxes.tensor, found.scores, found.pred_classes, threshold)]
            for found in candidates
        ]
