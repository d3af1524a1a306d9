"""Directional pools against torch's cumulative maximum and pairwise doubling, in one run."""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
from torch import Tensor

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.layers import directional_pool as pools
from centernet_d2.layers.directional_pool import DIRECTIONS

from .comparing import comparison_rows, forward, forward_and_backward

SHAPE = (1, 128, 128, 128)  # of the pools in a corner module at 511 x 511
LAYOUTS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def by_cummax(features: Tensor, direction: str) -> Tensor:
    """The pool by torch's cumulative maximum, of the flipped map where it must be."""
    axis, from_end = DIRECTIONS[direction]
    if from_end:
        return features.flip(axis).cummax(axis).values.flip(axis)
    return features.cummax(axis).values


def by_doubling(features: Tensor, axis: int, from_end: bool) -> Tensor:
    """Maxima with the map shifted by 1, 2, 4 ... cells, as many as one map of this size needs."""
    reach, length = 1, features.shape[axis]
    while reach < length:
        kept = length - reach
        first, last = features.narrow(axis, 0, kept), features.narrow(axis, reach, kept)
        best = torch.maximum(first, last)
        edge = features.narrow(axis, kept, reach) if from_end else features.narrow(axis, 0, reach)
        features = torch.cat([best, edge] if from_end else [edge, best], dim=axis)
        reach *= 2
    return features


@BENCHMARK_REGISTRY.register()
def directional_pool(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of one pool, forward, and forward and backward, and ratios to cummax.

    `doubling`: see `by_doubling`. `copy`: of the map, the least that anything can take.
    """
    rows = []
    passes = {"forward": forward, "and backward": forward_and_backward}
    for (layout, memory_format), (direction, (axis, from_end)) in product(
        LAYOUTS.items(), DIRECTIONS.items()
    ):
        maps = torch.randn(SHAPE, device=options.device).contiguous(memory_format=memory_format)
        alternatives = {
            "ours": partial(pools.directional_pool, direction=direction),
            "cummax": partial(by_cummax, direction=direction),
            "doubling": partial(by_doubling, axis=axis, from_end=from_end),
            "copy": torch.clone,
        }
        for what, call in passes.items():
            timings = options.time({name: call(f, [maps]) for name, f in alternatives.items()})
            subject = {"layout": layout, "direction": direction, "pass": what}
            rows += comparison_rows(subject, timings, "cummax")
    return rows
