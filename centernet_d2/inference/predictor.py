"""From images to detections in an application."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from ..data.images import read_image
from ..engine.class_names import configured_class_names, without_training_data
from ..engine.evaluate import load_for_evaluation
from ..engine.saved_names import fetch_weights, saved_names
from ..engine.setup import setup
from ..modeling.registration import output_skeleton
from ..structures.skeleton import Skeleton


@dataclass(frozen=True)
class ImageHeatmaps:
    """Where a detector sees keypoints: cell (column, row) is on pixel scale * cell + shift."""

    # "center", or "top_left", "bottom_right" and of the triplet "center" -> (C, h, w) float32 on
    # the CPU; cells outside the image are padding
    probabilities: dict[str, Tensor]
    scale: tuple[float, float]  # image pixels per cell along x and y
    shift: tuple[float, float]  # image (x, y) of cell (0, 0), negative where the image was padded


class Predictor:
    """detectron2's `DefaultPredictor` with batches, class names and checked input.

    Attributes:
        model: the detector, in evaluation mode.
        class_names: from the datasets' metadata or from the checkpoint; [] where neither has them.
        skeleton: joints, from the same; None where neither names them.
        guessed: which of "class_names" and "joint_names" are a guess from their number.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build the model and fill it from MODEL.WEIGHTS; `setup` is applied to a copy of `cfg`.

        Raises:
            ValueError: see `setup` and `load_for_evaluation`.
        """
        if not cfg.MODEL.get("HEATMAP", {}).get("NUM_CLASSES"):
            fetch_weights(cfg.MODEL.WEIGHTS)  # `setup` downloads nothing to count their classes
        self.cfg = setup(without_training_data(cfg))
        self.model = build_model(self.cfg).eval()
        self.class_names = load_for_evaluation(self.cfg, self.model)
        saved = saved_names(self.cfg.MODEL.WEIGHTS)
        has_joints = "pred_keypoints" in getattr(self.model, "output_fields", ())
        of_datasets: Skeleton | None = output_skeleton(self.cfg)
        self.skeleton = of_datasets or (saved.skeleton if has_joints else None)
        known: dict[str, Any] = {"class_names": configured_class_names(self.cfg)}
        known["joint_names"] = not has_joints or of_datasets
        self.guessed = [key for key in saved.guessed if not known[key]]

    @property
    def names(self) -> dict[str, Any]:
        """Of joints, where there are any, see `Skeleton.saved`, and "guessed"; plain values."""
        joints = self.skeleton.saved() if self.skeleton else {}
        return joints | ({"guessed": self.guessed} if self.guessed else {})

    def __call__(self, image: np.ndarray, projection: Any = None) -> dict[str, Any]:
        """Detect in one image; the same detections as detectron2's `DefaultPredictor`.

        Args:
            image: (H, W, 3) uint8, channels B, G, R.
            projection: of a detector of 3-D boxes, 3 x 4 from (x, y, z, 1) in metres to pixels of
                `image`; None: MODEL.POINTS_CENTERNET.BOX3D.DEFAULT_PROJECTION.

        Returns:
            {"instances": Instances} with boxes in pixels of `image`; of a detector of 3-D boxes
            also the "projection" that they were placed by.
        """
        check_image(image)  # no file either
        return self.batch([image], projections=[projection])[0]

    @torch.no_grad()
    def batch(
        self,
        images: Sequence[np.ndarray | str | os.PathLike[str]],
        *,
        batch_size: int = 8,
        projections: Sequence[Any] | None = None,
        file_names: Sequence[str | None] | None = None,
    ) -> list[dict[str, Any]]:
        """Detect in many images, `batch_size` at a time, and return the results in their order.

        Images of one batch share a forward pass where their padded sizes agree. Scores may differ
        from single calls in the last digits, as torch picks other algorithms for other batch sizes.

        Args:
            images: arrays as for a single call, or files.
            batch_size: images in memory at once.
            projections: as for a single call, one per image.
            file_names: of images given as arrays, for messages.

        Raises:
            ValueError: there are not as many projections as images.
        """
        if projections is None:
            projections = [None] * len(images)
        if len(projections) != len(images):
            raise ValueError(
                f"{len(projections)} projections for {len(images)} images: give one for each, "
                "3 x 4 or None, in the images' order."
            )
        if file_names is None:
            file_names = [None if isinstance(x, np.ndarray) else os.fspath(x) for x in images]
        results: list[dict[str, Any]] = []
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            entries = []
            for x, *known in zip(images[part], projections[part], file_names[part], strict=True):
                image = x if isinstance(x, np.ndarray) else read_image(os.fspath(x))
                more = zip(("projection", "file_name"), known, strict=True)
                entries.append(self._input(image) | {k: v for k, v in more if v is not None})
            results += self.model(entries)
        return results

    @torch.no_grad()
    def heatmap(self, image: np.ndarray) -> ImageHeatmaps:
        """Show what a detector sees before peaks are read out, on the detector's own canvas.

        That is, for each kind of keypoint, its probability per class and cell: of the last stack,
        at scale 1. Under TEST.FLIP the points detector's is the mean of both views, as it is
        decoded, and the corner detectors' are those of the image itself.

        Raises:
            TypeError: the detector has no heatmaps.
        """
        if not hasattr(self.model, "decoded_heatmaps"):
            raise TypeError(f"{type(self.model).__name__} has no heatmaps of keypoints.")
        tensor = self._input(image)["image"]
        canvas = self.model.protocol.canvas_of(tuple(tensor.shape[-2:]), self.model.divisor)
        images = self.model.inference_images([tensor], canvas)
        last = self.model.predict(images)[-1]
        maps = self.model.decoded_heatmaps(last, flipped=images.flipped)
        if not maps:
            raise TypeError(f"{type(self.model).__name__} has no heatmaps of keypoints.")
        corners = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], device=self.model.device)
        first, second = images.map_to_image(corners, last.map_size)[0].double().cpu()
        return ImageHeatmaps(
            probabilities={name: heatmap[0].float().cpu() for name, heatmap in maps.items()},
            scale=tuple((second - first).tolist()),
            shift=tuple(first.tolist()),
        )

    def _input(self, image: np.ndarray) -> dict[str, Any]:
        check_image(image)
        height, width = image.shape[:2]
        tensor = torch.as_tensor(image.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}


def check_image(image: np.ndarray) -> None:
    """Raise an error that says what to do with an image that is not (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"An image must be a numpy array (H, W, 3), not {type(image).__name__}. For files use "
            "Predictor.batch([path])."
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"The image has shape {image.shape}; it must be (height, width, 3) in BGR order. For "
            "grayscale use cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), for alpha cv2.COLOR_BGRA2BGR."
        )
    if 0 in image.shape:
        raise ValueError(f"The image has shape {image.shape}: it is empty.")
    if image.dtype != np.uint8:
        raise ValueError(
            f"The image has dtype {image.dtype}; it must be uint8 with values 0 to 255. For 16 "
            "bits use (image >> 8).astype('uint8')."
        )
