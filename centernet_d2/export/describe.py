"""What an exported file says of itself: all that a program needs which has nothing but the file."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..inference.predictor import Predictor
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.engines import FORM
from .graph import least_side


def metadata_of(
    predictor: Predictor, *, inputs: list[str], outputs: list[str], split: bool, frame: list[Any]
) -> dict[str, Any]:
    """Plain values, see docs/deployment.md.

    `frame` is (batch, height, width) of the pictures, or of the canvas where `split`; None: any.
    """
    model, cfg = predictor.model, predictor.cfg
    found = {
        "form": FORM,
        "version": __version__,
        "detector": type(model).__name__,
        "inputs": inputs,
        "outputs": outputs,
        "whole": not split,
        "frame": dict(zip(("batch", "height", "width"), frame, strict=True)),
        "least_side": least_side(model),
        "class_names": predictor.class_names,
        **predictor.names,
        "protocol": model.describe_protocol(),
        "canvas": canvas_of(model),
    }
    if "pred_boxes3d" in model.output_fields:
        camera = cfg.MODEL.POINTS_CENTERNET.BOX3D
        found["default_projection"] = [list(row) for row in camera.DEFAULT_PROJECTION]
        found["default_size"] = list(camera.DEFAULT_SIZE)
    return found


def canvas_of(model: HeatmapDetector) -> dict[str, Any]:
    """How pictures come onto the canvas and are normalised, for programs that do it themselves."""
    protocol = model.protocol
    return {
        "resolution": protocol.resolution,
        "fixed_size": list(protocol.fixed_size),
        "fixed_fit": protocol.fixed_fit,
        "rule": protocol.canvas,
        "divisor": model.divisor,
        "stride": model.stride,
        "flip": protocol.flip,
        "pixel_mean": model.pixel_mean.tolist(),
        "pixel_std": model.pixel_std.tolist(),
    }
