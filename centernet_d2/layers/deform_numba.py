"""Bilinear samples of a map, and their gradients, as compiled loops in the threads of torch.

The functions are those of `deform_sampling`, for float32. A team of torch's own OpenMP library
runs them: as many threads as torch has, none beside them, and as safe with several Python threads
and processes as torch itself. numba's own threads would compete with torch's, which spin after a
product. Needs numba, so import it where it is used: compiling takes seconds, once on a machine.
"""

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic, register_jitable
from torch import Tensor

from . import deform_sampling
from .deform_sampling import Block, Gradients

if numba.config.DISABLE_JIT:
    raise RuntimeError("NUMBA_DISABLE_JIT is set")

CELLS = 16  # output cells that a thread takes at a time
PART = 32  # of the map's gradient that a thread takes at a time: two cache lines
# What the integers are that a compiled function is given, in the order of `Sampler._run`.
(TAKEN, FIRST, LAST, ROWS, OFFSET, MASK, OUT, CHANNELS, HEIGHT, WIDTH, OUT_HEIGHT) = range(11)
(OUT_WIDTH, TAPS, KERNEL_WIDTH, STRIDE, PADDING, DILATION, OFFSET_IMAGE) = range(11, 18)
(OFFSET_CELL, OFFSET_TAP, OFFSET_AXIS, MASK_IMAGE, MASK_CELL, MASK_TAP) = range(18, 24)
(GRAD, GRAD_OFFSET, GRAD_MASK) = range(24, 27)
_float32 = np.float32
_FLOATS, _INTEGERS = types.CPointer(types.float32), types.CPointer(types.int64)


@intrinsic
def _floats(typing: Any, address: Any) -> Any:
    """Pointer to float32 numbers from an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(_FLOATS))

    return _FLOATS(types.int64), generate


@intrinsic
def _take(typing: Any, counter: Any, count: Any) -> Any:
    """Add `count` to `counter[0]`, atomically; returns what was there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", *arguments, "monotonic")

    return types.int64(_INTEGERS, types.int64), generate


@register_jitable
def _neighbours(position: Any, size: Any) -> Any:
    """The two cells around a position of an axis, in [0, size), their weights and the slopes."""
    low_slope, high_slope = _float32(-1), _float32(1)
    if position < -1:  # what is farther out has no weight either
        position, high_slope = _float32(-1), _float32(0)
    elif position > size:
        position = _float32(size)
    low = np.floor(position)
    high_weight = position - low
    low_weight = _float32(1) - high_weight
    index = 0 if low != low else int(low)  # the weight of a NaN carries it on
    if index < 0 or index >= size:
        low_weight, low_slope = low_weight * _float32(0), _float32(0)
    if index >= size - 1:
        high_weight, high_slope = high_weight * _float32(0), _float32(0)
    cells = (max(0, min(index, size - 1)), min(index + 1, size - 1))
    return cells, (low_weight, high_weight), (low_slope, high_slope)


@register_jitable
def _place(a: Any, cell: Any) -> Any:
    """Image of an output cell, its number there, and where its first tap lies."""
    width, stride, padding = a[OUT_WIDTH], a[STRIDE], a[PADDING]
    image, inside = cell // (a[OUT_HEIGHT] * width), cell % (a[OUT_HEIGHT] * width)
    return image, inside, inside // width * stride - padding, inside % width * stride - padding


