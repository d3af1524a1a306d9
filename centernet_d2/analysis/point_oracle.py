"""Ground truth in place of the points detector's predictions ("Objects as Points", table 7)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..modeling.meta_arch.points_centernet import PointsCenterNet
from ..structures.predictions import CenterMaps
from ..structures.targets import Box3DTargets, CenterTargets, JointTargets, PeakIndex

HEATMAP, OFFSET = "heatmap", "offset"
Told = tuple[PeakIndex, Tensor, slice]  # where P true values are, (P, D), of which channels
LEAST = 1e-3  # metres: nearer has no logarithm worth telling


def _size(centers: CenterTargets, _: Any) -> Iterator[Told]:
    for slot in [None] if centers.slot is None else centers.slot.unique().tolist():
        rows = slice(None) if slot is None else (centers.slot == slot).nonzero()[:, 0]
        channels = slice(None) if slot is None else slice(2 * slot, 2 * slot + 2)
        yield centers.peaks[rows], centers.size[rows], channels


def _displacements(centers: CenterTargets, joints: JointTargets) -> Iterator[Told]:
    for joint in joints.joint.unique().tolist():
        rows = joints.joint == joint
        channels = slice(2 * joint, 2 * joint + 2)
        yield centers.peaks[joints.owner[rows]], joints.displacement[rows], channels


def _joint_offset(_: CenterTargets, joints: JointTargets) -> Iterator[Told]:
    yield joints.peaks, joints.offset, slice(None)


def _depth(centers: CenterTargets, boxes: Box3DTargets) -> Iterator[Told]:
    output = -boxes.depth.clamp(min=LEAST).log()  # of which depth_from_output is the depth
    yield from _where(centers, boxes.supervised, output[:, None])


def _dimensions(centers: CenterTargets, boxes: Box3DTargets) -> Iterator[Told]:
    yield from _where(centers, boxes.supervised, boxes.dimensions)


def _orientation(centers: CenterTargets, boxes: Box3DTargets) -> Iterator[Told]:
    """Per bin: logits of "not in it" and "in it", sine and cosine of the residual."""
    logits = torch.stack([~boxes.bins, boxes.bins], dim=-1).float()
    turns = torch.stack([boxes.residual.sin(), boxes.residual.cos()], dim=-1)
    told = torch.cat([logits, turns], dim=-1).flatten(1)
    yield centers.peaks[boxes.headed.nonzero()[:, 0]], told, slice(None)


# Branch -> the task whose targets tell it, and how.
VALUES: dict[str, tuple[str, Callable[[CenterTargets, Any], Iterator[Told]]]] = {
    "size": ("box2d", _size),
    "joint_displacement": ("pose", _displacements),
    "joint_offset": ("pose", _joint_offset),
    "depth": ("box3d", _depth),
    "dimensions": ("box3d", _dimensions),
    "orientation": ("box3d", _orientation),
}
JOINT_HEATMAP = "joint_heatmap"
SUBSTITUTES = (HEATMAP, OFFSET, JOINT_HEATMAP, *VALUES)


def known_substitutes(model: PointsCenterNet) -> list[str]:
    """What this detector predicts and can be told."""
    branches = {HEATMAP, *[OFFSET] * model.offset, *(n for t in model.tasks for n in t.branches(1))}
    return [name for name in SUBSTITUTES if name in branches]


def told_maps(
    maps: CenterMaps,
    centers: CenterTargets,
    task_targets: dict[str, Any],
    substitutes: Collection[str],
) -> CenterMaps:
    """Decoded maps with the ground truth of `substitutes`.

    Heatmaps are 1 in the cells of true points and 0 elsewhere: of the rendered Gaussians only the
    peaks are read. Every cell of another branch says what the nearest true point has (fewest steps
    along rows and columns, whatever its class), as the published program fills its maps. What is
    told of no object, such as the joints of an image without any, stays as predicted. Sizes are
    those that are learned: boxes end at the last cell, as published, so objects at the right and
    lower edge of a canvas without border lose up to a cell.
    """
    heatmap, offset, regressions = maps.heatmap, maps.offset, dict(maps.regressions)
    if HEATMAP in substitutes:
        heatmap = (centers.heatmap == 1).to(heatmap)
    if OFFSET in substitutes and offset is not None:
        offset = filled(offset, centers.peaks, centers.offset)
    for name in substitutes:
        if name == JOINT_HEATMAP:
            regressions[name] = (task_targets["pose"].heatmap == 1).to(regressions[name])
        elif name in VALUES:
            task, truth = VALUES[name]
            values = regressions[name].clone()
            for peaks, rows, channels in truth(centers, task_targets[task]):
                part = values[:, channels]
                rows = rows.repeat(1, part.shape[1] // rows.shape[1])  # sizes per class
                values[:, channels] = filled(part, peaks, rows)
            regressions[name] = values
    return replace(maps, heatmap=heatmap, offset=offset, regressions=regressions)


def filled(maps: Tensor, peaks: PeakIndex, values: Tensor) -> Tensor:
    """Maps (N, D, h, w) whose cells have the (P, D) values of the nearest of P peaks.

    Of equally near ones the first; images without any keep their maps.
    """
    maps, (height, width) = maps.clone(), maps.shape[-2:]
    device = maps.device
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    for image in peaks.image.unique().tolist():
        rows = (peaks.image == image).nonzero()[:, 0]
        down = (y[:, None] - peaks.y[rows]).abs()
        across = (x[:, None] - peaks.x[rows]).abs()
        nearest = (down[:, None] + across[None]).argmin(-1)  # (h, w)
        maps[image] = values[rows][nearest].permute(2, 0, 1).to(maps)
    return maps


def _where(centers: CenterTargets, known: Tensor, values: Tensor) -> Iterator[Told]:
    rows = known.nonzero()[:, 0]
    yield centers.peaks[rows], values[rows], slice(None)
