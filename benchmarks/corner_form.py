"""Whole inference of the corner detectors against a plain build of the same network, in one run."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from centernet_d2.benchmark.detector import build, random_inputs, size_text
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.engine.automatic import kept_per_image
from centernet_d2.layers.directional_pool import DirectionalPool
from centernet_d2.modeling.fast_inference import make_fast
from centernet_d2.modeling.meta_arch.cornernet import CornerNet
from centernet_d2.structures.predictions import KeypointMaps, Keypoints

from .comparing import comparison_rows, replace_modules
from .corner_decoding import plain_keypoints, probabilities
from .directional_pool import by_cummax


class CummaxPool(nn.Module):
    """A directional pool as torch's cumulative maximum."""

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.direction = direction

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return by_cummax(features, self.direction)


def plain_build(model: CornerNet) -> CornerNet:
    """A copy that computes with torch's plain operators, in the standard memory layout."""
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    plain.channels_last = False
    replace_modules(plain, _plain_pool)
    peaks = plain.decoding.peaks
    plain.best_keypoints = partial(_plain_keypoints, peaks.top_k, peaks.kernel)
    return plain


def _plain_pool(module: nn.Module) -> nn.Module | None:
    return CummaxPool(module.direction) if isinstance(module, DirectionalPool) else None


def _plain_keypoints(k: int, kernel: int, maps: KeypointMaps) -> Keypoints:
    return plain_keypoints(probabilities(maps), k, kernel)


@BENCHMARK_REGISTRY.register()
def corner_form(options: BenchmarkOptions) -> list[Row]:
    """One image from pixels to detections: the plain build, ours, and ours in bfloat16.

    `plain`: standard memory layout, norms on their own, pools by flipped cumulative maxima, peaks
    by a 3 x 3 max-pool and one top-k over all cells. Ours: `TEST.FOLD_NORM`, and `TEST.DTYPE`. The
    protocol is the config's. `training_mib_per_image`: what a training image of this size keeps for
    the backward pass, without weights and optimizer. Configs of other detectors are left out.
    """
    rows = []
    for path in options.configs:
        model, size = build(path, options)
        if not isinstance(model, CornerNet):
            continue
        per_image = round(kept_per_image(model.train(), list(size)) / 2**20)
        model.eval()
        calls = {
            "plain": plain_build(model),
            "ours": make_fast(copy.deepcopy(model)),
            "bfloat16": make_fast(model, dtype="bfloat16"),
        }
        inputs = random_inputs(1, size)
        with torch.inference_mode():
            timings = options.time({name: partial(net, inputs) for name, net in calls.items()})
        subject = {"model": Path(path).stem, "image": size_text(size)}
        compared = comparison_rows(subject, timings, "plain")
        rows += [row | {"training_mib_per_image": per_image} for row in compared]
    return rows
