#!/usr/bin/env python3
r"""Draw what the model is given in training: images after augmentation, boxes, joints, targets.

tools/visualize_data.py --config-file configs/Shapes/points_tiny.yaml --output output/data
tools/visualize_data.py --config-file configs/Shapes/pose_tiny.yaml --output output/data
tools/visualize_data.py --config-file configs/Shapes/box3d_tiny.yaml --output output/data
tools/visualize_data.py --config-file configs/COCO-Detection/points_resnet18_dcn_140e.yaml \
    --output output/data --heatmaps --repeat 3 \
    DATASETS.TRAIN coco:my/train.json:my/images MODEL.HEATMAP.NUM_CLASSES 0

With --heatmaps the picture is the network's own input, on its canvas and without the normalisation,
and beside it stand the heatmaps that it is to learn. 3-D boxes are also drawn from above.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from centernet_d2 import setup
from centernet_d2.checked_values import argument, whole
from centernet_d2.data.datasets.skeletons import skeleton_of
from centernet_d2.data.loader import build_mapper, load_dataset_dicts
from centernet_d2.data.samplers import seeded
from centernet_d2.engine.user_modules import add_import_argument, read_config
from centernet_d2.modeling.inputs import ignored_rows
from centernet_d2.structures.boxes3d import rescaled_projection
from centernet_d2.structures.targets import CornerTargets, JointTargets
from centernet_d2.text_files import expanded_output
from centernet_d2.visualization.canvas import class_name, side_by_side, write_picture
from centernet_d2.visualization.heatmaps import JOINTS, draw_heatmap, target_heatmaps
from centernet_d2.visualization.results import draw_truth
from centernet_d2.visualization.skeletons import SkeletonDrawing


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="YAML of the detector")
    add_import_argument(parser)
    parser.add_argument("--output", required=True, type=expanded_output, help="for the pictures")
    parser.add_argument("--heatmaps", action="store_true", help="draw the target heatmaps beside")
    for name, least, default, what in (
        ("count", 1, 20, "images"),
        ("repeat", 1, 1, "augmentations of each"),
        ("seed", 0, 0, "of the augmentation"),
    ):
        known = {"default": default, "help": f"{what}, default {default}"}
        parser.add_argument(f"--{name}", type=argument(whole(least)), **known)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw; return the exit status."""
    args = parse_arguments(arguments)
    setup_logger(name="centernet_d2")
    cfg = read_config(args.config_file, args.opts, imports=args.imports)
    cfg.DATASETS.TEST = ()  # not drawn, so it may have other classes
    setup(cfg)
    records = load_dataset_dicts(cfg.DATASETS.TRAIN)[: args.count]
    class_names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", [])
    drawing = SkeletonDrawing.of(skeleton_of(cfg.DATASETS.TRAIN[0]))
    mapper = build_mapper(cfg, is_train=True)
    model = build_model(cfg) if args.heatmaps else None
    for number in tqdm(range(len(records) * args.repeat), unit="picture"):
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


if __name__ == "__main__":
    sys.exit(main())
