"""What all detectors share: batch -> canvas -> backbone -> head -> losses or detections."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.structures import Instances
from torch import Tensor, nn

from ...config.checks import check_values
from ...config.protocols import check_protocol
from ...structures.padded_images import PaddedImages
from ..backbone.freeze import freeze_stages
from ..canvas import OnCanvas, by_canvas
from ..inference_protocol import InferenceProtocol
from ..inputs import PixelFormat, check_num_classes, checked_classes, feature_shapes, ignored_rows
from ..memory import annotate_oom, check_canvas
from ..output_frame import to_output
from .defaults import DetectorDefaults


class SharedParts(TypedDict):
    """What every detector is built from."""

    backbone: Backbone
    # Maps of the backbone, one per stack -> what `predict` returns; in inference of the last alone.
    head: nn.Module
    in_features: Sequence[str]  # the backbone's outputs that carry predictions, all of one stride
    num_classes: int
    pixels: PixelFormat | Mapping[str, Any]  # or its fields
    protocol: NotRequired[InferenceProtocol | Mapping[str, Any] | None]  # None: COCO's, published


class HeatmapDetector(OnCanvas, DetectorDefaults, ABC):
    """Base of the detectors: images to losses or detections, on a canvas, in several views.

    A detector adds four short methods: `predict`, `losses`, `propose` and `finalize`. The way
    between image, network and output frames, and with it the test protocol, is here and inside the
    model, so that every way of predicting agrees. All else that is read of a detector has a
    default, see `DetectorDefaults`.
    """

    compiles = False  # whether torch compiles network and losses in training; names stay

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        in_features: Sequence[str],
        num_classes: int,
        pixels: PixelFormat | Mapping[str, Any],
        protocol: InferenceProtocol | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        pixels = pixels if isinstance(pixels, PixelFormat) else PixelFormat(**pixels)
        if not isinstance(protocol, InferenceProtocol):
            protocol = InferenceProtocol(**(protocol or {}))
        self.backbone, self.head = backbone, head
        self.in_features, self.num_classes = list(in_features), num_classes
        self.protocol, self.channels_last = protocol, pixels.channels_last
        for name, values in (("pixel_mean", pixels.mean), ("pixel_std", pixels.std)):
            self.register_buffer(name, torch.tensor(list(values)).float(), persistent=False)
        self.stride = feature_shapes(backbone, self.in_features)[0].stride
        protocol.check_divisor(self.divisor)
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode, backbone: Backbone | None = None) -> dict[str, Any]:
        """The shared arguments but for the head, from `MODEL` and `TEST`; a detector adds its own.

        `head_widths` of backbone and features says how wide the inputs of a head are.
        """
        check_values(cfg, ("MODEL.", "TEST."))  # `setup` did, which is not everybody's way
        if cfg.TEST.PROTOCOL:
            check_protocol(cfg)
        check_num_classes(cfg.MODEL.HEATMAP.NUM_CLASSES)
        backbone = backbone or build_backbone(cfg)
        if cfg.MODEL.BACKBONE.FREEZE_AT:
            freeze_stages(backbone, cfg.MODEL.BACKBONE.FREEZE_AT)
        return {
            "backbone": backbone,
            "in_features": cfg.MODEL.HEATMAP.IN_FEATURES,
            "num_classes": cfg.MODEL.HEATMAP.NUM_CLASSES,
            "pixels": PixelFormat(
                cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.MODEL.HEATMAP.CHANNELS_LAST
            ),
            "protocol": InferenceProtocol.from_config(cfg),
        }

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

        Where `images.flipped` (`TEST.FLIP`), `images.tensor` and so all maps have 2 N rows: the N
        images, then their flipped images. A detector averages the maps of both
        (`average_flipped`), or appends the candidates of the second half, turned back.
        """

    @abstractmethod
    def finalize(self, candidates: list[Any]) -> list[Instances]:
        """Candidates of each image, of all scales one after the other -> detections, best first."""

    def join(self, views: Sequence[Any]) -> Any:
        """Candidates of one image at several scales -> all of them, one scale after the other."""
        return Instances.cat(list(views))

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Losses in training, detections in inference.

        Args:
            batched_inputs: per image a dict with `image`, (3, height, width) in 0..255 in
                `INPUT.FORMAT`'s channel order, and optionally `height` and `width` of the output
                frame; in training also `instances` with `gt_boxes` (in the frame of `image`),
                `gt_classes` and what the detector reads besides.

        Returns:
            In training: loss name -> weighted scalar. In inference: per image `{"instances":
            Instances}` with `scores`, `pred_classes` and `output_fields`, best first, in the output
            frame, and the `extra_outputs`.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.training_images(batched_inputs)
        instances = [self.checked_objects(entry).to(self.device) for entry in batched_inputs]
        return self.losses(self.maybe_compiled("predict", images), images, instances)

    def maybe_compiled(self, method: str, *given: Any) -> Any:
        """What a method returns, compiled where `compiles` says so."""
        if self.compiles and self.training:
            from ..compiled import compiled  # most trainings do without

            return compiled(getattr(type(self), method))(self, *given)
        return getattr(self, method)(*given)

    def checked_objects(self, entry: dict[str, Any]) -> Instances:
        """The ground truth of one input, or an error that names it; see `checked_classes`.

        Ignored objects are left out: only a detector that weakens its heatmap there needs them.
        """
        instances = checked_classes(entry, self.num_classes)
        return instances[~ignored_rows(instances)] if instances.has("gt_ignored") else instances

    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Detections of each image: candidates of every scale, united, finalized once."""
        protocol = self.protocol
        for entry in batched_inputs:  # before anything is computed
            check_canvas(entry, self.canvas_of(entry, max(protocol.scales)), protocol.max_pixels)
        views = [self.candidates(batched_inputs, zoom) for zoom in protocol.scales]
        united = [self.join(of_image) for of_image in zip(*views, strict=True)]
        return [
            {"instances": to_output(found, entry, protocol), **self.extra_outputs(entry)}
            for found, entry in zip(self.finalize(united), batched_inputs, strict=True)
        ]

    def validation_losses(self, entry: dict[str, Any]) -> dict[str, Tensor]:
        """Losses on one annotated image, seen as in inference at scale 1 but not flipped.

        For a model in evaluation mode, but for `head.training`, with which all stacks are there.
        """
        images = self.inference_images([entry["image"]], self.canvas_of(entry, 1.0))
        images = replace(images, tensor=images.tensor[:1], flipped=False)
        instances = [self.checked_objects(entry).to(self.device)]
        return self.losses(self.predict(images), images, instances)

    def candidates(self, batched_inputs: list[dict[str, Any]], zoom: float) -> list[Any]:
        """Candidates of each image at one scale.

        Only images of one canvas run together, so a batch gives what single images give.
        """
        proposed: dict[int, Any] = {}
        canvases = [self.canvas_of(entry, zoom) for entry in batched_inputs]
        for canvas, members in by_canvas(canvases).items():
            entries = [batched_inputs[index] for index in members]
            with annotate_oom(entries, canvas, flip=self.protocol.flip):
                images = self.inference_images([e["image"] for e in entries], canvas, zoom)
                images = self.attach_inputs(images, entries)
                found = self.propose(self.predict(images), images)
            proposed.update(zip(members, found, strict=True))
        return [proposed[index] for index in range(len(batched_inputs))]
