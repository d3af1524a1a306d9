"""Input transforms of images whose ground truth has a camera: neither crops nor flipped images."""

from collections.abc import Sequence

import numpy as np
from detectron2.data.transforms import Augmentation
from fvcore.transforms.transform import Transform, TransformList

from ...checked_values import check_choice, check_value, number, share, weight
from ..transforms import CenterAffineTransform, frame_size

RESOLUTIONS = ("fixed", "keep_res")
_NO_TURN = 1e-6  # rounding, of what a pixel moves sideways


class FitTransform(CenterAffineTransform):
    """The whole image on the network frame, as inference sees it too.

    Whatever else moves or scales an image takes objects away from where the camera saw them, and
    depth and dimensions cannot be learnt: a nearer object looks alike.
    """


class RandomHalfJitter(Augmentation):
    """The whole image on the network frame; a share of the images shifted and scaled at random.

    Published: half of them, by up to a fifth of the image's sides and to 0.6 to 1.4 of its extent.
    With `resolution` "fixed" the image's width becomes the frame's (published; a 1242 x 375 image
    on 1280 x 384 loses 1.2 rows of the frame at top and bottom), with "keep_res" an image pixel
    becomes a pixel. `shift` (in the image's sides) and `scale` are standard deviations, clipped at
    two and one of them.
    """

    def __init__(
        self,
        output_size: Sequence[int],
        resolution: str = "fixed",
        probability: float = 0.5,
        shift: float = 0.1,
        scale: float = 0.4,
    ):
        output_size = frame_size(output_size)
        self._init(locals())
        check_choice("resolution", resolution, RESOLUTIONS)
        check_value("probability", probability, share)
        check_value("scale", scale, number(0, below=1))
        check_value("shift", shift, weight)

    def get_transform(self, image: np.ndarray) -> CenterAffineTransform:
        height, width = image.shape[:2]
        side = float(width if self.resolution == "fixed" else self.output_size[1])
        center = np.array([width, height]) / 2
        kind: type[CenterAffineTransform] = FitTransform
        if np.random.uniform() < self.probability:
            kind = CenterAffineTransform
            side *= np.clip(1 + self.scale * np.random.normal(), 1 - self.scale, 1 + self.scale)
            moves = np.clip(np.random.normal(size=2), -2, 2) * self.shift
            center = center + moves * (width, height)
        return kind.from_center(tuple(center), float(side), (height, width), self.output_size)


def keeps_distances(transforms: TransformList) -> bool:
    """Whether objects seem as far as they are: nothing moved the image but its fit."""
    return all(
        isinstance(step, FitTransform) or np.array_equal(affine_matrix(step), np.eye(2, 3))
        for step in transforms.transforms
    )


def affine_matrix(transforms: Transform) -> np.ndarray:
    """Return the (2, 3) float64 matrix of transforms that shift and scale, not flip or turn."""
    origin, right, below = transforms.apply_coords(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    matrix = np.stack([right - origin, below - origin, origin], axis=1)
    scales = matrix[:, :2].diagonal()
    across = np.abs([matrix[0, 1], matrix[1, 0]]).max()
    if scales.min() <= 0 or across > _NO_TURN * scales.min():
        raise ValueError(
            "an augmentation flips, turns or shears the image, which shows another camera and "
            "other headings than the 3-D boxes': remove it; shifts and scales can be followed"
        )
    return matrix
