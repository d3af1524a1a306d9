"""Directional pools against a loop that says what they are, and the published tie rule."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from centernet_d2.layers import directional_pool as module
from centernet_d2.layers.cuda_kernels import cuda_kernels
from centernet_d2.layers.directional_pool import DIRECTIONS, directional_pool, pool_with

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = (torch.contiguous_format, torch.channels_last)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def by_loop(features: torch.Tensor, gradient: torch.Tensor, direction: str):
    """Output and input gradient, cell by cell: the first of equal values keeps the record."""
    axis, from_end = DIRECTIONS[direction]
    inputs = features.double().movedim(axis, -1)
    given = gradient.double().movedim(axis, -1)
    output, result = torch.empty_like(inputs), torch.zeros_like(inputs)
    order = range(inputs.shape[-1])
    order = list(reversed(order)) if from_end else list(order)
    for line in torch.cartesian_prod(*(torch.arange(size) for size in inputs.shape[:-1])):
        line = tuple(line.tolist())
        record = order[0]
        for place in order:
            if inputs[(*line, place)] > inputs[(*line, record)]:
                record = place
            output[(*line, place)] = inputs[(*line, record)]
            result[(*line, record)] += given[(*line, place)]
    return output.movedim(-1, axis), result.movedim(-1, axis)


def case(shape=(2, 3, 5, 6), *, ties: bool, dtype=torch.float32, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(shape, generator=generator)
    if ties:
        features = features.round()  # a few whole numbers
    gradient = torch.randint(-3, 4, shape, generator=generator)  # exact in every dtype
    return features.to(dtype), gradient.to(dtype)


def both_ways(features, gradient, direction):
    features = features.detach().requires_grad_()
    output = directional_pool(features, direction)
    output.backward(gradient)
    return output.detach(), features.grad


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_loop(direction, layout, dtype, ties):
    features, gradient = case(ties=ties, dtype=dtype)
    expected_output, expected_gradient = by_loop(features, gradient, direction)
    features = features.contiguous(memory_format=layout)
    output, result = both_ways(features, gradient, direction)
    assert output.dtype == result.dtype == dtype
    assert output.stride() == features.stride()
    assert torch.equal(output.double(), expected_output)
    assert torch.equal(result.double(), expected_gradient)


@pytest.mark.parametrize(
    ("direction", "output", "gradient"),
    [
        ("top", [3, 3, 3, 3, 0], [0, 0, 0, 4, 1]),
        ("bottom", [1, 3, 3, 3, 3], [1, 4, 0, 0, 0]),
    ],
)
def test_published_tie_rule(direction, output, gradient):
    column = torch.tensor([1.0, 3, 2, 3, 0]).view(1, 1, 5, 1)
    pooled, result = both_ways(column, torch.ones(1, 1, 5, 1), direction)
    assert pooled.flatten().tolist() == output
    assert result.flatten().tolist() == gradient
    row = column.transpose(2, 3)
    other = {"top": "left", "bottom": "right"}[direction]
    pooled, result = both_ways(row, torch.ones(1, 1, 1, 5), other)
    assert pooled.flatten().tolist() == output
    assert result.flatten().tolist() == gradient


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 3, 1, 4), (2, 3, 4, 1), (0, 3, 4, 5), (2, 3, 0, 5)]
)
def test_small_and_empty_maps(direction, shape):
    features, gradient = case(shape, ties=False)
    output, result = both_ways(features, gradient, direction)
    if features.numel():
        expected_output, expected_gradient = by_loop(features, gradient, direction)
        assert torch.equal(output.double(), expected_output)
        assert torch.equal(result.double(), expected_gradient)
    assert output.shape == result.shape == shape


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_maps_that_are_not_contiguous(direction):
    features, gradient = case((2, 6, 10, 12), ties=True)
    views = [(slice(None), slice(0, 6, 2)), (slice(None), slice(None), slice(1, 9, 2))]
    views.append((slice(None), slice(None), slice(None), slice(0, 12, 3)))
    for view in views:
        expected = by_loop(features[view], gradient[view], direction)
        for found, wanted in zip(
            both_ways(features[view], gradient[view], direction), expected, strict=True
        ):
            assert torch.equal(found.double(), wanted)
    # A gradient that is one number for all cells has no memory of its own.
    one = torch.ones(()).expand(features.shape)
    assert torch.equal(
        both_ways(features, one, direction)[1], both_ways(features, one.clone(), direction)[1]
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck(direction, layout):
    features = case(ties=False, dtype=torch.float64)[0].contiguous(memory_format=layout)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: directional_pool(maps, direction), features)


def test_sums_of_half_precision_gradients_are_exact():
    """A line's 300 gradients of 1 add up to 300, which steps of bfloat16 would never reach."""
    features = torch.zeros(1, 1, 300, 1, dtype=torch.bfloat16)
    _, result = both_ways(features, torch.ones_like(features), "bottom")
    assert result[0, 0, 0, 0] == 300


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_nan_goes_along(direction):
    features = torch.zeros(1, 1, 5, 5)
    features[0, 0, 2, 2] = float("nan")
    output = directional_pool(features, direction)
    axis, from_end = DIRECTIONS[direction]
    line = output[0, 0].select(3 - axis, 2)
    assert line.isnan().tolist() == (
        [True] * 3 + [False] * 2 if from_end else [False] * 2 + [True] * 3
    )


