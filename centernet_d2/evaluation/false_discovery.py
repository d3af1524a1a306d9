"""False discovery, the triplet paper's measure of wrong boxes (its Table 3).

FD is 100 minus AP at low IoU, so it counts what overlaps no object, or hardly. It is what the
published evaluation computes, and not the share of false detections among all: those that a recall
never reaches count too, as they do in AP.
"""

from __future__ import annotations

import numpy as np

from .coco_scores import mean_percent, run_coco_evaluation

IOU_THRESHOLDS = np.linspace(0.05, 0.5, 10)
AREAS = {"FD_S": "small", "FD_M": "medium", "FD_L": "large"}
FALSE_DISCOVERY_NAMES = ("FD", "FD5", "FD25", "FD50", *AREAS)


def false_discovery(
    ground_truth: dict,
    detections: list[dict],
    *,
    iou_type: str = "bbox",
    backend: str = "pycocotools",
) -> dict[str, float]:
    """Rates of false discovery, in percent; NaN where there is nothing to find.

    COCO's matching is run a second time, at IoU .05:.05:.50, with at most 100 detections per image.

    Args:
        ground_truth: as for `score_detections`, as are the other arguments.
        detections: COCO results.
        iou_type: a key of METRIC_NAMES.
        backend: a name of BACKENDS.

    Returns:
        FD, the mean over those thresholds; FD5, FD25 and FD50 at one each (FD50 is 100 - AP50);
        FD_S, FD_M and FD_L, the mean for objects of COCO's small, medium and large area.
    """
    evaluation, _ = run_coco_evaluation(
        ground_truth, detections, iou_type, backend, iou_thresholds=IOU_THRESHOLDS
    )
    # (IoU, recall, category, area), at the largest number of detections per image
    precision = evaluation.eval["precision"][..., -1]
    areas = evaluation.params.areaRngLbl
    everywhere = precision[..., areas.index("all")]
    rates = {"FD": 100 - mean_percent(everywhere)}
    for iou in (5, 25, 50):
        at = np.isclose(IOU_THRESHOLDS, iou / 100)
        rates[f"FD{iou}"] = 100 - mean_percent(everywhere[at])
    for name, area in AREAS.items():
        rates[name] = 100 - mean_percent(precision[..., areas.index(area)])
    return rates