@register_jitable
def _around(a: Any, place: Any, i: Any, j: Any) -> Any:
    """What tap (i, j) samples: four places in the map, weights and slopes by axis, the mask."""
    image, inside, row, column = place
    offset, mask, tap = _floats(a[OFFSET]), _floats(a[MASK]), i * a[KERNEL_WIDTH] + j
    channels, height, width, dilation = a[CHANNELS], a[HEIGHT], a[WIDTH], a[DILATION]
    o = image * a[OFFSET_IMAGE] + inside * a[OFFSET_CELL] + tap * a[OFFSET_TAP]
    y = _float32(row + i * dilation) + offset[o]
    x = _float32(column + j * dilation) + offset[o + a[OFFSET_AXIS]]
    rows, weights_y, slopes_y = _neighbours(y, height)
    columns, weights_x, slopes_x = _neighbours(x, width)
    top, bottom = (image * height + rows[0]) * width, (image * height + rows[1]) * width
    places = (
        (top + columns[0]) * channels,
        (top + columns[1]) * channels,
        (bottom + columns[0]) * channels,
        (bottom + columns[1]) * channels,
    )
    factor = mask[image * a[MASK_IMAGE] + inside * a[MASK_CELL] + tap * a[MASK_TAP]]
    return places, weights_y, weights_x, slopes_y, slopes_x, factor


def _sample(a: Any) -> None:
    first, last, channels = a[FIRST], a[LAST], a[CHANNELS]
    rows, out = _floats(a[ROWS]), _floats(a[OUT])
    kernel_width, kernel_height = a[KERNEL_WIDTH], a[TAPS] // a[KERNEL_WIDTH]
    while True:
        begin = first + _take(a, CELLS)
        if begin >= last:
            return
        to = (begin - first) * a[TAPS] * channels
        for cell in range(begin, min(begin + CELLS, last)):
            place = _place(a, cell)
            for i in range(kernel_height):
                for j in range(kernel_width):
                    (nw, ne, sw, se), (up, down), (left, right), _, _, f = _around(a, place, i, j)
                    w, x, y, z = up * left * f, up * right * f, down * left * f, down * right * f
                    for c in range(channels):
                        above = w * rows[nw + c] + x * rows[ne + c]
                        out[to + c] = above + y * rows[sw + c] + z * rows[se + c]
                    to += channels


def _differentiate(a: Any) -> None:
    """`_sample`, and the gradients of offset and mask."""
    first, last, channels = a[FIRST], a[LAST], a[CHANNELS]
    rows, out = _floats(a[ROWS]), _floats(a[OUT])
    kernel_width, kernel_height = a[KERNEL_WIDTH], a[TAPS] // a[KERNEL_WIDTH]
    grad, grad_offset, grad_mask = _floats(a[GRAD]), _floats(a[GRAD_OFFSET]), _floats(a[GRAD_MASK])
    while True:
        begin = first + _take(a, CELLS)
        if begin >= last:
            return
        to = (begin - first) * a[TAPS]
        for cell in range(begin, min(begin + CELLS, last)):
            place = _place(a, cell)
            for i in range(kernel_height):
                for j in range(kernel_width):
                    (nw, ne, sw, se), (up, down), (left, right), v, h, f = _around(a, place, i, j)
                    w, x, y, z = up * left, up * right, down * left, down * right
                    p = q = r = s = _float32(0)
                    for c in range(channels):
                        g = grad[to * channels + c]
                        k, m, n, o = rows[nw + c], rows[ne + c], rows[sw + c], rows[se + c]
                        out[to * channels + c] = f * (w * k + x * m + y * n + z * o)
                        p, q, r, s = p + g * k, q + g * m, r + g * n, s + g * o
                    at = first * a[TAPS] + to
                    grad_mask[at] = w * p + x * q + y * r + z * s
                    above, below = left * p + right * q, left * r + right * s
                    grad_offset[2 * at] = f * (v[0] * above + v[1] * below)
                    before, behind = up * p + down * r, up * q + down * s
                    grad_offset[2 * at + 1] = f * (h[0] * before + h[1] * behind)
                    to += 1


