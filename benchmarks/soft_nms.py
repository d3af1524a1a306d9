"""Our soft-NMS against a loop over classes, and against torchvision's hard NMS, in one run."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.decoding.soft_nms import SoftNmsRule
from centernet_d2.decoding.soft_nms import soft_nms as our_soft_nms

from .comparing import comparison_rows

REFERENCE = "NumPy, class by class"
HARD = "torchvision batched_nms (hard)"
LIMIT = 100
# name, boxes per image, classes, images, boxes of the first class beyond its share.
CASES = (
    ("1000 boxes, 80 classes", 1000, 80, 1, 0),
    ("10000 boxes, 80 classes", 10000, 80, 1, 0),
    ("10000 boxes, 80 classes, 9000 of them one class", 1000, 80, 1, 9000),
    ("10000 boxes, 1 class", 10000, 1, 1, 0),
    ("8 images of 500 boxes, 80 classes", 500, 80, 8, 0),
)


@BENCHMARK_REGISTRY.register()
def soft_nms(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds for the best 100 of each image, and ratios to a loop over its classes.

    The loop is vectorised within a class. torchvision's NMS answers an easier question and is there
    for scale. Boxes are random: sides of 10 to 160 in an image of 640 x 640.
    """
    rows = []
    for name, *numbers in CASES:
        inputs = random_boxes(*numbers, options.torch_device)
        boxes, scores, classes, images = inputs
        group = images * (classes.max() + 1) + classes
        rules = SoftNmsRule(), SoftNmsRule(mode="reference")
        clean, reference = (partial(our_soft_nms, *inputs, rule=r, limit=LIMIT) for r in rules)
        calls = {
            REFERENCE: partial(numpy_loop, *inputs),
            "ours, clean": clean,
            "ours, reference": reference,
            HARD: partial(batched_nms, boxes, scores, group, 0.5),
        }
        rows += comparison_rows({"case": name}, options.time(calls), REFERENCE)
    return rows


def random_boxes(
    count: int, classes: int, images: int, crowd: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes, scores, classes and images; the same for equal arguments."""
    generator = torch.Generator().manual_seed(0)
    total = images * count + crowd
    center = 640 * torch.rand(total, 2, generator=generator)
    size = 10 + 150 * torch.rand(total, 2, generator=generator)
    label = torch.randint(0, classes, (total,), generator=generator)
    label[images * count :] = 0
    image = torch.arange(total) % images
    boxes = torch.cat([center - size / 2, center + size / 2], dim=1)
    scores = torch.rand(total, generator=generator)
    return boxes.to(device), scores.to(device), label.to(device), image.to(device)


def numpy_loop(boxes: Tensor, scores: Tensor, classes: Tensor, images: Tensor) -> np.ndarray:
    """The lowered scores of the best of each image, one image and class after the other."""
    table = torch.cat([boxes, scores[:, None]], dim=1).cpu().numpy()
    group = (images * (classes.max() + 1) + classes).cpu().numpy()
    owner = images.cpu().numpy()
    lowered = np.full(len(table), -1.0, np.float32)
    for label in np.unique(group):
        members = np.flatnonzero(group == label)
        lowered[members] = _numpy_group(table[members])
    return np.concatenate([np.sort(lowered[owner == i])[::-1][:LIMIT] for i in np.unique(owner)])


def _numpy_group(rows: np.ndarray) -> np.ndarray:
    area = (rows[:, 2] - rows[:, 0] + 1) * (rows[:, 3] - rows[:, 1] + 1)
    scores, done = rows[:, 4].copy(), np.full(len(rows), -1.0, np.float32)
    for _ in range(min(len(rows), LIMIT)):  # no group gives more than all together may
        best = scores.argmax()
        if scores[best] < 0:
            break
        done[best], scores[best] = scores[best], -1
        near = np.minimum(rows[:, 2:4], rows[best, 2:4]) - np.maximum(rows[:, :2], rows[best, :2])
        shared = np.maximum(near + 1, 0).prod(axis=1)
        overlap = shared / (area + area[best] - shared)
        scores *= np.exp(-(overlap**2) / 0.5)
        scores[(scores < 0.001) & (shared > 0)] = -1
    return done
