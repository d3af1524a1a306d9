"""Small corner detectors and inputs with ground truth."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances


@pytest.fixture
def built(tiny_config):
    """A function (architecture, *overrides) -> an untrained detector that pairs all corners."""

    def build(architecture: str, *overrides):
        torch.manual_seed(3)
        cfg = tiny_config(
            *("MODEL.META_ARCHITECTURE", architecture),
            *("MODEL.CORNERNET.HEAD_CHANNELS", 8, "MODEL.CORNERNET.POOL_CHANNELS", 4),
            *("MODEL.CORNERNET.EMBEDDING_THRESHOLD", 1e9, "TEST.CANVAS", "odd"),
            *("MODEL.HEATMAP.RADIUS_RULE", "exact", "MODEL.HEATMAP.MIN_OVERLAP", 0.3),
            *("MODEL.HEATMAP.TOP_K", 40),
            *overrides,
        )
        model = build_model(cfg).eval()
        for part in model.head.modules():  # untrained branches say the same everywhere
            if isinstance(part, torch.nn.Conv2d):
                torch.nn.init.normal_(part.weight, std=0.2)
        return model

    return build


BOXES = [[5.3, 8.9, 40.2, 30.7], [30.1, 4.2, 88.8, 60.6], [50.5, 20.25, 70.75, 66.5]]
CLASSES = [0, 3, 4]  # one object each, so that corners pair in one way only


def entry_with_objects(boxes=BOXES, classes=CLASSES, size=(70, 90)) -> dict:
    generator = torch.Generator().manual_seed(0)
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    return {
        "image": image,
        "instances": instances,
        "file_name": "image.png",
        "height": size[0],
        "width": size[1],
    }
