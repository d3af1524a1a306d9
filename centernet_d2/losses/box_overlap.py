"""Overlap of boxes as a loss, of which L1 on sides is no measure."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from ..checked_values import check_choice

KINDS = {
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
LEAST_SIDE, EPSILON = 1e-2, 1e-7
"""Cells: shorter predicted sides count as that long, so that there is an overlap to speak of."""


def overlap_loss(boxes: Tensor, target: Tensor, kind: str = "giou") -> Tensor:
    """Mean of 1 - GIoU (Rezatofighi et al. 2019), or of DIoU or CIoU (Zheng et al. 2020), over P.

    A scalar, without boxes zero and in the graph; in float32 (or wider) also under autocast.

    Args:
        boxes: (P, 4) x1, y1, x2, y2, predicted.
        target: (P, 4), with area.
        kind: "giou", "diou" or "ciou".
    """
    check_choice("kind", kind, KINDS)
    with torch.autocast(boxes.device.type, enabled=False):
        boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
        loss: Tensor = KINDS[kind](boxes, target.to(boxes.dtype), reduction="sum")
        return loss / max(len(boxes), 1)


@torch.no_grad()
def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes (P, 4) with those of the same row: (P,) in 0..1."""
    inner = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = inner.clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=EPSILON)
