"""What a GPU does with the networks, the kernels written for it, and training; see `on_gpu`.

The sections take a CPU too, where they measure the first network alone, and say in `note` what they
cannot.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from centernet_d2.benchmark.detector import build, preprocess, random_inputs
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.benchmark.timing import Call, peak_memory
from centernet_d2.inference.cuda_graph import Recorder, graphed
from centernet_d2.layers import deform_conv
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.layers.directional_pool import directional_pool
from centernet_d2.modeling.fast_inference import DTYPES, make_fast
from centernet_d2.modeling.meta_arch.cornernet import CornerNet

from .comparing import comparison_rows, forward, forward_and_backward
from .corner_form import plain_build
from .deform_conv import SHAPES, random_layer, torchvision_form
from .directional_pool import by_cummax
from .published_form import PublishedForm, build_displaced
from .training_step import random_samples

Makers = Mapping[str, Callable[[], Call]]
SETTINGS = ((32, 64, 4), (16, 64, 4), (64, 64, 8), (16, 128, 4), (32, 128, 8))
"""Of the deformable kernels: cells and channels of a program, and its warps."""
REPEATS = 20  # calls of a layer in one measurement, so that the host does not count
WITH_TRITON = mock.patch.object(deform_conv, "TRITON", True)
"""Of a function: inside of it deformable convolutions are Triton's."""
NO_CUDA = ValueError("Triton's kernels need CUDA")
NO_LAYER = ValueError("the network has no deformable convolution")


