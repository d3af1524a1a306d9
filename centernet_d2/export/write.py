"""A detector into a file, which stays only where it finds what PyTorch finds."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch

from ..modeling.fast_inference import make_fast
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.detector import COUNT, PICTURES, PROJECTION
from .describe import metadata_of
from .formats import Arrays, Format, Runner, exported
from .graph import DetectorGraph, Sizes
from .network import IMAGES, Network
from .parity import Differences
from .precision import Feed, lower

ROUNDS = 5  # of the times that are compared
Detect = Callable[[np.ndarray], dict[str, Any]]
"""A picture -> {"instances": Instances} and the "projection" of 3-D boxes, as `Predictor` does."""


@dataclass(frozen=True)
class Report:
    """What was compared."""

    differences: Differences
    pictures: int
    seconds: tuple[float, float]  # of one picture, median: PyTorch, the file


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
    form.write(program, path, metadata | {"precision": precision})
    if precision != "fp32":
        lower(path, precision, feed)


def inputs_of(model: HeatmapDetector, picture: np.ndarray, sizes: Sizes) -> Arrays:
    """What a file takes, for one picture; the camera is any."""
    camera = {PROJECTION: np.eye(3, 4, dtype=np.float32)}
    beside = camera if "pred_boxes3d" in model.output_fields else {}
    count = sizes.batch or 1
    return stacked([_resized(picture, sizes)] * count, [beside] * count)


def compare(
    detect: Detect,
    run: Runner,
    pictures: Iterable[tuple[str, np.ndarray]],
    sizes: Sizes,
    report: Differences | None = None,
) -> Report:
    """Detections of a file against those of PyTorch, `detect`, and the time of both.

    Each picture is seen alone or, where the batch is fixed, that often; where any batch will do,
    the first also beside itself upside down. `report` says what counts, by default `Differences`.
    """
    report, count, timed = report or Differences(), 0, None
    for name, picture in pictures:
        picture = _resized(picture, sizes)
        batch = [picture] * (sizes.batch or 1)
        if not sizes.batch and timed is None:
            batch = [picture, np.ascontiguousarray(picture[::-1])]
        expected = [detect(image) for image in batch]
        inputs = stacked(batch, expected)
        outputs = run(inputs)
        for row, each in enumerate(expected):
            report.add(arrays_of(each["instances"]), rows_found(outputs, row), name)
        count += 1
        if timed is None:
            one = stacked(batch[: sizes.batch or 1], expected[: sizes.batch or 1])
            timed = (lambda image=batch[0]: detect(image), lambda one=one: run(one))
    return Report(report, count, _times(*_some(timed)))


def compare_maps(
    model: HeatmapDetector, run: Runner, pictures: Iterable[tuple[str, np.ndarray]], sizes: Sizes
) -> Report:
    """The raw maps of a network's file against those of PyTorch, where pictures are placed."""
    report, timed, count = Differences(), None, 0
    network = Network(model)
    for name, picture in pictures:
        tensor = torch.from_numpy(picture.transpose(2, 0, 1).astype("float32"))
        canvas = model.protocol.canvas_of(picture.shape[:2], model.divisor)
        if sizes.height and sizes.width:
            canvas = (sizes.height, sizes.width)
            tensor = tensor[:, : canvas[0], : canvas[1]]
        images = model.inference_images([tensor], canvas).tensor
        images = images[:1].expand(sizes.batch or 1, -1, -1, -1).contiguous()
        with torch.no_grad():
            expected = network.maps(images)
        given = {IMAGES: images.numpy()}
        found, count = run(given), count + 1
        for key, values in expected.items():
            gap = (values - torch.from_numpy(found[key])).abs() / values.abs().clamp(min=1)
            report.note(key, float(gap.max()), name)
        timed = timed or (lambda i=images: network(i), lambda g=given: run(g))
    with torch.no_grad():
        return Report(report, count, _times(*_some(timed)))


def _resized(picture: np.ndarray, sizes: Sizes) -> np.ndarray:
    if sizes.height and sizes.width and picture.shape[:2] != (sizes.height, sizes.width):
        return cv2.resize(picture, (sizes.width, sizes.height))
    return picture


def _some(timed: Any) -> Any:
    if timed is None:
        raise ValueError("there is no picture to compare the file with PyTorch on: give --images")
    return timed


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


def _times(*functions: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of each, in turns."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(ROUNDS):
        for function, took in zip(functions, seconds, strict=True):
            began = time.perf_counter()
            function()
            took.append(time.perf_counter() - began)
    first, second = (statistics.median(took) for took in seconds)
    return first, second
