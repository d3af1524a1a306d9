"""`COCO-Detection/triplet_hourglass104.yaml` as a LazyConfig."""

from ..common.data.coco import corner_crop, dataloader
from ..common.models.corner import triplet as model
from ..common.train import lr_multiplier, optimizer, train

dataloader.train.mapper.augmentations[1] = corner_crop
dataloader.train.total_batch_size = 48
optimizer.lr = 2.5e-4
lr_multiplier.epoch_steps = [183]
train.update({"epochs": 195, "base_batch_size": 48, "eval_epochs": 20})
train.checkpointer.epochs = 2
train.output_dir = "output/lazy_triplet_centernet"
