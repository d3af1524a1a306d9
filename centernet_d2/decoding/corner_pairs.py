"""Corners -> pairs that make boxes (CornerNet section 3.1). N images, K corners, M pairs."""

import torch
from torch import Tensor

from ..structures.predictions import CornerPairs, KeypointMaps, Keypoints
from .peaks import top_peaks

NO_PAIR = -1.0


def keypoints_at_peaks(maps: KeypointMaps, k: int, kernel: int = 3) -> Keypoints:
    """The `k` best local maxima of each image over all classes, with what is predicted there.

    Heatmaps are probabilities; see `top_peaks`. Points are on the output map, cell plus offset, not
    clipped.
    """
    peaks = top_peaks(maps.heatmap, k, kernel)
    cell = torch.stack([peaks.x, peaks.y], dim=-1)
    embedding = None if maps.embedding is None else peaks.gather(maps.embedding).squeeze(-1)
    return Keypoints(
        scores=peaks.scores,
        classes=peaks.classes,
        points=cell + peaks.gather(maps.offset),
        embedding=embedding,
    )


def pair_corners(
    top_left: Keypoints,
    bottom_right: Keypoints,
    *,
    embedding_threshold: float = 0.5,
    max_pairs: int = 1000,
) -> CornerPairs:
    """The best pairs among all combinations of a top-left and a bottom-right corner.

    A pair has one class, a bottom-right corner that is neither left of nor above the top-left one,
    and embeddings that differ by the threshold at most. Its score is the mean of both corners'.

    There are at most `max_pairs` rows (published: 1000), pairs first, by descending score; rows
    that are no pair fill up. Boxes are in the frame of the corners.
    """
    if top_left.embedding is None or bottom_right.embedding is None:
        raise ValueError("pair_corners needs the embeddings of both corners")
    scores = (top_left.scores[:, :, None] + bottom_right.scores[:, None, :]) / 2
    distance = top_left.embedding[:, :, None] - bottom_right.embedding[:, None, :]
    (left, top), (right, bottom) = top_left.points.unbind(-1), bottom_right.points.unbind(-1)
    fits = top_left.classes[:, :, None] == bottom_right.classes[:, None, :]
    fits &= ~(distance.abs() > embedding_threshold)
    fits &= ~(right[:, None, :] < left[:, :, None])
    fits &= ~(bottom[:, None, :] < top[:, :, None])
    scores = torch.where(fits, scores, NO_PAIR).flatten(1)
    scores, best = scores.topk(min(max_pairs, scores.shape[1]))
    columns = bottom_right.scores.shape[1]
    first = torch.div(best, columns, rounding_mode="floor")
    second = best - first * columns
    corner_scores = [top_left.scores.gather(1, first), bottom_right.scores.gather(1, second)]
    return CornerPairs(
        boxes=torch.cat([_rows(top_left.points, first), _rows(bottom_right.points, second)], -1),
        scores=scores,
        corner_scores=torch.stack(corner_scores, dim=-1),
        classes=top_left.classes.gather(1, first),
    )


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (N, M, D) of values (N, K, D) at index (N, M)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[-1]))
