"""A small points detector for tests."""

from __future__ import annotations

from typing import Any

from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.backbone import EncoderDecoder
from centernet_d2.modeling.heads.branches import points_head
from centernet_d2.modeling.rules import CenterDecoding


def small_detector(tasks, num_classes: int, cls=PointsCenterNet, *, std=1.0, **parts) -> Any:
    """Of these tasks, with a narrow backbone and head."""
    return cls(
        backbone=EncoderDecoder(channels=[8, 8, 8, 8], blocks=[1, 1, 1, 1], out_channels=8),
        head=points_head(tasks=tasks, in_channels=[8], num_classes=num_classes, hidden_channels=8),
        in_features=["decoder"],
        num_classes=num_classes,
        pixels={"mean": [0.0, 0.0, 0.0], "std": [std, std, std]},
        tasks=tasks,
        **{"decoding": CenterDecoding(score_threshold=0.3), **parts},
    )
