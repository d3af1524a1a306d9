"""Decoding of corners against torch's own max-pool and top-k, in one run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.decoding.center_check import CenterCheck, center_check
from centernet_d2.decoding.corner_pairs import keypoints_at_peaks, pair_corners
from centernet_d2.structures.predictions import CornerPairs, KeypointMaps, Keypoints

from .comparing import comparison_rows

REFERENCE = "max_pool2d, flat top-k"
OURS = "ours"
CLASSES, VIEWS, SIDE = 80, 2, 128  # of an image and its flipped image at 511 x 511
MEMORY_FORMATS = {"standard": torch.contiguous_format, "channels-last": torch.channels_last}
CORNERS, TRIPLETS = 100, 70  # published numbers of keypoints of either detector

FindKeypoints = Callable[[KeypointMaps, int], Keypoints]


@BENCHMARK_REGISTRY.register()
@torch.inference_mode()
def corner_decoding(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds per image of what lies between the network and soft-NMS.

    One image with its flipped image, random maps of 80 classes on 128 x 128 cells. `corner pairs`:
    K = 100, from raw heatmaps of both corners to pairs; `corner pairs from probabilities`: without
    the sigmoid; `triplets`: K = 70, all three heatmaps, and the check for centers. What follows the
    peaks is the same code in both alternatives.
    """
    rows = []
    for memory, layout in MEMORY_FORMATS.items():
        maps = random_maps(options.torch_device, layout)
        ready = [probabilities(of_one) for of_one in maps]
        steps: dict[str, Callable[[FindKeypoints], object]] = {
            "peaks of one heatmap": lambda find, m=ready: find(m[0], CORNERS),
            "corner pairs from probabilities": partial(_pairs, *ready[:2], k=CORNERS),
            "corner pairs": partial(_raw_pairs, *maps[:2]),
            "triplets": partial(_triplets, maps),
        }
        for name, step in steps.items():
            calls = {REFERENCE: partial(step, plain_keypoints), OURS: partial(step, find_keypoints)}
            subject = {"step": name, "memory": memory}
            rows += comparison_rows(subject, options.time(calls), REFERENCE)
    return rows


def random_maps(device: torch.device, layout: torch.memory_format) -> list[KeypointMaps]:
    """Raw maps of top-left and bottom-right corners and of centers; the same for equal arguments.

    Args:
        device: where they lie.
        layout: memory format.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(channels: int, factor: float, summand: float) -> Tensor:
        values = torch.randn(VIEWS, channels, SIDE, SIDE, generator=generator)
        return (factor * values + summand).to(device).contiguous(memory_format=layout)

    return [
        KeypointMaps(
            heatmap=draw(CLASSES, 1.5, -4.0),
            offset=draw(2, 0.1, 0.5),
            embedding=draw(1, 0.5, 0.0) if is_corner else None,
        )
        for is_corner in (True, True, False)
    ]


def find_keypoints(maps: KeypointMaps, k: int) -> Keypoints:
    """Ours; `maps` hold probabilities."""
    return keypoints_at_peaks(maps, k, kernel=3)


def plain_keypoints(maps: KeypointMaps, k: int, kernel: int = 3) -> Keypoints:
    """The same by torch's 2-D max-pool and one top-k over all cells of all classes."""
    _images, _classes, height, width = maps.heatmap.shape
    highest = F.max_pool2d(maps.heatmap, kernel, stride=1, padding=kernel // 2)
    maxima = maps.heatmap * (maps.heatmap == highest)
    scores, index = maxima.flatten(1).topk(min(k, maxima[0].numel()))
    classes, cell = index // (height * width), index % (height * width)

    def read(values: Tensor) -> Tensor:
        place = cell[:, None].expand(-1, values.shape[1], -1)
        return values.flatten(2).gather(2, place).transpose(1, 2)

    return Keypoints(
        scores=scores,
        classes=classes,
        points=torch.stack([cell % width, cell // width], dim=-1) + read(maps.offset),
        embedding=None if maps.embedding is None else read(maps.embedding).squeeze(-1),
    )


def probabilities(maps: KeypointMaps) -> KeypointMaps:
    """The same with the sigmoid of the heatmap."""
    return KeypointMaps(maps.heatmap.sigmoid(), maps.offset, maps.embedding)


def _pairs(
    top_left: KeypointMaps, bottom_right: KeypointMaps, find: FindKeypoints, *, k: int
) -> CornerPairs:
    return pair_corners(find(top_left, k), find(bottom_right, k))


def _raw_pairs(
    top_left: KeypointMaps, bottom_right: KeypointMaps, find: FindKeypoints
) -> CornerPairs:
    return _pairs(probabilities(top_left), probabilities(bottom_right), find, k=CORNERS)


def _triplets(maps: list[KeypointMaps], find: FindKeypoints) -> CenterCheck:
    """Both views' pairs against both views' centers, in pixels (four to a cell) of one image.

    Random maps have no flipped image to turn back, so each view counts as it is.
    """
    top_left, bottom_right, center = (probabilities(of_one) for of_one in maps)
    pairs = _pairs(top_left, bottom_right, find, k=TRIPLETS)
    centers = find(center, TRIPLETS)
    fits = pairs.scores > -1
    classes, center_classes = pairs.classes[fits], centers.classes.flatten()
    return center_check(
        4 * pairs.boxes[fits],
        pairs.scores[fits],
        classes,
        torch.zeros_like(classes),
        4 * centers.points.flatten(0, 1),
        centers.scores.flatten(),
        center_classes,
        torch.zeros_like(center_classes),
    )
