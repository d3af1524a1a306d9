"""Run with TRITON_INTERPRET=1: the kernels on CPU tensors against the CPU's own form."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from test_deform_conv import CASES, arguments, gradients

from centernet_d2.layers import deform_triton as kernels
from centernet_d2.layers.deform_gather import gather_and_multiply

FORMS = (kernels.sample_and_multiply, gather_and_multiply)
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 0.02, torch.bfloat16: 0.15}


def agree(tensors, options, tolerance: float) -> None:
    """Outputs and all gradients of both forms."""
    found, expected = (
        (form(*tensors, **options), *gradients(form, tensors, options)) for form in FORMS
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance, equal_nan=True)


def main() -> None:
    """Compare; prints how many cases agree."""
    kernels.CELLS, kernels.CHANNELS = 16, 4
    cases = [(case, torch.float64, 1 << 20) for case in CASES]
    cases += [("stride 2, dilation 2", dtype, 1 << 20) for dtype in TOLERANCES]
    cases += [("stride 2", torch.float64, 1000)]  # several blocks, which begin inside of images
    for case, dtype, kernels.BLOCK_BYTES in cases:
        agree(*arguments(case, dtype=dtype), TOLERANCES[dtype])

    (x, offset, mask, weight, bias), options = arguments("stride 2")
    offset.view(-1)[:6] = torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30, -1.0])
    both = torch.cat([offset, mask], 1).contiguous(memory_format=torch.channels_last)
    offset, mask = both.split([18, 9], dim=1)  # views with gaps, as the layer's branch gives them
    agree((x, offset, mask, weight, bias), options, 1e-12)

    for form in FORMS:  # without a bias, and without a gradient of the map
        weight.requires_grad_()
        out = form(x, offset[:, :].nan_to_num(0, 0, 0), mask, weight, None, **options)
        (gradient,) = torch.autograd.grad(out.sum(), [weight])
        cases.append((form, out.detach(), gradient))
    for one, other in zip(cases[-2][1:], cases[-1][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    print(len(cases), "cases agree")


if __name__ == "__main__":
    main()
