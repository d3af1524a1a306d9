import itertools
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.ops import deform_conv2d

from centernet_d2.layers import deform_conv, deform_gather, deform_operator
from centernet_d2.layers.deform_conv import DeformConv2d, modulated_deform_conv2d
from centernet_d2.layers.deform_gather import gather_and_multiply as by_gather
from centernet_d2.layers.deform_sampling import Sampler
from centernet_d2.missing import fill

ROOT = Path(__file__).resolve().parents[2]

NAMES = (
    "images",
    "channels",
    "height",
    "width",
    "outputs",
    "kernel",
    "stride",
    "padding",
    "dilation",
)
CASES = {
    "published": (2, 3, 5, 7, 4, 3, 1, 1, 1),
    "stride 2": (1, 3, 6, 5, 2, 3, 2, 1, 1),
    "dilation 2": (2, 2, 7, 6, 3, 3, 1, 2, 2),
    "stride 2, dilation 2": (2, 2, 9, 8, 3, 3, 2, 1, 2),
    "kernel 1": (3, 4, 4, 3, 2, 1, 1, 0, 1),
    "map of 1 x 1": (2, 5, 1, 1, 3, 3, 1, 1, 1),
}


def arguments(case="published", *, spread=1.5, dtype=torch.float64):
    """Random x, offset, mask, weight, bias, and the options. Offsets reach outside of the map."""
    a = dict(zip(NAMES, CASES[case], strict=True))
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    reach = a["dilation"] * (a["kernel"] - 1) + 1 - 2 * a["padding"]
    out = [(size - reach) // a["stride"] + 1 for size in (a["height"], a["width"])]
    tensors = (
        normal(a["images"], a["channels"], a["height"], a["width"]),
        normal(a["images"], 2 * a["kernel"] ** 2, *out) * spread,
        normal(a["images"], a["kernel"] ** 2, *out).sigmoid(),
        normal(a["outputs"], a["channels"], a["kernel"], a["kernel"]),
        normal(a["outputs"]),
    )
    options = {name: a[name] for name in ("stride", "padding", "dilation")}
    return [tensor.to(dtype) for tensor in tensors], options


def from_torchvision(x, offset, mask, weight, bias, **options):
    return deform_conv2d(x, offset, weight, bias, mask=mask, **options)


def pixel(image, row, column):
    """The channels at one place of the (C, H, W) image, zero outside of it."""
    inside = 0 <= row < image.shape[1] and 0 <= column < image.shape[2]
    return image[:, row, column] if inside else torch.zeros_like(image[:, 0, 0])


def bilinear(image, y, x):
    top, left = math.floor(y), math.floor(x)
    return sum(
        (1 - abs(y - row)) * (1 - abs(x - column)) * pixel(image, row, column)
        for row, column in itertools.product((top, top + 1), (left, left + 1))
    )


def by_hand(x, offset, mask, weight, bias, *, stride, padding, dilation):
    """The definition, one output cell and one tap after the other."""
    images, _, height, width = offset.shape
    out = bias[None, :, None, None].repeat(images, 1, height, width)
    for n, r, c in itertools.product(range(images), range(height), range(width)):
        for tap in range(mask.shape[1]):
            i, j = divmod(tap, weight.shape[3])
            y = float(r * stride - padding + i * dilation + offset[n, 2 * tap, r, c])
            column = float(c * stride - padding + j * dilation + offset[n, 2 * tap + 1, r, c])
            sample = mask[n, tap, r, c] * bilinear(x[n], y, column)
            out[n, :, r, c] += weight[:, :, i, j] @ sample
    return out


def gradients(function, tensors, options):
    tensors = [tensor.clone().requires_grad_() for tensor in tensors]
    out = function(*tensors, **options)
    slope = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out)
    return torch.autograd.grad(out, tensors, slope)


@pytest.fixture(params=["one block", "parts of an image", "several images"])
def blocks(request, monkeypatch):
    """The work is cut into blocks; the small maps of these tests would all fit one."""
    if request.param != "one block":
        size = {"parts of an image": 1000, "several images": 40_000}[request.param]
        for sampler in (Sampler, deform_gather.compiled_sampler()[0] or Sampler):
            monkeypatch.setattr(sampler, "forward_bytes", size)
            monkeypatch.setattr(sampler, "backward_bytes", size)
    return request.param


# ---- values ----


