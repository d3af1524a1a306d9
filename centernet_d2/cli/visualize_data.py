"""The verb `visualize-data`: what the model is given in training, drawn."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints

from ..data.datasets.skeletons import skeleton_of
from ..data.loader import build_mapper, load_dataset_dicts
from ..data.samplers import seeded
from ..engine.setup import load_config, setup
from ..engine.terminal import start_logging
from ..engine.user_modules import import_all
from ..modeling.inputs import ignored_rows
from ..progress import bar
from ..structures.boxes3d import rescaled_projection
from ..structures.targets import CornerTargets, JointTargets
from ..visualization.canvas import class_name, side_by_side, write_picture
from ..visualization.heatmaps import JOINTS, draw_heatmap, target_heatmaps
from ..visualization.results import draw_truth
from ..visualization.skeletons import SkeletonDrawing


def run(args: argparse.Namespace) -> int:
    """Draw; return the exit status."""
    start_logging(verbose=args.verbose)
    cfg = load_config(args.config_file, args.opts, import_all(args.imports))
    cfg.DATASETS.TEST = ()  # not drawn, so it may have other classes
    setup(cfg)
    records = load_dataset_dicts(cfg.DATASETS.TRAIN)[: args.count]
    class_names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", [])
    drawing = SkeletonDrawing.of(skeleton_of(cfg.DATASETS.TRAIN[0]))
    mapper = build_mapper(cfg, is_train=True)
    model = build_model(cfg) if args.heatmaps else None
    for number in bar(range(len(records) * args.repeat), what="Pictures", unit="picture"):
        record = records[number // args.repeat]
        with seeded(args.seed, number):
            sample = mapper(record)
        picture = draw_sample(sample, class_names, model, drawing)
        stem = os.path.splitext(os.path.basename(record["file_name"]))[0]
        write_picture(os.path.join(args.output, f"{number:04d}_{stem}.jpg"), picture)
    return 0


def draw_sample(
    sample: dict,
    class_names: Sequence[str],
    model: torch.nn.Module | None,
    drawing: SkeletonDrawing | None = None,
) -> np.ndarray:
    """Draw a mapped training sample, and its heatmaps where a model is given to make them."""
    instances, projection = sample["instances"], sample.get("image_projection")
    if model is None:
        image = to_picture(sample["image"])
        return draw_truth(image, instances, class_names, projection=projection, drawing=drawing)
    canvas = model.training_images([sample])
    sides = canvas.tensor.shape[-2:]
    height, width = (-(-side // model.stride) for side in sides)  # of an odd canvas: rounded up
    targets = model.targets(canvas, [instances.to(model.device)], (height, width))
    shift = canvas.shift[0].tolist()
    objects = on_canvas(instances, shift, tuple(sides))
    if projection is not None:
        move = torch.tensor([[1, 0, shift[0]], [0, 1, shift[1]]])
        projection = rescaled_projection(projection, move)
    pixels = canvas.tensor[0] * model.pixel_std[:, None, None] + model.pixel_mean[:, None, None]
    image = to_picture(pixels)
    heatmaps = target_heatmaps(targets)
    joint_names = drawing.names if drawing else ()
    for task in getattr(model, "tasks", ()):
        of_task = task.targets([sample["instances"].to(model.device)], canvas, targets)
        heatmaps |= target_heatmaps(of_task) if isinstance(of_task, JointTargets) else {}
    scale = (sides[1] / width, sides[0] / height)
    learned = instances[~ignored_rows(instances)]
    labels = heatmap_labels(class_names, learned.gt_classes.tolist(), model.num_classes)
    drawn = [
        draw_heatmap(image, heatmap, joint_names if name == JOINTS else labels, scale=scale)
        for name, heatmap in heatmaps.items()
    ]
    seen = draw_truth(image, objects, class_names, projection=projection, drawing=drawing)
    peaks = targets.image if isinstance(targets, CornerTargets) else targets.peaks
    counts = f"{len(peaks)} of {len(learned)} objects"
    names = [name.replace("_", " ") for name in heatmaps] if len(drawn) > 1 else ["target heatmap"]
    titles = [f"{name}, {counts}" for name in names]
    return side_by_side([seen, *drawn], ["given to the model", *titles])


def heatmap_labels(
    class_names: Sequence[str], learned: Sequence[int], num_classes: int
) -> list[str]:
    """Names by class index, which say where only ignored regions are seen in its heatmap."""
    names = [class_name(class_names, index) for index in range(num_classes)]
    return [name if k in learned else f"{name}, ignored" for k, name in enumerate(names)]


def on_canvas(instances: Instances, shift: Sequence[float], size: tuple[int, int]) -> Instances:
    """Return what is drawn of the objects where the canvas has them.

    The canvas is larger than a crop that no stride divides; `shift` (x, y) is the crop's place.
    """
    boxes = instances.gt_boxes.tensor + torch.tensor([*shift, *shift])
    objects = Instances(size, gt_boxes=Boxes(boxes), gt_classes=instances.gt_classes)
    if instances.has("gt_keypoints"):
        joints = instances.gt_keypoints.tensor + torch.tensor([*shift, 0])
        objects.gt_keypoints = Keypoints(joints)
    for name in ("gt_boxes3d", "gt_ignored"):  # not in the image plane
        if instances.has(name):
            objects.set(name, instances.get(name))
    return objects


def to_picture(pixels: torch.Tensor) -> np.ndarray:
    """Return an image tensor (3, H, W) in 0..255 as (H, W, 3) uint8 BGR."""
    return np.ascontiguousarray(pixels.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy())
