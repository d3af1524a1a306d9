"""COCO's numbers for a list of detections, by pycocotools or an equal back end."""

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checked_values import check_choice

# Names of COCOeval.stats, in its order. An IoU type that is not here is not scored.
METRIC_NAMES = {
    "bbox": (
        *("AP", "AP50", "AP75", "APs", "APm", "APl"),
        *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    ),
    "keypoints": (
        *("AP", "AP50", "AP75", "APm", "APl"),
        *("AR", "AR50", "AR75", "ARm", "ARl"),
    ),
}
# COCO's largest number of detections that count, of each image and class.
MAX_DETECTIONS = {"bbox": 100, "keypoints": 20}
BACKENDS = ("pycocotools", "faster-coco-eval")
# IoU of the AP that `per_iou` adds to AP50, in percent (CornerNet's journal version, Table 5).
HIGH_IOUS = (60, 70, 80, 90)
# False discovery is measured at low IoU, and by COCO's names of areas.
FALSE_DISCOVERY_IOUS = np.linspace(0.05, 0.5, 10)
FALSE_DISCOVERY_AREAS = {"FD_S": "small", "FD_M": "medium", "FD_L": "large"}
FALSE_DISCOVERY_NAMES = ("FD", "FD5", "FD25", "FD50", *FALSE_DISCOVERY_AREAS)


@dataclass(frozen=True)
class CocoScores:
    """The scores of one IoU type, in percent; NaN where there is nothing to average over."""

    metrics: dict[str, float]  # the names of METRIC_NAMES, in their order, and AP60 ... if asked
    class_ap: dict[int, float]  # AP of each category id
    table: str  # COCO's own lines, fractions
    curves: dict[str, list[float]]  # IoU -> precision at 101 recalls, mean of the classes


def check_backend(backend: str) -> None:
    """Raise where `backend` is no known back end or its package is not installed."""
    check_choice("backend", backend, BACKENDS)
    if backend == "faster-coco-eval":
        try:
            import faster_coco_eval  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "the backend 'faster-coco-eval' (TEST.COCO_BACKEND) is not installed: "
                "`pip install faster-coco-eval`, or take 'pycocotools' (equal numbers)."
            ) from error


def score_detections(
    ground_truth: dict,
    detections: list[dict],
    *,
    iou_type: str = "bbox",
    backend: str = "pycocotools",
    per_iou: bool = False,
    oks_sigmas: Sequence[float] | None = None,
    max_detections: int = 0,
) -> CocoScores:
    """Score COCO results by COCO's rules against a COCO dictionary.

    AP is the mean over IoU (for joints: OKS) .50:.05:.95 and 101 recall points, of at most 100 (for
    joints: 20) detections per image and class, or `max_detections` (0: these): then AR100 is named
    after that. Annotations have id, area and iscrowd, for joints keypoints and num_keypoints; boxes
    are XYWH in original pixels. `iou_type` is a key of METRIC_NAMES, `per_iou` adds AP60, AP70,
    AP80 and AP90 to `metrics`, `oks_sigmas` are tolerances of joints (None: COCO's 17).
    """
    options: dict[str, Any] = {"oks_sigmas": oks_sigmas, "max_detections": max_detections}
    evaluation, printed = run_coco_evaluation(
        ground_truth, detections, iou_type, backend, **options
    )
    names = METRIC_NAMES[iou_type]
    if max_detections:
        names = tuple(f"AR{max_detections}" if name == "AR100" else name for name in names)
    # (IoU, recall, category), of all areas, at the largest number of detections per image
    precision = evaluation.eval["precision"][..., 0, -1]
    metrics = {name: _percent(evaluation.stats[i]) for i, name in enumerate(names)}
    for iou in HIGH_IOUS if per_iou else ():
        metrics[f"AP{iou}"] = mean_percent(precision[_is_iou(evaluation, iou)])
    categories = enumerate(evaluation.params.catIds)
    return CocoScores(
        metrics=metrics,
        class_ap={category: mean_percent(precision[:, :, k]) for k, category in categories},
        curves={
            f"{iou:.2f}": precision[k][:, known].mean(axis=1).tolist()
            for k, iou in enumerate(evaluation.params.iouThrs)
            if (known := precision[k, 0] >= 0).any()
        },
        table="\n".join([line for line in printed if "Average" in line][: len(names)]),
    )


