"""Generated pictures; the corner detectors crop in another way."""

from .coco import dataloader

dataloader.train.update({"total_batch_size": 16, "num_workers": 2})
dataloader.test.update({"batch_size": 16, "num_workers": 2})
dataloader.train.dataset.names = ["shapes_train"]
dataloader.test.dataset.names = ["shapes_val"]
dataloader.train.mapper.crowd_as_objects = False
flip, crop, color = dataloader.train.mapper.augmentations
flip.convention = "edge"  # one pixel matters to objects of 8
crop.update({"output_size": [128, 128], "scales": [0.8, 0.9, 1.0, 1.1, 1.2], "border": 48})
