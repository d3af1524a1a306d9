"""Compile the kernels for a GPU of compute capability 9.0, which takes none; prints their sizes."""

from __future__ import annotations

import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from centernet_d2.layers import deform_triton as kernels

NUMBERS = ("first_cell", "end_cell", "channels", "taps")
CONSTANTS = {"kind": tl.float32, "cells": kernels.CELLS, "width": kernels.CHANNELS}


def machine_code(kernel, dtype: str, *, of_map: bool = True) -> int:
    """Bytes of a kernel as a call with a stride, padding and dilation of 1 compiles it."""
    names = kernel.arg_names
    signature, constants = {}, {}
    for place, name in enumerate(names):
        signature[name] = "*fp32" if name.startswith("to_") else f"*{dtype}"
        if name in NUMBERS:
            signature[name] = "i32"
        elif name == "strides":
            signature[name] = ("i32",) * 8
        elif name == "geometry":
            signature[name] = ("i32",) * 5 + ("constexpr",) * 3
            constants |= {(place, number): 1 for number in (5, 6, 7)}
        elif name in CONSTANTS or (name == "to_rows" and not of_map):
            signature[name], constants[place,] = "constexpr", CONSTANTS.get(name)
    aligned = [n for n in names if n == "channels" or str(signature[n]).startswith("*")]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    built = compile(source, GPUTarget("cuda", 90, 32), options={"num_warps": kernels.WARPS})
    assert ".local" not in built.asm["ptx"]  # no register goes to memory
    assert "ld.global.v" in built.asm["ptx"]  # several channels in one load
    return len(built.asm["cubin"])


if __name__ == "__main__":
    print(machine_code(kernels._sample_kernel, "fp16"))
    print(machine_code(kernels._collect_kernel, "fp32"))
    print(machine_code(kernels._collect_kernel, "bf16", of_map=False))
