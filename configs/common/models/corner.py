"""CornerNet and triplet CenterNet as published; a config may change the trunk."""

from centernet_d2.decoding.peaks import PeakSearch
from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.modeling import CornerNet, TripletCenterNet
from centernet_d2.modeling.backbone import Hourglass
from centernet_d2.modeling.heads.corner_head import CornerHead
from centernet_d2.modeling.rules import CornerDecoding, CornerLearning
from centernet_d2.targets.gaussian import GaussianRule

from .pixels import pixels

_trunk = {
    "backbone": L(Hourglass)(stacks=2, norm_init="uniform"),
    "in_features": ["stack1", "stack2"],  # both are supervised, the last predicts
    "num_classes": 80,
    "pixels": pixels,
    "protocol": {"resolution": "keep_res", "canvas": "odd", "flip": True},
}


def _head(**changed):
    return L(CornerHead)(
        in_channels=[256, 256], num_classes="${..num_classes}", norm_init="uniform", **changed
    )


cornernet = L(CornerNet)(
    **_trunk,
    head=_head(),
    learning=L(CornerLearning)(gaussian=L(GaussianRule)(radius_rule="exact", min_overlap=0.3)),
    decoding=L(CornerDecoding)(peaks=L(PeakSearch)(top_k=100)),
)
triplet = L(TripletCenterNet)(
    **_trunk,
    head=_head(pooling="cascade", center_pools=True),
    learning=L(CornerLearning)(gaussian=L(GaussianRule)(radius_rule="legacy", min_overlap=0.7)),
    decoding=L(CornerDecoding)(peaks=L(PeakSearch)(top_k=70), outside_margin=5.0),
)
