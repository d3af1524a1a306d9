"""The cameras of image files: from calibration files, or from a focal length alone."""

import logging
import os
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import ExifTags, Image

from ..checked_values import check_value, number
from ..data.checks import DatasetError
from ..data.datasets.kitti_labels import read_projection
from ..structures.cameras import camera_doubt, looking_at_middle

logger = logging.getLogger(__name__)

_NAMED = 3  # files that a message names


@dataclass(eq=False)
class ImageCameras:
    """Projections of image files, read and checked before any image is predicted.

    A warning names calibrations that cannot belong to their image, a DatasetError those that cannot
    be used.
    """

    files: Sequence[str]
    _: KW_ONLY
    # A file that `read_projection` reads (row `P2:`) for all images, or a folder with one named as
    # each image.
    calibration: str | None = None
    focal_length: float | None = None  # pixels; the camera looks at the middle of the image
    upright: bool = True  # whether images are turned by their EXIF orientation when they are read

    def __post_init__(self) -> None:
        if self.focal_length is not None:
            check_value("--focal-length", self.focal_length, number(above=0))
        self._calibrated: dict[str, np.ndarray] = {}
        if self.calibration is not None:
            self._calibrated = _read_calibrations(self.files, self.calibration)
            _warn_of_other_pixels(self._calibrated, self.upright)

    def of(self, file: str, size: tuple[int, int]) -> np.ndarray | None:
        """The 3 x 4 matrix from metres to pixels of an image of (height, width); or None."""
        if self.focal_length is None:
            return self._calibrated.get(file)
        return looking_at_middle(self.focal_length, size)


def _read_calibrations(files: Sequence[str], calibration: str) -> dict[str, np.ndarray]:
    """Projection (3, 4) of each image, or one error for all calibrations that cannot be used."""
    paths = dict.fromkeys(files, calibration)
    if one_each := os.path.isdir(calibration):
        paths = {file: os.path.join(calibration, f"{Path(file).stem}.txt") for file in files}
    images = {path: file for file, path in paths.items()}
    shared = [f"'{f}' and '{images[p]}': '{p}'" for f, p in paths.items() if images[p] != f]
    if shared and one_each:
        told = "%d images share a calibration, found by their name alone, with another:%s"
        logger.warning(told, len(shared), _first(shared))
    found, problems = {}, []
    for path, file in images.items():
        try:
            found[path] = read_projection(path)
        except (OSError, ValueError) as error:
            missing = f"there is no '{path}' (of image '{file}')"
            problems.append(str(error) if os.path.isfile(path) else missing)
    if problems:
        raise DatasetError(
            f"--calibration '{calibration}': {len(problems)} of {len(images)} calibration files "
            f"cannot be used, and nothing was predicted:{_first(problems)}\nName one file for all "
            "images, or a folder with <image name>.txt for each; or take these images out of "
            "--input, or give --focal-length instead."
        )
    return {file: found[path] for file, path in paths.items()}


def _warn_of_other_pixels(projections: dict[str, np.ndarray], upright: bool) -> None:
    """Warn of images whose pixels are not those that their projection (3, 4) leads to."""
    whys = ((file, _why_not_of(file, matrix, upright)) for file, matrix in projections.items())
    if reasons := [f"'{file}': {why}" for file, why in whys if why]:
        logger.warning(
            "%d of %d images do not fit their calibration, so that their 3-D boxes will be "
            "misplaced:%s\nA calibration is of the pixels as they were stored: give the images "
            "that it was made for, neither turned nor resized.",
            *(len(reasons), len(projections), _first(reasons)),
        )


def _why_not_of(file: str, projection: np.ndarray, upright: bool) -> str:
    try:
        with PathManager.open(file, "rb") as stream, Image.open(stream) as image:
            width, height = image.size
            turned = upright and image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except Exception:  # as many kinds as formats; reading the pixels says what is wrong
        return ""
    if turned:
        return "its EXIF orientation turns it"
    return camera_doubt(projection, (height, width), f"the calibration of '{file}'")


def _first(texts: Sequence[str]) -> str:
    more = [f"... and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
    return "".join(f"\n- {text}" for text in [*texts[:_NAMED], *more])
