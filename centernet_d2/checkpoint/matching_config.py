"""The config that belongs to detected weights: architecture, pixel statistics, test protocol.

Keys are full paths ("MODEL.HEATMAP.NUM_CLASSES"), as in overrides on a command line.
"""

from collections.abc import Mapping
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg

from ..config import add_centernet_config
from . import pixels
from .backbones import Overrides
from .detect_source import IMAGENET, MMDETECTION, TRIPLET, DetectedSource

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

LEGACY_RADIUS = {"MODEL.HEATMAP.RADIUS_RULE": "legacy", "MODEL.HEATMAP.MIN_OVERLAP": 0.7}
EXACT_RADIUS = {"MODEL.HEATMAP.RADIUS_RULE": "exact", "MODEL.HEATMAP.MIN_OVERLAP": 0.3}

# Dataset of the weights -> where they were trained and evaluated, and how.
DATA: dict[str, Overrides] = {
    "coco": {"DATASETS.TRAIN": ["coco_2017_train"], "DATASETS.TEST": ["coco_2017_val"]},
    "coco_person": {
        "DATASETS.TRAIN": ["keypoints_coco_2017_train"],
        "DATASETS.TEST": ["keypoints_coco_2017_val"],
        # Published: images without a person are left out, and several scales are not cut to 100.
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": True,
        "TEST.DETECTIONS_PER_IMAGE": 0,
    },
    "voc": {
        "DATASETS.TRAIN": ["voc_2007_trainval", "voc_2012_trainval"],
        "DATASETS.TEST": ["voc_2007_test"],
    },
}
# Of all 3-D boxes. Weights do not say on which split they were trained.
KITTI = {
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
# The corner detectors' frame, and the protocol of their published single-scale numbers.
CORNER_FRAME = {
    "INPUT.TRAIN_SIZE": [511, 511],
    "INPUT.CENTER_CROP.BASE": "output",
    "TEST.RESOLUTION": "keep_res",
    "TEST.CANVAS": "odd",
    "TEST.FLIP": True,
    "MODEL.HOURGLASS.NORM_INIT": "uniform",
}
TRIPLET_RULES = {"MODEL.HEATMAP.TOP_K": 70, "MODEL.CORNERNET.OUTSIDE_MARGIN": 5.0}


def matching_config(found: DetectedSource, *, voc_size: int = 384) -> Overrides:
    """All keys that differ from the defaults for these weights.

    20 classes are taken for Pascal VOC, of side `voc_size` (384 or 512, which weights do not say),
    and 3-D boxes for KITTI: other pixel statistics and a fixed input. All else has COCO's.
    """
    keys: Overrides = COMMON | found.model | DATA.get(found.dataset, {})
    turned = pixels.IMAGENET._replace(rgb=False)  # see `pixels.as_bgr`
    seen = (turned if found.source == MMDETECTION else pixels.COCO).saved()
    if keys["MODEL.META_ARCHITECTURE"] != "PointsCenterNet":
        rules = LEGACY_RADIUS | TRIPLET_RULES if found.source == TRIPLET else EXACT_RADIUS
        return keys | CORNER_FRAME | seen | rules
    if found.source == MMDETECTION:
        return keys | seen | EXACT_RADIUS | KEEP_RESOLUTION
    if found.task == "box3d":
        return keys | pixels.VOC.saved() | LEGACY_RADIUS | KITTI
    if found.dataset == "voc":
        # Two lists: one shared would be written to YAML as an anchor, tying the keys together.
        sizes = {key: [voc_size, voc_size] for key in ("TEST.FIXED_SIZE", "INPUT.TRAIN_SIZE")}
        return keys | pixels.VOC.saved() | LEGACY_RADIUS | {"TEST.RESOLUTION": "fixed"} | sizes
    return keys | seen | LEGACY_RADIUS | KEEP_RESOLUTION


def source_pixels(found: DetectedSource) -> pixels.Pixels:
    """What these weights were trained to see, as `convert` gives them."""
    if found.source == IMAGENET:
        return pixels.IMAGENET
    return pixels.from_keys(matching_config(found)) or pixels.COCO


def config_node(keys: Mapping[str, Any]) -> CfgNode:
    """detectron2's defaults, this package's keys, and `keys`."""
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


def as_yaml(keys: Mapping[str, Any], comment: str) -> str:
    """A config file that `load_config` or `cfg.merge_from_file` reads, `comment` above it."""
    tree: dict[str, Any] = {}
    for path, value in {**keys, "VERSION": 2}.items():
        node = tree
        *parents, name = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)
