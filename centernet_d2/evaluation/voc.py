"""Evaluator of Pascal VOC: 11-point and every-point AP, result files in the devkit's format."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict

import numpy as np
from tabulate import tabulate

from ..atomic_write import atomic_write
from .box_evaluator import BoxEvaluator, Detections, class_table, mean_of_known
from .voc_ground_truth import load_ground_truth
from .voc_scores import VocDetections, VocScores, score_detections

logger = logging.getLogger(__name__)

SCORES_FILE = "voc_scores.json"
THRESHOLDS = np.arange(50, 100, 5) / 100  # 0.5 first, the one of VOC
SCORE_DECIMALS, BOX_DECIMALS = 3, 1  # of the result files
FILE_OFFSETS = {"all": (1.0, 1.0, 1.0, 1.0), "left_top": (1.0, 1.0, 0.0, 0.0)}


class VocEvaluator(BoxEvaluator):
    """Scores `Instances` with `pred_boxes`, `scores` and `pred_classes` by VOC's rules.

    Boxes are XYXY edges in original pixels, classes contiguous from 0. The ground truth are the
    dataset's records, whose annotations say "difficult".

    `evaluate()` returns `{"bbox": {...}}` in percent, with NaN for a class without objects (means
    leave it out):

    - `mAP07`, `mAP12`: mean over classes of the 11-point and of the every-point AP at IoU 0.5,
    - `AP50`, `AP75`, `AP` (mean of IoU 0.5 to 0.95) by the split's own metric: 11-point for
      VOC 2007, every-point for later years,
    - `AP07-<class>`, `AP12-<class>`: of each class, at IoU 0.5.

    It also writes `results/<VOC year>/Main/comp4_det_<split>_<class>.txt`, the files that VOC's
    devkit and server take. A split without annotations gives these and `{"bbox": {}}`. What counts
    is said at `BoxEvaluator` and in `voc_scores.py`.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        output_folder: str | None = None,
        file_offset: str = "all",
        round_to_files: bool = True,
        protocol: str = "",
        distributed: bool = True,
    ):
        """Read the ground truth.

        Args:
            dataset_name: a registered dataset whose records have "difficult" in the annotations.
            output_folder: where the result files and the scores are written; None: nowhere.
            file_offset: from edges to VOC's pixels, which count from 1: "all" adds 1 to all four
                coordinates, as published; "left_top" to left and top only, which is the inverse of
                how annotations are read.
            round_to_files: score what the result files hold (scores with 3 decimals, coordinates
                with 1), as published; False: unrounded.
            protocol: name of the test protocol, printed and written with the scores.
            distributed: gather the detections of all processes; the main one scores them, others
                return `{}`.
        """
        if file_offset not in FILE_OFFSETS:
            raise ValueError(
                f"TEST.VOC.FILE_OFFSET is {file_offset!r}; it must be one of "
                f"{', '.join(map(repr, FILE_OFFSETS))}."
            )
        self.file_offset = file_offset
        self.round_to_files = round_to_files
        self.ground_truth = load_ground_truth(dataset_name)
        super().__init__(
            dataset_name=dataset_name,
            image_ids=self.ground_truth.image_ids,
            num_classes=len(self.ground_truth.class_names),
            output_folder=output_folder,
            protocol=protocol,
            rounding="" if round_to_files else "unrounded",
            distributed=distributed,
        )

    def evaluate(self) -> OrderedDict:
        """Score what was processed since `reset()`; collective over all processes.

        Raises:
            ValueError: detections for an image that the ground truth does not have.
        """
        gathered = self._gather()
        if gathered is None:
            return OrderedDict()
        detections = self._in_file_coordinates(gathered)
        if self.output_folder:
            self._write_results(detections)
        if self.ground_truth.objects is None:
            folder = self._result_folder() if self.output_folder else ""
            self._warn_without_scores(
                f"The files to submit are in {folder}: pack the folder 'results' as results.tgz."
            )
            return OrderedDict(bbox={})
        if not len(detections):
            logger.warning("Not one detection for dataset '%s'.", self.dataset_name)
        scores = score_detections(
            detections,
            self.ground_truth.objects,
            num_classes=self.num_classes,
            thresholds=THRESHOLDS,
        )
        results = self._results(scores)
        logger.info("%s", self._report(results))
        if self.output_folder:
            self._save_scores(
                SCORES_FILE,
                {"bbox": results},
                file_offset=self.file_offset,
                round_to_files=self.round_to_files,
            )
        return OrderedDict(bbox=results)

    def _in_file_coordinates(self, gathered: dict[str, Detections]) -> VocDetections:
        image, stacked = self._stacked(gathered)
        boxes, scores = stacked["boxes"] + FILE_OFFSETS[self.file_offset], stacked["scores"]
        if self.round_to_files:
            boxes, scores = boxes.round(BOX_DECIMALS), scores.round(SCORE_DECIMALS)
        return VocDetections(image=image, category=stacked["classes"], boxes=boxes, scores=scores)

    def _results(self, scores: VocScores) -> dict[str, float]:
        own = scores.eleven_point if self.ground_truth.eleven_point else scores.every_point
        by_threshold = [mean_of_known(row) for row in own]
        results = {
            "mAP07": mean_of_known(scores.eleven_point[0]),
            "mAP12": mean_of_known(scores.every_point[0]),
            "AP": mean_of_known(np.array(by_threshold)),
            "AP50": by_threshold[0],
            "AP75": by_threshold[int(np.flatnonzero(scores.thresholds == 0.75)[0])],
        }
        for prefix, table in (("AP07", scores.eleven_point), ("AP12", scores.every_point)):
            for name, value in zip(self.ground_truth.class_names, table[0], strict=True):
                results[f"{prefix}-{name}"] = float(value)
        return {name: 100 * value for name, value in results.items()}

    def _report(self, results: dict[str, float]) -> str:
        own = "11-point" if self.ground_truth.eleven_point else "every-point"
        protocol = f", protocol {self.protocol}" if self.protocol else ""
        title = f"bbox of {self.dataset_name}{protocol}"
        summary = {name: value for name, value in results.items() if "-" not in name}
        lines = [
            f"In percent, {title} (AP, AP50, AP75: {own}):",
            tabulate([summary], headers="keys", floatfmt=".2f", tablefmt="pipe"),
        ]
        for prefix, metric in (("AP07", "11-point"), ("AP12", "every-point")):
            classes = {name: results[f"{prefix}-{name}"] for name in self.ground_truth.class_names}
            lines += [f"{metric} AP at IoU 0.5 of each class, {title}:", class_table(classes)]
        return "\n".join(lines)

    def _result_folder(self) -> str:
        return os.path.join(self.output_folder, self.ground_truth.result_folder)

    def _write_results(self, detections: VocDetections) -> None:
        """Write one file per class: image, score, and the box, a line per detection."""
        image_ids = np.array(self.image_ids)
        for index, name in enumerate(self.ground_truth.class_names):
            rows = np.flatnonzero(detections.category == index)
            columns = (image_ids[detections.image[rows]], detections.scores, detections.boxes)
            lines = zip(columns[0], columns[1][rows], columns[2][rows].tolist(), strict=True)
            path = os.path.join(
                self._result_folder(), f"comp4_det_{self.ground_truth.split}_{name}.txt"
            )
            with atomic_write(path, "w") as file:
                for image_id, score, box in lines:
                    corners = " ".join(f"{value:.{BOX_DECIMALS}f}" for value in box)
                    file.write(f"{image_id} {score:.{SCORE_DECIMALS}f} {corners}\n")
        logger.info("%d detections, a file per class: %s", len(detections), self._result_folder())
