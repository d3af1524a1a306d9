"""What all detectors share: batch -> canvas -> backbone -> head -> losses or detections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.structures import Instances
from torch import Tensor, nn

from ...structures.padded_images import PaddedImages, Size, canvas_size, center_on_canvas
from ..canvas_errors import canvas_error, warn_of_border
from ..inference_protocol import InferenceProtocol
from ..memory import annotate_oom, check_canvas
from ..output_frame import to_output_frame
from ..test_time_augmentation import place_zoomed, with_flipped_images, zoomed_size

__all__ = ["HeatmapDetector", "InferenceProtocol", "checked_image"]


class HeatmapDetector(nn.Module, ABC):
    """Base of the detectors that find objects on a heatmap.

    A detector adds four short methods: `predict`, `losses`, `propose` and `finalize`. The way
    between image, network and output frames, and with it the test protocol, is here and inside the
    model, so that every way of predicting agrees.

    What evaluation asks of it: `describe_protocol()`; `output_fields`, names of the fields of its
    detections, which decide what is scored; `evaluators`, entries of `EVALUATOR_REGISTRY` that
    score beside the one of the dataset.
    """

    output_fields: Collection[str] = ("pred_boxes",)
    evaluators: Collection[str] = ()
    published_scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    published_canvas = "strict"

    def __init__(
        self,
        *,
        backbone: Backbone,
        in_features: Sequence[str],
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        protocol: InferenceProtocol | Mapping[str, Any] | None = None,
        channels_last: bool = True,
    ) -> None:
        """Keep what all detectors need.

        Args:
            backbone: detectron2 backbone.
            in_features: names of its outputs that carry predictions, all of one stride; the last
                one predicts.
            num_classes: number of classes.
            pixel_mean: 3 values in 0..255, in the channel order of the images.
            pixel_std: 3 values likewise.
            protocol: test protocol, or its fields as a mapping; default: the published one of COCO.
            channels_last: memory format of images and weights.
        """
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"MODEL.HEATMAP.NUM_CLASSES is {num_classes}; set it, or call, before building the "
                "model, centernet_d2.setup(cfg), which takes it from the dataset"
            )
        self.backbone = backbone
        self.in_features = list(in_features)
        self.num_classes = num_classes
        if not isinstance(
            protocol, InferenceProtocol
        ):  # a LazyConfig brings its fields as a mapping
            protocol = InferenceProtocol(**(protocol or {}))
        self.protocol = protocol
        self.channels_last = channels_last
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).float(), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).float(), persistent=False)
        self._check_features()
        self._check_fixed_size()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The shared arguments, from `MODEL` and `TEST`; a detector adds its own."""
        return {
            "backbone": build_backbone(cfg),
            "in_features": cfg.MODEL.HEATMAP.IN_FEATURES,
            "num_classes": cfg.MODEL.HEATMAP.NUM_CLASSES,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "channels_last": cfg.MODEL.HEATMAP.CHANNELS_LAST,
            "protocol": InferenceProtocol.from_config(cfg),
        }

    def describe_protocol(self) -> str:
        """Name the test protocol, which is printed and written beside scores."""
        return self.protocol.describe(
            self.protocol_notes(),
            published_scales=self.published_scales,
            published_canvas=self.published_canvas,
        )

    def protocol_notes(self) -> list[str]:
        """What a detector adds to the protocol's name, where it departs from the published one."""
        return []

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.pixel_mean.device

    @property
    def divisor(self) -> int:
        """What the network frame's sides must be multiples of."""
        return max(self.backbone.size_divisibility, self.stride)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, detections in inference.

        Args:
            batched_inputs: per image a dict with `image`, (3, height, width) in 0..255 in
                `INPUT.FORMAT`'s channel order, and optionally `height` and `width` of the output
                frame; in training also `instances` with `gt_boxes` (in the frame of `image`),
                `gt_classes` and what the detector reads besides.

        Returns:
            In training: loss name -> weighted scalar. In inference: per image `{"instances":
            Instances}` with `pred_boxes`, `scores`, `pred_classes` and the fields of the point
            tasks, best first, in the output frame.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.training_images(batched_inputs)
        instances = [self.checked_objects(entry).to(self.device) for entry in batched_inputs]
        return self.losses(self.predict(images), images, instances)

    def checked_objects(self, entry: dict[str, Any]) -> Instances:
        """The ground truth of one input, or an error that names it; see `checked_classes`.

        Ignored objects are left out: only a detector that weakens its heatmap there needs them.
        """
        instances = checked_classes(entry, self.num_classes)
        return instances[~ignored_rows(instances)] if instances.has("gt_ignored") else instances

    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detections of each image: candidates of every scale, united, finalized once."""
        for entry in batched_inputs:  # before anything is computed
            largest = self._canvas(entry, max(self.protocol.scales))
            check_canvas(entry, largest, self.protocol.max_pixels)
        views = [self.candidates(batched_inputs, zoom) for zoom in self.protocol.scales]
        united = [self.join(of_image) for of_image in zip(*views, strict=True)]
        detections = self.finalize(united)
        return [
            {"instances": self._to_output(found, entry), **self.extra_outputs(entry)}
            for found, entry in zip(detections, batched_inputs, strict=True)
        ]

    def candidates(self, batched_inputs: list[dict[str, Any]], zoom: float) -> list[Any]:
        """Candidates of each image at one scale.

        Only images of one canvas run together, so a batch gives what single images give.
        """
        proposed: dict[int, Any] = {}
        for canvas, members in self._by_canvas(batched_inputs, zoom).items():
            entries = [batched_inputs[index] for index in members]
            with annotate_oom(entries, canvas, flip=self.protocol.flip):
                images = self.inference_images([e["image"] for e in entries], canvas, zoom)
                images = self.attach_inputs(images, entries)
                found = self.propose(self.predict(images), images)
            proposed.update(zip(members, found, strict=True))
        return [proposed[index] for index in range(len(batched_inputs))]

    @abstractmethod
    def predict(self, images: PaddedImages) -> list[Any]:
        """Raw maps, one typed object per stack."""

    @abstractmethod
    def losses(
        self, predictions: list[Any], images: PaddedImages, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """Weighted scalar losses, summed over stacks."""

    @abstractmethod
    def propose(self, predictions: list[Any], images: PaddedImages) -> list[Any]:
        """Candidates of one scale, per image, in the image frame: `Instances` or what `join` takes.

        Where `images.flipped`, the maps of the flipped images are the second half of the batch: a
        detector averages them with the first, or appends their candidates, turned back.
        """

    def join(self, views: Sequence[Any]) -> Any:
        """Candidates of one image at several scales -> all of them, one scale after the other."""
        return Instances.cat(list(views))

    @abstractmethod
    def finalize(self, candidates: list[Any]) -> list[Instances]:
        """Candidates of each image, of all scales one after the other -> detections."""

    def features(self, images: PaddedImages) -> list[Tensor]:
        """The backbone's maps that carry predictions, one per stack."""
        canvas = tuple(images.tensor.shape[-2:])
        try:
            outputs = self.backbone(images.tensor)
        except RuntimeError as error:
            if "must match" in str(error) and any(side % self.divisor for side in canvas):
                raise ValueError(canvas_error(canvas, self.divisor, self.stride)) from error
            raise
        maps = [outputs[name] for name in self.in_features]
        expected = tuple(-(-side // self.stride) for side in canvas)
        if any(each.shape[-2:] != expected for each in maps):
            raise ValueError(canvas_error(canvas, self.divisor, self.stride))
        return maps

    def training_images(self, batched_inputs: list[dict[str, Any]]) -> PaddedImages:
        """Training crops, which are the network frame already; others share a common canvas."""
        images = [checked_image(entry) for entry in batched_inputs]
        largest = (max(i.shape[-2] for i in images), max(i.shape[-1] for i in images))
        rule = "odd" if self.protocol.canvas == "odd" else "fit"
        canvas = canvas_size(largest, self.divisor, rule)
        if canvas != largest:
            warn_of_border(largest, canvas, self.divisor, rule)
        return center_on_canvas(images, canvas, **self._normalization)

    def inference_images(
        self, images: list[Tensor], canvas: Size, zoom: float = 1.0
    ) -> PaddedImages:
        """Images of one canvas at one scale, as the test protocol wants them."""
        placed = place_zoomed(images, canvas, zoom, self.protocol, **self._normalization)
        return with_flipped_images(placed) if self.protocol.flip else placed

    def attach_inputs(self, images: PaddedImages, entries: list[dict[str, Any]]) -> PaddedImages:
        """The batch with what else the detector reads of its inputs; here nothing."""
        return images

    def extra_outputs(self, entry: dict[str, Any]) -> dict[str, Any]:
        """What the output of one input has beside `instances`; here nothing."""
        return {}

    @property
    def _normalization(self) -> dict[str, Any]:
        return {
            "mean": self.pixel_mean,
            "std": self.pixel_std,
            "channels_last": self.channels_last,
        }

    def _by_canvas(
        self, batched_inputs: list[dict[str, Any]], zoom: float
    ) -> dict[Size, list[int]]:
        groups: dict[Size, list[int]] = defaultdict(list)
        for index, entry in enumerate(batched_inputs):
            groups[self._canvas(entry, zoom)].append(index)
        return groups

    def _canvas(self, entry: dict[str, Any], zoom: float) -> Size:
        height, width = checked_image(entry).shape[-2:]
        return self.protocol.canvas_of(zoomed_size((height, width), zoom), self.divisor)

    def _to_output(self, instances: Instances, entry: dict[str, Any]) -> Instances:
        return to_output_frame(
            instances,
            entry.get("height", instances.image_size[0]),
            entry.get("width", instances.image_size[1]),
            clip_boxes=self.protocol.clip_boxes,
            drop_empty=self.protocol.drop_empty,
        )

    def _check_fixed_size(self) -> None:
        size, fixed = self.protocol.fixed_size, self.protocol.resolution == "fixed"
        less = 1 if self.protocol.canvas == "odd" else 0
        if fixed and any(side < 1 or (side + less) % self.divisor for side in size):
            raise ValueError(
                f"TEST.FIXED_SIZE is {list(size)}; both sides must be multiples of {self.divisor}, "
                "the divisor of this network" + ", less one (TEST.CANVAS is 'odd')" * less
            )

    def _check_features(self) -> None:
        shapes = self.backbone.output_shape()
        missing = [name for name in self.in_features if name not in shapes]
        if missing or not self.in_features:
            raise ValueError(
                f"MODEL.HEATMAP.IN_FEATURES is {self.in_features}, "
                f"but the backbone gives {sorted(shapes)}"
            )
        strides = {shapes[name].stride for name in self.in_features}
        if len(strides) > 1:
            raise ValueError(
                f"MODEL.HEATMAP.IN_FEATURES {self.in_features} have strides {sorted(strides)}; "
                "they must share one"
            )
        self.stride = strides.pop()


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


def checked_classes(entry: dict[str, Any], num_classes: int) -> Instances:
    """The ground truth of one input, or an error that names it: classes in 0..num_classes - 1."""
    instances = entry["instances"]
    lowest = -ignored_rows(instances).long()  # an ignored object may belong to all classes, -1
    wrong = instances.gt_classes[
        (instances.gt_classes < lowest) | (instances.gt_classes >= num_classes)
    ]
    if len(wrong):
        raise ValueError(
            f"{entry.get('file_name', '(no file name)')}: class {wrong[0].item()} is not in "
            f"0..{num_classes - 1} (MODEL.HEATMAP.NUM_CLASSES is {num_classes}). Correct the "
            "annotation's category_id, or set NUM_CLASSES to 0 to take it from the dataset."
        )
    return instances


def checked_image(entry: dict[str, Any]) -> Tensor:
    """The image of one input, or an error that names it: three channels and not empty."""
    image = entry["image"]
    name = entry.get("file_name", "(no file name)")
    if image.dim() != 3 or image.shape[0] != 3:
        raise ValueError(
            f"{name}: the image has shape {tuple(image.shape)}, but the model takes 3 channels as "
            "(3, height, width). Convert grayscale or RGBA images to 3 channels when reading them, "
            "as cv2.imread does."
        )
    if not image.shape[1] or not image.shape[2]:
        raise ValueError(f"{name}: the image is empty, {image.shape[2]} x {image.shape[1]} pixels")
    return image
