"""Evaluator of Pascal VOC: 11-point and every-point AP, result files in the devkit's format."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from tabulate import tabulate

from ..atomic_write import atomic_write
from ..checked_values import check_choice
from ..progress import SHOWN
from .box_evaluator import BoxEvaluator, Detections, Scores, mean_of_known
from .ground_truth import annotation_columns, read_records
from .voc_scores import VocDetections, VocObjects, score_detections

logger = logging.getLogger(__name__)

THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.5 first, the one of VOC
SCORE_DECIMALS, BOX_DECIMALS = 3, 1  # of the result files
FILE_OFFSETS = {"all": (1.0, 1.0, 1.0, 1.0), "left_top": (1.0, 1.0, 0.0, 0.0)}
_NO_FILE_NAME = re.compile(r'[%/\\:*?"<>|\x00-\x1f]')
_TO_PIXELS = np.array([1.0, 1.0, 0.0, 0.0])  # edges -> the pixels that annotations count from 1
METRICS = {"AP07": "11-point", "AP12": "every-point"}


class VocEvaluator(BoxEvaluator):
    """Scores `Instances` with `pred_boxes`, `scores` and `pred_classes` by VOC's rules.

    Boxes are XYXY edges in original pixels, classes contiguous from 0. `evaluate()` returns
    `{"bbox": {...}}` in percent, with NaN for a class without objects (means leave it out):

    - `mAP07`, `mAP12`: mean over classes of the 11-point and of the every-point AP at IoU 0.5,
    - `AP50`, `AP75`, `AP` (mean of IoU 0.5 to 0.95) by the split's own metric: 11-point for
      VOC 2007, every-point for later years,
    - `AP07-<class>`, `AP12-<class>`: of each class, at IoU 0.5.

    It also writes `results/<VOC year>/Main/comp4_det_<split>_<class>.txt`, the files that VOC's
    devkit and server take. What counts is said at `BoxEvaluator` and in `voc_scores.py`.
    """

    scores_file = "voc_scores.json"
    submission = "The files to submit are in {}: pack the folder 'results' as results.tgz."

    def __init__(
        self,
        *,
        dataset_name: str,
        file_offset: str = "all",
        round_to_files: bool = True,
        **shared: Any,
    ) -> None:
        """Read the records of a registered dataset, which have "difficult" in the annotations.

        Args:
            dataset_name: its name.
            file_offset: from edges to VOC's pixels, which count from 1: "all" adds 1 to all four
                coordinates, as published; "left_top" to left and top only, which is the inverse of
                how annotations are read.
            round_to_files: score what the result files hold (scores with 3 decimals, coordinates
                with 1), as published; False: unrounded.
            **shared: `output_folder`, `protocol` and `distributed` of `BoxEvaluator`.
        """
        check_choice("file_offset", file_offset, FILE_OFFSETS)
        self.file_offset, self.round_to_files = file_offset, round_to_files
        records, self.class_names = read_records(dataset_name)
        self.objects = None
        if records.labelled:
            self.objects = _objects(dataset_name, records, len(self.class_names))
        metadata = MetadataCatalog.get(dataset_name)
        self.own_metric = "AP07" if metadata.get("year") == 2007 else "AP12"
        self.split = metadata.get("split", "test")
        folder = os.path.basename(os.path.normpath(metadata.get("dirname", "VOC")))
        self.result_folder = os.path.join("results", folder, "Main")  # where the devkit looks
        super().__init__(
            dataset_name=dataset_name,
            image_ids=[record["image_id"] for record in records],
            num_classes=len(self.class_names),
            is_labelled=records.labelled,
            rounding="" if round_to_files else "unrounded",
            **shared,
        )

    def _joined(self, gathered: Mapping[int | str, Detections]) -> VocDetections:
        """In file coordinates."""
        image, stacked = self._stacked(gathered)
        boxes, scores = stacked["boxes"] + FILE_OFFSETS[self.file_offset], stacked["scores"]
        if self.round_to_files:
            boxes, scores = boxes.round(BOX_DECIMALS), scores.round(SCORE_DECIMALS)
        return VocDetections(image=image, category=stacked["classes"], boxes=boxes, scores=scores)

    def _score(self, detections: VocDetections) -> tuple[Scores, dict[str, Any]]:
        scores = score_detections(
            detections, self.objects, num_classes=self.num_classes, thresholds=THRESHOLDS
        )
        tables = {"AP07": scores.eleven_point, "AP12": scores.every_point}
        own = tables[self.own_metric]
        columns = {f"m{key}": table[0] for key, table in tables.items()}
        columns |= {"AP": own.mean(axis=0), "AP50": own[0], "AP75": own[THRESHOLDS == 0.75][0]}
        results = {name: 100 * mean_of_known(values) for name, values in columns.items()}
        results |= {
            f"{key}-{name}": 100 * value
            for key, table in tables.items()
            for name, value in zip(self.class_names, table[0].tolist(), strict=True)
        }
        (other,) = METRICS.keys() - {self.own_metric}
        heads = ("class", "AP", "AP50", "AP75", f"AP50 {METRICS[other]}")
        shown = [columns[key] for key in (*heads[1:4], f"m{other}")]
        rows = [100 * np.append(mean_of_known(values), values) for values in shown]
        rows = zip(["all", *self.class_names], *rows, strict=True)
        table = tabulate(rows, heads, "pipe", floatfmt=".2f", disable_numparse=[0])
        heading = f"In percent, {self._title('bbox')} (AP, AP50, AP75: {METRICS[self.own_metric]}):"
        logger.info("%s\n%s", heading, table, extra=SHOWN)
        options = {"file_offset": self.file_offset, "round_to_files": self.round_to_files}
        return {"bbox": results}, options

    def _write_results(self, detections: VocDetections) -> str:
        """Write one file per class: image, score, and the box, a line per detection."""
        folder = os.path.join(self.output_folder, self.result_folder)
        image_ids = np.array(self.image_ids)[detections.image]
        for index, name in enumerate(self.class_names):
            path = os.path.join(folder, result_file_name(self.split, name))
            with atomic_write(path, "w") as file:
                for row in np.flatnonzero(detections.category == index):
                    corners = " ".join(f"{v:.{BOX_DECIMALS}f}" for v in detections.boxes[row])
                    score = f"{detections.scores[row]:.{SCORE_DECIMALS}f}"
                    file.write(f"{image_ids[row]} {score} {corners}\n")
        return folder


def result_file_name(split: str, class_name: str) -> str:
    """The devkit's name of a class's file; what not every file name can hold as %2F ("/")."""
    safe = _NO_FILE_NAME.sub(lambda found: f"%{ord(found[0]):02X}", f"{split}_{class_name}")
    return f"comp4_det_{safe}.txt"


def _objects(dataset_name: str, records: list[dict], num_classes: int) -> VocObjects:
    """All annotations of the records, in VOC's coordinates: pixels from 1, corners included.

    Crowds and ignored regions count as difficult ones: they need not be found.
    """
    annotations, columns = annotation_columns(records, num_classes)
    if annotations and not any("difficult" in entry for entry in annotations):
        logger.warning(
            "Dataset '%s' does not say which objects are difficult: all count. Register VOC "
            "folders by 'voc:<folder>:<split>' or register_voc_split.",
            dataset_name,
        )
    columns["boxes"] += _TO_PIXELS
    neutral = [any(map(entry.get, ("difficult", "iscrowd", "ignored"))) for entry in annotations]
    return VocObjects(**columns, difficult=np.array(neutral, dtype=bool))
