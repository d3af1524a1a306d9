"""Points CenterNet with ResNet-18 and deformable up-sampling on COCO, as a detectron2 LazyConfig.

The same model, data and schedule as `COCO-Detection/points_resnet18_dcn_140e.yaml`, for
detectron2's `tools/lazyconfig_train_net.py` and trainers like it. Numbers that follow from the
batch size are written out here, since nothing computes them: 114 images a step, 140 epochs of
118287 images.
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
from centernet_d2.evaluation.coco import CocoEvaluator
from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.backbone import ResNetDeconv
from centernet_d2.modeling.heads.branches import points_head
from centernet_d2.modeling.point_tasks.box2d import Box2D

ITERATIONS_PER_EPOCH = 118287 // 114

tasks = [L(Box2D)(size_weight=0.1)]

model = L(PointsCenterNet)(
    backbone=L(ResNetDeconv)(depth=18, upsample="deform", norm="BN"),
    head=L(points_head)(tasks=tasks, in_channels=[64], num_classes=80, hidden_channels=64),
    in_features=["deconv"],
    num_classes=80,
    pixels={
        "mean": [104.01362025, 114.03422265, 119.9165958],
        "std": [73.6027665, 69.8908125, 70.9150767],
    },
    protocol={"resolution": "keep_res"},
    tasks=tasks,
)

dataloader = {
    "train": L(build_detection_train_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_train", filter_empty=False),
        mapper=L(DetectionMapper)(
            is_train=True,
            augmentations=[
                L(RandomFlip)(probability=0.5),
                L(RandomCenterCrop)(output_size=[512, 512]),
                L(RandomColor)(jitter=0.4, lighting=0.1),
            ],
        ),
        total_batch_size=114,
        aspect_ratio_grouping=False,
        num_workers=4,
    ),
    "test": L(build_detection_test_loader)(
        dataset=L(get_detection_dataset_dicts)(names="coco_2017_val", filter_empty=False),
        mapper=L(DetectionMapper)(is_train=False),
        num_workers=4,
    ),
    "evaluator": L(CocoEvaluator)(
        dataset_name="coco_2017_val", output_folder="output/lazy/inference"
    ),
}

optimizer = L(torch.optim.Adam)(params=L(get_default_optimizer_params)(), lr=5e-4)

lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1, 0.01], milestones=[90, 120, 140]),
    warmup_length=0.0,
    warmup_factor=1.0,
    warmup_method="constant",
)

train = {
    "output_dir": "output/lazy",
    "init_checkpoint": "",
    "max_iter": 140 * ITERATIONS_PER_EPOCH,
    "amp": {"enabled": False},
    "ddp": {
        "broadcast_buffers": False,
        "find_unused_parameters": False,
        "fp16_compression": False,
    },
    "checkpointer": {"period": 5 * ITERATIONS_PER_EPOCH, "max_to_keep": 100},
    "eval_period": 10 * ITERATIONS_PER_EPOCH,
    "log_period": 20,
    "device": "cuda" if torch.cuda.is_available() else "cpu",
}
