"""Run with TRITON_INTERPRET=1: the kernels' results on CPU tensors equal the row-by-row scans."""

from __future__ import annotations

import torch

from centernet_d2.layers import directional_pool_triton as kernels
from centernet_d2.layers.directional_pool import DIRECTIONS, directional_pool

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def main() -> None:
    """Compare; prints how many cases agree."""
    generator = torch.Generator().manual_seed(0)
    cases = 0
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for layout in LAYOUTS:
            for direction, (axis, from_end) in DIRECTIONS.items():
                for shape in ((2, 3, 7, 13), (1, 1, 1, 1)):
                    features = torch.randn(shape, generator=generator).round().to(dtype)
                    features = features.contiguous(memory_format=layout)
                    gradient = torch.randint(-3, 4, shape, generator=generator).to(dtype)
                    leaf = features.clone().requires_grad_()
                    expected = directional_pool(leaf, direction)
                    expected.backward(gradient)
                    output, result = torch.empty_like(features), torch.empty_like(features)
                    kernels.pool(features, output, axis, from_end)
                    kernels.pool_backward(gradient, output, result, axis, from_end)
                    assert torch.equal(output, expected.detach()), (dtype, layout, direction)
                    assert torch.equal(result, leaf.grad), (dtype, layout, direction)
                    cases += 1
    print(cases, "cases equal")


if __name__ == "__main__":
    main()
