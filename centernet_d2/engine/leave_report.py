"""The report that a training leaves of its last evaluation."""

import glob
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from ..analysis.report import advice, write_report
from ..analysis.results_files import Dataset, read_results
from ..progress import SHOWN
from ..text_files import read_text
from .run import plain_scores

logger = logging.getLogger(__name__)


def leave_report(cfg: CfgNode, scores: Mapping[str, Any], *, weights: str) -> None:
    """Write a report of each labelled test set from what its evaluator wrote.

    Of one it is `report.html` in OUTPUT_DIR, of several in the folder of their results. A fault is
    a warning: a page is no reason to fail a training.
    """
    several = len(cfg.DATASETS.TEST) > 1
    percent = {task: row for task, row in scores.items() if task != "validation"}  # losses
    for name in cfg.DATASETS.TEST:
        results = os.path.join(cfg.OUTPUT_DIR, "inference", *[name] * several)
        folder = results if several else cfg.OUTPUT_DIR
        try:
            if not (dataset := Dataset(name)).is_labelled:
                continue
            files = glob.glob(os.path.join(glob.escape(results), "*_scores.json"))
            numbers = write_report(
                *(dataset, read_results(results, dataset, own=True), folder),
                scores=plain_scores(scores[name] if several else percent),
                besides=json.loads(read_text(files[0])) if files else {},
                source=weights,
                weights=weights,
                metrics_file=os.path.join(cfg.OUTPUT_DIR, "metrics.json"),
                max_detections=cfg.TEST.COCO_MAX_DETECTIONS,
                upright=cfg.INPUT.EXIF_ORIENTATION == "apply",
            )
            told = (name, *advice(numbers), os.path.join(folder, "report.html"))
            logger.info("%s: %s\n%s\nReport: %s", *told, extra=SHOWN)
        except Exception as error:
            foreseen = isinstance(error, (ValueError, OSError))
            why = f"{error}" if foreseen else f"{type(error).__name__}: {error}"
            logger.warning("No report of '%s' is left (%s).", name, why, exc_info=True)
