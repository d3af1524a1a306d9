"""Seconds of KITTI's scores for a split of the size of 3DOP's, on made-up objects."""

from __future__ import annotations

from functools import partial

import numpy as np

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.data.datasets.kitti import KITTI_RULES
from centernet_d2.evaluation.kitti_ap import score_kitti
from centernet_d2.evaluation.kitti_evaluation import min_overlaps
from centernet_d2.evaluation.kitti_objects import DONT_CARE, KittiDetections, KittiTruth
from centernet_d2.evaluation.kitti_overlap import METRICS, overlapping_pairs
from centernet_d2.structures.box3d_records import NO_BOX3D

CLASSES = KITTI_RULES.classes
# Height, width, length in metres; about the means of KITTI's labels.
SIZES = np.array([[1.76, 0.66, 0.84], [1.53, 1.63, 3.88], [1.74, 0.60, 1.76]])
SHARES = (0.13, 0.82, 0.05)
FOCAL_LENGTH, MIDDLE = 721.5, (609.6, 172.9)  # pixels
# name, frames, objects per frame, detections per frame. 3DOP's validation split has 3769 frames
# with about 4.7 objects of the classes; the published detector keeps few detections above 0.2, and
# never more than 100.
CASES = (
    ("3769 frames, 10 detections each", 3769, 7, 10),
    ("3769 frames, 30 detections each", 3769, 7, 30),
    ("3769 frames, 100 detections each", 3769, 7, 100),
)


@BENCHMARK_REGISTRY.register()
def kitti_scores(options: BenchmarkOptions) -> list[Row]:
    """Seconds for all curves: three classes and difficulties, four metrics, both tables.

    The overlaps, image and rotated, are also timed alone. Every case runs three times at most.
    """
    rows = []
    for name, frames, objects, found in CASES[: 2 if options.short else None]:
        truth, detections = random_split(frames, objects, found, seed=0)
        calls = {
            "overlaps": partial(overlapping_pairs, truth, detections, METRICS, 0.25),
            "all": partial(score_kitti, truth, detections, min_overlaps(CLASSES)),
        }
        timings = options.time(calls, most_rounds=3, warm_up=0)
        rows += [
            {
                "case": name,
                "part": part,
                "objects": len(truth),
                "detections": len(detections),
                "seconds": round(timing.median, 3),
                "spread": timing.spread,
            }
            for part, timing in timings.items()
        ]
    return rows


def random_split(
    frames: int, objects: int, found: int, *, seed: int, jitter: float = 1.0
) -> tuple[KittiTruth, KittiDetections]:
    """Objects on a plane, and detections near them; the same for equal arguments.

    One object of ten is of a neighbor class, one of ten is a DontCare region. A detection lies near
    a random object of its frame, sometimes with another class. Scores have two decimals, so many
    are equal.

    Args:
        frames: how many.
        objects: of each frame on average.
        found: detections of each frame on average.
        seed: of the random numbers.
        jitter: how far detections are off; 1 gives overlaps between 0 and 1.
    """
    rng = np.random.default_rng(seed)
    count = frames * objects
    frame = np.sort(rng.integers(0, frames, count))
    label = rng.choice(len(CLASSES), count, p=SHARES)
    boxes3d = _random_boxes(rng, label)
    region = rng.random(count) < 0.1
    truth = KittiTruth(
        frame=frame,
        label=np.where(region, DONT_CARE, label),
        neighbor=(rng.random(count) < 0.1) & ~region,
        boxes=_in_image(boxes3d),
        boxes3d=np.where(region[:, None], NO_BOX3D, boxes3d),
        truncated=rng.choice([0.0, 0.2, 0.4, 0.6], count, p=[0.7, 0.1, 0.1, 0.1]),
        occluded=rng.integers(0, 4, count),
    )
    near = np.sort(rng.integers(0, count, frames * found))  # the row, and so the frame
    moved = boxes3d[near] + jitter * rng.normal(
        0, [0.3, 0.1, 0.6, 0.1, 0.1, 0.2, 0.2, 0.2], (len(near), 8)
    )
    boxes = _in_image(boxes3d[near])
    spread = (boxes[:, 2:] - boxes[:, :2]).repeat(2, axis=1)
    detections = KittiDetections(
        frame=frame[near],
        label=np.where(rng.random(len(near)) < 0.8, label[near], rng.integers(0, 3, len(near))),
        boxes=boxes + jitter * rng.normal(0, 0.08, boxes.shape) * spread,
        boxes3d=moved,
        scores=rng.random(len(near)).round(2),
    )
    return truth, detections


def _random_boxes(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    depth = rng.uniform(5, 60, len(label))
    location = np.stack([rng.uniform(-0.6, 0.6, len(label)) * depth, 0 * depth + 1.65, depth], 1)
    dimensions = SIZES[label] * rng.uniform(0.9, 1.1, (len(label), 3))
    rotation = rng.uniform(-np.pi, np.pi, len(label))
    alpha = rotation - np.arctan2(location[:, 0], depth)
    return np.concatenate([location, dimensions, rotation[:, None], alpha[:, None]], axis=1)


def _in_image(boxes3d: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) in the image, of upright pictures of the boxes; not their exact outlines."""
    scale = FOCAL_LENGTH / boxes3d[:, 2]
    x, bottom = (scale * boxes3d[:, axis] + MIDDLE[axis] for axis in (0, 1))
    half = scale * (boxes3d[:, 4] + boxes3d[:, 5]) / 4
    return np.stack([x - half, bottom - scale * boxes3d[:, 3], x + half, bottom], axis=1)
