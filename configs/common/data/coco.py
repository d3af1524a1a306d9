"""COCO as both papers' detectors see it; the corner detectors crop in another way."""

from centernet_d2.data.color import RandomColor
from centernet_d2.data.loader import build_test_loader, build_train_loader, load_dataset_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.data.transforms import RandomCenterCrop, RandomFlip
from centernet_d2.detectron2_versions import LazyCall as L

dataloader = {
    "train": L(build_train_loader)(
        dataset=L(load_dataset_dicts)(names=["coco_2017_train"]),
        mapper=L(DetectionMapper)(
            is_train=True,
            augmentations=[
                L(RandomFlip)(probability=0.5),
                L(RandomCenterCrop)(output_size=[512, 512]),
                L(RandomColor)(jitter=0.4, lighting=0.1),
            ],
        ),
        total_batch_size=112,
        num_workers=4,
    ),
    "test": L(build_test_loader)(
        dataset=L(load_dataset_dicts)(names=["coco_2017_val"], key="DATASETS.TEST"),
        mapper=L(DetectionMapper)(is_train=False),
        batch_size=1,
        num_workers=4,
    ),
}
corner_crop = L(RandomCenterCrop)(output_size=[511, 511], base="output")
