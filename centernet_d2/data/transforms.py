"""Geometric input transforms as detectron2 augmentations with exact inverses.

Points are pixel-index coordinates: the centre of the pixel in column k is at x = k, as OpenCV's
warp sees it, so that an image and the boxes drawn on it go through the same numbers, as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from detectron2.data.transforms import Augmentation
from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform

from ..checked_values import check_choice, check_value, listed, number, share
from ..structures.padded_images import fitting_side

CROP_MODES = ("random_crop", "shift_scale", "none")
FLIP_CONVENTIONS = ("pixel", "edge")
CROP_BASES = ("image", "output")


@dataclass(eq=False)
class CenterAffineTransform(Transform):
    """Uniform scale, turn and shift into a canvas of fixed size: `x' = scale * R x + shift`."""

    scale: float  # output pixels per input pixel
    shift: tuple[float, float]  # (x, y) in output pixels
    input_size: tuple[int, int]  # (height, width)
    output_size: tuple[int, int]
    angle: float = 0.0  # of R, degrees, counter-clockwise as the image is seen

    in_pixel_indices = True  # points are pixel indices, see `data.fields.joints.move_points`

    def __post_init__(self) -> None:
        check_value("CenterAffineTransform: scale", self.scale, number(above=0))

    @classmethod
    def from_center(
        cls,
        center: tuple[float, float],
        side: float,
        input_size: tuple[int, int],
        output_size: tuple[int, int],
        angle: float = 0.0,
    ) -> CenterAffineTransform:
        """Map `center` (x, y) to the middle of the output, and `side` input pixels to its width."""
        height, width = output_size
        scale = width / side
        moved = scale * _turn(angle) @ np.asarray(center, dtype=np.float64)
        shift = (width / 2 - moved[0], height / 2 - moved[1])
        return cls(scale, shift, input_size, output_size, angle)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Warp (H, W) or (H, W, C) bilinearly; what lies outside the image is 0 (black)."""
        return self._warp(img, cv2.INTER_LINEAR)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Warp an (H, W) label map with nearest neighbours; outside is 0."""
        return self._warp(segmentation, cv2.INTER_NEAREST)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        coords = np.asarray(coords, dtype=np.float64)
        return coords @ (self.scale * _turn(self.angle)).T + np.asarray(self.shift)

    def inverse(self) -> CenterAffineTransform:
        x, y = -_turn(-self.angle) @ np.asarray(self.shift) / self.scale
        sizes = (self.output_size, self.input_size)
        return CenterAffineTransform(1 / self.scale, (x, y), *sizes, -self.angle)

    def _warp(self, image: np.ndarray, interpolation: int) -> np.ndarray:
        if tuple(image.shape[:2]) != self.input_size:
            raise ValueError(
                f"CenterAffineTransform was made for images of (height, width) {self.input_size}, "
                f"got {tuple(image.shape[:2])}"
            )
        if image.dtype == bool:  # OpenCV has no boolean images
            return self._warp(image.astype(np.uint8), interpolation).astype(bool)
        matrix = np.column_stack([self.scale * _turn(self.angle), self.shift])
        size = self.output_size[::-1]  # outside is 0, OpenCV's default
        return cv2.warpAffine(np.ascontiguousarray(image), matrix, size, flags=interpolation)


class PixelFlipTransform(HFlipTransform):
    """Horizontal flip `x' = width - 1 - x`: pixel centres land on pixel centres (published).

    It is a subclass of detectron2's flip so that code which counts flips (to swap left and right
    joints) sees it.
    """

    in_pixel_indices = True

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        if img.dtype == np.uint8 and img.shape[2:] == (3,):
            return cv2.flip(img, 1)  # no backward view, which is slow to copy
        return super().apply_image(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        coords = np.array(coords, dtype=np.float64)
        coords[:, 0] = self.width - 1 - coords[:, 0]
        return coords


class RandomFlip(Augmentation):
    """Flip horizontally with a probability.

    `convention` "pixel" is x' = W - 1 - x (published code), "edge" x' = W - x (detectron2's).
    """

    def __init__(self, probability: float = 0.5, convention: str = "pixel"):
        self._init(locals())
        check_choice("convention", convention, FLIP_CONVENTIONS)
        check_value("probability", probability, share)

    def get_transform(self, image: np.ndarray) -> Transform:
        if np.random.uniform() >= self.probability:
            return NoOpTransform()
        flip = PixelFlipTransform if self.convention == "pixel" else HFlipTransform
        return flip(image.shape[1])


class RandomCenterCrop(Augmentation):
    """Crop around a random centre, scaled to a fixed output size (published training input).

    By `mode`:

    - "random_crop": the side of the crop is its base times one of `scales`, its centre a whole
      pixel that keeps `border` from the image border (halved until it fits small images). The base
      is the "image"'s fitting side (published points training), or the width of the "output", so
      that objects are scaled the same in images of all sizes; then the side is a whole number of
      pixels (published corner training: 306 to 664 for an output of 511). The published corner code
      pastes whole pixels and resizes them with half-pixel centres, which places them up to a third
      of an output pixel beside the boxes; here pixels and boxes go through the same numbers.
    - "shift_scale": side and centre jittered by Gaussians whose standard deviations, in sides, are
      `scale` and `shift`, clipped at 1 scale and 2 shift.
    - "none": the whole image, centred and scaled to fit.

    With `rotation_probability` it is turned around its centre: `rotation` is the standard deviation
    in degrees, clipped at twice that; with 0 no number is drawn.

    The image's fitting side is that of `structures.padded_images.fitting_side`, which the test
    protocol of fixed resolution uses too.
    """

    def __init__(
        self,
        output_size: Sequence[int],
        mode: str = "random_crop",
        scales: Sequence[float] = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
        border: int = 128,
        shift: float = 0.1,
        scale: float = 0.4,
        base: str = "image",
        rotation: float = 0.0,
        rotation_probability: float = 1.0,
    ):
        """`output_size` is (height, width) of the network frame, `border` in pixels."""
        output_size, scales = frame_size(output_size), tuple(scales)
        self._init(locals())
        check_choice("base", base, CROP_BASES)
        check_choice("mode", mode, CROP_MODES)
        if mode == "random_crop":
            check_value("scales", scales, listed(number(above=0), least=1))
            if base == "output" and min(scales) < 1 / output_size[1]:
                told = f"scales must leave a pixel of an output {output_size[1]} wide, got {scales}"
                raise ValueError(told)
        if mode == "shift_scale":
            check_value("scale", scale, number(0, below=1))
        check_value("rotation", rotation, number(0, 90))
        check_value("rotation_probability", rotation_probability, share)

    def get_transform(self, image: np.ndarray) -> CenterAffineTransform:
        height, width = image.shape[:2]
        side = fitting_side((height, width), self.output_size)
        center = (width / 2, height / 2)
        if self.mode == "random_crop":
            factor = self.scales[np.random.randint(len(self.scales))]
            side = int(self.output_size[1] * factor) if self.base == "output" else side * factor
            borders = ((length, crop_border(length, self.border)) for length in (width, height))
            center = tuple(float(np.random.randint(b, length - b)) for length, b in borders)
        elif self.mode == "shift_scale":
            moves = np.clip(np.random.normal(size=2), -2, 2) * self.shift * side
            center = (center[0] + moves[0], center[1] + moves[1])
            side *= np.clip(np.random.normal() * self.scale + 1, 1 - self.scale, 1 + self.scale)
        sizes, angle = ((height, width), self.output_size), 0.0
        if self.rotation > 0 and np.random.uniform() < self.rotation_probability:
            angle = float(np.clip(np.random.normal(), -2, 2) * self.rotation)
        return CenterAffineTransform.from_center(center, float(side), *sizes, angle)


def frame_size(size: Sequence[int]) -> tuple[int, int]:
    """Return a checked (height, width)."""
    check_value("output_size", tuple(size), listed(number(above=0), count=2))
    return int(size[0]), int(size[1])


def crop_border(size: int, border: int = 128) -> int:
    """Halve `border` until a centre can keep it from both ends of `size` pixels (published).

    >256 pixels: 128, 129-256: 64, 65-128: 32, 33-64: 16 ...
    """
    divisor = 1
    while size - border // divisor <= border // divisor:
        divisor *= 2
    return border // divisor


def _turn(angle: float) -> np.ndarray:
    """Return the (2, 2) matrix of a counter-clockwise turn on the screen, where y points down."""
    radians = np.deg2rad(angle)
    sine, cosine = np.sin(radians), np.cos(radians)
    return np.array([[cosine, sine], [-sine, cosine]])
