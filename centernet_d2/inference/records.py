"""Which detections are given out, and these as plain rows of a JSON file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ..checked_values import check_value, one_of, share
from ..structures.names import counted
from ..structures.output_fields import OUTPUT_FIELDS, OutputField
from ..visualization.canvas import class_name

BOX_FORMATS = {
    "xyxy": "XYXY: left, top, right, bottom in pixels of the upright image",
    "xywh": "XYWH: left, top, width, height in pixels of the upright image",
}


@dataclass(frozen=True)
class Recorder:
    """Chooses which detections of an image are drawn and written, and makes its record."""

    class_names: Sequence[str]
    threshold: float = 0.3  # lowest score
    box_format: str = "xyxy"  # of `BOX_FORMATS`
    classes: frozenset[int] | None = None  # indices; None: all
    most: int | None = None  # the best of an image; None: all
    clip: bool = True  # boxes end at the image's border, and one beyond it is left out
    track: Callable[[Instances], Instances] | None = None  # numbers the objects of a video

    def __post_init__(self) -> None:
        check_value("box_format", self.box_format, one_of(*BOX_FORMATS))
        check_value("score_threshold", self.threshold, share)

    @property
    def heading(self) -> dict[str, Any]:
        """What two runs must agree on for their records to stand in one file."""
        return {
            "box_format": BOX_FORMATS[self.box_format],
            "score_threshold": self.threshold,
            "class_names": list(self.class_names),
            "clip_boxes": self.clip,
            "classes": None if self.classes is None else sorted(self.classes),
            "max_detections": self.most,
        }

    def chosen(self, found: Instances) -> tuple[Instances, float]:
        """Return the chosen detections, on the CPU, and the highest score of the classes, or 0."""
        found = found.to("cpu")
        if self.classes is not None:
            found = found[torch.isin(found.pred_classes, torch.tensor([*self.classes]))]
        highest = float(found.scores.max()) if len(found) else 0.0
        found = found[found.scores >= self.threshold]
        if self.clip:
            boxes, had_area = found.pred_boxes.clone(), found.pred_boxes.nonempty()
            boxes.clip(found.image_size)
            found.pred_boxes = boxes
            found = found[boxes.nonempty() | ~had_area]
        if self.most is not None:
            found = found[found.scores.argsort(descending=True, stable=True)[: self.most]]
        return found, highest

    def of(
        self, file: str, image: np.ndarray, result: Mapping[str, Any], **more: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the record of an image, (H, W, 3), with `more` in it, and what is drawn of it.

        `result` has "instances" and perhaps their "projection".
        """
        kept, highest = self.chosen(result["instances"])
        kept = self.track(kept) if self.track else kept
        record = {"file": file, **more, "height": image.shape[0], "width": image.shape[1]}
        record["highest_score"] = round(highest, 6) if math.isfinite(highest) else None
        record["detections"] = detection_records(kept, self.class_names, self.box_format)
        if (projection := result.get("projection")) is not None:
            record["projection"] = projection.tolist()
        return record, {**result, "instances": kept}


@dataclass
class Tally:
    """How much was found; of nothing, what would have been found by a lower threshold."""

    pictures: int = 0
    detections: int = 0
    highest: float = 0.0

    def add(self, record: Mapping[str, Any]) -> None:
        self.pictures += 1
        self.detections += len(record["detections"])
        self.highest = max(self.highest, record.get("highest_score") or 0.0)

    def told(self, threshold: float, picture: str = "picture") -> str:
        """One sentence, as "3 detections in 2 pictures at threshold 0.3"."""
        found, seen = counted(self.detections, "detection"), counted(self.pictures, picture)
        told = f"{found} in {seen} at threshold {threshold:g}"
        if self.detections or not self.pictures:
            return told
        told += f"; the highest score is {self.highest:.2g}"
        places = 10 if self.highest >= 0.1 else 1000
        lower = math.floor(self.highest * places) / places
        return f"{told}: --score-threshold {lower:g}" if 0 < lower < threshold else told


def detection_records(
    instances: Instances, class_names: Sequence[str], box_format: str
) -> list[dict[str, Any]]:
    """Class, score and box (`BOX_FORMATS`) of detections on the CPU, and what further fields write.

    A class without a name becomes "class 7".
    """
    boxes = instances.pred_boxes.tensor.clone().double()
    if box_format == "xywh":
        boxes[:, 2:] -= boxes[:, :2]
    further: list[dict[str, Any]] = [{} for _ in range(len(instances))]
    for name in instances.get_fields():
        if record := OUTPUT_FIELDS.get(name, OutputField()).record:
            for row, more in zip(further, record(instances), strict=True):
                row.update(more)
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    records = []
    for box, score, k, more in zip(boxes.tolist(), scores, classes, further, strict=True):
        entry: dict[str, Any] = {"class_name": class_name(class_names, k), "class_index": k}
        entry |= {"score": round(score, 6), "box": [round(value, 3) for value in box]}
        records.append(entry | more)
    return records