@pytest.mark.parametrize("case", CASES)
def test_equals_the_definition(case):
    tensors, options = arguments(case)
    torch.testing.assert_close(
        modulated_deform_conv2d(*tensors, **options),
        by_hand(*tensors, **options),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("case", CASES)
def test_equals_torchvision(case, blocks):
    tensors, options = arguments(case)
    torch.testing.assert_close(
        modulated_deform_conv2d(*tensors, **options),
        from_torchvision(*tensors, **options),
        rtol=0,
        atol=1e-12,
    )


def test_float32_is_near_torchvision():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 64, 24, 40, generator=generator)
    offset = 2 * torch.randn(2, 18, 24, 40, generator=generator)
    mask = torch.rand(2, 9, 24, 40, generator=generator)
    weight = torch.randn(64, 64, 3, 3, generator=generator) / 24
    difference = modulated_deform_conv2d(x, offset, mask, weight) - from_torchvision(
        x, offset, mask, weight, None, padding=1
    )
    assert difference.abs().max() < 5e-6


def test_block_sizes_are_really_cut(monkeypatch):
    def cut(budget):
        return [
            (block[0].stop - block[0].start, block[1].stop - block[1].start)
            for block in deform_gather._blocks(3, 10, 8, budget)
        ]

    assert cut(10_000) == [(3, 10)]
    assert cut(160) == [(2, 10), (1, 10)]
    assert cut(48) == [(1, 5), (1, 5)] * 3
    assert cut(1) == [(1, 1)] * 30


def test_without_displacement_it_is_a_plain_convolution():
    (x, offset, mask, weight, bias), options = arguments("stride 2")
    out = modulated_deform_conv2d(
        x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, **options
    )
    torch.testing.assert_close(out, torch.nn.functional.conv2d(x, weight, bias, **options))


@pytest.fixture(params=["compiled", "torch"])
def form(request, monkeypatch):
    """What samples float32; float64 is sampled by torch alone."""
    if request.param == "torch":
        monkeypatch.setattr(deform_gather, "_sampler", lambda dtype: Sampler)
    elif deform_gather.compiled_sampler()[0] is None:
        pytest.skip(deform_gather.compiled_sampler()[1])
    return request.param


@pytest.mark.parametrize("case", CASES)
def test_float32_and_its_gradients_equal_those_of_torchvision(case, blocks, form):
    tensors, options = arguments(case)
    singles = [tensor.float() for tensor in tensors]
    doubles = [tensor.double() for tensor in singles]
    out = modulated_deform_conv2d(*singles, **options)
    expected = from_torchvision(*doubles, **options)
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=1e-5)
    ours = gradients(modulated_deform_conv2d, singles, options)
    theirs = gradients(from_torchvision, doubles, options)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.double(), their, rtol=1e-5, atol=2e-5)


def test_threads_of_python_and_of_torch_compute_the_same(form):
    torch.manual_seed(0)
    layer = [torch.randn(2, 70, 9, 11), 3 * torch.randn(2, 18, 9, 11), torch.rand(2, 9, 9, 11)]
    layer += [torch.randn(5, 70, 3, 3), torch.randn(5)]

    def run(_=None):
        leaves = [tensor.clone().requires_grad_() for tensor in layer]
        out = modulated_deform_conv2d(*leaves)
        return out, *torch.autograd.grad(out.square().sum(), leaves)

    with torch.inference_mode():
        inferred = modulated_deform_conv2d(*layer)
    expected, before = run(), torch.get_num_threads()  # memory that is kept serves training too
    assert torch.equal(inferred, expected[0])
    with ThreadPoolExecutor(4) as pool:
        several = [*pool.map(run, range(8))]
    try:
        torch.set_num_threads(3)
        by_three = run()
    finally:
        torch.set_num_threads(before)
    for found in several:
        assert all(map(torch.equal, found, expected))
    torch.testing.assert_close(by_three, expected)  # a product may be cut otherwise


