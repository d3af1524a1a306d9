"""The test protocol: how images reach the network in inference and how detections leave it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.config import CfgNode

from ..decoding.soft_nms import SoftNmsRule
from ..structures.padded_images import Size, canvas_size, fitting_side
from .checked_values import check_choice, keys_named

CANVASES = ("strict", "fit", "odd")
FIXED_FITS = ("whole", "width", "none")


@dataclass(frozen=True)
class InferenceProtocol:
    """What the keys of `TEST` say; the default is the plain published protocol of COCO.

    Attributes:
        resolution: "keep_res" or "fixed".
        fixed_size: (height, width), the canvas of "fixed".
        fixed_fit: "whole", "width" or "none", what of an image the canvas of "fixed" shows.
        canvas: "strict", "fit" or "odd", see `canvas_size`.
        flip: see each image and its flipped image.
        scales: sizes, relative to the image, at which each image is seen.
        soft_nms: unites the detections of several scales, and of the corner detectors always; a
            rule or its fields as a mapping.
        detections_per_image: the best that stay in the end; None: no limit.
        max_pixels: an image whose canvas has more is refused; 0: no limit.
        clip_boxes: clip boxes to the image.
        drop_empty: drop detections whose clipped box is empty.
    """

    resolution: str = "keep_res"
    fixed_size: Size = (512, 512)
    fixed_fit: str = "whole"
    canvas: str = "strict"
    flip: bool = False
    scales: Sequence[float] = (1.0,)
    soft_nms: SoftNmsRule | Mapping[str, Any] = field(default_factory=SoftNmsRule)
    detections_per_image: int | None = 100
    max_pixels: int = 0
    clip_boxes: bool = False
    drop_empty: bool = False

    def __post_init__(self) -> None:
        check_choice("TEST.RESOLUTION", self.resolution, ("keep_res", "fixed"))
        check_choice("TEST.FIXED_FIT", self.fixed_fit, FIXED_FITS)
        check_choice("TEST.CANVAS", self.canvas, CANVASES)
        scales = tuple(float(scale) for scale in self.scales)
        if not scales or min(scales) <= 0:
            raise ValueError(
                f"TEST.SCALES must be one or more positive numbers, got {list(self.scales)}"
            )
        object.__setattr__(self, "scales", scales)
        if not isinstance(self.soft_nms, SoftNmsRule):
            object.__setattr__(self, "soft_nms", SoftNmsRule(**self.soft_nms))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> InferenceProtocol:
        """The protocol of `cfg.TEST`."""
        test, soft_nms = cfg.TEST, cfg.TEST.SOFT_NMS
        with keys_named("TEST.SOFT_NMS"):
            rule = SoftNmsRule(
                method=soft_nms.METHOD,
                sigma=soft_nms.SIGMA,
                threshold=soft_nms.THRESHOLD,
                score_floor=soft_nms.SCORE_FLOOR,
                mode=soft_nms.MODE,
                extent=soft_nms.EXTENT,
            )
        return cls(
            resolution=test.RESOLUTION,
            fixed_size=tuple(test.FIXED_SIZE),
            fixed_fit=test.FIXED_FIT,
            canvas=test.CANVAS,
            flip=test.FLIP,
            scales=test.SCALES,
            soft_nms=rule,
            detections_per_image=(
                test.DETECTIONS_PER_IMAGE if test.DETECTIONS_PER_IMAGE > 0 else None
            ),
            max_pixels=test.MAX_PIXELS,
            clip_boxes=test.CLIP_BOXES,
            drop_empty=test.DROP_EMPTY,
        )

    def check_divisor(self, divisor: int) -> None:
        """Raise ValueError where the canvas of "fixed" does not suit a network's divisor."""
        less = 1 if self.canvas == "odd" else 0
        unfit = any(side < 1 or (side + less) % divisor for side in self.fixed_size)
        if self.resolution == "fixed" and unfit:
            raise ValueError(
                f"TEST.FIXED_SIZE is {list(self.fixed_size)}; both sides must be multiples of "
                f"{divisor}, the divisor of this network"
                + ", less one (TEST.CANVAS is 'odd')"
                * less
            )

    def shown_side(self, size: Size, canvas: Size) -> float:
        """Image pixels that the width of a canvas of "fixed" shows, of an image of `size`."""
        if self.fixed_fit == "whole":
            return fitting_side(size, canvas)
        return float(size[1] if self.fixed_fit == "width" else canvas[1])

    def canvas_of(self, size: Size, divisor: int) -> Size:
        """Network frame of an image of `size`."""
        if self.resolution == "keep_res":
            return canvas_size(size, divisor, self.canvas)
        height, width = self.fixed_size
        return height, width
