"""`Shapes/triplet_tiny.yaml` as a LazyConfig."""

from ..common.data.shapes import dataloader
from ..common.models.corner import triplet as model
from ..common.models.tiny import as_tiny_corner
from ..common.tiny_train import lr_multiplier, optimizer, train

model = as_tiny_corner(model)
dataloader.train.mapper.augmentations[1].base = "output"
train.output_dir = "output/lazy_triplet_tiny"
