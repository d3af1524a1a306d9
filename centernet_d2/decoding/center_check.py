"""Pairs of corners that have a center in their middle (triplet CenterNet sections 3.1 and 3.2).

R pairs and Q centers of a batch, both in the frame of the images; S pairs stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checked_values import check_choice
from ..structures.row_table import rows_by_group

CHOICES = ("first", "best")


@dataclass(frozen=True)
class CenterCheck:
    """What stays: image by image, by descending score."""

    rows: Tensor  # (S,) int64, rows of the pairs
    scores: Tensor  # (S,) mean of the scores of both corners and the center
    centers: Tensor  # (S,) int64, row of the center


def check_center_rule(parts: Sequence[int], choice: str) -> None:
    """Raise ValueError for what `center_check` cannot use."""
    check_choice("center_choice", choice, CHOICES)
    if len(parts) != 2 or any(part < 1 or part % 2 == 0 for part in parts):
        wanted = "two odd numbers, for small and for large boxes"
        raise ValueError(f"region_parts must be {wanted}; got {list(parts)}")


def central_regions(boxes: Tensor, *, region_side: float, parts: Sequence[int]) -> Tensor:
    """Middle parts (..., 4) of boxes (..., 4), x1, y1, x2, y2 (equation 1 of the triplet paper).

    Args:
        boxes: in pixels of the image.
        region_side: boxes of at most this squared area are small.
        parts: of small and of large boxes, into how many parts each side is cut; the middle one is
            the region, so odd numbers. Of `n` parts it goes from ((n + 1) x1 + (n - 1) x2) / 2n to
            ((n - 1) x1 + (n + 1) x2) / 2n, and likewise in y.
    """
    small = _areas(boxes) <= region_side**2
    cuts = torch.where(small, parts[0], parts[1])[..., None]
    near, far = (cuts + 1) // 2, (cuts - 1) // 2
    low, high = boxes[..., :2], boxes[..., 2:]
    # Not `low + share * (high - low)`: rounded like this, both sides of an empty box are the same.
    return torch.cat([(near * low + far * high) / cuts, (far * low + near * high) / cuts], dim=-1)


def center_check(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    images: Tensor,
    centers: Tensor,
    center_scores: Tensor,
    center_classes: Tensor,
    center_images: Tensor,
    *,
    region_side: float = 150.0,
    parts: Sequence[int] = (3, 5),
    choice: str = "first",
) -> CenterCheck:
    """Keep the pairs with a center of their class strictly within their central region.

    Their scores become (2 * pair + center) / 3, the mean of three where the pair's score is the
    mean of its corners'. A box without area has no inside, so it never stays.

    Args:
        boxes: (R, 4) x1, y1, x2, y2 in pixels of the image.
        scores: (R,) of the pairs.
        classes: (R,) int64.
        images: (R,) int64 number of each pair's image.
        centers: (Q, 2) as (x, y) in the same frame.
        center_scores: (Q,).
        center_classes: (Q,) int64.
        center_images: (Q,) int64.
        region_side: see `central_regions` (published: 150).
        parts: likewise (published: 3 and 5).
        choice: which of several centers counts: the "first" of the given order (published), or the
            "best".

    Returns:
        Of equal scores large boxes come before small ones, then the given order counts (published:
        their order is that of an unstable sort).
    """
    check_center_rule(parts, choice)
    if not len(boxes) or not len(centers):
        nothing = images.new_zeros(0)
        return CenterCheck(nothing, scores[:0], nothing)
    num_classes = 1 + max(int(classes.max()), int(center_classes.max()))
    group = images * num_classes + classes
    center_group = center_images * num_classes + center_classes
    candidates = rows_by_group(
        center_group,
        torch.bincount(center_group, minlength=1 + int(group.max())),
        order=center_scores.argsort(descending=True, stable=True) if choice == "best" else None,
    )
    region = central_regions(boxes, region_side=region_side, parts=parts)
    stays, place = _first_inside(region, centers[candidates][group], (candidates >= 0)[group])
    rows = stays.nonzero().squeeze(1)
    matched = candidates[group[rows], place[rows]]
    new_scores = (2 * scores[rows] + center_scores[matched]) / 3
    # Stable sorts, the least important one first.
    final = (_areas(boxes[rows]) <= region_side**2).int().argsort(stable=True)
    final = final[new_scores[final].argsort(descending=True, stable=True)]
    final = final[images[rows[final]].argsort(stable=True)]
    return CenterCheck(rows[final], new_scores[final], matched[final])


def check_candidates(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    centers: Tensor,
    center_scores: Tensor,
    center_classes: Tensor,
    *,
    region_side: float,
    parts: Sequence[int],
    choice: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """`center_check` of N images with M pairs and Q centers each, for graphs: no row leaves.

    Takes the same as (N, M, 4), (N, M), (N, M), (N, Q, 2), (N, Q) and (N, Q).

    Returns:
        (N, M) bool, which stay; their scores, and the place of their center among the Q.
    """
    if choice == "best":
        order = _descending(center_scores)
        centers = centers.gather(1, order[..., None].expand(-1, -1, 2))
        center_scores, center_classes = (
            center_scores.gather(1, order),
            center_classes.gather(1, order),
        )
    region = central_regions(boxes, region_side=region_side, parts=parts)
    same = classes[:, :, None] == center_classes[:, None]
    stays, place = _first_inside(region, centers[:, None], same)
    scores = (2 * scores + center_scores.gather(1, place)) / 3
    return stays, scores, order.gather(1, place) if choice == "best" else place


def _descending(scores: Tensor) -> Tensor:
    """Places of scores (N, Q) from the highest to the lowest, equal ones in their order.

    By counting, since ONNX has no stable sort.
    """
    numbers = torch.arange(scores.shape[1], device=scores.device)
    one, other = scores[:, :, None], scores[:, None]
    before = (other > one) | ((other == one) & (numbers < numbers[:, None]))
    return torch.zeros_like(scores, dtype=torch.int64).scatter(
        1, before.sum(-1), numbers.expand(scores.shape)
    )


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def _first_inside(region: Tensor, points: Tensor, is_point: Tensor) -> tuple[Tensor, Tensor]:
    """Whether points (..., R, Q, 2) are strictly inside regions (..., R, 4): any, and the first.

    Both (..., R). `is_point` (..., R, Q) tells points from what fills up. NaN is not known to be
    outside.
    """
    x, y = points.unbind(-1)
    left, top, right, bottom = region[..., None].unbind(-2)
    inside = is_point & ~((x <= left) | (x >= right) | (y <= top) | (y >= bottom))
    return inside.any(-1), inside.byte().argmax(-1)
