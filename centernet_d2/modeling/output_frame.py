"""Detections in the mapper's image frame -> the frame that the caller asked for.

detectron2's `detector_postprocess` changes the boxes that it is given, clips them, drops the rows
whose clipped box is empty from all fields, and scales no field that it does not know. This one
scales every image-plane field, on a copy, and clips and drops only when told.
"""

from typing import Any

from detectron2.structures import Instances

from ..structures.output_fields import OUTPUT_FIELDS, OutputField
from .inference_protocol import InferenceProtocol


def to_output(found: Instances, entry: dict[str, Any], protocol: InferenceProtocol) -> Instances:
    """The detections of one input as the protocol wants them, in its frame (`height`, `width`)."""
    return to_output_frame(
        best_detections(found, protocol.detections_per_image),
        entry.get("height", found.image_size[0]),
        entry.get("width", found.image_size[1]),
        clip_boxes=protocol.clip_boxes,
        drop_empty=protocol.drop_empty,
    )


def best_detections(found: Instances, limit: int | None) -> Instances:
    """The `limit` best detections, ties with the last included; None: all.

    They keep their order, and a score of NaN stays visible.
    """
    if limit is None or len(found) <= limit:
        return found
    lowest = found.scores.topk(limit).values[-1]
    return found[~(found.scores < lowest)]


def to_output_frame(
    instances: Instances,
    height: int,
    width: int,
    *,
    clip_boxes: bool = False,
    drop_empty: bool = False,
) -> Instances:
    """Scale all image-plane fields, on a copy, to an image of (height, width).

    `clip_boxes` clips boxes to it (published results: off); `drop_empty` drops detections whose
    clipped box has no area, and clips none of the others.
    """
    scale = (width / instances.image_size[1], height / instances.image_size[0])
    result = Instances((height, width))
    for name, value in instances.get_fields().items():
        rescale = OUTPUT_FIELDS.get(name, OutputField()).scale
        result.set(name, value if rescale is None else rescale(value, scale))
    if not result.has("pred_boxes") or not (clip_boxes or drop_empty):
        return result
    clipped = result.pred_boxes.clone()
    clipped.clip((height, width))
    if clip_boxes:
        result.pred_boxes = clipped
    return result[clipped.nonempty()] if drop_empty else result
