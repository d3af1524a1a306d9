"""Regressed joints -> the joint peaks that they mean ("Objects as Points", section 4.2).

N images, K objects, J joints, M candidates of each joint, (h, w) output map. All joints of all
objects go together: no loop over objects or joints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checked_values import check_at_least, check_choice
from .center_boxes import NO_OFFSET
from .peaks import channel_peaks

SNAPPING = ("published", "paper", "none")
INF = float("inf")


@dataclass(frozen=True)
class SnappingRule:
    """When a regressed joint moves to a peak of the joint heatmap.

    "published" (the published code): the nearest peak of all is looked at, and taken where it lies
    in the object's box and no further away than `max_distance`; so a nearest peak outside the box
    keeps a second-nearest inside from being taken. "paper" (section 4.2): the nearest of the peaks
    in the box, however far. "none": joints stay where they were regressed to.
    """

    name: str = "published"
    candidates: int = 100  # peaks looked at per joint and image, M
    score_threshold: float = 0.1  # peaks at or below are none
    max_distance: float = 0.3  # of "published", in longer sides of the object's box
    kernel: int = 3  # side of the window in which a peak must be the maximum, see `local_maxima`

    def __post_init__(self) -> None:
        check_choice("snapping", self.name, SNAPPING)
        check_at_least("candidates", self.candidates, 1)


@dataclass(frozen=True)
class JointPeaks:
    """The M highest local maxima of each joint's heatmap."""

    scores: Tensor  # (N, J, M)
    x: Tensor  # (N, J, M) on the output map, refined
    y: Tensor  # (N, J, M)


def joint_peaks(heatmap: Tensor, offset: Tensor | None, k: int, kernel: int = 3) -> JointPeaks:
    """The `k` best peaks of each joint's heatmap (N, J, h, w), probabilities.

    `offset` (N, 2, h, w) is joint minus cell, for all joints; None: joints lie half a cell further.
    """
    scores, y, x = channel_peaks(heatmap, k, kernel)
    if offset is None:
        return JointPeaks(scores, x + NO_OFFSET, y + NO_OFFSET)
    # Picked from the flat map: indexing by image, row and column is several times slower.
    cell = (y * heatmap.shape[-1] + x).flatten(1)[:, None].expand(-1, 2, -1)
    dx, dy = offset.flatten(2).gather(2, cell).unflatten(2, scores.shape[1:]).unbind(1)
    return JointPeaks(scores, x + dx, y + dy)


def snap_joints(
    joints: Tensor, boxes: Tensor, peaks: JointPeaks, rule: SnappingRule
) -> tuple[Tensor, Tensor, Tensor]:
    """Move regressed joints to peaks.

    Args:
        joints: (N, K, J, 2) x, y on the output map.
        boxes: (N, K, 4) x1, y1, x2, y2 on the output map, not clipped.
        peaks: candidates.
        rule: "published" or "paper".

    Returns:
        joints (N, K, J, 2), those that stay as they were; (N, K, J) bool, which moved; and
        (N, K, J) scores of the peaks that they moved to, 0 for the others.
    """
    by_joint = joints.transpose(1, 2)  # (N, J, K, 2), as candidates belong to joints
    candidate_x, candidate_y = peaks.x[:, :, None], peaks.y[:, :, None]  # (N, J, 1, M)
    # A candidate infinitely far away is none.
    candidate_x = candidate_x.masked_fill(~(peaks.scores > rule.score_threshold)[:, :, None], INF)
    corners = boxes[:, None, :, :, None].unbind(3)  # (N, 1, K, 1) each
    distance = (candidate_x - by_joint[..., :1]).square()
    distance += (candidate_y - by_joint[..., 1:]).square()  # (N, J, K, M)
    if rule.name == "paper":
        distance = distance.masked_fill(~_inside(candidate_x, candidate_y, corners), INF)
    nearest, which = distance.min(dim=3)

    def chosen(values: Tensor) -> Tensor:  # (N, J, M) -> (N, J, K)
        return values.gather(2, which)

    moves = nearest < INF
    if rule.name == "published":
        found_x, found_y = chosen(peaks.x)[..., None], chosen(peaks.y)[..., None]
        moves &= _inside(found_x, found_y, corners).squeeze(3)
        longer = (boxes[..., 2:] - boxes[..., :2]).amax(-1)
        moves &= nearest.sqrt() <= (rule.max_distance * longer)[:, None]
    snapped = torch.stack([chosen(peaks.x), chosen(peaks.y)], dim=-1)
    placed = torch.where(moves[..., None], snapped, by_joint)
    scores = torch.where(moves, chosen(peaks.scores), 0)
    return placed.transpose(1, 2), moves.transpose(1, 2), scores.transpose(1, 2)


def scores_at(heatmap: Tensor, joints: Tensor) -> Tensor:
    """Values of a joint heatmap (N, J, h, w) at the cells of joints (N, K, J, 2): (N, K, J).

    Joints outside the map have the value of the nearest cell inside.
    """
    height, width = heatmap.shape[-2:]
    x = joints[..., 0].nan_to_num().clamp(0, width - 1).long()
    y = joints[..., 1].nan_to_num().clamp(0, height - 1).long()
    return heatmap.flatten(2).gather(2, (y * width + x).transpose(1, 2)).transpose(1, 2)


def _inside(x: Tensor, y: Tensor, corners: tuple[Tensor, ...]) -> Tensor:
    left, top, right, bottom = corners
    return (x >= left) & (y >= top) & (x <= right) & (y <= bottom)
