"""Points CenterNet as published for boxes; a config adds backbone, features and classes."""

from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.heads.branches import points_head
from centernet_d2.modeling.point_tasks.box2d import Box2D

from .pixels import pixels

model = L(PointsCenterNet)(
    backbone=None,
    in_features=[],
    num_classes=80,
    pixels=pixels,
    protocol={"resolution": "keep_res"},
    tasks=[L(Box2D)(size_weight=0.1)],
    offset=True,
    head=L(points_head)(
        tasks="${..tasks}",
        in_channels=[64],
        num_classes="${..num_classes}",
        hidden_channels=64,
        offset="${..offset}",
    ),
)