@pytest.mark.parametrize("far", [1e3, 1e12, float("inf"), -1e3, -1e12, -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_samples_far_outside_are_zero(far, dtype):
    (x, offset, mask, weight, bias), options = arguments(dtype=dtype)
    out = modulated_deform_conv2d(x, torch.full_like(offset, far), mask, weight, bias, **options)
    torch.testing.assert_close(out, bias[None, :, None, None].expand_as(out))


@pytest.mark.parametrize("distance", [-1.0, -0.5, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("side", [0, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_samples_fade_out_over_one_pixel_around_the_border(side, distance, dtype):
    x = torch.ones(1, 1, 5, 5, dtype=dtype)
    offset = torch.zeros(1, 2, 5, 5, dtype=dtype)
    offset[0, 0, side, 2] = distance
    mask = torch.ones(1, 1, 5, 5, dtype=dtype)
    weight = torch.ones(1, 1, 1, 1, dtype=dtype)
    out = modulated_deform_conv2d(x, offset, mask, weight, padding=0)
    outside = distance < 0 if side == 0 else distance > 0
    assert out[0, 0, side, 2] == (1 - abs(distance) if outside else 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nan_offset_gives_nan_where_it_is_and_nowhere_else(dtype):
    (x, offset, mask, weight, bias), options = arguments(dtype=dtype)
    expected = modulated_deform_conv2d(x, offset, mask, weight, bias, **options)
    offset[1, 5, 2, 3] = float("nan")
    out = modulated_deform_conv2d(x, offset, mask, weight, bias, **options)
    assert out[1, :, 2, 3].isnan().all()
    out[1, :, 2, 3] = expected[1, :, 2, 3]
    torch.testing.assert_close(out, expected)


def test_bias_may_be_left_out():
    (x, offset, mask, weight, bias), options = arguments()
    without = modulated_deform_conv2d(x, offset, mask, weight, **options)
    with_bias = modulated_deform_conv2d(x, offset, mask, weight, bias, **options)
    torch.testing.assert_close(without + bias[None, :, None, None], with_bias)


# ---- gradients ----


@pytest.mark.parametrize("case", CASES)
def test_gradcheck(case, blocks):
    tensors, options = arguments(case)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(
        lambda *t: modulated_deform_conv2d(*t, **options), tensors, fast_mode=True
    )


def test_gradcheck_of_every_entry():
    tensors, options = arguments("stride 2")
    tensors = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *t: modulated_deform_conv2d(*t, **options), tensors)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_those_of_torchvision(case, blocks):
    tensors, options = arguments(case)
    ours = gradients(modulated_deform_conv2d, tensors, options)
    theirs = gradients(from_torchvision, tensors, options)
    for name, our, their in zip(
        ("x", "offset", "mask", "weight", "bias"), ours, theirs, strict=True
    ):
        assert our.abs().sum() > 0, name
        torch.testing.assert_close(
            our, their, rtol=0, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("wanted", range(5))
def test_gradient_of_one_argument_alone(wanted):
    tensors, options = arguments()
    expected = gradients(modulated_deform_conv2d, tensors, options)[wanted]
    tensors[wanted].requires_grad_()
    out = modulated_deform_conv2d(*tensors, **options)
    slope = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    (gradient,) = torch.autograd.grad(out, tensors[wanted], slope)
    torch.testing.assert_close(gradient, expected)


def test_second_derivative_is_refused_not_wrong():
    tensors, options = arguments()
    x = tensors[0].requires_grad_()
    out = modulated_deform_conv2d(x, *tensors[1:], **options)
    (gradient,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# ---- memory layouts and dtypes ----


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "expanded"])
def test_memory_layouts(layout):
    tensors, options = arguments()
    expected = gradients(from_torchvision, tensors, options)
    expected_out = from_torchvision(*tensors, **options)

    def laid_out(tensor):
        if tensor.dim() != 4 or layout == "contiguous":
            return tensor
        if layout == "channels_last":
            return tensor.contiguous(memory_format=torch.channels_last)
        if layout == "sliced":
            return torch.stack((tensor, -tensor), dim=-1)[..., 0]
        return tensor.unsqueeze(0).expand(2, *tensor.shape)[1]

    def function(*given, **kwargs):
        return modulated_deform_conv2d(*(laid_out(tensor) for tensor in given), **kwargs)

    out = function(*tensors, **options)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, expected_out)
    for our, their in zip(gradients(function, tensors, options), expected, strict=True):
        torch.testing.assert_close(our, their)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["published", "stride 2"])
def test_half_types_on_cpu(case, dtype):
    half, options = arguments(case, dtype=dtype)
    exact = [tensor.double() for tensor in half]  # the same numbers, so only the sums are rounded
    out = modulated_deform_conv2d(*half, **options)
    assert out.dtype == dtype
    epsilon = torch.finfo(dtype).eps
    expected = from_torchvision(*exact, **options)
    assert (out - expected).abs().max() < 2 * epsilon * expected.abs().max()
    ours = gradients(modulated_deform_conv2d, half, options)
    # Against our float64: rounded offsets hit the kink one pixel outside of the map, where
    # torchvision takes the other one-sided derivative.
    for our, exactly in zip(ours, gradients(modulated_deform_conv2d, exact, options), strict=True):
        assert our.dtype == dtype
        assert (our - exactly).abs().max() < 2 * epsilon * exactly.abs().max()


def test_positions_are_not_rounded_to_bfloat16():
    # bfloat16 cannot tell 300.5 from 300, so a ramp shows whether positions went through it.
    x = torch.arange(512.0).view(1, 1, 1, 512).bfloat16()
    offset = torch.full((1, 2, 1, 512), 0.5, dtype=torch.bfloat16)
    offset[:, 0] = 0
    mask = torch.ones(1, 1, 1, 512, dtype=torch.bfloat16)
    x_at = x.float()[0, 0, 0]
    out = modulated_deform_conv2d(x, offset, mask, mask.new_ones(1, 1, 1, 1), padding=0)
    expected = ((x_at[:-1] + x_at[1:]) / 2).bfloat16()
    assert torch.equal(out[0, 0, 0, :-1], expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_on_cpu(dtype):
    torch.manual_seed(0)
    layer = DeformConv2d(8, 16)
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.1)
    x = torch.randn(2, 8, 6, 7, requires_grad=True)
    expected = layer(x)
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, atol=0.02, rtol=0.02)
    out.float().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
    assert x.grad.dtype == torch.float32


def test_float64_stays_exact_under_autocast():
    tensors, options = arguments()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = modulated_deform_conv2d(*tensors, **options)
    torch.testing.assert_close(out, from_torchvision(*tensors, **options))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_reference_path_takes_every_dtype(dtype):
    # The path of CUDA and of traced graphs, run here on the CPU.
    tensors, options = arguments(dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = deform_conv._reference(*tensors, **options)
    expected = from_torchvision(*(tensor.double() for tensor in tensors), **options)
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=1e-5)


# ---- the layer ----


def test_layer_declares_published_names_and_shapes():
    shapes = {name: tuple(p.shape) for name, p in DeformConv2d(5, 7).named_parameters()}
    assert shapes == {
        "weight": (7, 5, 3, 3),
        "bias": (7,),
        "conv_offset_mask.weight": (27, 5, 3, 3),
        "conv_offset_mask.bias": (27,),
    }


def test_layer_starts_as_half_a_convolution():
    torch.manual_seed(0)
    layer = DeformConv2d(16, 8).double()
    bound = 1 / math.sqrt(9 * 16)
    assert 0.95 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.mean().abs() < bound / 10
    assert not any(p.abs().sum() for p in (layer.bias, *layer.conv_offset_mask.parameters()))
    x = torch.randn(2, 16, 5, 6, dtype=torch.float64)
    half = torch.nn.functional.conv2d(x, layer.weight / 2, padding=1)
    torch.testing.assert_close(layer(x), half)


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "dilation"),
    [(3, 1, 1, 1), (1, 1, 0, 1), (3, 2, 1, 1), (3, 1, 2, 2), (1, 2, 0, 1), (5, 1, 2, 1)],
)
def test_layer_has_the_shape_of_a_plain_convolution(kernel_size, stride, padding, dilation):
    options = {
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    x = torch.randn(2, 3, 9, 6)
    expected = torch.nn.Conv2d(3, 4, **options)(x).shape
    assert DeformConv2d(3, 4, **options)(x).shape == expected


def test_every_parameter_of_the_layer_gets_a_gradient():
    layer = DeformConv2d(3, 4)
    layer(torch.randn(2, 3, 5, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_batch_equals_single_images():
    layer = DeformConv2d(3, 4).double()
    torch.nn.init.normal_(layer.conv_offset_mask.weight)
    x = torch.randn(3, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), torch.cat([layer(image[None]) for image in x]))


def test_empty_batch():
    layer = DeformConv2d(3, 4, stride=2)
    x = torch.zeros(0, 3, 5, 6, requires_grad=True)
    out = layer(x)
    assert out.shape == (0, 4, 3, 3)
    out.sum().backward()
    assert x.grad.shape == x.shape
    assert layer.weight.grad.abs().sum() == 0


def test_shapes_without_data():
    with torch.device("meta"):
        assert DeformConv2d(3, 4, stride=2)(torch.zeros(2, 3, 5, 6)).shape == (2, 4, 3, 3)


# Warned about inside torch.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["export", "trace"])
def test_graphs_hold_the_operator_that_exporters_know(how):
    layer = DeformConv2d(3, 4).eval()
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.3)
    x = torch.randn(2, 3, 6, 7)
    if how == "export":
        program = torch.export.export(layer, (x,))
        graph, run = str(program.graph), program.module()
    else:
        run = torch.jit.trace(layer, x)
        graph = str(run.inlined_graph)
    assert "deform_conv2d" in graph
    assert "embedding_bag" not in graph
    torch.testing.assert_close(run(x), layer(x))


# ---- compiled loops ----


def test_without_numba_torch_samples_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "centernet_d2.layers.deform_numba", raising=False)
    monkeypatch.delattr("centernet_d2.layers.deform_numba", raising=False)
    sampler, words = deform_gather.compiled_sampler.__wrapped__()
    assert sampler is None
    assert words == "operators of torch; faster with numba: {pip} install numba"


def test_loops_are_compiled_where_no_cache_can_be_written(monkeypatch):
    numba = pytest.importorskip("numba")
    from centernet_d2.layers import deform_numba

    def cfunc(*arguments, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: SimpleNamespace(address=(function.__name__, options["nopython"]))

    monkeypatch.setattr(numba, "cfunc", cfunc)
    assert deform_numba._compiled.__wrapped__(by_hand) == ("by_hand", True)


def test_torch_samples_where_numba_cannot_compile_and_says_so(monkeypatch):
    numba = pytest.importorskip("numba")
    from centernet_d2.layers import deform_numba

    def cfunc(*arguments, **options):
        raise OSError("no such {instruction}")

    monkeypatch.setattr(numba, "cfunc", cfunc)
    deform_numba._compiled.cache_clear()
    sampler, words = deform_gather.compiled_sampler.__wrapped__()
    assert sampler is None
    words_of_error = "as numba does not work here (OSError('no such {instruction}'))"
    assert fill(words) == f"operators of torch, {words_of_error}"


def test_defaults_for_new_tensors_are_not_those_of_the_samples(form):
    deform_gather.compiled_sampler()
    tensors, options = arguments(dtype=torch.float32)
    expected, before = modulated_deform_conv2d(*tensors, **options), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with ThreadPoolExecutor(1) as pool:  # which has no memory for samples yet
            found = pool.submit(modulated_deform_conv2d, *tensors, **options).result()
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)


def test_tensors_without_memory_have_shapes(form):
    tensors, options = arguments(dtype=torch.float32)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(tensor) for tensor in tensors]
        assert modulated_deform_conv2d(*fakes, **options).shape == (2, 4, 5, 7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
# Warned about by Python, and on purpose.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_samples_too():
    tensors, options = arguments(dtype=torch.float32)
    expected = modulated_deform_conv2d(*tensors, **options)
    child = os.fork()
    if not child:
        torch.set_num_threads(1)  # as in a worker of a loader
        os._exit(0 if torch.equal(modulated_deform_conv2d(*tensors, **options), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---- errors ----


def test_wrong_shapes_are_named():
    (x, offset, mask, weight, bias), options = arguments()
    for change, message in (
        ({"x": x[:, :2]}, r"must agree in C, got \(2, 2, 5, 7\) and \(4, 3, 3, 3\)"),
        ({"x": x[0]}, "must agree in C"),
        ({"offset": offset[:, :9]}, r"offset must be \(2, 18, 5, 7\)"),
        ({"offset": offset[:1]}, r"offset must be \(2, 18, 5, 7\)"),
        ({"mask": mask[..., 1:]}, r"mask must be \(2, 9, 5, 7\)"),
        ({"bias": bias[1:]}, r"bias must be \(4,\)"),
    ):
        given = {"x": x, "offset": offset, "mask": mask, "weight": weight, "bias": bias} | change
        with pytest.raises(ValueError, match=message):
            modulated_deform_conv2d(**given, **options)


def test_map_smaller_than_the_kernel_is_named():
    x = torch.zeros(1, 3, 2, 2)
    nothing = torch.zeros(1, 18, 0, 0)
    with pytest.raises(ValueError, match="smaller than the kernel's reach"):
        modulated_deform_conv2d(x, nothing, nothing, torch.zeros(4, 3, 3, 3), padding=0)


# ---- as an operator ----


@pytest.mark.parametrize("bias", [True, False])
def test_a_compiler_calls_our_kernel_and_gets_the_same(bias):
    tensors, options = arguments("stride 2, dilation 2", dtype=torch.float32)
    graphs = []

    def backend(graph, _):
        graphs.append(str(graph.code))
        return graph

    def layer(*given):
        return modulated_deform_conv2d(*given, *([None] * (not bias)), **options)

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    tensors = tensors[: 4 + bias]
    assert torch.equal(compiled(*tensors), layer(*tensors))
    assert "centernet_d2.gather_and_multiply" in graphs[0]
    found, expected = (gradients(each, tensors, {}) for each in (compiled, layer))
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("bias", [torch.randn(5, requires_grad=True), None])
def test_the_operator_is_what_torch_wants_of_one(bias):
    shapes = ((126, 4), (2, 63, 9, 2), (2, 63, 9), (5, 36))
    given = [torch.randn(shape, requires_grad=True) for shape in shapes]
    numbers = [9, 7, 9, 7, 3, 3, 1, 1, 1]
    torch.library.opcheck(deform_operator.gather_and_multiply, (*given, bias, numbers))


# ---- kernels for CUDA ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "told"),
    [("interpret_triton_deform.py", "13 cases agree"), ("compile_triton_deform.py", "")],
)
def test_triton_kernels_without_a_gpu(script, told, tmp_path):
    """Run by Triton's interpreter, against the CPU's form; and compiled for a GPU."""
    pytest.importorskip("triton")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)}
    environment["TRITON_INTERPRET"] = "1" if told else "0"
    command = [sys.executable, str(ROOT / "tests" / "layers" / script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    sizes = done.stdout.split()
    assert done.stdout.strip() == told if told else all(int(size) > 1000 for size in sizes)


def test_triton_computes_where_it_is_switched_on(monkeypatch):
    calls, (tensors, options) = [], arguments(dtype=torch.float32)
    asked = SimpleNamespace(sample_and_multiply=lambda x, *rest, **steps: calls.append(x) or x)
    monkeypatch.setattr(deform_conv, "cuda_kernels", lambda *names: asked)
    on_cuda = SimpleNamespace(is_cuda=True, shape=(1,))
    assert deform_conv._kernels(on_cuda) is None  # not unless it is asked for
    monkeypatch.setattr(deform_conv, "TRITON", True)
    assert deform_conv._kernels(on_cuda) is asked
    assert deform_conv._kernels(tensors[0]) is None
    assert deform_conv._kernels(SimpleNamespace(is_cuda=True, shape=(0,))) is None
    torch.use_deterministic_algorithms(True)
    try:
        assert deform_conv._kernels(on_cuda) is None
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(deform_conv, "_kernels", lambda x: asked)
    with torch.autocast("cpu", torch.bfloat16):
        assert modulated_deform_conv2d(*tensors, **options).dtype == torch.bfloat16
    assert [x.dtype for x in calls] == [torch.bfloat16]  # cast before, unlike for torchvision


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("case", [*CASES, "wide"])
def test_triton_kernels_on_a_gpu(case, dtype, monkeypatch):
    kernels = pytest.importorskip("centernet_d2.layers.deform_triton")
    monkeypatch.setitem(CASES, "wide", (2, 80, 40, 33, 48, 3, 1, 1, 1))
    monkeypatch.setattr(kernels, "BLOCK_BYTES", 200_000)
    tensors, options = arguments(case)
    tensors = [tensor.to(dtype) for tensor in tensors]
    exact = [tensor.double() for tensor in tensors]
    found = [tensor.cuda() for tensor in tensors]
    pairs = [(kernels.sample_and_multiply(*found, **options), by_gather(*exact, **options))]
    pairs += zip(
        gradients(kernels.sample_and_multiply, found, options),
        gradients(by_gather, exact, options),
        strict=True,
    )
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 3e-3}.get(dtype, 2e-2)
    for one, other in pairs:
        assert (one.cpu().double() - other).norm() <= tolerance * other.norm()
