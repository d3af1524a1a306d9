"""The test protocol: how images reach the network in inference and how detections leave it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from detectron2.config import CfgNode

from ..checked_values import check_choice
from ..config import from_block
from ..decoding.soft_nms import SoftNmsRule
from ..structures.padded_images import Size, canvas_size, shown_side

CANVASES = ("strict", "fit", "odd")
# What of an image the canvas of "fixed" shows, and how it is told.
FIXED_FITS = {"whole": "", "width": " by width", "none": " in its pixels"}


@dataclass(frozen=True)
class InferenceProtocol:
    """What the keys of `TEST` say; the default is the plain published protocol of COCO."""

    resolution: str = "keep_res"  # or "fixed"
    fixed_size: Size = (512, 512)  # (height, width), the canvas of "fixed"
    fixed_fit: str = "whole"  # what of an image that canvas shows; or "width" or "none"
    canvas: str = "strict"  # or "fit" or "odd", see `canvas_size`
    flip: bool = False  # see each image and its flipped image
    scales: Sequence[float] = (1.0,)  # at which each image is seen, relative to itself
    # Unites the detections of several scales, and of the corner detectors always; a rule or its
    # fields as a mapping.
    soft_nms: SoftNmsRule | Mapping[str, Any] = field(default_factory=SoftNmsRule)
    detections_per_image: int | None = 100  # the best that stay in the end; None: no limit
    max_pixels: int = 0  # an image whose canvas has more is refused; 0: no limit
    clip_boxes: bool = False  # clip boxes to the image
    drop_empty: bool = False  # drop detections whose clipped box is empty
    name: str = ""  # TEST.PROTOCOL, which is printed; it decides nothing here
    dtype: str = "float32"  # what backbone and head compute in; `make_fast` sets it

    def __post_init__(self) -> None:
        check_choice("resolution", self.resolution, ("keep_res", "fixed"))
        check_choice("fixed_fit", self.fixed_fit, FIXED_FITS)
        check_choice("canvas", self.canvas, CANVASES)
        scales = tuple(float(scale) for scale in self.scales)
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales must be one or more positive numbers, got {list(scales)}")
        object.__setattr__(self, "scales", scales)
        if not isinstance(self.soft_nms, SoftNmsRule):
            object.__setattr__(self, "soft_nms", SoftNmsRule(**self.soft_nms))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Self:
        limit = cfg.TEST.DETECTIONS_PER_IMAGE
        return from_block(
            cls,
            cfg,
            "TEST",
            {"name": "PROTOCOL"},
            fixed_size=tuple(cfg.TEST.FIXED_SIZE),
            soft_nms=from_block(SoftNmsRule, cfg, "TEST.SOFT_NMS"),
            detections_per_image=limit if limit > 0 else None,
            dtype="float32",  # until `make_fast`
        )

    def check_divisor(self, divisor: int) -> None:
        """Raise ValueError where the canvas of "fixed" does not suit a network's divisor."""
        less = 1 if self.canvas == "odd" else 0
        unfit = any(side < 1 or (side + less) % divisor for side in self.fixed_size)
        if self.resolution == "fixed" and unfit:
            raise ValueError(
                f"TEST.FIXED_SIZE is {list(self.fixed_size)}; both sides must be multiples of "
                f"{divisor}, the divisor of this network" + less * ", less one (TEST.CANVAS 'odd')"
            )

    def shown_side(self, size: Size, canvas: Size) -> float:
        """Image pixels that the width of a canvas of "fixed" shows, of an image of `size`."""
        return shown_side(size, canvas, self.fixed_fit)

    def scale_of(self, size: Size) -> float:
        """Network pixels that a pixel of an image of `size` becomes, at scale 1."""
        if self.resolution == "keep_res":
            return 1.0
        return self.fixed_size[1] / self.shown_side(size, self.fixed_size)

    def canvas_of(self, size: Size, divisor: int) -> Size:
        """Network frame of an image of `size`."""
        if self.resolution == "keep_res":
            return canvas_size(size, divisor, self.canvas)
        height, width = self.fixed_size
        return height, width

    def describe(
        self, notes: Sequence[str] = (), *, published_scales: Sequence[float], published_canvas: str
    ) -> str:
        """Name the protocol, as "published: no augmentation / keep_res" with TEST.PROTOCOL first.

        The augmentation is "no augmentation", "flip" or "ms" (several scales, with flip; others
        than the published ones are listed). After the resolution come `notes`, departures from the
        detector's published protocol, and another canvas than the published one of "keep_res".
        """
        listed = ", ".join(f"{scale:g}" for scale in self.scales)
        if len(self.scales) == 1:
            views = "flip" if self.flip else "no augmentation"
            views += "" if self.scales == (1.0,) else f" at scale {listed}"
        else:
            views = "ms" if self.flip else "ms without flip"
            views += "" if sorted(self.scales) == list(published_scales) else f" ({listed})"
        parts = [f"{self.name}: {views}" if self.name else views, self.resolution, *notes]
        if self.resolution == "fixed":
            parts[1] = "fixed {}x{}".format(*self.fixed_size) + FIXED_FITS[self.fixed_fit]
        elif self.canvas != published_canvas:
            parts.append(f"{self.canvas} canvas")
        parts.append("" if self.dtype == "float32" else self.dtype)
        return " / ".join(filter(None, parts))

    def soft_nms_notes(self) -> list[str]:
        """How soft-NMS departs from the published one, for `describe`; [] where it does not."""
        rule = self.soft_nms
        mode = "" if rule.mode == "reference" else f"{rule.mode} "
        method = "" if rule.method == "gaussian" else f"{rule.method} "
        return [f"{mode}{method}soft-NMS"] if mode or method else []
