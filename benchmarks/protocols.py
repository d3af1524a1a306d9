"""The points paper's table of speed: no augmentation, flip, and flip with several scales."""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from centernet_d2.benchmark.detector import build, random_inputs, size_text
from centernet_d2.benchmark.evaluation import timed
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
    """Milliseconds from pixels to detections, how they compare with `N.A.`, and decoding's share.

    Of one image, or of the first of `--batches`. `decode_percent` is all but bringing images onto
    their canvas and the network: peaks, pairs, NMS, the way to the output frame.
    """
    rows = []
    for path in options.configs:
        model, size = build(path, options)
        inputs = random_inputs(options.batches[0], size)
        calls = {name: _call(model, fields, inputs) for name, fields in PROTOCOLS.items()}
        with torch.inference_mode(), options.autocast():
            timings = options.time(calls)
            shares = {name: decode_share(model, call, options) for name, call in calls.items()}
        subject = {"model": Path(path).stem, "image": size_text(size)}
        subject["dtype"] = options.amp_dtype or "float32"
        rows += [
            {**row, "batch": len(inputs), "decode_percent": round(100 * shares[name], 2)}
            for name, row in zip(shares, comparison_rows(subject, timings, "N.A."), strict=True)
        ]
    return rows


def decode_share(model: nn.Module, call: Call, options: BenchmarkOptions) -> float:
    """Of the time of a call, what is spent in neither `predict` nor `inference_images`: median."""
    stages, shares = ("predict", "inference_images"), []
    for _ in range(options.rounds):
        row: dict[str, float] = {}
        spent = partial(partial, timed, "spent", row, options.torch_device)
        with patch.multiple(model, **{name: spent(getattr(model, name)) for name in stages}):
            timed("whole", row, options.torch_device, call)
        shares.append(1 - row["spent"] / row["whole"])
    return statistics.median(shares)


def _call(model: nn.Module, fields: dict[str, Any], inputs: list[dict[str, object]]) -> Call:
    if isinstance(model, TripletCenterNet) and len(fields["scales"]) > 1:
        fields = fields | {"scales": TRIPLET_SCALES}
    protocol = replace(model.protocol, **fields)

    def call() -> object:
        model.protocol = protocol
        return model(inputs)

    return call
