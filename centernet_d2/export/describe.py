"""What an exported file says of itself: all that a program needs which has nothing but the file."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.engines import FORM
from .graph import least_side


def metadata_of(
    model: HeatmapDetector,
    names: dict[str, Any],
    *,
    inputs: list[str],
    outputs: list[str],
    split: bool,
    frame: list[Any],
) -> dict[str, Any]:
    """Plain values, see docs/deployment.md.

    Args:
        model: the detector.
        names: what it does not know itself: `class_names`, and those of joints.
        inputs: names of the graph's arguments.
        outputs: names of what it returns.
        split: whether it is the network alone.
        frame: (batch, height, width) of the pictures, or of the canvas where `split`; None: any.
    """
    protocol = model.protocol
    found = {
        "form": FORM,
        "version": __version__,
        "detector": type(model).__name__,
        "inputs": inputs,
        "outputs": outputs,
        "whole": not split,
        "frame": dict(zip(("batch", "height", "width"), frame, strict=True)),
        "least_side": least_side(model),
        **names,
        "protocol": model.describe_protocol(),
        # How pictures come onto the canvas and are normalised, for programs that do it themselves.
        "canvas": {
            "resolution": protocol.resolution,
            "fixed_size": list(protocol.fixed_size),
            "fixed_fit": protocol.fixed_fit,
            "rule": protocol.canvas,
            "divisor": model.divisor,
            "stride": model.stride,
            "flip": protocol.flip,
            "pixel_mean": model.pixel_mean.tolist(),
            "pixel_std": model.pixel_std.tolist(),
        },
    }
    for task in getattr(model, "tasks", ()):
        if cameras := getattr(task, "cameras", None):
            found["default_projection"] = cameras.projection.tolist()
            found["default_size"] = list(cameras.size)
    return found
