"""Detections for other libraries: `supervision`, and by it the trackers of `trackers`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from ..missing import needed_by
from ..structures.output_fields import register_output_field
from ..visualization.canvas import class_name


def to_supervision(
    instances: Instances, class_names: Sequence[str] = (), *, keypoints: bool = False
) -> Any:
    """Return an image's `supervision.Detections`, or `KeyPoints`, with "class_name" in the data.

    All places count from the edge of the first pixel.

    Raises:
        ImportError: supervision is not installed; the message names the cure.
    """
    with needed_by("to_supervision"):
        import supervision as sv
    kind = sv.KeyPoints if keypoints else sv.Detections
    found = kind.from_detectron2({"instances": instances})
    names = [class_name(class_names, index) for index in instances.pred_classes.tolist()]
    found.data["class_name"] = np.array(names, dtype=str)
    return found


def byte_tracker(threshold: float, frame_rate: float) -> Callable[[Instances], Instances]:
    """Return what gives the detections of following frames their `track_ids`; -1: none yet.

    It is ByteTrack (Zhang et al. 2022) of the library `trackers`, whose high scores begin at
    `threshold`.

    Raises:
        ImportError: the library is not installed; the message names the cure.
    """
    with needed_by("--track"):
        from trackers import ByteTrackTracker
    levels = dict.fromkeys(("track_activation_threshold", "high_conf_det_threshold"), threshold)
    tracker = ByteTrackTracker(frame_rate=frame_rate, **levels)

    def track(found: Instances) -> Instances:
        given = to_supervision(found)
        given.data["row"] = np.arange(len(found))
        told = tracker.update(given)  # in another order
        found.track_ids = torch.full((len(found),), -1)
        found.track_ids[told.data.get("row", [])] = torch.as_tensor(told.tracker_id)
        return found

    return track


register_output_field(
    "track_ids",
    record=lambda found: [{"track_id": k} if k >= 0 else {} for k in found.track_ids.tolist()],
)
