"""The points paper's table of speed: no augmentation, flip, and flip with several scales."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from centernet_d2.benchmark.detector import build, random_inputs, size_text
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.benchmark.timing import Call
from centernet_d2.modeling.meta_arch.triplet_centernet import TripletCenterNet

from .comparing import comparison_rows

PUBLISHED_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)  # of the points detector and CornerNet
TRIPLET_SCALES = (0.6, 1.0, 1.2, 1.5, 1.8)
PROTOCOLS: dict[str, dict[str, Any]] = {
    "N.A.": {"flip": False, "scales": (1.0,)},
    "F": {"flip": True, "scales": (1.0,)},
    "MS": {"flip": True, "scales": PUBLISHED_SCALES},
}


@BENCHMARK_REGISTRY.register()
def protocols(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of one image, from pixels to detections, and how it compares with `N.A.`."""
    rows = []
    for path in options.configs:
        model, size = build(path, options)
        inputs = random_inputs(1, size)
        calls = {name: _call(model, fields, inputs) for name, fields in PROTOCOLS.items()}
        with torch.inference_mode(), options.autocast():
            timings = options.time(calls)
        subject = {"model": Path(path).stem, "image": size_text(size)}
        subject["dtype"] = options.amp_dtype or "float32"
        rows += comparison_rows(subject, timings, "N.A.")
    return rows


def _call(model: nn.Module, fields: dict[str, Any], inputs: list[dict[str, object]]) -> Call:
    if isinstance(model, TripletCenterNet) and len(fields["scales"]) > 1:
        fields = fields | {"scales": TRIPLET_SCALES}
    protocol = replace(model.protocol, **fields)

    def call() -> object:
        model.protocol = protocol
        return model(inputs)

    return call
