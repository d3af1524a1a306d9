"""Where the time of a folded detector goes: its operators against the machine's product rate."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from centernet_d2.benchmark.detector import build, preprocess, random_inputs
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.modeling.fast_inference import make_fast

SIDE = 2048  # of the matrices whose product gives the machine's rate
SLOWEST = 6  # rows of a network in the short form
Call = tuple[str, str, int, int]  # operator, shapes, operations, bytes read and written


@BENCHMARK_REGISTRY.register()
def layers(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of each operator of backbone and head, those of equal shapes together.

    `of_gemm`: operations in a second over those of the faster of two large products, torch's `mm`
    and a 1 x 1 convolution; `floor_ms`: the time at that rate. `mib`: inputs, weights and outputs.
    A deformable layer is one row, its offset branch included; views and what takes no time are left
    out. The first row of a model is the whole, by itself.
    """
    rows: list[Row] = []
    rate = max(product_rates(options).values())
    for path in options.configs:
        model, size = build(path, options)
        make_fast(model)
        images = preprocess(model, random_inputs(min(options.batches), size))
        with torch.inference_mode():
            timing = options.time({"network": partial(model.predict, images)})["network"]
            rounds = [_observed(model, images) for _ in range(min(options.rounds, 5))]
        found: dict[tuple[str, str], list[tuple[float, int, int]]] = defaultdict(list)
        for same in zip(*rounds, strict=True):
            operator, shapes, operations, size_of = same[0][0]
            milliseconds = 1e3 * median(seconds for _, seconds in same)
            found[operator, shapes].append((milliseconds, operations, size_of))
        table = [(*key, len(of), *map(sum, zip(*of, strict=True))) for key, of in found.items()]
        table.sort(key=lambda row: -row[3])
        whole = ("network", "", 1, timing.ms, *(sum(row[k] for row in table) for k in (4, 5)))
        shown = [_row(Path(path).stem, row, rate) for row in (whole, *table) if row[3] >= 0.05]
        shown[0]["spread"] = shown[0]["uncertainty"] = timing.spread
        rows += shown[: 1 + SLOWEST if options.short else None]
    return rows


def product_rates(options: BenchmarkOptions) -> dict[str, float]:
    """Operations in a millisecond of two products of square matrices."""
    left, right = torch.randn(2, SIDE, SIDE, device=options.device)
    as_map = left.view(1, SIDE, SIDE // 64, 64).to(memory_format=torch.channels_last)
    kernel = right.view(SIDE, SIDE, 1, 1).to(memory_format=torch.channels_last)
    calls = {"mm": lambda: left @ right, "conv2d": lambda: F.conv2d(as_map, kernel)}
    with torch.inference_mode():
        timings = options.time(calls)
    return {name: 2 * SIDE**3 / timing.ms for name, timing in timings.items()}


def _row(model: str, row: tuple[Any, ...], rate: float) -> Row:
    operator, shapes, calls, milliseconds, operations, size = row
    return {
        "model": model,
        "operator": operator,
        "shapes": shapes,
        "calls": calls,
        "ms": round(milliseconds, 2),
        "gmac": round(operations / 2e9, 3),
        "floor_ms": round(operations / rate, 2),
        "of_gemm": round(operations / rate / milliseconds, 2),
        "mib": round(size / 2**20, 1),
        "spread": None,
        "uncertainty": None,
    }


def _observed(model: nn.Module, images: Any) -> list[tuple[Call, float]]:
    layers = [layer for layer in model.modules() if isinstance(layer, DeformConv2d)]
    clock = _Clock()
    handles = [layer.register_forward_pre_hook(clock.enter) for layer in layers]
    handles += [layer.register_forward_hook(clock.leave) for layer in layers]
    with clock:
        model.predict(images)
    for handle in handles:
        handle.remove()
    return clock.calls


class _Clock(TorchDispatchMode):
    """Seconds of each operator, a deformable layer being one."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Call, float]] = []
        self.entered: float | None = None  # when, where it is in a deformable layer

    def enter(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.entered = time.perf_counter()

    def leave(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seconds, self.entered = time.perf_counter() - self.entered, None
        offsets = layer.conv_offset_mask.weight
        cells, weights = output[:, 0].numel(), [layer.weight, offsets]
        operations = 2 * cells * sum(map(Tensor.numel, weights))
        self.calls.append((_call("deformable", [*inputs, *weights], output, operations), seconds))

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        start = time.perf_counter()
        output = function(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        first = output[0] if isinstance(output, tuple) else output
        if self.entered is None and not function.is_view and isinstance(first, Tensor):
            name = function.name().partition("::")[2]
            lists = [each if isinstance(each, list | tuple) else [each] for each in args]
            maps = [m for each in lists for m in each if isinstance(m, Tensor)]
            operations = 0
            if "conv" in name:  # a transposed one multiplies at each cell of its input
                weight = maps[2 if name.endswith("binary") else 1]
                transposed = "transpose" in name or (name == "convolution" and args[6])
                operations = 2 * (maps[0] if transposed else first)[:, 0].numel() * weight.numel()
            self.calls.append((_call(name, maps, first, operations), seconds))
        return output


def _call(name: str, maps: Sequence[Tensor], output: Tensor, operations: int) -> Call:
    read = [m for m in maps if m.dim() == 4]
    shapes = " ".join("x".join(map(str, m.shape)) for m in read)
    shapes += f" -> {'x'.join(map(str, output.shape))}"
    return name, shapes, operations, sum(m.numel() * m.element_size() for m in [*read, output])