# ------------------------------------------------------------------------------------- networks
@BENCHMARK_REGISTRY.register()
def cuda_networks(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of a batch through the network, and from pixels to detections (`whole`).

    `published`: as `published_form`, or as `corner_form` of corner detectors. `folded`: ours,
    eager. `graph`: recorded as CUDA graphs, in float32 or less; `triton`: with the deformable
    kernels of this package. `pictures`: a second. `peak_mib`: of graphs what a call takes beside
    the memory that they keep.
    """
    rows = []
    for path, batch, part in _cases(options, ("network", "whole")):
        rows += _network_rows(path, batch, part, _ways(), options)
    return rows


@BENCHMARK_REGISTRY.register()
def cuda_compiled(options: BenchmarkOptions) -> list[Row]:
    """The network compiled by torch, with its own CUDA graphs or without, and by TensorRT."""
    rows = []
    for path, batch, part in _cases(options, ("network",)):
        ways = {
            "published": _published,
            "folded": make_fast,
            "compiled": _compiled,
            "compiled, its graphs": partial(_compiled, options={"triton.cudagraphs": True}),
            "tensorrt": _by_tensorrt,
        }
        rows += _network_rows(path, batch, part, ways, options)
    return rows


def _ways() -> dict[str, Callable[[Any], Any]]:
    """Name -> what makes a network of a detector that computes so."""
    ways: dict[str, Callable[[Any], Any]] = {"published": _published, "folded": make_fast}
    for name, has_triton in (("graph", False), ("triton graph", True)):
        for dtype in DTYPES:
            ways[f"{name} {dtype}"] = partial(_graphed, dtype=dtype, triton=has_triton)
    return ways


def _network_rows(
    path: str, batch: int, part: str, ways: Mapping[str, Callable[[Any], Any]], options: Any
) -> list[Row]:
    model, size = build_displaced(path, options)
    inputs = random_inputs(batch, size)
    images = preprocess(model, inputs)

    def maker(make: Callable[[Any], Any]) -> Call:
        network = make(copy.deepcopy(model))
        if part == "network":
            return lambda: network.predict(images)
        if isinstance(network, Published):
            raise ValueError("the published form is a network alone")
        return lambda: network(inputs)

    makers = {name: partial(maker, make) for name, make in ways.items()}
    subject = {"model": Path(path).stem, "batch": batch, "part": part}
    with torch.no_grad():
        return _rows(subject, makers, options, pictures=batch)


class Published(PublishedForm):
    """With the interface of a detector, as far as it is timed."""

    def predict(self, images: Any) -> Any:
        """Raw maps of all stacks."""
        return self(images.tensor.contiguous())


def _published(model: Any) -> Any:
    if isinstance(model, CornerNet):
        return plain_build(model)
    return Published(model).to(memory_format=torch.contiguous_format).eval()


def _graphed(model: Any, *, dtype: str, triton: bool = False) -> Any:
    if triton:
        _check_triton(model)
        model.predict = WITH_TRITON(model.predict)
    return graphed(make_fast(model, dtype=dtype))


def _check_triton(model: Any) -> None:
    if not any(isinstance(module, DeformConv2d) for module in model.modules()):
        raise NO_LAYER
    if model.device.type != "cuda":
        raise NO_CUDA


def _compiled(model: Any, **how: Any) -> Any:
    if model.device.type != "cuda" and "backend" not in how:
        raise ValueError("compiling takes minutes: it is measured on CUDA alone")
    model = make_fast(model).requires_grad_(False)
    for module in (model.backbone, model.head):
        module.compile(dynamic=False, **how)
    return model


def _by_tensorrt(model: Any) -> Any:
    import torch_tensorrt  # noqa: F401 - registers the backend

    return _compiled(model, backend="tensorrt")


# --------------------------------------------------------------------------------------- layers
@BENCHMARK_REGISTRY.register()
def cuda_layers(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of 20 calls of a deformable convolution or directional pool, as one graph.

    Of the former, torchvision's operator is the reference, and the Triton kernels have several
    settings, `cells x channels, warps`; of the latter a copy of the map.
    """
    rows = []
    on_cuda = options.torch_device.type == "cuda"
    shapes, dtypes = (SHAPES, DTYPES) if on_cuda else (((8, 4, 6),), {"float32": torch.float32})
    passes = {"forward": forward, "and backward": forward_and_backward}
    batches = options.batches if on_cuda else options.batches[:1]
    for (cin, cout, side), batch, (part, call), dtype in product(
        shapes, batches, passes.items(), dtypes
    ):
        layer = random_layer(cin, cout, side, batch, options.torch_device)
        layer = tuple(tensor.to(DTYPES[dtype]) for tensor in layer)
        dense = [
            t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in layer
        ]
        makers = {"torchvision": partial(_recorded, call, torchvision_form, layer)}
        for setting in SETTINGS:
            name = "triton {} x {}, {}".format(*setting)
            function = partial(_by_triton, setting=setting)
            makers[name] = partial(_recorded, call, function, dense)
        subject = {"layer": f"deformable, {cin} to {cout}, {side} x {side}", "dtype": dtype}
        subject |= {"batch": batch, "pass": part}
        rows += _rows(subject, makers, options, pictures=batch * REPEATS)
    side = 128 if on_cuda else 8
    for batch, dtype, direction in product(batches, dtypes, ("top", "right")):
        maps = torch.randn(batch, side, side, side, device=options.device, dtype=DTYPES[dtype])
        maps = maps.contiguous(memory_format=torch.channels_last)
        ours = partial(directional_pool, direction=direction)
        functions = {"copy": torch.clone, "ours": ours}
        functions["cummax"] = partial(by_cummax, direction=direction)
        makers = {n: partial(_recorded, forward, f, [maps]) for n, f in functions.items()}
        subject = {"layer": f"pool {direction}", "dtype": dtype, "batch": batch, "pass": "forward"}
        rows += _rows(subject, makers, options, pictures=batch * REPEATS)
    return rows


def _by_triton(*layer: Tensor, setting: tuple[int, int, int]) -> Tensor:
    if layer[0].device.type != "cuda":
        raise NO_CUDA
    from centernet_d2.layers import deform_triton as kernels

    names = ("CELLS", "CHANNELS", "WARPS")
    with mock.patch.multiple(kernels, **dict(zip(names, setting, strict=True))):
        return kernels.sample_and_multiply(*layer, padding=1, dilation=1, stride=1)


def _recorded(call: Any, function: Any, tensors: Any) -> Call:
    """Calls of a layer, on CUDA as one graph."""
    once = call(function, tensors)
    device = tensors[0].device
    if device.type != "cuda":
        return lambda: [once() for _ in range(REPEATS)]
    _, replay = Recorder(device).record(lambda _: [once() for _ in range(REPEATS)], None)
    return replay


# ------------------------------------------------------------------------------------- training
@BENCHMARK_REGISTRY.register()
def cuda_training(options: BenchmarkOptions) -> list[Row]:
    """A step of training, forward, losses, backward and Adam, on random pixels and boxes."""
    rows = []
    for path, batch, _ in _cases(replace(options, batches=options.batches[-1:]), ("",)):
        makers = {dtype: partial(_step, path, batch, dtype, options) for dtype in DTYPES}
        triton = partial(_step, options=options, triton=True)
        makers |= {f"triton {dtype}": partial(triton, path, batch, dtype) for dtype in DTYPES}
        subject = {"model": Path(path).stem, "batch": batch}
        for name, maker in makers.items():  # one at a time: each keeps its network and optimizer
            rows += _rows(subject, {name: maker}, replace(options, rounds=min(options.rounds, 5)))
        _compare_with(rows[-len(makers) :], batch)
    return rows


def _compare_with(rows: list[Row], batch: int) -> None:
    """Ratios to the first of rows that were measured one after the other."""
    for row in rows:
        if row.get("ms"):
            row["pictures"] = round(1e3 * batch / row["ms"], 1)
            row["speed_up"] = round(rows[0]["ms"] / row["ms"], 2) if rows[0].get("ms") else None
            row["reference"] = rows[0]["alternative"]


def _step(path: str, batch: int, dtype: str, options: Any, *, triton: bool = False) -> Call:
    model, size = build(path, options)
    model.train()
    if triton:
        _check_triton(model)
    inputs = random_samples(batch, size)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    device = options.torch_device.type
    scaler = torch.amp.GradScaler(device, enabled=dtype == "float16")
    amp = {"dtype": DTYPES[dtype], "enabled": dtype != "float32"}

    def step() -> None:
        with torch.autocast(device, **amp):
            loss = sum(model(inputs).values())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return WITH_TRITON(step) if triton else step


# --------------------------------------------------------------------------------------- shared
def _cases(options: BenchmarkOptions, parts: tuple[str, ...]) -> Iterator[tuple[str, int, str]]:
    """Configs, batches and parts; on a CPU the first config and batch."""
    few = slice(None if options.torch_device.type == "cuda" else 1)
    yield from product(options.configs[few], options.batches[few], parts)


def _rows(
    subject: dict[str, Any], makers: Makers, options: BenchmarkOptions, *, pictures: int = 1
) -> list[Row]:
    """A row of each alternative, with pictures a second, and peak memory; or why there is none."""
    calls, notes = {}, {}
    for name, make in makers.items():
        try:
            calls[name] = make()
            calls[name]()
        except (ImportError, RuntimeError, ValueError, NotImplementedError) as error:
            calls.pop(name, None)
            notes[name] = str(error).strip().partition("\n")[0] or type(error).__name__
    timings = options.time(calls) if calls else {}
    rows = comparison_rows(subject, timings, next(iter(calls), ""))
    for row, (name, timing) in zip(rows, timings.items(), strict=True):
        row["pictures"] = round(pictures / timing.median, 1)
        peak = peak_memory(calls[name], options.torch_device)
        row["peak_mib"] = None if peak is None else round(peak / 2**20, 1)
    return rows + [{**subject, "alternative": name, "note": n} for name, n in notes.items()]
