"""Trunks that learn generated pictures in minutes on two CPU cores."""

from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.modeling.backbone import EncoderDecoder, Hourglass

points_backbone = L(EncoderDecoder)()
_channels = {"stem_channels": 16, "stem_kernel": 5, "out_channels": 48}
corner_backbone = L(Hourglass)(
    stacks=1, channels=[32, 48, 64, 96], blocks=[1, 1, 1, 1], norm_init="ones", **_channels
)


def as_tiny_points(model):
    """Give the points detector the small trunk."""
    model.backbone, model.in_features, model.num_classes = points_backbone, ["decoder"], 5
    model.protocol.canvas = "fit"
    model.head.hidden_channels = 32
    return model


def as_tiny_corner(model):
    """Give a corner detector the small trunk."""
    model.backbone, model.in_features, model.num_classes = corner_backbone, ["stack1"], 5
    model.protocol.update({"canvas": "fit", "flip": False})
    model.head.update(
        {"in_channels": [48], "hidden_channels": 48, "pool_channels": 24, "norm_init": "ones"}
    )
    return model
