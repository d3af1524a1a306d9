"""The network of a detector alone, from its canvas to the raw maps of the last stack."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.detector import LARGEST
from ..structures.padded_images import PaddedImages
from .graph import SIDES, Sizes

IMAGES = "images"


class Network(nn.Module):
    """Normalised images (N, 3, H, W) on a canvas -> raw maps (N, D, h, w).

    Attributes:
        inputs, outputs: names; the latter as the head names them, such as "heatmap", or
            "top_left.heatmap".
    """

    def __init__(self, model: HeatmapDetector) -> None:
        super().__init__()
        self.model, self.inputs = model, [IMAGES]
        side = 2 * model.divisor - (model.protocol.canvas == "odd")
        with torch.no_grad():
            self.outputs = [*self.maps(torch.zeros(1, 3, side, side).to(model.device))]

    def examples(self, sizes: Sizes) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dim], ...]]:
        """Arguments to record at, and which of their axes may have any length."""
        step, less = self.model.divisor, int(self.model.protocol.canvas == "odd")
        if any((side + less) % step for side in (sizes.height, sizes.width) if side):
            told = f"multiples of {step}" + ", less one" * less
            raise ValueError(f"--size is that of the canvas: {told}, where the network is --split")
        sides = (sizes.height or 4 * step - less, sizes.width or 5 * step - less)
        images = torch.zeros(sizes.batch or 2, 3, *sides)
        axes = {} if sizes.batch else {0: Dim("batch", min=1, max=2**10)}
        for axis, name, given in zip((2, 3), SIDES, (sizes.height, sizes.width), strict=True):
            if given is None:
                times = step * Dim(name, min=2, max=LARGEST // step)
                axes[axis] = times - less if less else times
        return (images,), (axes,)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Name -> raw map."""
        nothing = images.new_zeros(1, 2)
        placed = PaddedImages(images, image_sizes=(), scale=nothing[:, 0], shift=nothing)
        return dict(_named(self.model.predict(placed)[-1], ""))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return tuple(self.maps(images).values())


def _named(value: Any, name: str) -> list[tuple[str, Tensor]]:
    """Tensors of what is nested, by their path, without anchors; "regressions" is no name."""
    if isinstance(value, Tensor):
        return [(name, value)]
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "_asdict"):  # a NamedTuple, of RetinaNet
        value = value._asdict()
    elif isinstance(value, list):  # its levels
        value = {str(level): each for level, each in enumerate(value) if isinstance(each, Tensor)}
    found = []
    for key, each in (value or {}).items():
        path = name if key == "regressions" else f"{name}.{key}".lstrip(".")
        found += _named(each, path)
    return found
