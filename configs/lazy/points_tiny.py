"""`Shapes/points_tiny.yaml` as a LazyConfig."""

from ..common.data.shapes import dataloader
from ..common.models.points import model
from ..common.models.tiny import as_tiny_points
from ..common.tiny_train import lr_multiplier, optimizer, train

model = as_tiny_points(model)
train.output_dir = "output/lazy_points_tiny"
