"""Joint peaks and snapping against the published code's way of computing them, in one run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.decoding.joints import SnappingRule, joint_peaks, scores_at, snap_joints

from .comparing import comparison_rows

REFERENCE = "published form"
# name, images, persons, joints, candidates, side of the map
CASES = (
    ("100 persons, 17 joints, 100 candidates", 1, 100, 17, 100, 128),
    ("the same, 8 images", 8, 100, 17, 100, 128),
    ("100 animals, 68 joints, 100 candidates", 1, 100, 68, 100, 128),
)


@dataclass(frozen=True)
class JointInputs:
    """What decoding joints takes; N images, K persons, J joints."""

    heatmap: Tensor  # (N, J, h, w) probabilities
    offset: Tensor  # (N, 2, h, w)
    joints: Tensor  # (N, K, J, 2) regressed
    boxes: Tensor  # (N, K, 4)


@BENCHMARK_REGISTRY.register()
@torch.inference_mode()
def joints(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds from maps and regressed joints to snapped joints; joint peaks are included.

    Maps are noise (about 1800 peaks per joint, far more than persons have joints), persons random.
    """
    rows = []
    for name, images, persons, count, candidates, side in CASES:
        inputs = random_joints(images, persons, count, side, options.torch_device)
        maps = inputs.heatmap, inputs.offset
        calls = {
            REFERENCE: partial(published_form, inputs, candidates),
            "ours, published rule": partial(ours, inputs, candidates, "published"),
            "ours, paper's rule": partial(ours, inputs, candidates, "paper"),
            "ours, joint peaks alone": partial(joint_peaks, *maps, candidates),
        }
        rows += comparison_rows({"case": name}, options.time(calls), REFERENCE)
    return rows


def random_joints(
    images: int, persons: int, count: int, side: int, device: torch.device
) -> JointInputs:
    """Random inputs; the same for equal arguments."""
    generator = torch.Generator().manual_seed(0)
    center = side * torch.rand(images, persons, 2, generator=generator)
    size = side * (0.03 + 0.5 * torch.rand(images, persons, 2, generator=generator))
    spread = torch.rand(images, persons, count, 2, generator=generator) - 0.5
    noise = torch.randn(images, count, side, side, generator=generator)
    return JointInputs(
        heatmap=(2 * noise - 2).sigmoid().to(device),
        offset=torch.rand(images, 2, side, side, generator=generator).to(device),
        joints=(center[:, :, None] + spread * size[:, :, None]).to(device),
        boxes=torch.cat([center - size / 2, center + size / 2], dim=-1).to(device),
    )


def ours(inputs: JointInputs, candidates: int, name: str) -> Tensor:
    """Snapped joints (N, K, J, 2), with all that decoding computes besides."""
    peaks = joint_peaks(inputs.heatmap, inputs.offset, candidates)
    scores = scores_at(inputs.heatmap, inputs.joints)
    rule = SnappingRule(name, candidates=candidates)
    placed, moved, peak_scores = snap_joints(inputs.joints, inputs.boxes, peaks, rule)
    torch.where(moved, peak_scores, scores)
    return placed


def published_form(inputs: JointInputs, candidates: int) -> Tensor:
    """The published rule with a square pooling window, and all pairs as points.

    Every joint of every person is paired with all of its candidates, (N, J, K, M, 2) numbers.
    """
    heatmap = inputs.heatmap
    pooled = F.max_pool2d(heatmap, 3, stride=1, padding=1)
    scores, cell = (heatmap * (pooled == heatmap).float()).flatten(2).topk(candidates)
    width = heatmap.shape[-1]
    place = torch.stack([cell % width, cell // width], dim=-1).float()
    table = inputs.offset.permute(0, 2, 3, 1).flatten(1, 2)  # (N, h w, 2)
    index = cell.flatten(1)[..., None].expand(-1, -1, 2)
    place = place + table.gather(1, index).view_as(place)
    good = (scores > 0.1).float()[..., None]
    place = good * place - (1 - good) * 10000
    regressed = inputs.joints.permute(0, 2, 1, 3)[:, :, :, None]  # (N, J, K, 1, 2)
    persons = regressed.shape[2]
    pairs = place[:, :, None].expand(-1, -1, persons, -1, -1)
    distance, which = ((regressed - pairs) ** 2).sum(dim=4).sqrt().min(dim=3)
    found = pairs.gather(3, which[..., None, None].expand(-1, -1, -1, 1, 2)).squeeze(3)
    left, top, right, bottom = inputs.boxes[:, None].unbind(3)
    x, y = found.unbind(3)
    reach = 0.3 * torch.maximum(right - left, bottom - top)
    stays = (x < left) | (x > right) | (y < top) | (y > bottom) | (distance > reach)
    return torch.where(stays[..., None], regressed.squeeze(3), found).permute(0, 2, 1, 3)
