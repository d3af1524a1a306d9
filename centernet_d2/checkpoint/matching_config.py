"""The config that belongs to recognised weights: architecture, pixel statistics, test protocol.

Keys are full paths ("MODEL.HEATMAP.NUM_CLASSES"), as in overrides on a command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg

from ..config import add_centernet_config
from .recognised import MMDETECTION, TRIPLET, Overrides, Recognised

# The authors' statistics of COCO in B, G, R order, times 255.
COCO_PIXELS = {
    "MODEL.PIXEL_MEAN": [104.01362025, 114.03422265, 119.9165958],
    "MODEL.PIXEL_STD": [73.6027665, 69.8908125, 70.9150767],
}
# ImageNet's statistics in R, G, B order, which the published VOC training applied to B, G, R
# pixels.
VOC_PIXELS = {
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "MODEL.PIXEL_STD": [58.395, 57.12, 57.375],
}
# The same in B, G, R order: mmdetection's R, G, B network, turned (see `mmdetection.as_bgr`).
TURNED_PIXELS = {
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [57.375, 57.12, 58.395],
}
LEGACY_RADIUS = {"MODEL.HEATMAP.RADIUS_RULE": "legacy", "MODEL.HEATMAP.MIN_OVERLAP": 0.7}
EXACT_RADIUS = {"MODEL.HEATMAP.RADIUS_RULE": "exact", "MODEL.HEATMAP.MIN_OVERLAP": 0.3}

COCO_DATA = {
    "DATASETS.TRAIN": ["coco_2017_train"],
    "DATASETS.TEST": ["coco_2017_val"],
}
COCO_JOINT_DATA = {
    "DATASETS.TRAIN": ["keypoints_coco_2017_train"],
    "DATASETS.TEST": ["keypoints_coco_2017_val"],
    # Published: images without a person are not trained on, and several scales are not cut to 100.
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": True,
    "TEST.DETECTIONS_PER_IMAGE": 0,
}
VOC_DATA = {
    "DATASETS.TRAIN": ["voc_2007_trainval", "voc_2012_trainval"],
    "DATASETS.TEST": ["voc_2007_test"],
}
# Weights do not say on which split they were trained.
KITTI_DATA = {
    "DATASETS.TRAIN": ["kitti_3dop_train"],
    "DATASETS.TEST": ["kitti_3dop_val"],
    "INPUT.TRAIN_SIZE": [384, 1280],
    "INPUT.FLIP_PROBABILITY": 0.0,
    "INPUT.COLOR_JITTER": 0.0,
    "INPUT.PCA_LIGHTING": 0.0,
    "MODEL.HEATMAP.RADIUS_ROUND_UP": False,
    "MODEL.HEATMAP.SCORE_THRESHOLD": 0.2,
    "MODEL.POINTS_CENTERNET.REGRESSION_NORMALIZER": "max_objects",
    "TEST.RESOLUTION": "fixed",
    "TEST.FIXED_SIZE": [384, 1280],
    "TEST.FIXED_FIT": "width",
}
KEEP_RESOLUTION = {"TEST.RESOLUTION": "keep_res", "TEST.CANVAS": "strict"}

COMMON = {
    "MODEL.META_ARCHITECTURE": "PointsCenterNet",
    "INPUT.FORMAT": "BGR",
    "INPUT.MIN_SIZE_TEST": 0,
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
    "DATALOADER.ASPECT_RATIO_GROUPING": False,
    "SOLVER.WEIGHT_DECAY": 0.0,
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WARMUP_ITERS": 0,
}
# The corner detectors' frame, and the protocol of their published single-scale numbers.
CORNER_FRAME = {
    "INPUT.TRAIN_SIZE": [511, 511],
    "INPUT.CROP_BASE": "output",
    "TEST.RESOLUTION": "keep_res",
    "TEST.CANVAS": "odd",
    "TEST.FLIP": True,
    "MODEL.HOURGLASS.NORM_INIT": "uniform",
}
TRIPLET_RULES = {"MODEL.HEATMAP.TOP_K": 70, "MODEL.CORNERNET.OUTSIDE_MARGIN": 5.0}
CLASSES_OF_VOC = 20
CLASSES_OF_COCO = 80
JOINTS_OF_COCO = 17


def matching_config(found: Recognised, *, voc_size: int = 384) -> Overrides:
    """All keys that differ from the defaults for these weights.

    20 classes are taken for Pascal VOC, and 3-D boxes for KITTI, whose published networks have
    other pixel statistics and a fixed input; everything else has COCO's.

    Args:
        found: the recognised weights.
        voc_size: side of VOC's fixed input, 384 or 512 (both were published; the weights do not
            say).
    """
    keys: Overrides = COMMON | found.model
    if found.num_classes == CLASSES_OF_COCO:
        keys |= COCO_DATA
    if keys["MODEL.META_ARCHITECTURE"] != "PointsCenterNet":
        return keys | _corner_keys(found)
    if found.num_classes == 1 and found.num_joints == JOINTS_OF_COCO:
        keys |= COCO_JOINT_DATA
    if found.source == MMDETECTION:
        return keys | TURNED_PIXELS | EXACT_RADIUS | KEEP_RESOLUTION
    if found.task == "box3d":
        return keys | VOC_PIXELS | LEGACY_RADIUS | KITTI_DATA
    if found.num_classes == CLASSES_OF_VOC:
        # Two lists: one shared would be written to YAML as an anchor, tying the keys together.
        fixed = {
            "TEST.RESOLUTION": "fixed",
            "TEST.FIXED_SIZE": [voc_size, voc_size],
            "INPUT.TRAIN_SIZE": [voc_size, voc_size],
        }
        return keys | VOC_PIXELS | LEGACY_RADIUS | VOC_DATA | fixed
    return keys | COCO_PIXELS | LEGACY_RADIUS | KEEP_RESOLUTION


def _corner_keys(found: Recognised) -> Overrides:
    pixels = TURNED_PIXELS if found.source == MMDETECTION else COCO_PIXELS
    if found.source == TRIPLET:
        return CORNER_FRAME | pixels | LEGACY_RADIUS | TRIPLET_RULES
    return CORNER_FRAME | pixels | EXACT_RADIUS


def config_node(keys: Mapping[str, Any]) -> CfgNode:
    """detectron2's defaults, this package's keys, and `keys`."""
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


def as_yaml(keys: Mapping[str, Any], comment: str) -> str:
    """A config file that `load_config` or `cfg.merge_from_file` reads, `comment` above it."""
    tree: dict[str, Any] = {}
    for path, value in keys.items():
        node = tree
        *parents, name = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    tree["VERSION"] = 2
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)
