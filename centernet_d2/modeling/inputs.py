"""What a detector takes: its images' pixels, its classes, its backbone's maps; errors name them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.structures import Boxes, Instances
from torch import Tensor

from ..structures.padded_images import PaddedImages, Size


@dataclass(frozen=True)
class PixelFormat:
    """How pixels reach the network."""

    mean: Sequence[float]  # 3 values in 0..255, in the channel order of the images
    std: Sequence[float]  # likewise
    channels_last: bool = True  # memory format of images and weights


def check_num_classes(num_classes: int) -> None:
    """Raise ValueError unless there are classes."""
    if num_classes < 1:
        raise ValueError(
            f"MODEL.HEATMAP.NUM_CLASSES is {num_classes}; set it, or call, before building the "
            "model, centernet_d2.setup(cfg), which takes it from the dataset"
        )


def feature_shapes(backbone: Backbone, in_features: Sequence[str]) -> list[ShapeSpec]:
    """The backbone's outputs that carry predictions, or an error: all there, of one stride."""
    shapes = backbone.output_shape()
    if not in_features or any(name not in shapes for name in in_features):
        raise ValueError(
            f"MODEL.HEATMAP.IN_FEATURES is {list(in_features)}, "
            f"but the backbone gives {sorted(shapes)}"
        )
    strides = {shapes[name].stride for name in in_features}
    if len(strides) > 1:
        raise ValueError(
            f"MODEL.HEATMAP.IN_FEATURES {list(in_features)} have strides {sorted(strides)}; "
            "they must share one"
        )
    return [shapes[name] for name in in_features]


def head_widths(backbone: Backbone, in_features: Sequence[str]) -> list[int]:
    """Channels of each stack's map, see `feature_shapes`."""
    return [shape.channels for shape in feature_shapes(backbone, in_features)]


def stacks_united(per_stack: Sequence[dict[str, Tensor]], reduction: str) -> dict[str, Tensor]:
    """The losses of several stacks, their "mean" or "sum"."""
    divisor = len(per_stack) if reduction == "mean" else 1
    return {name: sum(each[name] for each in per_stack) / divisor for name in per_stack[0]}


def source_of(entry: dict[str, Any]) -> str:
    """The name of an input's image, for messages."""
    return entry.get("file_name", "(no file name)")


def objects_on_map(
    images: PaddedImages, instances: Sequence[Instances], map_size: Size
) -> tuple[Tensor, Tensor, Tensor]:
    """All P objects of a batch: boxes (P, 4) on the output map, classes (P,) and images (P,)."""
    device = images.tensor.device
    counts = torch.tensor([len(entry) for entry in instances], device=device)
    image = torch.repeat_interleave(torch.arange(len(instances), device=device), counts)
    boxes = torch.cat([entry.gt_boxes.tensor for entry in instances]).view(-1, 2, 2)
    classes = torch.cat([entry.gt_classes for entry in instances])
    return images.image_to_map(boxes, image, map_size).flatten(1), classes, image


def ignored_rows(instances: Instances) -> Tensor:
    """(P,) bool, which objects of an image are neither to be found nor false when found."""
    if instances.has("gt_ignored"):
        return instances.gt_ignored
    return torch.zeros_like(instances.gt_classes, dtype=torch.bool)


def with_fields(instances: Instances, **fields: Any) -> Instances:
    """Instances of no object with those of these (empty) fields that they lack; others as given."""
    given = instances.get_fields()
    if given and len(instances):
        return instances
    return Instances(instances.image_size, **(fields | given))


def checked_classes(entry: dict[str, Any], num_classes: int) -> Instances:
    """The ground truth of one input, or an error that names it: classes in 0..num_classes - 1.

    Other mappers may leave out any field of an image without objects; boxes and classes are added.
    """
    nothing = {"gt_boxes": Boxes([]), "gt_classes": torch.zeros(0).long()}
    instances = with_fields(entry["instances"], **nothing)
    if missing := [name for name in nothing if not instances.has(name)]:
        raise ValueError(
            f"{source_of(entry)}: 'instances' have no '{missing[0]}'. This package's mapper "
            "(centernet_d2.data.mapper.DetectionMapper) attaches it; let yours do the same."
        )
    lowest = -ignored_rows(instances).long()  # an ignored object may belong to all classes, -1
    classes = instances.gt_classes
    wrong = classes[(classes < lowest) | (classes >= num_classes)]
    if len(wrong):
        raise ValueError(
            f"{source_of(entry)}: class {wrong[0].item()} is not in 0..{num_classes - 1} "
            f"(MODEL.HEATMAP.NUM_CLASSES is {num_classes}). Correct the annotation's category_id, "
            "or set NUM_CLASSES to 0 to take it from the dataset."
        )
    return instances


def checked_image(entry: dict[str, Any]) -> Tensor:
    """The image of one input, or an error that names it: three channels and not empty."""
    image = entry["image"]
    if image.dim() != 3 or image.shape[0] != 3:
        raise ValueError(
            f"{source_of(entry)}: the image has shape {tuple(image.shape)}, but the model takes 3 "
            "channels as (3, height, width). Convert grayscale or RGBA images to 3 channels when "
            "reading them, as cv2.imread does."
        )
    if not image.numel():
        raise ValueError(
            f"{source_of(entry)}: the image is empty, {image.shape[2]} x {image.shape[1]} pixels"
        )
    return image
