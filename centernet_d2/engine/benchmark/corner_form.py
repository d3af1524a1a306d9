"""Whole inference of the corner detectors against a plain build of the same network, in one run."""

from __future__ import annotations

import copy
import os
from functools import partial

import torch
from torch import Tensor, nn

from ...layers import directional_pool
from ...modeling.fast_inference import make_fast
from ...modeling.meta_arch.cornernet import CornerNet
from ...structures.predictions import KeypointMaps, Keypoints
from .corner_decoding import plain_keypoints
from .detector import build, random_inputs
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from .timing import time_interleaved


class CummaxPool(nn.Module):
    """A directional pool as torch's cumulative maximum, of the flipped map where it must be."""

    def __init__(self, direction: str) -> None:
        super().__init__()
        self.dim = 2 if direction in ("top", "bottom") else 3
        self.flipped = direction in ("top", "left")

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        if self.flipped:
            return features.flip(self.dim).cummax(self.dim).values.flip(self.dim)
        return features.cummax(self.dim).values


def plain_build(model: CornerNet) -> CornerNet:
    """A copy that computes with torch's plain operators, in the standard memory layout."""
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    plain.channels_last = False
    pools = {
        getattr(directional_pool, f"{direction.capitalize()}Pool"): direction
        for direction in ("top", "bottom", "left", "right")
    }
    for parent in list(plain.modules()):
        for name, child in parent.named_children():
            if type(child) in pools:
                setattr(parent, name, CummaxPool(pools[type(child)]))
    plain.best_keypoints = partial(
        _plain_keypoints, plain.decoding.peaks.top_k, plain.decoding.peaks.kernel
    )
    return plain


def _plain_keypoints(k: int, kernel: int, maps: KeypointMaps) -> Keypoints:
    probabilities = KeypointMaps(maps.heatmap.sigmoid(), maps.offset, maps.embedding)
    return plain_keypoints(probabilities, k, kernel)


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
        per_image = round(saved_per_image(model, size) / 2**20)
        calls = {
            "plain": plain_build(model),
            "ours": make_fast(copy.deepcopy(model)),
            "bfloat16": make_fast(model, dtype="bfloat16"),
        }
        inputs = random_inputs(1, size)
        with torch.inference_mode():
            timings = time_interleaved(
                {name: partial(network, inputs) for name, network in calls.items()},
                rounds=options.rounds,
                warm_up=options.warm_up,
                device=torch.device(options.device),
            )
        plain = timings["plain"].median
        rows += [
            {
                "model": os.path.splitext(os.path.basename(path))[0],
                "image": "x".join(map(str, size)),
                "form": name,
                "ms": round(1e3 * timing.median, 1),
                "images_per_second": round(1 / timing.median, 2),
                "of_plain": round(timing.median / plain, 3),
                "spread": round(timing.spread, 3),
                "training_mib_per_image": per_image,
            }
            for name, timing in timings.items()
        ]
    return rows


def saved_per_image(model: CornerNet, size: tuple[int, int]) -> int:
    """Bytes of activations that one more training image keeps for the backward pass."""
    kept = []
    for count in (1, 2):
        storages: dict[int, int] = {}

        def keep(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        images = model.training_images(random_inputs(count, size))
        model.train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            predictions = model.predict(images)
        kept.append(sum(storages.values()))
        del predictions
        model.eval()
    return kept[1] - kept[0]
