"""What a model is given in training, drawn: a mapped sample, and the heatmaps to be learned."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances, Keypoints

from ..structures.boxes3d import rescaled_projection
from ..structures.padded_images import eight_bit_pixels
from ..structures.targets import CornerTargets
from .canvas import class_name, side_by_side
from .heatmaps import JOINTS, draw_heatmap, target_heatmaps
from .results import draw_truth
from .skeletons import SkeletonDrawing


def draw_sample(
    sample: dict[str, Any], class_names: Sequence[str], drawing: SkeletonDrawing
) -> np.ndarray:
    """Draw a mapped training sample with its ground truth."""
    image, projection = eight_bit_pixels(sample["image"]), sample.get("image_projection")
    truth = sample["instances"]
    return draw_truth(image, truth, class_names, projection=projection, drawing=drawing)


def draw_with_heatmaps(
    sample: dict[str, Any], class_names: Sequence[str], drawing: SkeletonDrawing, *, model: Any
) -> np.ndarray:
    """Draw a mapped training sample on the model's canvas, and beside it its target heatmaps.

    A label says where only ignored regions are seen in the heatmap of a class.
    """
    canvas, instances = model.training_images([sample]), sample["instances"].to(model.device)
    size = height, width = tuple(canvas.tensor.shape[-2:])
    rows, columns = (-(-side // model.stride) for side in size)  # of an odd canvas: rounded up
    targets = model.targets(canvas, [instances], (rows, columns))
    heatmaps = target_heatmaps(targets)
    for task in getattr(model, "tasks", ()):
        heatmaps |= target_heatmaps(task.targets([instances], canvas, targets))
    pixels = canvas.tensor[0] * model.pixel_std[:, None, None] + model.pixel_mean[:, None, None]
    image = eight_bit_pixels(pixels)
    learned = instances[~instances.gt_ignored] if instances.has("gt_ignored") else instances
    labels = [class_name(class_names, index) for index in range(model.num_classes)]
    for index in set(range(model.num_classes)) - set(learned.gt_classes.tolist()):
        labels[index] += ", ignored"
    names, scale = {JOINTS: drawing.names}, (width / columns, height / rows)
    drawn = [
        draw_heatmap(image, heatmap, names.get(kind, labels), scale=scale)
        for kind, heatmap in heatmaps.items()
    ]
    shift, projection = canvas.shift[0].tolist(), sample.get("image_projection")
    if projection is not None:
        move = torch.tensor([[1, 0, shift[0]], [0, 1, shift[1]]])
        projection = rescaled_projection(projection, move)
    objects = on_canvas(sample["instances"], shift, size)
    seen = draw_truth(image, objects, class_names, projection=projection, drawing=drawing)
    peaks = targets.image if isinstance(targets, CornerTargets) else targets.peaks
    kinds = [kind.replace("_", " ") for kind in heatmaps] if len(drawn) > 1 else ["target heatmap"]
    titles = [f"{kind}, {len(peaks)} of {len(learned)} objects" for kind in kinds]
    return side_by_side([seen, *drawn], ["given to the model", *titles])


def on_canvas(instances: Instances, shift: Sequence[float], size: tuple[int, int]) -> Instances:
    """Return objects where a canvas has them, larger than a crop that no stride divides.

    `shift` (x, y) is the crop's place; boxes in space stay.
    """
    objects = Instances(size, **instances.get_fields())
    objects.gt_boxes = Boxes(instances.gt_boxes.tensor + torch.tensor([*shift, *shift]))
    if instances.has("gt_keypoints"):
        joints = instances.gt_keypoints.tensor + torch.tensor([*shift, 0])
        objects.gt_keypoints = Keypoints(joints)
    return objects
