"""The models of the page: weights and exported files, each loaded when it is first chosen."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from ..checkpoint.files import cache_dir
from ..data.images import read_image
from ..engine.model_config import named_weights, read_model_config
from ..engine.user_modules import AddKeys
from ..inference.predictor import ImageHeatmaps, Predictor
from ..model_zoo.entries import ENTRIES
from ..model_zoo.lookup import shipped_models
from ..modeling.cameras import Cameras
from ..modeling.point_tasks import point_task
from ..runtime.detector import FIELDS, Detector
from ..structures.boxes3d import Boxes3D
from ..structures.skeleton import Skeleton
from ..visualization.skeletons import SkeletonDrawing

EXPORTED = (".onnx", ".xml")  # endings of files that `runtime` runs
_WRAPPED = {"pred_boxes": Boxes, "pred_boxes3d": Boxes3D}
_TASKS = {"pred_keypoints": "pose", "pred_boxes3d": "box3d"}  # which say how theirs is recorded


@dataclass(frozen=True)
class Model:
    """A detector as the page uses it."""

    label: str
    class_names: Sequence[str]
    # (H, W, 3) uint8 BGR and a projection (3, 4) or None -> what `Predictor` returns.
    detect: Callable[[np.ndarray, np.ndarray | None], dict[str, Any]]
    has_cameras: bool  # whether it finds boxes in space
    read: Callable[[str], np.ndarray] = read_image
    heatmap: Callable[[np.ndarray], ImageHeatmaps] | None = None  # None: it shows none
    skeleton: Skeleton | None = None
    names: dict[str, Any] = field(default_factory=dict)  # of joints, for a record

    @property
    def drawing(self) -> SkeletonDrawing:
        return SkeletonDrawing.of(self.skeleton)


def model_of_weights(
    label: str, weights: str, overrides: Sequence[Any] = (), add_keys: Iterable[AddKeys] = ()
) -> Model:
    """Weights, as `Predictor` takes them; OSError, ValueError where they cannot be used."""
    predictor = Predictor(read_model_config("", weights, overrides, add_keys=add_keys))
    return Model(
        label,
        predictor.class_names,
        predictor,
        has_cameras="pred_boxes3d" in getattr(predictor.model, "output_fields", ()),
        read=predictor.read,
        heatmap=predictor.heatmap if hasattr(predictor.model, "decoded_heatmaps") else None,
        skeleton=predictor.skeleton,
        names=predictor.names,
    )


def model_of_file(label: str, file: str) -> Model:
    """A file of `centernet-d2 export`; ImportError, OSError, ValueError: it cannot be used."""
    detector = Detector(file)
    for output in _TASKS.keys() & {*detector.metadata["outputs"]}:
        point_task(_TASKS[output])
    default = detector.metadata.get("default_projection")
    cameras = default and Cameras(default, detector.metadata["default_size"])

    def detect(picture: np.ndarray, projection: np.ndarray | None) -> dict[str, Any]:
        if cameras and projection is None:  # scaled to the picture, as `Predictor` does
            sized = torch.empty(3, *picture.shape[:2], device="meta")
            projection = cameras.of([{"image": sized}])[0].numpy()
        detections = detector(picture, projection)
        found = Instances(picture.shape[:2])
        found.scores = torch.as_tensor(detections.scores)
        found.pred_classes = torch.as_tensor(detections.classes)
        for name, output in FIELDS.items():
            if (rows := getattr(detections, name)) is not None:
                found.set(output, _WRAPPED.get(output, torch.Tensor)(torch.as_tensor(rows)))
        return {"instances": found} | ({"projection": projection} if cameras else {})

    skeleton = Skeleton.from_saved(detector.metadata, f"'{file}'")
    return Model(
        label,
        detector.class_names,
        detect,
        has_cameras=bool(cameras),
        skeleton=skeleton,
        names=skeleton.saved() if skeleton else {},
    )


class Models:
    """The choices of the page. A model stays once it is loaded; visitors wait for one another.

    Attributes:
        labels: what a visitor chooses from; of a path the last two parts, where these are enough.
    """

    def __init__(
        self,
        given: Sequence[str],
        overrides: Sequence[Any] = (),
        add_keys: Iterable[AddKeys] = (),
    ) -> None:
        """Take names and files, `overrides` for weights; FileNotFoundError: one is not there."""
        for name in given:
            if not name.endswith(EXPORTED):
                named_weights(name)
            elif not os.path.isfile(name):
                raise FileNotFoundError(f"there is no file '{name}': correct its path")
        if not given:
            raise FileNotFoundError("no weights were found: give --weights or --model")
        given = list(dict.fromkeys(given))
        short = ["/".join(Path(n).parts[-2:]) if os.path.isfile(n) else n for n in given]
        counts = Counter(short)
        self._named = {s if counts[s] == 1 else n: n for s, n in zip(short, given, strict=True)}
        self._how = overrides, list(add_keys)
        self._loaded: dict[str, Model] = {}
        self._lock = threading.Lock()
        self.labels = list(self._named)

    def get(self, label: str) -> Model:
        """The model of a label; ValueError of one that is no choice."""
        if label not in self._named:
            raise ValueError(f"there is no model '{label}': choose one of the list")
        with self._lock:
            if label not in self._loaded:
                name = self._named[label]
                if name.endswith(EXPORTED):
                    self._loaded[label] = model_of_file(label, name)
                else:
                    self._loaded[label] = model_of_weights(label, name, *self._how)
            return self._loaded[label]


def local_weights() -> list[str]:
    """What needs no download: models of the package, those fetched before, runs below output/."""
    fetched = cache_dir() / "weights"
    known = [entry.name for entry in ENTRIES if (fetched / f"{entry.short_name}.pth").is_file()]
    runs = sorted(Path("output").rglob("model_final.pth"))
    return [*shipped_models(), *known, *map(str, runs)]
