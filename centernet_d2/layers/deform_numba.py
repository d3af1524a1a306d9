"""Bilinear samples of a map, and their gradients, as compiled loops in the threads of torch.

The functions are those of `deform_sampling`, for float32. A team of torch's own OpenMP library
runs them: as many threads as torch has, none beside them, and as safe with several Python threads
and processes as torch itself. numba's own threads would compete with torch's, which spin after a
product. Needs numba, so import it where it is used: compiling takes seconds, once on a machine.
"""

import ctypes
import functools
import math
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

# Bytes of samples at a time: what stays in the caches of two cores.
FORWARD_BLOCK_BYTES = 5 << 20
BACKWARD_BLOCK_BYTES = 2 << 20
CELLS = 16  # output cells that a thread takes at a time
CHANNELS = 32  # of the gradient of the map that a thread takes at a time: two cache lines
_float32 = np.float32
_FLOATS, _INTEGERS = types.CPointer(types.float32), types.CPointer(types.int64)


@intrinsic
def _floats(typing: Any, address: Any) -> Any:
    """Pointer to float32 numbers from an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(_FLOATS))

    return _FLOATS(types.int64), generate


@intrinsic
def _integers(typing: Any, address: Any) -> Any:
    """Pointer to int64 numbers from an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(_INTEGERS))

    return _INTEGERS(types.int64), generate


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
    image, inside = cell // (a[10] * a[11]), cell % (a[10] * a[11])
    return image, inside, inside // a[11] * a[14] - a[15], inside % a[11] * a[14] - a[15]


@register_jitable
def _around(a: Any, place: Any, i: Any, j: Any) -> Any:
    """What tap (i, j) samples: four places in the map, weights and slopes by axis, the mask."""
    image, inside, row, column = place
    offset, mask, tap = _floats(a[4]), _floats(a[5]), i * a[13] + j
    channels, height, width, dilation = a[7], a[8], a[9], a[16]
    o = image * a[17] + inside * a[18] + tap * a[19]
    y = _float32(row + i * dilation) + offset[o]
    x = _float32(column + j * dilation) + offset[o + a[20]]
    rows, weights_y, slopes_y = _neighbours(y, height)
    columns, weights_x, slopes_x = _neighbours(x, width)
    top, bottom = (image * height + rows[0]) * width, (image * height + rows[1]) * width
    places = (
        (top + columns[0]) * channels,
        (top + columns[1]) * channels,
        (bottom + columns[0]) * channels,
        (bottom + columns[1]) * channels,
    )
    factor = mask[image * a[21] + inside * a[22] + tap * a[23]]
    return places, weights_y, weights_x, slopes_y, slopes_x, factor


def _sample(a: Any) -> None:
    first, last, rows, out, channels = a[1], a[2], _floats(a[3]), _floats(a[6]), a[7]
    kernel_width, kernel_height = a[13], a[12] // a[13]
    while True:
        begin = first + _take(a, CELLS)
        if begin >= last:
            return
        to = (begin - first) * a[12] * channels
        for cell in range(begin, min(begin + CELLS, last)):
            place = _place(a, cell)
            for i in range(kernel_height):
                for j in range(kernel_width):
                    (k, l, m, n), (up, down), (left, right), _, _, f = _around(a, place, i, j)
                    p, q, r, s = up * left * f, up * right * f, down * left * f, down * right * f
                    for c in range(channels):
                        out[to + c] = (
                            p * rows[k + c] + q * rows[l + c] + r * rows[m + c] + s * rows[n + c]
                        )
                    to += channels


