"""Small detectors with weights that find something, and pictures for them."""

from __future__ import annotations

import numpy as np
import torch
from detectron2.modeling import build_model

from centernet_d2.engine.setup import load_config
from centernet_d2.layers.blocks import PredictionBranch

ANY = {"batch": None, "height": None, "width": None}
SAYS = {"form": 1, "whole": True, "frame": ANY}  # the least that a file says of itself
NARROW = ["MODEL.DEVICE", "cpu", "MODEL.HEATMAP.NUM_CLASSES", 5, "MODEL.WEIGHTS", ""]
CLASSES = ["disk", "ring", "square", "diamond", "triangle"]
POINTS = {
    "boxes": ("Shapes/points_tiny", ["TEST.FLIP", True]),
    "hard": ("Shapes/points_tiny", ["MODEL.POINTS_CENTERNET.BOX2D.NMS", "hard"]),
    "several sizes": (
        "Shapes/points_tiny",
        ["MODEL.POINTS_CENTERNET.BOX2D.SIZE_BOUNDS", [24.0, 40.0], "TEST.FLIP", True],
    ),
    "squares": ("Shapes/points_tiny", ["MODEL.POINTS_CENTERNET.HEATMAP_LOSS", "mse"]),
    "no offset": ("Shapes/points_tiny", ["MODEL.POINTS_CENTERNET.OFFSET", False]),
    "linear": (
        "Own/points_small",
        [
            *("MODEL.POINTS_CENTERNET.BOX2D.NMS", "linear", "TEST.FIXED_SIZE", [96, 128]),
            *("TEST.CLIP_BOXES", True, "TEST.DROP_EMPTY", True),
        ],
    ),
    "pose": (
        "Shapes/pose_tiny",
        [
            *("MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS", 3, "TEST.FLIP", True),
            *("MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES", [0, 2, 1]),
        ],
    ),
    "boxes in space": ("Shapes/box3d_tiny", ["MODEL.HEATMAP.SCORE_THRESHOLD", 0.02]),
}
CORNERS = {
    "corners": ("Shapes/cornernet_tiny", ["TEST.FLIP", True, "TEST.CANVAS", "odd"]),
    "triplet": (  # of one class, so that centers fit pairs of random corners
        "Shapes/triplet_tiny",
        [
            *("MODEL.TRIPLET_CENTERNET.CENTER_CHOICE", "best", "MODEL.HEATMAP.NUM_CLASSES", 1),
            *("MODEL.CORNERNET.EMBEDDING_THRESHOLD", 9.0),
        ],
    ),
}
SCALES = ["TEST.SCALES", [0.6, 1.0, 1.5]]
SEVERAL = {
    "scaled boxes": (POINTS["hard"][0], [*POINTS["hard"][1], *SCALES]),
    "scaled on a frame": (POINTS["linear"][0], [*POINTS["linear"][1], *SCALES]),
    "scaled corners": (CORNERS["corners"][0], [*CORNERS["corners"][1], *SCALES]),
    "scaled triplet": (
        CORNERS["triplet"][0],
        [
            *(*CORNERS["triplet"][1], *SCALES, "MODEL.CORNERNET.OUTSIDE_MARGIN", 3.0),
            *("MODEL.TRIPLET_CENTERNET.CENTER_SCALES", "all"),
        ],
    ),
    "merged": (CORNERS["corners"][0], ["MODEL.CORNERNET.MERGE_BOXES", "always"]),
}
DETECTORS = POINTS | CORNERS | SEVERAL
COCO = "COCO-Detection/points_{}_140e"
BACKBONES = {  # slow ones, at their full width but for the head
    name: (COCO.format(name), ["MODEL.POINTS_CENTERNET.HEAD_CHANNELS", 64, "TEST.CANVAS", "fit"])
    for name in ("resnet18_dcn", "dla34", "convnext_atto", "resnet50_fpn")
}


def config(name: str):
    """The config of a name in `DETECTORS` or `BACKBONES`."""
    file, overrides = (DETECTORS | BACKBONES)[name]
    return load_config(file, [*NARROW, "MODEL.HEATMAP.TOP_K", 40, *overrides])


def detector(name: str):
    """A detector whose branches say something different in each cell."""
    torch.manual_seed(0)
    model = build_model(config(name))
    for branch in model.head.modules():
        if isinstance(branch, PredictionBranch):
            torch.nn.init.normal_(branch.last_layer.weight, std=0.1 if name in BACKBONES else 0.3)
    model.train()
    if name in BACKBONES:  # deep ones forget what images do where norms follow slowly
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.momentum = 1.0
    with torch.no_grad():  # norms see what images do
        model.predict(model.training_images([{"image": torch.rand(3, 128, 128) * 255}] * 2))
    return model.eval()


def pictures(count: int = 2, height: int = 100, width: int = 150) -> np.ndarray:
    """Random pictures (N, height, width, 3), smooth at several scales."""
    random = np.random.default_rng(0)
    found = np.zeros((count, height, width, 3))
    for step in (1, 5, 25):
        cells = random.uniform(0, 85, (count, height // step + 1, width // step + 1, 3))
        found += cells.repeat(step, 1).repeat(step, 2)[:, :height, :width]
    return found.astype(np.uint8)


def detect(model, images: np.ndarray, projection: np.ndarray | None = None) -> list:
    """What the detector itself finds."""
    more = {} if projection is None else {"projection": projection}
    entries = [
        {"image": torch.from_numpy(i.transpose(2, 0, 1)).float(), **more}
        | {"height": i.shape[0], "width": i.shape[1]}
        for i in images
    ]
    with torch.no_grad():
        return [found["instances"] for found in model(entries)]


def saved(name: str, path) -> list[str]:
    """A detector's weights in a file, and what a command wants to read it."""
    file, overrides = DETECTORS[name]
    torch.save({"model": detector(name).state_dict(), "class_names": CLASSES}, path)
    given = [*NARROW[:-2], "MODEL.HEATMAP.TOP_K", 40, *overrides]
    return ["--config-file", file, "--weights", str(path), "--opts", *map(str, given)]
