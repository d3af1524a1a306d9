"""The cameras of a batch: each input's own projection, or a default one."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import KEYS
from ..structures.boxes3d import rescaled_projection
from ..structures.cameras import camera_doubt, checked_projection
from .inputs import source_of

logger = logging.getLogger(__name__)

# Published, of images of KITTI's usual size: left color camera of one of its drives.
BLOCK = "MODEL.POINTS_CENTERNET.BOX3D"
DEFAULT_PROJECTION = KEYS[f"{BLOCK}.DEFAULT_PROJECTION"].default
DEFAULT_SIZE = KEYS[f"{BLOCK}.DEFAULT_SIZE"].default


class Cameras:
    """Finds the projection (3, 4) of each input to the pixels of its `image`."""

    def __init__(
        self,
        projection: Sequence[Sequence[float]] = DEFAULT_PROJECTION,
        size: Sequence[float] = DEFAULT_SIZE,
    ) -> None:
        """Keep the camera of an input that brings none, of images of `size` (height, width)."""
        self.projection = _checked(projection, f"{BLOCK}.DEFAULT_PROJECTION")
        if len(size) != 2 or min(size) <= 0:
            raise ValueError(
                f"size must be the height and width of the default projection's images, got {size}"
            )
        height, width = self.size = size
        camera_doubt(self.projection, (height, width), f"{BLOCK}.DEFAULT_PROJECTION")
        self._told: set[str] = set()

    def of(self, entries: Sequence[dict[str, Any]]) -> Tensor:
        """Projections (N, 3, 4) float32 of inputs with `image`, or an error that names the image.

        They have `projection`, 3 x 4 to pixels of the output frame (`height`, `width`), or
        `image_projection` to pixels of `image`, which goes before it.
        """
        return torch.from_numpy(np.stack([self._of_one(entry) for entry in entries]))

    def of_output(self, entry: dict[str, Any]) -> Tensor:
        """The projection (3, 4) of one input to pixels of its output frame."""
        height, width = entry["image"].shape[-2:]
        factors = (entry.get("width", width) / width, entry.get("height", height) / height)
        return torch.from_numpy(_moved(self._of_one(entry), factors, 0.0))

    def _of_one(self, entry: dict[str, Any]) -> np.ndarray:
        name = source_of(entry)
        height, width = entry["image"].shape[-2:]
        if entry.get("image_projection") is not None:
            return _checked(entry["image_projection"], f"{name}: 'image_projection'")
        if entry.get("projection") is not None:
            where = f"{name}: 'projection'"
            projection = _checked(entry["projection"], where)
            size = entry.get("height", height), entry.get("width", width)
            if doubt := camera_doubt(projection, size, where):
                self._tell_once(
                    "doubt",
                    f"{where} may not be that of the image: {doubt}. It leads to pixels of the "
                    "image as it is given, neither resized nor cropped after calibrating; else 3-D "
                    "boxes are misplaced, here and wherever it is so.",
                )
            across, down = width / entry.get("width", width), height / entry.get("height", height)
            return _moved(projection, (across, down), 0.0)
        self._tell_once(
            "default",
            f"{name} comes without a projection: 3-D boxes are placed by {BLOCK}."
            "DEFAULT_PROJECTION, scaled to the image, here and wherever there is none. Give "
            "'projection', 3 x 4, with each input; `centernet-d2 predict` takes --calibration or "
            "--focal-length.",
        )
        # One factor for both axes, as pixels are square; the middle stays in the middle.
        factor = width / self.size[1]
        lower = (height - factor * self.size[0]) / 2
        return _moved(self.projection, (factor, factor), lower)

    def _tell_once(self, what: str, message: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning(message)


def _moved(projection: np.ndarray, factors: tuple[float, float], lower: float) -> np.ndarray:
    """Into an image scaled by `factors` (x, y), then moved down by `lower` pixels."""
    affine = torch.from_numpy(np.array([[factors[0], 0, 0], [0, factors[1], lower]], np.float32))
    return rescaled_projection(torch.from_numpy(projection), affine).numpy()


def _checked(projection: Any, where: str) -> np.ndarray:
    return checked_projection(projection, where).astype(np.float32)
