"""`COCO-Detection/points_resnet18_dcn_140e.yaml` as a LazyConfig."""

from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.modeling.backbone import ResNetDeconv

from ..common.data.coco import dataloader
from ..common.models.points import model
from ..common.train import lr_multiplier, optimizer, train

model.backbone = L(ResNetDeconv)(depth=18, upsample="deform", norm="BN")
model.in_features = ["deconv"]
optimizer.lr = 5e-4
lr_multiplier.epoch_steps = [90, 120]
train.update({"epochs": 140, "base_batch_size": 114, "eval_epochs": 10})
train.checkpointer.epochs = 5
train.init_checkpoint = "torchvision:resnet18"
train.output_dir = "output/lazy_points_centernet"
