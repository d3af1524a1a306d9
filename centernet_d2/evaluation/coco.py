"""Evaluator of COCO boxes and joints: AP and AR columns, per-class AP, submission file.

detectron2's own evaluator leaves out the AR columns of the papers' tables, returns NaN where
nothing was detected, and needs different arguments in its versions 0.5 and 0.6; this one stands on
pycocotools alone.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from detectron2.structures import Instances
from tabulate import tabulate

from ..atomic_write import write_json
from .box_evaluator import BoxEvaluator, Detections, class_table, rounding_note
from .coco_ground_truth import load_ground_truth
from .coco_joints import detected_joints, only_categories
from .coco_scores import METRIC_NAMES, CocoScores, check_backend, score_detections
from .false_discovery import false_discovery

logger = logging.getLogger(__name__)

RESULTS_FILE = "coco_instances_results.json"  # COCO results, ready to be submitted
SCORES_FILE = "coco_scores.json"  # the scores with dataset and protocol


class CocoEvaluator(BoxEvaluator):
    """Scores `Instances` with `pred_boxes`, `scores` and `pred_classes` by COCO's rules.

    Boxes are XYXY in original pixels, classes contiguous from 0. With "keypoints" also
    `pred_keypoints` (N, J, 3) x, y, score, where 0.5 is the middle of the first pixel (detectron2's
    convention; files and COCO count from the middle); scored are the classes that have joints.

    `evaluate()` returns `{"bbox": {"AP": ..., "AR100": ..., "AP-<class>": ...}}` in percent, as
    detectron2 does, with AP60 ... and FD ... where asked, and with joints `"keypoints": {"AP": ...,
    "AR": ..., "AP-<class>": ...}` beside it, of the classes that have some; NaN where a number has
    nothing to average over. A split without annotations gives an empty dictionary for each of
    `iou_types`, and the results file. What counts is said at `BoxEvaluator`.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        output_folder: str | None = None,
        iou_types: Sequence[str] = ("bbox",),
        backend: str = "pycocotools",
        round_results: int | None = None,
        protocol: str = "",
        per_iou_ap: bool = False,
        false_discovery: bool = False,
        distributed: bool = True,
        oks_sigmas: Sequence[float] | None = None,
    ):
        """Read the ground truth.

        Args:
            dataset_name: a registered dataset, either with `json_file` in its metadata or given as
                dataset dicts.
            output_folder: where the results file and the scores are written; None: nowhere.
            iou_types: what to score, keys of `METRIC_NAMES`: boxes, and joints in the dataset's
                metadata (`structures/skeleton.py`).
            backend: "pycocotools" or "faster-coco-eval" (optional package, equal numbers).
            round_results: decimals that boxes, joints and scores are rounded to before scoring and
                writing; None: not rounded. The results files behind the points paper's scores have
                2.
            protocol: name of the test protocol, printed and written with the scores.
            per_iou_ap: report AP60, AP70, AP80 and AP90 too.
            false_discovery: report the rates of `false_discovery` too; takes as long again.
            distributed: gather the detections of all processes; the main one scores them, others
                return `{}`.
            oks_sigmas: tolerance of each joint; None: those of the dataset's metadata.
        """
        unknown = [name for name in iou_types if name not in METRIC_NAMES]
        if unknown:
            raise ValueError(f"No COCO scores for {unknown}; known: {', '.join(METRIC_NAMES)}.")
        check_backend(backend)
        self.iou_types = tuple(iou_types)
        self.backend = backend
        self.round_results = round_results
        self.per_iou_ap = per_iou_ap
        self.false_discovery = false_discovery
        self.ground_truth = load_ground_truth(dataset_name, with_joints="keypoints" in iou_types)
        skeleton = self.ground_truth.skeleton
        if skeleton and oks_sigmas is not None:
            source = f"oks_sigmas (TEST.KEYPOINT_OKS_SIGMAS) for dataset '{dataset_name}'"
            skeleton = replace(skeleton, oks_sigmas=tuple(oks_sigmas), source=source)
        self.skeleton = skeleton
        super().__init__(
            dataset_name=dataset_name,
            image_ids=[image["id"] for image in self.ground_truth.dataset["images"]],
            num_classes=len(self.ground_truth.category_ids),
            output_folder=output_folder,
            protocol=protocol,
            rounding=rounding_note(round_results, None),
            distributed=distributed,
        )
        if not self.ground_truth.is_labelled:
            logger.warning(
                "Dataset '%s' has no annotations: no scores, only the results file is written.",
                dataset_name,
            )

    def evaluate(self) -> OrderedDict:
        """Score what was processed since `reset()`; collective over all processes.

        Raises:
            ValueError: detections for an image that the ground truth does not have.
        """
        detections = self._gather()
        if detections is None:
            return OrderedDict()
        rows = self._to_rows(detections)
        if self.output_folder:
            path = os.path.join(self.output_folder, RESULTS_FILE)
            write_json(path, rows)
            logger.info("%d detections in %d images: %s", len(rows), len(detections), path)
        if not self.ground_truth.is_labelled:
            folder = self.output_folder or ""
            self._warn_without_scores(
                f"The file to submit is {os.path.join(folder, RESULTS_FILE)}."
            )
            return OrderedDict((iou_type, {}) for iou_type in self.iou_types)
        results = OrderedDict(
            (iou_type, self._score(rows, iou_type)) for iou_type in self.iou_types
        )
        if self.output_folder:
            sigmas = {"oks_sigmas": list(self.skeleton.oks_sigmas)} if self.skeleton else {}
            self._save_scores(SCORES_FILE, results, backend=self.backend, **sigmas)
        return results

    def _to_arrays(self, instances: Instances, record: dict) -> Detections:
        arrays = super()._to_arrays(instances, record)
        return {**arrays, "boxes": _to_xywh(arrays["boxes"])}

    def _fields(self, instances: Instances, where: str) -> Detections:
        fields = super()._fields(instances, where)
        if self.skeleton:
            fields["joints"] = detected_joints(instances, self.skeleton, where)
        return fields

    def _to_rows(self, detections: dict[int | str, Detections]) -> list[dict]:
        """COCO results: image_id, the dataset's own category_id, bbox XYWH, score, keypoints."""
        category_ids, digits = self.ground_truth.category_ids, self.round_results
        rows = []
        for image_id, arrays in detections.items():
            joints = arrays.get("joints")
            columns = (
                arrays["boxes"].tolist(),
                arrays["scores"].tolist(),
                arrays["classes"].tolist(),
                joints.reshape(len(joints), joints.shape[1] * 3).tolist()
                if joints is not None
                else [None] * len(arrays["boxes"]),
            )
            for box, score, index, points in zip(*columns, strict=True):
                row = {
                    "image_id": image_id,
                    "category_id": category_ids[index],
                    "bbox": _rounded(box, digits),
                    "score": _rounded([score], digits)[0],
                }
                if points is not None and row["category_id"] in self.ground_truth.pose_category_ids:
                    row["keypoints"] = _rounded(points, digits)
                rows.append(row)
        return rows

    def _score(self, rows: list[dict], iou_type: str) -> dict[str, float]:
        truth, ids = self.ground_truth.dataset, self.ground_truth.category_ids
        if iou_type == "keypoints":
            ids = [i for i in ids if i in self.ground_truth.pose_category_ids]
            truth = only_categories(truth, ids)
            rows = [row for row in rows if row["category_id"] in ids]
        if not rows:
            logger.warning("Not one detection for dataset '%s'.", self.dataset_name)
        options = {
            "iou_type": iou_type,
            "backend": self.backend,
            "oks_sigmas": self.skeleton.oks_sigmas if self.skeleton else None,
        }
        scores = score_detections(truth, rows, per_iou=self.per_iou_ap, **options)
        rates = {}
        if self.false_discovery and iou_type == "bbox":  # the paper measures boxes
            rates = false_discovery(truth, rows, iou_type=iou_type, backend=self.backend)
        names = dict(
            zip(self.ground_truth.category_ids, self.ground_truth.class_names, strict=True)
        )
        class_ap = {names[i]: scores.class_ap[i] for i in ids}
        logger.info("%s", self._report(iou_type, scores, rates, class_ap))
        per_class = {f"AP-{name}": value for name, value in class_ap.items()}
        return {**scores.metrics, **rates, **per_class}

    def _report(
        self,
        iou_type: str,
        scores: CocoScores,
        rates: dict[str, float],
        class_ap: dict[str, float],
    ) -> str:
        protocol = f", protocol {self.protocol}" if self.protocol else ""
        title = f"{iou_type} of {self.dataset_name}{protocol} ({self.backend})"
        lines = [title, scores.table, f"In percent, {title}:", _row(scores.metrics)]
        if rates:
            lines += [f"False discovery in percent, {title}:", _row(rates)]
        return "\n".join([*lines, f"AP of each class, {title}:", class_table(class_ap)])


def _row(values: dict[str, float]) -> str:
    return tabulate([values], headers="keys", floatfmt=".2f", tablefmt="pipe")


def _rounded(values: list[float], digits: int | None) -> list[float]:
    return values if digits is None else [round(value, digits) for value in values]


def _to_xywh(boxes: np.ndarray) -> np.ndarray:
    """XYXY (N, 4) in single precision to XYWH in double; a size within its error of 0.01 px is it.

    Subtracting corners in single precision moves sizes by up to 1e-4 px. Where boxes have two
    decimals, as in COCO's files, many overlaps lie exactly on a threshold, and that error moved AP
    from 0.5046 to 0.5041 on COCO's own example results.
    """
    corners = boxes.astype(np.float64)
    values = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    error = np.spacing(np.abs(boxes).reshape(-1, 2, 2).max(axis=1))
    decimal = np.round(values, 2)
    return np.where(np.abs(values - decimal) <= np.tile(error, 2), decimal, values)