def false_discovery(
    ground_truth: dict,
    detections: list[dict],
    *,
    backend: str = BACKENDS[0],
    max_detections: int = 0,
) -> dict[str, float]:
    """Rates of false discovery, the triplet paper's measure of wrong boxes (its Table 3).

    FD is 100 minus AP at low IoU, so it counts what overlaps no object, or hardly. It is what the
    published evaluation computes, and not the share of false detections among all. COCO's matching
    is run a second time, at IoU .05:.05:.50. Arguments are those of `score_detections`.

    Returns:
        In percent, NaN where there is nothing to find: FD, the mean over those thresholds; FD5,
        FD25 and FD50 at one each; FD_S, FD_M and FD_L, the mean for COCO's areas.
    """
    options: dict[str, Any] = {"max_detections": max_detections}
    options["iou_thresholds"] = FALSE_DISCOVERY_IOUS
    evaluation, _ = run_coco_evaluation(ground_truth, detections, "bbox", backend, **options)
    # (IoU, recall, category, area), at the largest number of detections per image
    precision = evaluation.eval["precision"][..., -1]
    areas = evaluation.params.areaRngLbl
    everywhere = precision[..., areas.index("all")]
    rates = {"FD": 100 - mean_percent(everywhere)}
    for iou in (5, 25, 50):
        rates[f"FD{iou}"] = 100 - mean_percent(everywhere[_is_iou(evaluation, iou)])
    for name, area in FALSE_DISCOVERY_AREAS.items():
        rates[name] = 100 - mean_percent(precision[..., areas.index(area)])
    return rates


def run_coco_evaluation(
    ground_truth: dict,
    detections: list[dict],
    iou_type: str,
    backend: str,
    *,
    iou_thresholds: np.ndarray | None = None,
    oks_sigmas: Sequence[float] | None = None,
    max_detections: int = 0,
):
    """Match and count, and summarize where the thresholds are COCO's own (`iou_thresholds` None).

    Returns:
        The back end's evaluation, whose `eval["precision"]` has the axes IoU, recall, category,
        area and detections per image (-1: nothing to count), and the lines that it printed.
    """
    found = {key: ground_truth[key] for key in ("images", "categories")}
    found["annotations"] = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(detections, start=1)
    ]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if backend == "faster-coco-eval":
            from faster_coco_eval import COCO, COCOeval_faster

            sides = (COCO(ground_truth), COCO(found))
            evaluation = COCOeval_faster(*sides, iou_type, print_function=print)
        else:
            from pycocotools.cocoeval import COCOeval

            evaluation = COCOeval(_indexed(ground_truth), _indexed(found), iou_type)
        if oks_sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.array(oks_sigmas)
        if iou_thresholds is not None:
            evaluation.params.iouThrs = iou_thresholds
        own = evaluation.params.maxDets  # [1, 10, 100], of joints [20]
        largest = max_detections or own[-1]
        evaluation.params.maxDets = [*(min(count, largest) for count in own[:-1]), largest]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.params.maxDets = own  # by whose numbers the lines are looked up
        if iou_thresholds is None:  # the lines name thresholds that others do not have
            evaluation.summarize()
    lines = printed.getvalue().replace(f"maxDets={own[-1]:>3}", f"maxDets={largest:>3}")
    return evaluation, lines.splitlines()


def _indexed(dataset: dict):
    """pycocotools' form of a dataset; its `loadRes` fails on an empty list of results."""
    from pycocotools.coco import COCO

    side = COCO()
    side.dataset = dataset
    side.createIndex()
    return side


def _is_iou(evaluation: Any, percent: int) -> np.ndarray:
    return np.isclose(evaluation.params.iouThrs, percent / 100)


def mean_percent(fractions: np.ndarray) -> float:
    """Mean of the values that are known, in percent: -1 is unknown; NaN where all are."""
    known = fractions[fractions > -1]
    return _percent(known.mean() if known.size else -1)


def _percent(fraction: float) -> float:
    return float(fraction) * 100 if fraction >= 0 else math.nan
