"""A small points detector for tests, and what detectors take and give."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.structures import Boxes, Instances

from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.backbone import EncoderDecoder
from centernet_d2.modeling.heads.branches import points_head
from centernet_d2.modeling.rules import CenterDecoding


def small_detector(tasks, num_classes: int, cls=PointsCenterNet, *, std=1.0, **parts) -> Any:
    """Of these tasks, with a narrow backbone and head."""
    return cls(
        backbone=EncoderDecoder(channels=[8, 8, 8, 8], blocks=[1, 1, 1, 1], out_channels=8),
        head=points_head(
            **{"tasks": tasks, "in_channels": [8], "num_classes": num_classes},
            **{"hidden_channels": 8, "offset": parts.get("offset", True)},
        ),
        in_features=["decoder"],
        num_classes=num_classes,
        pixels={"mean": [0.0, 0.0, 0.0], "std": [std, std, std]},
        tasks=tasks,
        **{"decoding": CenterDecoding(score_threshold=0.3), **parts},
    )


def image_input(height: int, width: int, seed: int = 0) -> dict[str, Any]:
    """A random image and its size."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
    return {"image": image, "height": height, "width": width}


def objects_input(instances: Instances, seed: int = 0) -> dict[str, Any]:
    """A random image with this ground truth, `image_<seed>.png`."""
    image = image_input(*instances.image_size, seed)
    return {"image": image["image"], "instances": instances, "file_name": f"image_{seed}.png"}


def boxes_input(boxes, classes, seed: int = 0, size: int = 64) -> dict[str, Any]:
    """The same of boxes and classes."""
    instances = Instances((size, size))
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return objects_input(instances, seed)


def rows(found: Instances) -> torch.Tensor:
    """Score, class and box of each detection."""
    columns = (found.scores[:, None], found.pred_classes[:, None], found.pred_boxes.tensor)
    return torch.cat(columns, dim=1)
