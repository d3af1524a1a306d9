"""Heatmap -> its best local maxima. N images, C classes, K peaks, (h, w) output map.

Eager code and graphs (exported, traced, compiled) give the same by different operators: torch's 2-D
max-pool and its top-k over many values take most of the time on a CPU, so eager code there takes
maxima along each axis, and of a large map looks at the few cells alone that can be among the best.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checked_values import check_at_least, check_value, odd
from ..structures.predictions import Peaks

LARGE = 2**18
"""Values of an image's heatmap from which on a bound is sought first; of smaller ones so many are
searched at once, which a processor's cache holds."""
FEW = 4
"""Where more than one in so many cells reach the bound, it does not help."""


@dataclass(frozen=True)
class PeakSearch:
    """Which cells of a heatmap are found: the `top_k` highest local maxima of each image."""

    kernel: int = 3  # side of the window in which a peak must be the maximum, see `local_maxima`
    top_k: int = 100  # peaks per image, over all classes

    def __post_init__(self) -> None:
        check_value("kernel", self.kernel, odd)
        check_at_least("top_k", self.top_k, 1)

    def __call__(self, heatmap: Tensor) -> Peaks:
        """The best peaks of a heatmap (N, C, h, w) of probabilities, see `top_peaks`."""
        return top_peaks(heatmap, self.top_k, self.kernel)


