"""COCO's numbers for a list of detections, by pycocotools or an equal back end."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import dataclass

import numpy as np

# Names of COCOeval.stats, in its order. An IoU type that is not here is not scored.
METRIC_NAMES = {
    "bbox": (
        *("AP", "AP50", "AP75", "APs", "APm", "APl"),
        *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    ),
}
BACKENDS = ("pycocotools", "faster-coco-eval")


@dataclass(frozen=True)
class CocoScores:
    """The scores of one IoU type, in percent; NaN where there is nothing to average over."""

    metrics: dict[str, float]  # the names of METRIC_NAMES, in their order
    class_ap: dict[int, float]  # AP of each category id
    table: str  # COCO's own lines, fractions


def check_backend(backend: str) -> None:
    """Raise where `backend` is no known back end or its package is not installed."""
    if backend not in BACKENDS:
        raise ValueError(f"TEST.COCO_BACKEND is '{backend}'; known: {', '.join(BACKENDS)}.")
    if backend == "faster-coco-eval":
        try:
            import faster_coco_eval  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "TEST.COCO_BACKEND is 'faster-coco-eval' and that package is not installed: "
                "`pip install faster-coco-eval`, or set it to 'pycocotools' (equal numbers)."
            ) from error


def score_detections(
    ground_truth: dict,
    detections: list[dict],
    *,
    iou_type: str = "bbox",
    backend: str = "pycocotools",
) -> CocoScores:
    """Score detections by COCO's rules.

    AP is the mean over IoU .50:.05:.95 and 101 recall points, of at most 100 detections per image.

    Args:
        ground_truth: COCO dictionary with "images", "categories" and "annotations" (each with id,
            area, iscrowd).
        detections: COCO results (image_id, category_id, bbox XYWH in original pixels, score). None
            at all scores 0.
        iou_type: a key of METRIC_NAMES.
        backend: a name of BACKENDS.
    """
    annotations = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(detections, start=1)
    ]
    found = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        "annotations": annotations,
    }
    run = _run_faster_coco_eval if backend == "faster-coco-eval" else _run_pycocotools
    evaluation, printed = run(ground_truth, found, iou_type)
    names = METRIC_NAMES[iou_type]
    precision = evaluation.eval["precision"]  # (IoU, recall, category, area, detections per image)
    return CocoScores(
        metrics={name: _percent(evaluation.stats[i]) for i, name in enumerate(names)},
        class_ap={
            category_id: _percent(_mean_or_minus_one(precision[:, :, k, 0, -1]))
            for k, category_id in enumerate(evaluation.params.catIds)
        },
        table="\n".join([line for line in printed if "Average" in line][: len(names)]),
    )


def _run_pycocotools(ground_truth: dict, found: dict, iou_type: str):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        sides = []
        for dataset in (ground_truth, found):
            # Not through loadRes, which fails on an empty list of results.
            side = COCO()
            side.dataset = dataset
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation, printed.getvalue().splitlines()


def _run_faster_coco_eval(ground_truth: dict, found: dict, iou_type: str):
    from faster_coco_eval import COCO, COCOeval_faster

    printed: list[str] = []
    evaluation = COCOeval_faster(
        COCO(ground_truth), COCO(found), iou_type, print_function=printed.append
    )
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation, printed


def _mean_or_minus_one(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def _percent(fraction: float) -> float:
    return float(fraction) * 100 if fraction >= 0 else math.nan
