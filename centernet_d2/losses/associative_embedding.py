"""Embeddings of one object's corners together, of different objects apart.

CornerNet section 3.3, after associative embedding (Newell et al. 2017). P objects of a batch of N
images, at most M in one image.
"""

import torch
from torch import Tensor

from ..checked_values import check_choice
from ..structures.row_table import rows_by_group

EPSILON = 1e-4
"""Added to the normalisers, as published."""
REDUCTIONS = ("sum", "mean")


def associative_embedding_loss(
    top_left: Tensor,
    bottom_right: Tensor,
    image: Tensor,
    num_images: int,
    *,
    reduction: str = "sum",
    margin: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Pull and push of one-dimensional embeddings, read at the objects' corners.

    pull = sum over objects of ((t - e)^2 + (b - e)^2) / n, with e = (t + b) / 2 and n the objects
    of the image; push = sum over ordered pairs of objects of one image of max(0, margin - |e - e'|)
    / (n (n - 1)).

    As published, push also runs over the pairs of an object with itself and takes 1 / n off every
    pair, which cancels them but for about 1e-4. An image with a single object therefore adds a
    constant without gradient: 0.9999, or 1.00015 in float32, where the published logs show it too.
    Memory is N x M x M. Computed in float32 (or wider) also under autocast; zero but in the graph
    without objects.

    Args:
        top_left: (P,) embeddings t.
        bottom_right: (P,) embeddings b.
        image: (P,) int64 in 0..N-1, in any order.
        num_images: N.
        reduction: "sum" over the images (published), or "mean".
        margin: distance from which mean embeddings are apart.

    Returns:
        (pull, push), scalars.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    with torch.autocast(top_left.device.type, enabled=False):
        if top_left.dtype != torch.float64:
            top_left, bottom_right = top_left.float(), bottom_right.float()
        mean = (top_left + bottom_right) / 2
        # Unlike torch.bincount this does not wait for the GPU.
        rows = torch.arange(num_images, device=image.device)[:, None]
        count = (image == rows).sum(1).to(mean.dtype)
        distance = (top_left - mean).square() + (bottom_right - mean).square()
        pull = (distance / (count + EPSILON)[image]).sum()
        push = _push(mean, image, count, margin)
        divisor = num_images if reduction == "mean" else 1
        return pull / divisor, push / divisor


def _push(mean: Tensor, image: Tensor, count: Tensor, margin: float) -> Tensor:
    """Sum over the pairs of each image, in a table with one row per image."""
    if not len(mean):
        return mean.sum()
    rows = rows_by_group(image, count.long())
    table, there = mean[rows], rows >= 0
    pairs = there[:, :, None] & there[:, None, :]
    close = (margin - (table[:, :, None] - table[:, None, :]).abs()).clamp(min=0)
    close = close - 1 / (count + EPSILON)[:, None, None]
    per_image = torch.where(pairs, close, 0).sum((1, 2))
    return (per_image / (count * (count - 1) + EPSILON)).sum()
