"""A fourth detector with config keys of its own: cells tell how far the sides of their box are.

A small relative of FCOS (Tian et al. 2019, arXiv:1904.01355). Canvas, views, output frame, training
and evaluation are those of every detector here.

    tools/train_net.py --import examples/detector.py --config-file configs/Shapes/points_tiny.yaml \
        MODEL.META_ARCHITECTURE SideDetector OUTPUT_DIR output/sides
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from fvcore.nn import giou_loss, sigmoid_focal_loss
from torch import Tensor, nn
from torchvision.ops import batched_nms

from centernet_d2.modeling.inputs import objects_on_map
from centernet_d2.modeling.meta_arch.heatmap_detector import HeatmapDetector
from centernet_d2.structures.padded_images import PaddedImages


def add_config(cfg: CfgNode) -> None:
    """Keys of one's own, added before the config file is read."""
    cfg.MODEL.SIDES = CfgNode({"INNER": 0.5, "NMS_THRESHOLD": 0.6, "TOP_K": 300})


@META_ARCH_REGISTRY.register()
class SideDetector(HeatmapDetector):
    """Four methods, and the arguments that are its own."""

    @configurable
    def __init__(self, *, inner: float, nms_threshold: float, top_k: int, **shared: Any):
        super().__init__(**shared)
        self.inner, self.nms_threshold, self.top_k = inner, nms_threshold, top_k

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """MODEL.SIDES and what all detectors share; the head has a map a class, and four more."""
        shared = super().from_config(cfg)
        width = shared["backbone"].output_shape()[shared["in_features"][-1]].channels
        head = nn.Conv2d(width, shared["num_classes"] + 4, 3, padding=1)
        nn.init.constant_(head.bias[:-4], -4.6)  # a prior of 0.01
        return {**shared, "head": head, **{k.lower(): v for k, v in cfg.MODEL.SIDES.items()}}

    def predict(self, images: PaddedImages) -> list[tuple[Tensor, Tensor]]:
        """Logits (N, C, h, w), and distances (N, 4, h, w) to the sides in cells."""
        maps = self.head(self.features(images)[-1]).float()
        return [(maps[:, :-4], maps[:, -4:].clamp(max=8).exp())]

    def losses(self, predictions: Any, images: PaddedImages, instances: list[Instances]) -> dict:
        """Focal loss of the classes, GIoU of the boxes; a cell belongs to the smallest box."""
        logits, sides = predictions[0]
        boxes, classes, image = objects_on_map(images, instances, logits.shape[-2:])
        target, wanted = torch.zeros_like(logits), torch.zeros_like(sides)
        cells = cell_boxes(torch.zeros_like(sides))[0, :2]
        middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        away = (cells - middle[:, :, None, None]).abs() * 2 / size[:, :, None, None]
        inside = (away < self.inner).all(1)
        for row in size.prod(1).argsort(descending=True).tolist():
            target[image[row]][:, inside[row]] = 0
            target[image[row], classes[row]][inside[row]] = 1
            wanted[image[row]][:, inside[row]] = boxes[row, :, None]
        n, y, x = torch.nonzero(target.amax(1), as_tuple=True)
        overlap = giou_loss(cell_boxes(sides)[n, :, y, x], wanted[n, :, y, x], "sum")
        focal = sigmoid_focal_loss(logits, target, 0.25, 2, "sum")
        return {"loss_classes": focal / max(len(n), 1), "loss_sides": overlap / max(len(n), 1)}

    def propose(self, predictions: Any, images: PaddedImages) -> list[Instances]:
        """The best cells, without the flipped images' second opinion, in the image frame."""
        logits, sides = (maps[: len(images)] for maps in predictions[0])
        scores, best = logits.sigmoid().flatten(1).topk(min(self.top_k, logits[0].numel()))
        label, cell = best // sides[0, 0].numel(), best % sides[0, 0].numel()
        boxes = cell_boxes(sides).flatten(2).gather(2, cell[:, None].expand(-1, 4, -1))
        boxes = images.map_to_image(boxes.mT.unflatten(2, (2, 2)), sides.shape[-2:]).flatten(2)
        rows = zip(images.image_sizes, map(Boxes, boxes), scores, label, strict=True)
        return [Instances(s, pred_boxes=b, scores=p, pred_classes=c) for s, b, p, c in rows]

    def finalize(self, candidates: list[Instances]) -> list[Instances]:
        """NMS class by class, over all scales; the base class keeps the best."""
        found = [(c, c.pred_boxes.tensor, c.scores, c.pred_classes) for c in candidates]
        return [c[batched_nms(*rows, self.nms_threshold)] for c, *rows in found]


def cell_boxes(sides: Tensor) -> Tensor:
    """Distances (N, 4, h, w) to left, top, right and bottom -> XYXY boxes on the map."""
    y, x = torch.meshgrid(*(torch.arange(n).to(sides) for n in sides.shape[-2:]), indexing="ij")
    return torch.stack([x, y, x, y]) + sides * sides.new_tensor([-1, -1, 1, 1]).view(4, 1, 1)