def test_series_of_two_scans_is_the_maximum_of_the_line():
    features, _ = case((2, 3, 8, 9), ties=True)
    for series, axis in ((("top", "bottom"), 2), (("left", "right"), 3)):
        pooled = features
        for direction in series:
            pooled = directional_pool(pooled, direction)
        assert torch.equal(pooled, features.amax(axis, keepdim=True).expand_as(features))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_compiled(direction):
    features, gradient = case(ties=True)
    compiled = torch.compile(directional_pool, fullgraph=True, backend="aot_eager")
    leaf = features.clone().requires_grad_()
    output = compiled(leaf, direction)
    output.backward(gradient)
    expected = both_ways(features, gradient, direction)
    assert torch.equal(output, expected[0])
    assert torch.equal(leaf.grad, expected[1])


class Pool(torch.nn.Module):
    def __init__(self, direction):
        super().__init__()
        self.direction = direction

    def forward(self, maps):
        return directional_pool(maps, self.direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("side", [1, 2, 5, 8])
def test_exported(direction, side):
    features = torch.randn(1, 2, side, side)
    program = torch.export.export(Pool(direction), (features,))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("centernet_d2" in target for target in targets)  # known to every exporter
    assert torch.equal(program.module()(features), directional_pool(features, direction))


OTHER_SIZES = [(1, 1), (3, 40), (5, 5), (16, 7), (33, 32), (64, 130)]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_trace_at_one_size_serves_others(direction):
    traced = torch.jit.trace(Pool(direction), torch.randn(1, 2, 8, 6))
    for height, width in OTHER_SIZES:
        maps = torch.randn(1, 2, height, width)
        assert torch.equal(traced(maps), directional_pool(maps, direction))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_exported_with_sides_left_open(direction):
    sides = {"maps": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(
        Pool(direction), (torch.randn(1, 2, 8, 6),), dynamic_shapes=sides
    ).module()
    for height, width in OTHER_SIZES[1:]:  # torch.export takes a side of 1 for a constant
        maps = torch.randn(1, 2, height, width)
        assert torch.equal(program(maps), directional_pool(maps, direction))


def test_a_graph_of_too_long_lines_is_refused():
    with pytest.raises(ValueError, match="at most 4096 cells, got 4097"):
        module.pool_by_doubling(torch.zeros(1, 1, 1, 4097), 3, True)


def test_unknown_direction_and_shape():
    with pytest.raises(ValueError, match="'up'"):
        directional_pool(torch.zeros(1, 1, 2, 2), "up")
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got \(2, 2\)"):
        directional_pool(torch.zeros(2, 2), "top")


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_module_and_function_agree(direction):
    features, _ = case(ties=False)
    pool = module.DirectionalPool(direction)
    assert not list(pool.parameters())
    assert torch.equal(pool(features), directional_pool(features, direction))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_equals_cpu(direction, layout, dtype):
    features, gradient = case((2, 5, 33, 47), ties=True, dtype=dtype)
    features = features.contiguous(memory_format=layout)
    expected = both_ways(features, gradient, direction)
    for found, wanted in zip(
        both_ways(features.cuda(), gradient.cuda(), direction), expected, strict=True
    ):
        assert torch.equal(found.cpu(), wanted)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (
            RuntimeError("Failed to find C compiler.\nPlease specify one"),
            "install gcc, or name one",
        ),
        (subprocess.CalledProcessError(1, ["gcc", "driver.c"]), "install gcc, or name one"),
        (ImportError("No module named 'triton'"), "install triton"),
        (None, None),
    ],
)
def test_triton_is_tried_once_and_its_failure_told_once(error, cure, monkeypatch, caplog):
    launches = []

    class Kernels:
        @staticmethod
        def launch_once():
            launches.append(1)
            if error is not None:
                raise error

    name = "centernet_d2.layers.directional_pool_triton"
    monkeypatch.setitem(sys.modules, name, Kernels)
    cuda_kernels.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            found = [module._cuda_kernels() for _ in range(3)]
    finally:
        cuda_kernels.cache_clear()
    assert found == [None if error else Kernels] * 3
    assert len(launches) == 1
    assert len(caplog.records) == (error is not None)
    if error is not None:
        assert type(error).__name__ in caplog.text
        assert cure in caplog.text


@pytest.mark.slow
def test_triton_kernels_in_the_interpreter():
    """The CUDA kernels, run by Triton's interpreter on the CPU, against the CPU's own scans."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    script = Path(__file__).with_name("interpret_triton_pool.py")
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["48", "cases", "equal"]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_companion_is_read_where_the_maximum_lies(direction):
    """The nearest of equal ones, by a loop over the cells between each cell and the side."""
    features = torch.randint(4, (2, 1, 5, 6)).float()
    companion = torch.rand(2, 1, 5, 6)
    axis, from_end = DIRECTIONS[direction]
    found = [each.movedim(axis, -1) for each in pool_with(features, companion, direction)]
    lines, beside = features.movedim(axis, -1), companion.movedim(axis, -1)
    for n, row, k in itertools.product(*map(range, (2, lines.shape[2], lines.shape[3]))):
        cells = range(k, lines.shape[3]) if from_end else range(k, -1, -1)
        best = max(cells, key=lambda cell: lines[n, 0, row, cell].item())  # the first of equal ones
        for each, expected in zip(found, (lines, beside), strict=True):
            assert each[n, 0, row, k] == expected[n, 0, row, best]