def local_maxima(heatmap: Tensor, kernel: int = 3) -> Tensor:
    """Heatmap (N, C, h, w) with all cells but local maxima set to 0.

    A cell stays when no cell of the window of side `kernel` around it is higher, so all cells of a
    plateau stay (published behaviour). NaN, which is neither higher nor lower, stays visible
    instead of turning into a score of 0; so do its neighbours. The heatmap is finite but for NaN,
    in any memory format, which the result keeps; the kernel is odd, and 1 keeps every cell.
    """
    check_value("kernel", kernel, odd)
    if not _is_eager_on_cpu(heatmap):
        highest = F.max_pool2d(heatmap, kernel, stride=1, padding=kernel // 2)
        # By a product: onnxruntime selects slowly.
        return heatmap * (heatmap < highest).logical_not()
    values = heatmap.detach()
    highest = _highest_along(_highest_along(values, 2, kernel // 2), 3, kernel // 2)
    # In floating point, as booleans are slow here: 1 where a neighbour is higher, and x - x * 1.
    return torch.addcmul(heatmap, heatmap, highest.gt_(values), value=-1)


def _is_eager_on_cpu(heatmap: Tensor) -> bool:
    in_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return heatmap.device.type == "cpu" and not in_graph


def _highest_along(values: Tensor, axis: int, reach: int) -> Tensor:
    """The highest of values (N, C, h, w) within `reach` cells along an axis; a new tensor."""
    highest = values.clone()
    length = values.shape[axis]
    for shift in range(1, min(reach + 1, length)):
        rest = length - shift
        highest.narrow(axis, 0, rest).clamp_min_(values.narrow(axis, shift, rest))
        highest.narrow(axis, shift, rest).clamp_min_(values.narrow(axis, 0, rest))
    return highest


def channel_peaks(heatmap: Tensor, k: int, kernel: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """The `k` highest local maxima of each channel: scores, y and x, each (N, C, K), best first.

    The heatmap (N, C, h, w) has probabilities. There are fewer peaks where it has fewer cells;
    where it has fewer maxima, the last score 0.
    """
    height, width = heatmap.shape[-2:]
    scores, cell = local_maxima(heatmap, kernel).flatten(2).topk(_at_most(k, height * width))
    y = torch.div(cell, width, rounding_mode="floor")
    return scores, y, cell - y * width  # not `%`: exporters do not take it with a symbolic width


def top_peaks(heatmap: Tensor, k: int, kernel: int = 3) -> Peaks:
    """The `k` highest local maxima of each image over all classes, best first.

    The heatmap (N, C, h, w) has probabilities. There are fewer peaks where it has fewer cells, all
    classes counted. Which of equal scores come first, or last among the `k`, is not defined
    (published behaviour) but always the same.
    """
    if not _is_eager_on_cpu(heatmap):
        return Peaks(*_best_of_all(heatmap, k, kernel))
    size = heatmap.shape[1:].numel()
    search = _best_above_bound if len(heatmap) and size >= LARGE else _best_of_all
    found = [search(images, k, kernel) for images in heatmap.split(max(1, LARGE // max(1, size)))]
    return Peaks(*map(torch.cat, zip(*found, strict=True)))


def _best_above_bound(heatmap: Tensor, k: int, kernel: int) -> tuple[Tensor, ...]:
    """`top_peaks` of one image (1, C, h, w): scores, classes, y and x, (1, K) each.

    Where the highest class of a cell is the highest of all classes around, it is a peak. So the
    k-th best of these cells is a bound, and only what is as high can be among the k best peaks.
    Whether so many are found is asked in the end; NaN and equal values may have spoiled the bound.
    """
    (height, width), reach = heatmap.shape[-2:], kernel // 2
    highest, values = heatmap.amax(1), heatmap[0]
    certain = local_maxima(highest[None], kernel).flatten()
    bound = certain.topk(min(k, len(certain))).values[-1]
    y, x = (highest[0] < bound).logical_not_().nonzero().unbind(1)
    if not bound > 0 or len(y) * FEW > height * width:
        return _best_of_all(heatmap, k, kernel)
    rows = values[:, y, x]
    classes, cell = (rows < bound).logical_not_().nonzero().unbind(1)
    scores, y, x = rows[classes, cell], y[cell], x[cell]
    around = torch.arange(-reach, reach + 1, device=heatmap.device)
    rows, columns = (at[:, None] + around for at in (y, x))
    rows, columns = rows.clamp_(0, height - 1)[:, :, None], columns.clamp_(0, width - 1)[:, None]
    window = values[classes[:, None, None], rows, columns]
    peaks = (scores < window.amax((1, 2))).logical_not_().nonzero()[:, 0]
    if len(peaks) < k:
        return _best_of_all(heatmap, k, kernel)
    scores, best = scores[peaks].topk(k)
    best = peaks[best]
    return tuple(part[None] for part in (scores, classes[best], y[best], x[best]))


def _at_most(k: int, cells: int) -> int:
    """The lesser one; asked like this, an exporter decides it once, and `min` it keeps open."""
    return k if k <= cells else cells


def _highest_class(maxima: Tensor) -> Tensor:
    """The highest of maxima (N, C, h, w) in each cell, (N, h, w)."""
    if not torch.compiler.is_exporting():
        return maxima.amax(1)
    while (classes := maxima.shape[1]) > 1:  # by halves: onnxruntime reduces this axis slowly
        half = classes - classes // 2
        maxima = torch.maximum(maxima[:, :half], maxima[:, -half:])
    return maxima[:, 0]


def _best_of_all(heatmap: Tensor, k: int, kernel: int) -> tuple[Tensor, ...]:
    """Scores, classes, y and x of `top_peaks`, (N, K) each, from all local maxima."""
    maxima = local_maxima(heatmap, kernel)
    _num_images, num_classes, height, width = maxima.shape
    # The k best values lie in the k cells whose best classes are best, or equal what lies there.
    _, cell = _highest_class(maxima).flatten(1).topk(_at_most(k, height * width))
    values = maxima.flatten(2).gather(2, cell[:, None].expand(-1, num_classes, -1)).flatten(1)
    scores, best = values.topk(_at_most(k, values.shape[1]))
    classes = torch.div(best, cell.shape[1], rounding_mode="floor")
    cell = cell.gather(1, best - classes * cell.shape[1])
    y = torch.div(cell, width, rounding_mode="floor")
    return scores, classes, y, cell - y * width  # no `%`: exporters want no symbolic width there