def _differentiate(a: Any) -> None:
    """`_sample`, the gradients of offset and mask, and places and weights for `_scatter`."""
    grad, grad_offset, grad_mask = _floats(a[24]), _floats(a[25]), _floats(a[26])
    places, weights = _integers(a[27]), _floats(a[28])
    first, last, rows, out, channels = a[1], a[2], _floats(a[3]), _floats(a[6]), a[7]
    kernel_width, kernel_height = a[13], a[12] // a[13]
    zero = _float32(0)
    while True:
        begin = first + _take(a, CELLS)
        if begin >= last:
            return
        to = (begin - first) * a[12]
        for cell in range(begin, min(begin + CELLS, last)):
            place = _place(a, cell)
            for i in range(kernel_height):
                for j in range(kernel_width):
                    (k, l, m, n), (up, down), (left, right), y, x, f = _around(a, place, i, j)
                    p, q, r, s = up * left, up * right, down * left, down * right
                    places[4 * to], places[4 * to + 1] = k, l
                    places[4 * to + 2], places[4 * to + 3] = m, n
                    weights[4 * to], weights[4 * to + 1] = p * f, q * f
                    weights[4 * to + 2], weights[4 * to + 3] = r * f, s * f
                    sum_k, sum_l, sum_m, sum_n = zero, zero, zero, zero
                    for c in range(channels):
                        g = grad[to * channels + c]
                        at_k, at_l, at_m, at_n = rows[k + c], rows[l + c], rows[m + c], rows[n + c]
                        out[to * channels + c] = f * (p * at_k + q * at_l + r * at_m + s * at_n)
                        sum_k += g * at_k
                        sum_l += g * at_l
                        sum_m += g * at_m
                        sum_n += g * at_n
                    at = first * a[12] + to
                    grad_mask[at] = p * sum_k + q * sum_l + r * sum_m + s * sum_n
                    grad_offset[2 * at] = f * (
                        y[0] * (left * sum_k + right * sum_l)
                        + y[1] * (left * sum_m + right * sum_n)
                    )
                    grad_offset[2 * at + 1] = f * (
                        x[0] * (up * sum_k + down * sum_m) + x[1] * (up * sum_l + down * sum_n)
                    )
                    to += 1


def _scatter(a: Any) -> None:
    """Add to the gradient of the map; a thread has channels of an image for itself."""
    first, last, out, channels, taps = a[1], a[2], _floats(a[6]), a[7], a[12]
    grad, places, weights = _floats(a[24]), _integers(a[27]), _floats(a[28])
    cells, parts = a[10] * a[11], (channels + CHANNELS - 1) // CHANNELS
    while True:
        work = _take(a, 1)
        image, channel = first // cells + work // parts, work % parts * CHANNELS
        if image * cells >= last:
            return
        begin, count = max(first, image * cells) - first, min(CHANNELS, channels - channel)
        end = min(last, (image + 1) * cells) - first
        for n in range(begin * taps, end * taps):
            for corner in range(4 * n, 4 * n + 4):
                to, weight = places[corner] + channel, weights[corner]
                if count == CHANNELS:  # a constant: unrolled
                    for c in range(CHANNELS):
                        out[to + c] += weight * grad[n * channels + channel + c]
                else:
                    for c in range(count):
                        out[to + c] += weight * grad[n * channels + channel + c]


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
    except RuntimeError:  # neither the package's folder nor the user's can be written
        kernel = numba.cfunc(types.void(_INTEGERS), **options)(function)
    _kept.append(kernel)
    return kernel.address


_kept: list[Any] = []  # or the code would be freed


_buffers = threading.local()


class Sampler(deform_sampling.Sampler):
    """The same for float32."""

    forward_bytes = backward_bytes = 5 << 20  # what stays in the caches of two cores

    def sample(self, block: Block) -> Tensor:
        out = self._buffer("samples", block, self.rows.shape[1], torch.float32)
        self._run(_sample, block, out)
        return out.flatten(1)

    def add_gradients(self, block: Block, grad_samples: Tensor, grads: Gradients) -> Tensor:
        samples = self._buffer("samples", block, self.rows.shape[1], torch.float32)
        grad_samples = grad_samples.contiguous()
        places = self._buffer("places", block, 4, torch.int64)
        weights = self._buffer("weights", block, 4, torch.float32)
        more = grad_samples, grads.offset, grads.mask, places, weights
        self._run(_differentiate, block, samples, *more)
        if grads.rows is not None:
            self._run(_scatter, block, grads.rows, *more)
        return samples.flatten(1)

    def _buffer(self, name: str, block: Block, count: int, dtype: torch.dtype) -> Tensor:
        """(cells, T, count) numbers, in memory that a thread keeps: new pages take time."""
        shape = (math.prod(part.stop - part.start for part in block), self.mask.shape[2], count)
        size, kept = math.prod(shape), _buffers.__dict__.get(name)
        if kept is None or len(kept) < size:
            kept = _buffers.__dict__[name] = torch.empty(size, dtype=dtype)
        return kept[:size].view(shape)

    def _run(
        self, function: Callable[[Any], None], block: Block, out: Tensor, *more: Tensor
    ) -> None:
        """Call a compiled function in all threads; what the integers are is read off here."""
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
