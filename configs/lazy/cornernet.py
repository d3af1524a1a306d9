"""`COCO-Detection/cornernet_hourglass104.yaml` as a LazyConfig."""

from ..common.data.coco import corner_crop, dataloader
from ..common.models.corner import cornernet as model
from ..common.train import lr_multiplier, optimizer, train

dataloader.train.mapper.augmentations[1] = corner_crop
dataloader.train.total_batch_size = 48
optimizer.lr = 2.5e-4
lr_multiplier.epoch_steps = [186]
train.update({"epochs": 207, "base_batch_size": 49, "eval_epochs": 20})
train.checkpointer.epochs = 2
train.output_dir = "output/lazy_cornernet"
