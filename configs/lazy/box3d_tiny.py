"""`Shapes/box3d_tiny.yaml` as a LazyConfig: boxes on a street before a known camera."""

from centernet_d2.data.color import RandomColor
from centernet_d2.data.fields.boxes3d import Boxes3DField
from centernet_d2.data.fields.boxes3d_transforms import RandomHalfJitter
from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.modeling.point_tasks.box3d import Box3D
from centernet_d2.modeling.rules import CenterDecoding, CenterLearning
from centernet_d2.targets.gaussian import GaussianRule

from ..common.data.shapes import dataloader
from ..common.models.points import model
from ..common.models.tiny import as_tiny_points
from ..common.tiny_train import lr_multiplier, optimizer, train

model = as_tiny_points(model)
model.backbone.blocks = [1, 1, 2, 2]
model.num_classes = 3
model.head.hidden_channels = 24
# Weights and distances that minutes suffice for; the published ones want hours.
model.tasks.append(L(Box3D)(normalizer="objects", orientation_loss="l1", orientation_weight=3.0))
model.learning = L(CenterLearning)(gaussian=L(GaussianRule)(round_up=False))
model.decoding = L(CenterDecoding)(nms_threshold=0.6)
model.protocol.update({"resolution": "fixed", "fixed_size": [96, 320], "fixed_fit": "width"})

dataloader.train.dataset.names = ["shapes3d_train"]
dataloader.test.dataset.names = ["shapes3d_val"]
dataloader.train.total_batch_size = train.base_batch_size = 8
dataloader.train.mapper.augmentations = [
    L(RandomHalfJitter)(output_size=[96, 320], probability=0.0),
    L(RandomColor)(jitter=0.2, lighting=0.1),
]
dataloader.train.mapper.fields = dataloader.test.mapper.fields = [L(Boxes3DField)()]
train.update({"max_iter": 4000, "eval_period": 1000, "output_dir": "output/lazy_box3d_tiny"})
