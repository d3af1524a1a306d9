"""Colour transforms of the published points recipe on float32 images in 0..255.

They leave coordinates alone, and by detectron2's convention the inverse of such a transform does
nothing. No values are clipped: the published code normalises what comes out as it is, so pixels may
leave 0..255.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.data.transforms import Augmentation
from fvcore.transforms.transform import NoOpTransform, Transform

from ..checked_values import check_choice, check_value, number, weight

# Principal axes of COCO colours in BGR order, of images in 0..1 (constants of CornerNet, used by
# the points code).
COLOR_EIGENVALUES = (0.2141788, 0.01817699, 0.00341571)
COLOR_EIGENVECTORS = (  # rows: B, G, R; columns: axes
    (-0.58752847, -0.69563484, 0.41340352),
    (-0.5832747, 0.00994535, -0.81221408),
    (-0.56089297, 0.71832671, 0.41158938),
)
GRAY = (0.114, 0.587, 0.299)  # of B, G, R, as OpenCV has it
STRIP = 64  # rows that are transformed at once
COLOR_STEPS = ("brightness", "contrast", "saturation")


class ColorTransform(Transform):
    """Brightness, contrast and saturation in a given order, then a constant colour shift.

    Args:
        steps: pairs (name, factor); each is a blend `factor * image + (1 - factor) * other`, where
            `other` is black (brightness), the mean gray level (contrast) or the gray image
            (saturation). Gray is taken from the image as it comes in, not from the result of
            earlier steps, as the published code does it, so all steps are one matrix.
        shift: added to (B, G, R) at the end, in 0..255 units.
    """

    def __init__(self, steps: Sequence[tuple[str, float]], shift: Sequence[float] = (0, 0, 0)):
        super().__init__()
        for name, _ in steps:
            check_choice("step", name, COLOR_STEPS)
        self.steps = tuple((name, float(factor)) for name, factor in steps)
        self.shift = tuple(float(value) for value in shift)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Transform an (H, W, 3) BGR image in 0..255 of any dtype; returns float32, not clipped."""
        image = img if img.dtype == np.uint8 else np.asarray(img, dtype=np.float32)
        matrix = self.matrix(float(np.dot(cv2.mean(image)[:3], GRAY)))
        result = np.empty(image.shape, dtype=np.float32)
        for first in range(0, len(image), STRIP):  # the floats before stay in the cache
            rows = slice(first, first + STRIP)
            cv2.transform(image[rows].astype(np.float32), matrix, dst=result[rows])
        return result

    def matrix(self, gray_mean: float) -> np.ndarray:
        """(3, 4) float64: new (B, G, R) of (B, G, R, 1), in a picture of that mean gray level."""
        matrix = np.eye(3, 4)
        for name, factor in self.steps:
            matrix *= factor
            if name == "contrast":
                matrix[:, 3] += (1 - factor) * gray_mean
            elif name == "saturation":
                matrix[:, :3] += (1 - factor) * np.asarray(GRAY)
        matrix[:, 3] += self.shift
        return matrix

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    apply_segmentation = apply_coords

    def inverse(self) -> Transform:
        return NoOpTransform()


class RandomColor(Augmentation):
    """Colour jitter in random order, then a shift along the colours' principal axes (PCA).

    Each factor is 1 + U(-jitter, jitter), `lighting` the standard deviation per axis; 0: none.
    """

    def __init__(self, jitter: float = 0.4, lighting: float = 0.1):
        self._init(locals())
        check_value("jitter", jitter, number(0, below=1))
        check_value("lighting", lighting, weight)

    def get_transform(self, image: np.ndarray) -> Transform:
        steps: list[tuple[str, float]] = []
        if self.jitter > 0:
            order = np.random.permutation(len(COLOR_STEPS))
            factors = 1 + np.random.uniform(-self.jitter, self.jitter, size=len(COLOR_STEPS))
            steps = [(COLOR_STEPS[k], factors[k]) for k in order]
        shift = np.zeros(3)
        if self.lighting > 0:
            shift = lighting_shift(np.random.normal(0, self.lighting, size=3))
        return ColorTransform(steps, shift)


def lighting_shift(draws: np.ndarray) -> np.ndarray:
    """Turn three draws (one per principal axis) into a shift of (B, G, R) in 0..255 units."""
    axes = np.asarray(COLOR_EIGENVECTORS) @ (np.asarray(COLOR_EIGENVALUES) * np.asarray(draws))
    return 255.0 * axes
