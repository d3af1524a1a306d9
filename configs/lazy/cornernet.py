"""CornerNet on the Hourglass-104 and COCO, as a detectron2 LazyConfig.

The same model, data and schedule as `COCO-Detection/cornernet_hourglass104.yaml`, for detectron2's
`tools/lazyconfig_train_net.py` and trainers like it.
"""

import torch
from detectron2.config import LazyCall as L
from detectron2.data import (
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import MultiStepParamScheduler

from centernet_d2.data.color import RandomColor
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.data.transforms import RandomCenterCrop, RandomFlip
from centernet_d2.decoding.peaks import PeakSearch
from centernet_d2.evaluation.coco import CocoEvaluator
from centernet_d2.modeling import CornerNet
from centernet_d2.modeling.backbone import Hourglass
from centernet_d2.modeling.heads.corner_head import CornerHead
from centernet_d2.modeling.rules import CornerDecoding, CornerLearning
from centernet_d2.targets.gaussian import GaussianRule

ITERATIONS_PER_EPOCH = 118287 // 48

model = L(CornerNet)(
    backbone=L(Hourglass)(stacks=2, norm_init="uniform"),
    head=L(CornerHead)(in_channels=[256, 256], num_classes=80, norm_init="uniform"),
    in_features=["stack1", "stack2"],
    num_classes=80,
    pixels={
        "mean": [104.01362025, 114.03422265, 119.9165958],
        "std": [73.6027665, 69.8908125, 70.9150767],
    },
    protocol={"resolution": "keep_res", "canvas": "odd", "flip": True},
    learning=L(CornerLearning)(gaussian=L(GaussianRule)(radius_rule="exact", min_overlap=0.3)),
    decoding=L(CornerDecoding)(peaks=L(PeakSearch)(top_k=100)),
)

dataloader = {
    "train": L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_train", filter_empty=False),
        mapper=L(DetectionMapper)(
            is_train=True,
            augmentations=[
                L(RandomFlip)(probability=0.5),
                L(RandomCenterCrop)(output_size=[511, 511], base="output"),
                L(RandomColor)(jitter=0.4, lighting=0.1),
            ],
        ),
        total_batch_size=48,
        aspect_ratio_grouping=False,
        num_workers=4,
    ),
    "test": L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_val", filter_empty=False),
        mapper=L(DetectionMapper)(is_train=False),
        num_workers=4,
    ),
    "evaluator": L(CocoEvaluator)(
        dataset_name="coco_2017_val", output_folder="output/lazy_cornernet/inference"
    ),
}

optimizer = L(torch.optim.Adam)(params=L(get_default_optimizer_params)(), lr=2.5e-4 * 48 / 49)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[186, 207]),
    warmup_length=0.0,
    warmup_factor=1.0,
    warmup_method="constant",
)

train = {
    "output_dir": "output/lazy_cornernet",
    "init_checkpoint": "",
    "max_iter": 207 * ITERATIONS_PER_EPOCH,
    "amp": {"enabled": False},
    "ddp": {
        "broadcast_buffers": False,
        "find_unused_parameters": False,
        "fp16_compression": False,
    },
    "checkpointer": {"period": 2 * ITERATIONS_PER_EPOCH, "max_to_keep": 100},
    "eval_period": 20 * ITERATIONS_PER_EPOCH,
    "log_period": 20,
    "device": "cuda" if torch.cuda.is_available() else "cpu",
}