def _scatter(a: Any) -> None:
    """Add to the gradient of the map; a thread has channels of an image for itself."""
    first, last, channels = a[FIRST], a[LAST], a[CHANNELS]
    out, grad = _floats(a[OUT]), _floats(a[GRAD])
    kernel_width, kernel_height = a[KERNEL_WIDTH], a[TAPS] // a[KERNEL_WIDTH]
    cells, parts = a[OUT_HEIGHT] * a[OUT_WIDTH], (channels + PART - 1) // PART
    while True:
        work = _take(a, 1)
        image, channel = first // cells + work // parts, work % parts * PART
        if image * cells >= last:
            return
        count = min(PART, channels - channel)
        for cell in range(max(first, image * cells), min(last, (image + 1) * cells)):
            place, at = _place(a, cell), (cell - first) * a[TAPS] * channels + channel
            for i in range(kernel_height):
                for j in range(kernel_width):
                    corners, (up, down), (left, right), _, _, f = _around(a, place, i, j)
                    weights = (up * left * f, up * right * f, down * left * f, down * right * f)
                    for corner in range(4):
                        to, weight = corners[corner] + channel, weights[corner]
                        for c in range(count):
                            out[to + c] += weight * grad[at + c]
                    at += channels


def _openmp() -> Any:
    """`GOMP_parallel` of the OpenMP library that torch itself is linked to."""
    library = next(Path(torch.__file__).parent.glob("lib/libtorch_cpu.*"))
    parallel = ctypes.CDLL(str(library)).GOMP_parallel  # looked for in what the library needs, too
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return parallel


_parallel = _openmp()


@functools.cache
def _compiled(function: Callable[[Any], None]) -> int:
    """Address of the machine code of a function of int64*; from numba's cache where it has it."""
    options = {"fastmath": {"contract", "reassoc"}, "nopython": True}
    try:
        kernel = numba.cfunc(types.void(_INTEGERS), cache=True, **options)(function)
    except Exception:  # no folder of its cache can be written, the disk is full, a file is damaged
        kernel = numba.cfunc(types.void(_INTEGERS), **options)(function)
    _code.append(kernel)
    return kernel.address


_code: list[Any] = []  # or it would be freed


def compile_one() -> None:
    """Raise what numba meets on this machine."""
    _compiled(_sample)


_kept = threading.local()  # samples of each thread: new pages of memory take time


class Sampler(deform_sampling.Sampler):
    """The same for float32."""

    forward_bytes = backward_bytes = 8 << 20  # what stays in the caches of two cores

    def sample(self, block: Block) -> Tensor:
        return self._run(_sample, block, self._samples(block))

    def add_gradients(self, block: Block, grad_samples: Tensor, grads: Gradients) -> Tensor:
        grad_samples = grad_samples.contiguous()
        if grads.rows is not None:
            self._run(_scatter, block, grads.rows, grad_samples)
        more = grad_samples, grads.offset, grads.mask
        return self._run(_differentiate, block, self._samples(block), *more)

    def _samples(self, block: Block) -> Tensor:
        """(cells, T * C) numbers of any value."""
        shape = [(part.stop - part.start) for part in block]
        count = shape[0] * shape[1] * self.mask.shape[2] * self.rows.shape[1]
        if len(getattr(_kept, "memory", ())) < count:
            _kept.memory = torch.empty(count, dtype=torch.float32, device="cpu")
        return _kept.memory[:count].view(shape[0] * shape[1], -1)

    def _run(
        self, function: Callable[[Any], None], block: Block, out: Tensor, *more: Tensor
    ) -> Tensor:
        """Call a compiled function in all threads."""
        images, part = block
        of, (_, cells, taps) = self.geometry, self.mask.shape
        first, last = images.start * cells + part.start, (images.stop - 1) * cells + part.stop
        places = (tensor.data_ptr() for tensor in (self.rows, self.offset, self.mask, out))
        sizes = (self.rows.shape[1], *of.size, *of.out_size, taps, of.kernel_size[1])
        steps = (of.stride, of.padding, of.dilation, *self.offset.stride(), *self.mask.stride())
        more_places = (tensor.data_ptr() for tensor in more)
        numbers = (0, first, last, *places, *sizes, *steps, *more_places)
        arguments = (ctypes.c_int64 * len(numbers))(*numbers)
        _parallel(_compiled(function), arguments, torch.get_num_threads(), 0)
        return out
