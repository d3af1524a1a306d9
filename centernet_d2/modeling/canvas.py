"""The canvas of a batch, and what is said where it does not suit a network."""

import functools
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.modeling import Backbone
from torch import Tensor, nn

from ..structures.padded_images import (
    LEAST_LOST,
    PaddedImages,
    Size,
    canvas_of_whole,
    canvas_size,
    center_on_canvas,
    lost_share,
)
from .inference_protocol import InferenceProtocol
from .inputs import checked_image
from .test_time_augmentation import place_zoomed, with_flipped_images, zoomed_size

logger = logging.getLogger(__name__)


class OnCanvas(nn.Module):
    """The way of a detector's images onto a canvas, and through its backbone."""

    backbone: Backbone
    in_features: list[str]  # its outputs that carry predictions
    stride: int  # of these
    protocol: InferenceProtocol
    channels_last: bool
    pixel_mean: Tensor  # (3,) in 0..255
    pixel_std: Tensor  # (3,)
    told_of_cut = False  # whether it was said that the canvas does not show all of an image

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def divisor(self) -> int:
        """What the network frame's sides must be multiples of."""
        return max(self.backbone.size_divisibility, self.stride)

    def features(self, images: PaddedImages, names: Sequence[str] = ()) -> list[Tensor]:
        """The backbone's maps that carry predictions, one per stack, or those of other names.

        ValueError unless they have the size of the canvas over their stride, rounded up.
        """
        height, width = images.tensor.shape[-2:]

        def unfit() -> ValueError:  # written when needed: in a graph a side that is told is fixed
            return ValueError(
                f"MODEL.BACKBONE gives no map of stride {self.stride}, rounded up, of a canvas of "
                f"{width} x {height}. Give it sides that are multiples of {self.divisor}: "
                "TEST.CANVAS 'fit' (or 'strict'), and INPUT.TRAIN_SIZE of such sides."
            )

        try:
            outputs = self.backbone(images.tensor)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(
                f"A batch of {len(images.tensor)} with {width} x {height} pixels gives the "
                "backbone one value per channel, of which a batch norm learns nothing. Use more "
                "images per process (SOLVER.IMS_PER_BATCH, IMS_AT_ONCE), or sides above "
                f"{self.divisor} (INPUT.TRAIN_SIZE)."
            ) from error
        except RuntimeError as error:
            if "must match" in str(error) and (height % self.divisor or width % self.divisor):
                raise unfit() from error
            raise
        names, shapes = names or self.in_features, self.backbone.output_shape()
        for name in names:
            stride = shapes[name].stride
            if outputs[name].shape[-2:] != (-(-height // stride), -(-width // stride)):
                raise unfit()
        return [outputs[name] for name in names]

    def training_images(self, batched_inputs: list[dict[str, Any]]) -> PaddedImages:
        """Training crops, which are the network frame already; others share a common canvas."""
        images = [checked_image(entry) for entry in batched_inputs]
        largest = tuple(max(image.shape[axis] for image in images) for axis in (-2, -1))
        rule = "odd" if self.protocol.canvas == "odd" else "fit"
        canvas = canvas_size(largest, self.divisor, rule)
        if canvas != largest:
            warn_of_border(largest, canvas, self.divisor, rule)
        return center_on_canvas(images, canvas, **self._normalization)

    def inference_images(
        self, images: list[Tensor], canvas: Size, zoom: float = 1.0
    ) -> PaddedImages:
        """Images of one canvas at one scale, as the test protocol wants them."""
        if self.protocol.resolution == "fixed" and zoom == 1 and not self.told_of_cut:
            self._tell_of_cut(images, canvas)
        placed = place_zoomed(images, canvas, zoom, self.protocol, **self._normalization)
        return with_flipped_images(placed) if self.protocol.flip else placed

    def _tell_of_cut(self, images: list[Tensor], canvas: Size) -> None:
        """Warn, once, of the first image of which the canvas of "fixed" does not show all."""
        fit = self.protocol.fixed_fit
        for size in ((int(image.shape[-2]), int(image.shape[-1])) for image in images):
            share = lost_share(size, canvas, self.protocol.shown_side(size, canvas))
            if share <= LEAST_LOST or self.told_of_cut:
                continue
            self.told_of_cut = True
            whole = list(canvas_of_whole([size], canvas, self.divisor, fit))
            logger.warning(
                f"TEST.FIXED_FIT '{fit}' on TEST.FIXED_SIZE {list(canvas)} does not show "
                f"{share:.0%} of an image of {size[1]} x {size[0]}, and nothing is found there, "
                "nor in others that are too high or wide. TEST.FIXED_SIZE "
                f"{whole} (height, width) shows all of it."
            )

    def attach_inputs(self, images: PaddedImages, entries: list[dict[str, Any]]) -> PaddedImages:
        """The batch with what `read_inputs` reads, on the model's device."""
        inputs = {name: rows.to(self.device) for name, rows in self.read_inputs(entries).items()}
        return replace(images, inputs=inputs)

    def read_inputs(self, entries: list[dict[str, Any]]) -> dict[str, Tensor]:
        """What `propose` reads of N inputs beside their images, N rows each; here nothing."""
        return {}

    def canvas_of(self, entry: dict[str, Any], zoom: float) -> Size:
        """The canvas of an input's image at one scale, in inference."""
        height, width = checked_image(entry).shape[-2:]
        return self.protocol.canvas_of(zoomed_size((height, width), zoom), self.divisor)

    @property
    def _normalization(self) -> dict[str, Any]:
        return {"mean": self.pixel_mean, "std": self.pixel_std, "channels_last": self.channels_last}


def by_canvas(canvases: Sequence[Size]) -> dict[Size, list[int]]:
    """Each canvas -> the places in the sequence where it is."""
    groups: dict[Size, list[int]] = {}
    for index, canvas in enumerate(canvases):
        groups.setdefault(canvas, []).append(index)
    return groups


@functools.cache  # tells each case once
def warn_of_border(size: Size, canvas: Size, divisor: int, rule: str) -> None:
    """Warn that training images of `size` need a larger canvas, and of which sides would not."""
    less = 1 if rule == "odd" else 0
    smaller = [max((side + less) // divisor, 1) * divisor - less for side in size]
    logger.warning(
        f"Training images of {size[1]} x {size[0]} are put on a canvas of {canvas[1]} x "
        f"{canvas[0]}, whose border costs time and memory and holds nothing. Sides that fit this "
        f"network are those of INPUT.TRAIN_SIZE {smaller} or {list(canvas)} (height, width)."
    )
