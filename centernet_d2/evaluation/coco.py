"""Evaluator of COCO boxes and joints: AP and AR columns, per-class AP, submission file.

It stands on pycocotools alone, not on detectron2's, which leaves out the papers' AR columns.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from detectron2.structures import Instances

from ..atomic_write import write_json
from ..progress import SHOWN
from .box_evaluator import BoxEvaluator, Detections, Scores, as_table, class_table, rounding_note
from .coco_ground_truth import load_ground_truth, only_categories, out_of_reach
from .coco_scores import (
    MAX_DETECTIONS,
    METRIC_NAMES,
    check_backend,
    false_discovery,
    score_detections,
)

logger = logging.getLogger(__name__)

RESULTS_FILE = "coco_instances_results.json"  # COCO results, ready to be submitted


class CocoEvaluator(BoxEvaluator):
    """Scores `Instances` with `pred_boxes`, `scores` and `pred_classes` by COCO's rules.

    Boxes are XYXY in original pixels, classes contiguous from 0. With "keypoints" also
    `pred_keypoints` (N, J, 3) x, y, score, where 0.5 is the middle of the first pixel (detectron2's
    convention; files and COCO count from the middle); scored are the classes that have joints.

    `evaluate()` returns `{"bbox": {"AP": ..., "AR100": ..., "AP-<class>": ...}}` in percent, as
    detectron2 does, with AP60 ... and FD ... where asked, and with joints `"keypoints": {"AP": ...,
    "AR": ..., "AP-<class>": ...}` beside it, of the classes that have some; NaN where a number has
    nothing to average over. What counts is said at `BoxEvaluator`.
    """

    scores_file = "coco_scores.json"
    submission = "The file to submit is {}."

    def __init__(
        self,
        *,
        dataset_name: str,
        iou_types: Sequence[str] = ("bbox",),  # what to score, keys of `METRIC_NAMES`
        backend: str = "pycocotools",  # or "faster-coco-eval" (optional package, equal numbers)
        round_results: int | None = None,  # decimals; None: not rounded
        per_iou_ap: bool = False,  # report AP60, AP70, AP80 and AP90 too
        false_discovery: bool = False,  # report these rates too; takes as long again
        oks_sigmas: Sequence[float] | None = None,  # tolerance of each joint
        max_detections: int = 0,  # that count, of each image and class; 0: COCO's 100 or 20
        model_limits: Mapping[str, int] | None = None,  # config key -> the model's most per image
        **shared: Any,
    ):
        """Read the ground truth: the `json_file` of the dataset's metadata, or its records.

        What it says of joints (`structures/skeleton.py`), their sigmas too, is in the metadata.
        `round_results` concerns boxes, joints and scores, before scoring and writing. `shared` are
        `output_folder`, `protocol` and `distributed` of `BoxEvaluator`.
        """
        unknown = [name for name in iou_types if name not in METRIC_NAMES]
        if unknown:
            raise ValueError(f"No COCO scores for {unknown}; known: {', '.join(METRIC_NAMES)}.")
        check_backend(backend)
        self.tasks = self.iou_types = tuple(iou_types)
        self.backend, self.round_results = backend, round_results
        self.per_iou_ap, self.false_discovery = per_iou_ap, false_discovery
        self.max_detections = max_detections
        self.ground_truth = load_ground_truth(dataset_name, with_joints="keypoints" in iou_types)
        self.skeleton = self.ground_truth.skeleton
        if self.skeleton and oks_sigmas is not None:
            source = f"oks_sigmas (TEST.KEYPOINT_OKS_SIGMAS) for dataset '{dataset_name}'"
            self.skeleton = replace(self.skeleton, oks_sigmas=tuple(oks_sigmas), source=source)
        super().__init__(
            dataset_name=dataset_name,
            image_ids=[image["id"] for image in self.ground_truth.dataset["images"]],
            num_classes=len(self.ground_truth.category_ids),
            is_labelled=self.ground_truth.is_labelled,
            rounding=rounding_note(round_results, None),
            **shared,
        )
        self._tell_out_of_reach(model_limits or {})

    def _tell_out_of_reach(self, model_limits: Mapping[str, int]) -> None:
        """Warn where perfect detections would not score 100, since some are not counted or made."""
        keys, key = ("image_id", "category_id"), "TEST.COCO_MAX_DETECTIONS"
        cases = [
            (t, keys, self.max_detections or MAX_DETECTIONS[t], f"the {t} scores, which take", key)
            for t in self.iou_types
        ]
        if model_limits:
            cure = " and ".join(f"{key} ({value})" for key, value in model_limits.items())
            limit = min(model_limits.values())
            cases.append(("bbox", keys[:1], limit, "the model, which takes", cure))
        for iou_type, keys, limit, what, cure in cases:
            beyond, count, most = out_of_reach(self._truth(iou_type), limit, *keys)
            if beyond:
                logger.warning(
                    "Dataset '%s': %d of %d objects (%.1f %%) are out of reach of %s "
                    "the best %d detections of an image%s; there are up to %d objects. Raise %s.",
                    *(self.dataset_name, beyond, count, 100 * beyond / count, what, limit),
                    *(" and class" if len(keys) > 1 else "", most, cure),
                )

    def _truth(self, iou_type: str) -> dict:
        """The ground truth that an IoU type compares with."""
        truth = self.ground_truth.dataset
        if iou_type == "keypoints":
            return only_categories(truth, self.ground_truth.pose_category_ids)
        return truth

    def _fields(self, instances: Instances, where: str) -> Detections:
        fields = super()._fields(instances, where)
        if self.skeleton:
            from .coco_joints import detected_joints

            fields["joints"] = detected_joints(instances, self.skeleton, where)
        return fields

    def _joined(self, gathered: Mapping[int | str, Detections]) -> list[dict]:
        """COCO results: image_id, the dataset's own category_id, bbox XYWH, score, keypoints."""
        rows = []
        for image_id, arrays in gathered.items():
            joints = arrays.get("joints", np.zeros((len(arrays["scores"]), 0)))
            columns = (
                _to_xywh(arrays["boxes"]).tolist(),
                arrays["scores"].tolist(),
                [self.ground_truth.category_ids[index] for index in arrays["classes"]],
                [of_object.ravel().tolist() for of_object in joints],
            )
            for box, score, category_id, points in zip(*columns, strict=True):
                row = {
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": self._rounded(box),
                    "score": self._rounded([score])[0],
                }
                if points and category_id in self.ground_truth.pose_category_ids:
                    row["keypoints"] = self._rounded(points)
                rows.append(row)
        return rows

    def _rounded(self, values: list[float]) -> list[float]:
        if self.round_results is None:
            return values
        return [round(value, self.round_results) for value in values]

    def _write_results(self, detections: list[dict]) -> str:
        path = os.path.join(self.output_folder, RESULTS_FILE)
        write_json(path, detections)
        return path

    def _score(self, detections: list[dict]) -> tuple[Scores, dict[str, Any]]:
        self._curves: dict[str, dict[str, list[float]]] = {}
        results = {iou_type: self._score_type(detections, iou_type) for iou_type in self.iou_types}
        sigmas = {"oks_sigmas": list(self.skeleton.oks_sigmas)} if self.skeleton else {}
        counted = {"max_detections": self.max_detections} if self.max_detections else {}
        return results, {"backend": self.backend, **sigmas, **counted, "curves": self._curves}

    def _counted(self, iou_type: str) -> str:
        """How many detections count, where that is not COCO's number."""
        if self.max_detections in (0, MAX_DETECTIONS[iou_type]):
            return ""
        return f", at most {self.max_detections} detections per image and class"

    def _score_type(self, rows: list[dict], iou_type: str) -> dict[str, float]:
        truth, ids = self._truth(iou_type), self.ground_truth.category_ids
        names = dict(zip(ids, self.ground_truth.class_names, strict=True))
        options: dict[str, Any] = {"backend": self.backend, "max_detections": self.max_detections}
        sigmas = None
        if iou_type == "keypoints":
            sigmas = self.skeleton.oks_sigmas
            ids = [i for i in ids if i in self.ground_truth.pose_category_ids]
            rows = [row for row in rows if row["category_id"] in ids]
        scores = score_detections(
            *(truth, rows), iou_type=iou_type, per_iou=self.per_iou_ap, oks_sigmas=sigmas, **options
        )
        self._curves[iou_type] = scores.curves
        rates = {}
        if self.false_discovery and iou_type == "bbox":  # the paper measures boxes
            rates = false_discovery(truth, rows, **options)
        class_ap = {names[i]: scores.class_ap[i] for i in ids}
        title = f"{self._title(iou_type)} ({self.backend}{self._counted(iou_type)})"
        logger.info("%s\n%s", title, scores.table)  # COCO's lines, for whoever compares logs
        lines = [f"In percent, {title}:", as_table(scores.metrics)]
        if rates:
            lines += [f"False discovery in percent, {title}:", as_table(rates)]
        lines += [f"AP of each class, {title}:", class_table(class_ap)]
        logger.info("%s", "\n".join(lines), extra=SHOWN)
        per_class = {f"AP-{name}": value for name, value in class_ap.items()}
        return {**scores.metrics, **rates, **per_class}


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
