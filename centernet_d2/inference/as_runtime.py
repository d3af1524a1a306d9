"""A Predictor's detections as the runtime's, and a Predictor in the place of its `Detector`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.structures import Instances

from ..export.describe import metadata_of
from ..runtime import Detections
from ..runtime.detector import FIELDS
from .predictor import Predictor


def to_detections(instances: Instances, class_names: Sequence[str] = ()) -> Detections:
    """Return detections in pixels of their picture as arrays, best first."""
    found = instances.to("cpu")
    found = found[found.scores.argsort(descending=True, stable=True)]
    known = {name: found.get(field) for name, field in FIELDS.items() if found.has(field)}
    arrays = {name: getattr(rows, "tensor", rows).numpy() for name, rows in known.items()}
    scores, classes = found.scores.numpy(), found.pred_classes.numpy()
    return Detections(scores, classes, tuple(class_names), **arrays)


class PredictorDetector:
    """Detects in batches as `runtime.Detector`; `metadata` is what an exported file would say."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor, names = predictor, {"class_names": predictor.class_names}
        rule: dict[str, Any] = {"inputs": [], "outputs": [], "split": False, "frame": [None] * 3}
        self.metadata = metadata_of(predictor.model, names | predictor.names, **rule)

    def batch(
        self, pictures: Sequence[np.ndarray], projections: Sequence[Any] | None = None
    ) -> list[Detections]:
        """Detect; ValueError where a picture or a projection cannot be used."""
        cameras = projections or [None] * len(pictures)
        size = len(pictures)
        found = self._predictor.batch(pictures, batch_size=size, projections=cameras)
        return [to_detections(each["instances"], self._predictor.class_names) for each in found]
