"""From images to detections in an application."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import Tensor

from ..allocator import keep_memory
from ..checked_values import check_value, whole
from ..data.images import read_image
from ..engine.class_names import configured_class_names, without_training_data
from ..engine.evaluate import load_for_evaluation
from ..engine.model_config import model_config
from ..engine.saved_names import fetch_weights, saved_names
from ..engine.setup import setup
from ..modeling.inference_protocol import InferenceProtocol
from ..modeling.registration import output_skeleton
from ..runtime.detector import check_picture, kind_of
from ..structures.predictions import named_maps
from ..structures.skeleton import Skeleton

if TYPE_CHECKING:
    from .runtime import Detect, Runtimes


@dataclass(frozen=True)
class ImageHeatmaps:
    """Where a detector sees keypoints: cell (column, row) is on pixel scale * cell + shift."""

    # "top_left", "bottom_right", "center" -> (C, h, w) float32 on the CPU
    probabilities: dict[str, Tensor]
    scale: tuple[float, float]  # image pixels per cell along x and y
    shift: tuple[float, float]  # image (x, y) of cell (0, 0), negative where the image was padded
    values: dict[str, Tensor]  # all other maps by branch, "size" -> (D, h, w), likewise


class Predictor:
    """detectron2's `DefaultPredictor` with batches, class names and checked input.

    Attributes:
        model: the detector, in evaluation mode.
        class_names: from the datasets' metadata or from the checkpoint; [] where neither has them.
        skeleton: joints, from the same; None where neither names them.
        training, protocol: what the weights say of it (docs/models.md); how images are tested.
        guessed: which of "class_names" and "joint_names" are a guess from their number.
    """

    _detect: "Detect | None" = None  # in place of the model

    def __init__(
        self,
        cfg: CfgNode | str | os.PathLike[str],
        overrides: Sequence[Any] = (),
        *,
        runtime: str | None = None,
    ) -> None:
        """Build the model and fill it from its weights; the process keeps freed memory from now on.

        Args:
            cfg: weights that say their config, as for `centernet_d2.config_of`: a file, such as
                "model_final.pth", or a name of the model zoo. Or a config, which names the weights
                in MODEL.WEIGHTS; `setup` is applied to a copy.
            overrides: of the weights' config, KEY, VALUE, KEY, VALUE, ...
            runtime: what detects in place of the model, which still gives heatmaps: a name in
                `inference.runtime.RUNTIMES`, such as "onnxruntime" or "openvino", whose file is
                made once and kept in the cache; "auto": the fastest for as many images as are given
                at once, measured once on the first ones; so TEST.DTYPE "auto", of dtypes too.

        Raises:
            TypeError, ValueError, OSError, ImportError: an argument, or the file, cannot be used.
        """
        is_path = isinstance(cfg, (str, os.PathLike))
        if is_path and not os.fspath(cfg).endswith((".yaml", ".yml", ".py")):
            cfg, _ = model_config(cfg, overrides)
        elif not isinstance(cfg, CfgNode) or overrides:
            raise TypeError(
                f"Predictor takes a file of weights or a config, not {kind_of(cfg)}"
                f"{' with overrides' * bool(overrides)}: give the weights, "
                "centernet_d2.load_config(path, overrides), or "
                "centernet_d2.model_zoo.get_config(name, trained=True)."
            )
        if not cfg.MODEL.get("HEATMAP", {}).get("NUM_CLASSES"):
            fetch_weights(cfg.MODEL.WEIGHTS)  # `setup` downloads nothing to count their classes
        keep_memory()
        self.cfg = setup(without_training_data(cfg))
        self.model = build_model(self.cfg).eval()
        self.class_names = load_for_evaluation(self.cfg, self.model)
        saved = saved_names(self.cfg.MODEL.WEIGHTS)
        has_joints = "pred_keypoints" in getattr(self.model, "output_fields", ())
        known: dict[str, Any] = {
            "class_names": configured_class_names(self.cfg),
            "joint_names": output_skeleton(self.cfg) or not has_joints,
        }
        named = saved.skeleton if has_joints else None
        self.skeleton: Skeleton | None = output_skeleton(self.cfg) or named
        self.training, self.protocol = saved.training, InferenceProtocol.from_config(self.cfg)
        self.guessed = [key for key in saved.guessed if not known[key]]
        if runtime:
            self._detect = self.runtimes.detector(runtime)
        elif self.cfg.TEST.DTYPE == "auto":
            from .fastest import Fastest

            self._detect = Fastest(self.runtimes, "")

    @property
    def runtimes(self) -> "Runtimes":
        """The ways to run the model, with their files."""
        from .runtime import Runtimes

        return Runtimes(self.model, {"class_names": self.class_names, **self.names}, self.cfg)

    @property
    def finds_boxes_in_space(self) -> bool:
        """Whether images may have a projection."""
        return "pred_boxes3d" in getattr(self.model, "output_fields", ("pred_boxes3d",))

    @property
    def names(self) -> dict[str, Any]:
        """`Skeleton.saved` of joints, where there are any, and "guessed"; plain values."""
        joints = self.skeleton.saved() if self.skeleton else {}
        return joints | ({"guessed": self.guessed} if self.guessed else {})

    def __call__(self, image: np.ndarray, projection: Any = None) -> dict[str, Any]:
        """Detect in one image; the same detections as detectron2's `DefaultPredictor`.

        Args:
            image: (H, W, 3) uint8, channels B, G, R.
            projection: of a detector of 3-D boxes, 3 x 4 from (x, y, z, 1) in metres to pixels of
                `image`; None: MODEL.POINTS_CENTERNET.BOX3D.DEFAULT_PROJECTION.

        Returns:
            {"instances": Instances} in pixels of `image`, and the "projection" of 3-D boxes.
        """
        check_picture(image)  # no file either
        return self.batch([image], projections=[projection])[0]

    def read(self, file: str) -> np.ndarray:
        """Read an image file as the config says: INPUT.EXIF_ORIENTATION and MAX_PIXELS."""
        return read_image(file, upright=self.cfg.INPUT.EXIF_ORIENTATION == "apply")

    @torch.no_grad()
    def batch(
        self,
        images: Iterable[Any],
        *,
        batch_size: int = 8,
        projections: Sequence[Any] | None = None,
        file_names: Sequence[str | None] | None = None,
    ) -> list[dict[str, Any]]:
        """Detect in many images, `batch_size` at a time, and return the results in their order.

        Images of one batch share a forward pass where their padded sizes agree. Scores may differ
        from single calls in the last digits, as torch picks other algorithms for other batch sizes.

        Args:
            images: arrays as for a single call, or files, in a list, an (N, H, W, 3) array or a
                generator, of which only `batch_size` images are in memory at once.
            batch_size: images in memory at once.
            projections: as for a single call, one per image.
            file_names: of images given as arrays, for messages.

        Raises:
            TypeError, ValueError: an argument, or an image, cannot be used; the message says why.
        """
        check_value("batch_size", batch_size, whole(1))
        one = isinstance(images, (str, os.PathLike, Mapping, Tensor))
        if one or getattr(images, "ndim", 4) in (2, 3) or not isinstance(images, Iterable):
            raise TypeError(
                f"images are {kind_of(images)}; give a list of arrays or files: [image]."
            )
        known = {"projections": projections, "file_names": file_names}
        for name, values in known.items():
            if values is None:
                continue
            images = every = list(images)
            if len(values) != len(every):
                raise ValueError(
                    f"{len(values)} {name} for {len(every)} images: give one for each, in the "
                    "images' order; None where there is none."
                )
        more = (itertools.repeat(None) if v is None else v for v in known.values())
        rows = zip(images, *more, strict=False)
        results: list[dict[str, Any]] = []
        while part := list(itertools.islice(rows, batch_size)):
            results += (self._detect or self.model)([self._input(*row) for row in part])
        return results

    @torch.no_grad()
    def heatmap(self, image: np.ndarray) -> ImageHeatmaps:
        """Show each kind of keypoint's probability per class and cell, before peaks are read out.

        It is that of the last stack, at scale 1, on the detector's own canvas. Under TEST.FLIP the
        points detector's is the mean of both views, the corner detectors' that of the image itself.

        Raises:
            ValueError: the detector has no heatmaps.
        """
        check_picture(image)
        maps = {}
        if hasattr(self.model, "decoded_heatmaps"):
            tensor = self._input(image)["image"]
            canvas = self.model.protocol.canvas_of(tuple(tensor.shape[-2:]), self.model.divisor)
            images = self.model.inference_images([tensor], canvas)
            last = self.model.predict(images)[-1]
            maps = self.model.decoded_heatmaps(last, flipped=images.flipped)
            decoded = getattr(self.model, "decoded_maps", lambda last, flipped: last)
            decoded = decoded(last, flipped=images.flipped)
        if not maps:
            raise ValueError(f"{type(self.model).__name__} has no heatmaps of keypoints to draw.")
        corners = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], device=self.model.device)
        first, second = images.map_to_image(corners, last.map_size)[0].double().cpu()
        named = {k: v for k, v in named_maps(decoded).items() if not k.endswith("heatmap")}
        values = {name: found[0].float().cpu() for name, found in named.items()}
        for task in getattr(self.model, "tasks", ()):
            values |= {name: show(values[name]) for name, show in task.shown.items()}
        return ImageHeatmaps(
            probabilities={name: heatmap[0].float().cpu() for name, heatmap in maps.items()},
            values=values,
            scale=tuple((second - first).tolist()),
            shift=tuple(first.tolist()),
        )

    def _input(self, x: Any, projection: Any = None, name: str | None = None) -> dict[str, Any]:
        if isinstance(x, (str, os.PathLike)):
            name = name or os.fspath(x)
            x = self.read(os.fspath(x))
        check_picture(x)
        if projection is not None and not self.finds_boxes_in_space:
            raise ValueError("this detector finds no boxes in space: it takes no projection")
        pixels = x.copy() if self._detect else x.astype("float32")
        tensor = torch.as_tensor(pixels.transpose(2, 0, 1))
        found = {"image": tensor, "height": x.shape[0], "width": x.shape[1]}
        more = {"projection": projection, "file_name": name}
        return found | {key: value for key, value in more.items() if value is not None}
