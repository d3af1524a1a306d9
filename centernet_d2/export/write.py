"""A detector into a file, which stays only where it finds what PyTorch finds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch

from ..modeling.fast_inference import make_fast
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.detector import COUNT, PICTURES, PROJECTION
from ..runtime.engines import UNKNOWN, WEIGHTS, digest_of
from .describe import metadata_of
from .formats import Arrays, Format, Runner, exported
from .graph import DetectorGraph, Sizes
from .network import IMAGES, Network
from .parity import Differences
from .precision import Feed, lower


def write_graph(
    model: HeatmapDetector,
    names: dict[str, Any],
    form: Format,
    path: Path,
    sizes: Sizes,
    *,
    split: bool = False,
    precision: str = "fp32",
    feed: Feed | None = None,
) -> None:
    """Write the file of a detector, with batch norms folded into the convolutions.

    `names` go into its metadata: `class_names`, and those of joints. `feed` is what int8 is
    calibrated with.
    """
    dtype = "bfloat16" if precision == "bf16" and form.ending == ".pt2" else "float32"
    folded = make_fast(copy.deepcopy(model), dtype=dtype).requires_grad_(False)
    model = cast(HeatmapDetector, folded)
    if not form.channels_last:
        model = model.to(memory_format=torch.contiguous_format)
        model.channels_last = False
    graph = Network(model) if split else DetectorGraph(model, unrolled=not form.loops)
    program = exported(graph, *graph.examples(sizes))
    metadata = metadata_of(
        model,
        names,
        inputs=graph.inputs,
        outputs=graph.outputs,
        split=split,
        frame=[sizes.batch, sizes.height, sizes.width],
    )
    later = {WEIGHTS: UNKNOWN} if form.ending == ".xml" else {}
    form.write(program, path, metadata | {"precision": precision} | later)
    if precision != "fp32":
        lower(path, precision, feed)
    if later:  # by which the two files are known to belong together
        text, digest = path.read_text(encoding="utf-8"), digest_of(path.with_suffix(".bin"))
        path.write_text(text.replace(UNKNOWN, digest), encoding="utf-8")


def inputs_of(model: HeatmapDetector, picture: np.ndarray, sizes: Sizes) -> Arrays:
    """What a file takes, for one picture; the camera is any."""
    camera = {PROJECTION: np.eye(3, 4, dtype=np.float32)}
    beside = camera if "pred_boxes3d" in model.output_fields else {}
    count = sizes.batch or 1
    return stacked([resized(picture, sizes)] * count, [beside] * count)


@torch.no_grad()
def compare_maps(
    model: HeatmapDetector, run: Runner, pictures: Iterable[tuple[str, np.ndarray]], sizes: Sizes
) -> tuple[Differences, dict[str, Callable[[], Any]]]:
    """The raw maps of a network's file against those of PyTorch, where pictures are placed.

    Also calls of both with the last of them.
    """
    report, network = Differences(), Network(model)
    for name, picture in pictures:
        tensor = torch.from_numpy(picture.transpose(2, 0, 1).astype("float32"))
        canvas = model.protocol.canvas_of(picture.shape[:2], model.divisor)
        if sizes.height and sizes.width:
            canvas = (sizes.height, sizes.width)
            tensor = tensor[:, : canvas[0], : canvas[1]]
        images = model.inference_images([tensor], canvas).tensor
        images = images[:1].expand(sizes.batch or 1, -1, -1, -1).contiguous()
        given = {IMAGES: images.numpy()}
        found = run(given)
        for key, values in network.maps(images).items():
            gap = (values - torch.from_numpy(found[key])).abs() / values.abs().clamp(min=1)
            report.note(key, float(gap.max()), name)
    return report, {"PyTorch": lambda: network(images), "the file": lambda: run(given)}


def resized(picture: np.ndarray, sizes: Sizes) -> np.ndarray:
    """A picture in the size that a file takes alone."""
    if sizes.height and sizes.width and picture.shape[:2] != (sizes.height, sizes.width):
        return cv2.resize(picture, (sizes.width, sizes.height))
    return picture


def arrays_of(instances: Any) -> Arrays:
    """Fields of detectron2's `Instances` as arrays."""
    fields = instances.to("cpu").get_fields()
    return {name: getattr(value, "tensor", value).numpy() for name, value in fields.items()}


def rows_found(outputs: Arrays, image: int) -> Arrays:
    """The detections of one picture of a batch."""
    count = int(outputs[COUNT][image])
    return {name: rows[image][:count] for name, rows in outputs.items() if name != COUNT}


def stacked(pictures: Sequence[np.ndarray], beside: Sequence[dict[str, Any]]) -> Arrays:
    """What a file takes: pictures of one size, and the "projection" beside each, if any."""
    inputs = {PICTURES: np.ascontiguousarray(np.stack(pictures))}
    if PROJECTION in beside[0]:
        inputs[PROJECTION] = np.stack([np.asarray(each[PROJECTION]) for each in beside])
    return inputs
