"""From pictures to detections by an exported file."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .detections import Detections
from .engines import EXPORT, open_file

PICTURES, PROJECTION, COUNT = "pictures", "projection", "count"  # names of inputs and of an output
LARGEST = 2**13  # side of a picture
FIELDS = {
    "boxes": "pred_boxes",
    "keypoints": "pred_keypoints",
    "boxes3d": "pred_boxes3d",
    "centers": "pred_centers",
    "corner_scores": "corner_scores",
}
"""Field of `Detections` -> output of a file."""


_CURES = {  # by the name of a class
    "NoneType": "cv2.imread returns None for a file that it cannot read: check its path",
    "Tensor": "use tensor.cpu().numpy(), after .permute(1, 2, 0) where channels are first",
    "Image": "of Pillow, use np.asarray(image.convert('RGB'))[:, :, ::-1]",
    "list": "use np.asarray(image, dtype='uint8')",
}


class Detector:
    """The detector of a file: `Detector("model.onnx")(picture)` finds what `Predictor` finds.

    Attributes:
        class_names: of all classes; empty where the file names none.
        joint_names: of a pose detector; else empty.
        metadata: all that the file says of itself, see docs/deployment.md.
    """

    def __init__(self, file: str | os.PathLike[str], *, threads: int = 0) -> None:
        """Open a file; `threads` of the CPU, 0: as the runtime chooses.

        Raises:
            ImportError, OSError, ValueError: it cannot be used; the sentence says why.
        """
        self._run, self.metadata = open_file(file, threads)
        if not self.metadata["whole"]:
            raise ValueError(
                f"'{os.fspath(file)}' holds the network alone, whose maps are no detections: "
                f"{EXPORT} without --split"
            )
        self.class_names = tuple(self.metadata.get("class_names", ()))
        self.joint_names = tuple(self.metadata.get("joint_names", ()))
        self._frame: dict[str, int | None] = self.metadata["frame"]
        self._has_cameras = PROJECTION in self.metadata["inputs"]

    def __call__(self, picture: np.ndarray, projection: Any = None) -> Detections:
        """Detect in one picture.

        Args:
            picture: (H, W, 3) uint8, channels blue, green, red, as `cv2.imread` gives them.
            projection: of 3-D boxes, 3 x 4 from (x, y, z, 1) in metres to pixels of the picture;
                None: that of the training's data, scaled to the picture.

        Raises:
            TypeError, ValueError: the picture or the projection cannot be used.
        """
        return self.batch([picture], [projection])[0]

    def batch(
        self, pictures: Sequence[np.ndarray], projections: Sequence[Any] | None = None
    ) -> list[Detections]:
        """Detect in several pictures, in their order; neighbours of one size at once."""
        cameras = [None] * len(pictures) if projections is None else list(projections)
        if len(cameras) != len(pictures):
            raise ValueError(f"{len(pictures)} pictures have {len(cameras)} projections")
        for picture in pictures:
            self._check(picture)
        pairs = zip(cameras, pictures, strict=True) if self._has_cameras else ()
        matrices = [self.camera(*pair) for pair in pairs]
        if not self._has_cameras and any(camera is not None for camera in cameras):
            raise ValueError("this file finds no boxes in space: it takes no projection")
        found: list[Detections] = []
        for begin, end in self._groups(pictures):
            found += self._detect(pictures[begin:end], matrices[begin:end])
        return found

    def _groups(self, pictures: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
        """First and last + 1 of the pictures that go together."""
        begin, most = 0, self._frame["batch"] or len(pictures)
        for end in range(1, len(pictures) + 1):
            last = end == len(pictures) or pictures[end].shape != pictures[begin].shape
            if last or end - begin == most:
                yield begin, end
                begin = end

    def _detect(self, pictures: Sequence[np.ndarray], cameras: Sequence[Any]) -> list[Detections]:
        more = max((self._frame["batch"] or 0) - len(pictures), 0)  # a fixed batch is filled
        inputs = {PICTURES: np.stack([*pictures, *[pictures[0]] * more])}
        if self._has_cameras:
            inputs[PROJECTION] = np.stack([*cameras, *[cameras[0]] * more])
        outputs = self._run(inputs)
        return [self._rows(outputs, row) for row in range(len(pictures))]

    def _rows(self, outputs: Any, row: int) -> Detections:
        count = int(outputs[COUNT][row])
        names = {name: output for name, output in FIELDS.items() if output in outputs}
        return Detections(
            scores=outputs["scores"][row][:count],
            classes=outputs["pred_classes"][row][:count],
            class_names=self.class_names,
            **{name: outputs[output][row][:count] for name, output in names.items()},
        )

    def _check(self, picture: Any) -> None:
        check_picture(picture)
        size = picture.shape[:2]
        least = int(self.metadata.get("least_side", 1))
        if min(size) < least or max(size) > LARGEST:
            raise ValueError(
                f"a picture of {size[1]} x {size[0]} pixels: this file takes sides of {least} to "
                f"{LARGEST}"
            )
        for axis, side in zip(("height", "width"), size, strict=True):
            wanted = self._frame[axis]
            if wanted and wanted != side:
                raise ValueError(
                    f"the {axis} of a picture is {side}, and this file takes {wanted} alone: "
                    "resize the picture, or export without --size"
                )

    def camera(self, projection: Any, picture: np.ndarray) -> np.ndarray:
        """(3, 4) float32: the projection, or for None that of the training, scaled to the picture.

        ValueError: it is no projection.
        """
        given = self.metadata["default_projection"] if projection is None else projection
        try:
            matrix = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError):  # rows of several lengths, or texts
            matrix = np.empty(0, np.float32)
        if matrix.shape != (3, 4) or not np.isfinite(matrix).all():
            raise ValueError(
                f"a projection is 3 x 4 finite numbers, from (x, y, z, 1) in metres to pixels; got "
                f"the shape {matrix.shape}"
            )
        if projection is None and (size := self.metadata.get("default_size")):
            height, width = picture.shape[:2]
            factor = width / size[1]  # one for both axes; the middle stays in the middle
            lower = (height - factor * size[0]) / 2
            warp = np.array([[factor, 0, 0], [0, factor, lower], [0, 0, 1]], np.float32)
            matrix = warp @ matrix
        return matrix


def check_picture(image: np.ndarray) -> None:
    """Raise an error that says what to do with an image that is not (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        cures = [_CURES[k.__name__] for k in type(image).__mro__ if k.__name__ in _CURES]
        cure = [*cures, "for files use Predictor.batch([path]), or cv2.imread"][0]
        raise TypeError(f"An image must be a numpy array (H, W, 3), not {kind_of(image)}: {cure}.")
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"The image has shape {image.shape}; it must be (height, width, 3) in BGR order. For "
            "grayscale use cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), for alpha cv2.COLOR_BGRA2BGR, "
            "for channels first image.transpose(1, 2, 0), for several images `batch`."
        )
    if 0 in image.shape:
        raise ValueError(f"The image has shape {image.shape}: it is empty.")
    if isinstance(image, np.ma.MaskedArray):
        raise ValueError("The image is a masked array: use image.filled(0), black under the mask.")
    if image.dtype != np.uint8:
        cure = "if its values are 0 to 255, use image.astype('uint8')"
        if image.dtype == bool or (image.dtype.kind == "f" and image.max() <= 1):
            cure = "of values 0 to 1 use (image * 255).astype('uint8')"
        elif image.dtype == np.uint16:
            cure = "for 16 bits use (image >> 8).astype('uint8')"
        raise ValueError(
            f"The image has dtype {image.dtype}; it must be uint8 with values 0 to 255: {cure}."
        )


def kind_of(value: Any) -> str:
    """A value's kind, in an error."""
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"
