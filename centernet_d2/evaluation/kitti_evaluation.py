"""Evaluator of KITTI's scores, in the image, of orientation, on the ground and in space."""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.structures import Instances
from tabulate import tabulate

from ..progress import SHOWN
from ..structures.box3d_records import NO_BOX3D
from .box_evaluator import BoxEvaluator, Detections, Scores, mean_of_known, rounding_note
from .kitti_ap import DIFFICULTIES, SAMPLES, average_precision, score_kitti
from .kitti_files import rounded, write_result_files
from .kitti_ground_truth import load_ground_truth
from .kitti_objects import DONT_CARE, KittiDetections

logger = logging.getLogger(__name__)

# KITTI's development kit looks for the files of a result in a folder `data`. What lies there is
# replaced, so the folder above it has a name of its own.
RESULT_FOLDER = os.path.join("kitti_results", "data")
PUBLISHED_DECIMALS, FULL_DECIMALS = 2, 6  # of result files, the latter where none are rounded

# Of a class: overlap by the official table, the same for all metrics, and by the loose one in the
# image, and on the ground and in space. The points paper's text has the loose one; its program took
# it on the ground and in space alone. Other classes are held to those of cars.
MIN_OVERLAPS = {
    "car": (0.7, 0.5, 0.5),
    "pedestrian": (0.5, 0.5, 0.25),
    "cyclist": (0.5, 0.5, 0.25),
}
POINTS = (40, 11)
LEVELS = [difficulty.name for difficulty in DIFFICULTIES]
TASKS = {  # of the results: table, metric, curve
    "bbox": ("strict", "image", "precision"),
    "aos": ("strict", "image", "orientation"),
    "bev": ("strict", "ground", "precision"),
    "box3d": ("strict", "space", "precision"),
    "bbox_loose": ("loose", "image", "precision"),
    "aos_loose": ("loose", "image", "orientation"),
    "bev_loose": ("loose", "ground", "precision"),
    "box3d_loose": ("loose", "space", "precision"),
}


def min_overlaps(
    class_names: Sequence[str], *, in_space: bool = True
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Table ("strict", "loose") -> metric -> overlap that must be exceeded, by class."""
    rows = [MIN_OVERLAPS.get(name.lower(), MIN_OVERLAPS["car"]) for name in class_names]
    strict, image, loose = (tuple(column) for column in zip(*rows, strict=True))
    if not in_space:
        return {"strict": {"image": strict}, "loose": {"image": image}}
    return {
        "strict": dict.fromkeys(("image", "ground", "space"), strict),
        "loose": {"image": image, "ground": loose, "space": loose},
    }


class KittiEvaluator(BoxEvaluator):
    """Scores `Instances` with `pred_boxes`, `scores`, `pred_classes` and `pred_boxes3d`.

    Boxes are XYXY in original pixels and may leave the image, 3-D boxes are `Boxes3D` in the camera
    frame. A detector without `pred_boxes3d` is scored in the image alone.

    `evaluate()` returns a dict per task of `TASKS`: 2-D AP ("bbox"), orientation similarity
    ("aos"), AP from above ("bev") and in space ("box3d") by the official overlaps, and all by the
    loose ones. Each has `AP40-<class>-<difficulty>` and `AP11-...` in percent, and `AP40`, `AP11`,
    the means over classes at moderate difficulty. NaN where nothing is to be found.

    The result files are written to `kitti_results/data/` in the output folder and replace what is
    there. What counts is said at `BoxEvaluator` and in `kitti_ap.py`.
    """

    tasks = tuple(TASKS)
    scores_file = "kitti_scores.json"
    submission = "The files to submit are in {}: zip them."

    def __init__(
        self, *, dataset_name: str, round_results: int | None = PUBLISHED_DECIMALS, **shared: Any
    ):
        """Read the ground truth, see `kitti_ground_truth`; `shared` are as in `BoxEvaluator`.

        `round_results` are the decimals of the result files, scores included, that are scored too,
        as published; None: score what the model gave, and write 6.
        """
        self.round_results = round_results
        self.ground_truth = load_ground_truth(dataset_name)
        self.class_names = self.ground_truth.class_names
        super().__init__(
            dataset_name=dataset_name,
            image_ids=self.ground_truth.image_ids,
            num_classes=len(self.class_names),
            is_labelled=self.ground_truth.truth is not None,
            rounding=rounding_note(round_results, PUBLISHED_DECIMALS),
            **shared,
        )

    def _fields(self, instances: Instances, where: str) -> Detections:
        fields = super()._fields(instances, where)
        if instances.has("pred_boxes3d"):
            fields["boxes3d"] = instances.pred_boxes3d.tensor.detach().double().cpu().numpy()
        return fields

    def _joined(self, gathered: Mapping[int | str, Detections]) -> KittiDetections:
        """By frame and then as the model gave them; rounded as the files are."""
        frame, stacked = self._stacked(gathered)
        boxes3d = [
            part.get("boxes3d", np.tile(NO_BOX3D, (len(part["scores"]), 1)))
            for part in gathered.values()
        ]
        self._in_space = all("boxes3d" in part for part in gathered.values())
        detections = KittiDetections(
            frame=frame,
            label=stacked["classes"],
            boxes=stacked["boxes"],
            boxes3d=np.concatenate([np.zeros((0, 8)), *boxes3d]),
            scores=stacked["scores"],
        )
        return detections if self.round_results is None else rounded(detections, self.round_results)

    def _score(self, detections: KittiDetections) -> tuple[Scores, dict[str, Any]]:
        tables = min_overlaps(self.class_names, in_space=self._in_space)
        curves = score_kitti(self.ground_truth.truth, detections, tables)
        results: OrderedDict[str, dict[str, float]] = OrderedDict()
        saved = {}  # shares of 1: class, difficulty, 41 recalls
        for task, (table, metric, name) in TASKS.items():
            known = curves.get(table, {}).get(metric)
            curve = getattr(known, name, None)
            results[task] = {}
            if curve is not None:
                objects = known.headed if name == "orientation" else known.objects
                results[task] = self._results(curve, objects)
                saved[task] = curve.tolist()
        objects = curves["strict"]["image"].objects
        self._report(results, objects)
        for message in self._doubts(objects):
            logger.warning("%s", message)
        overlaps = min_overlaps(self.class_names)
        return results, {
            "round_results": self.round_results,
            "min_overlaps": overlaps,
            "classes": self.class_names,
            "difficulties": LEVELS,
            "curves": saved,
        }

    def _results(self, curve: np.ndarray, objects: np.ndarray) -> dict[str, float]:
        """The means at moderate difficulty, then every class at every difficulty."""
        values = {points: average_precision(curve, objects, points) for points in POINTS}
        results = {f"AP{points}": mean_of_known(values[points][:, 1]) for points in POINTS}
        for points, table in values.items():
            for (label, level), value in np.ndenumerate(table):
                results[self._key(points, label, level)] = float(value)
        return results

    def _key(self, points: int, label: int, level: int) -> str:
        return f"AP{points}-{self.class_names[label]}-{LEVELS[level]}"

    def _report(self, results: Scores, objects: np.ndarray) -> None:
        headers = ["", "IoU >", *(f"AP{points} {level}" for points in POINTS for level in LEVELS)]
        overlaps = min_overlaps(self.class_names)
        lines = []
        for label, name in enumerate(self.class_names):
            keys = [self._key(n, label, level) for n in POINTS for level in range(len(LEVELS))]
            rows = [
                [task, overlaps[TASKS[task][0]][TASKS[task][1]][label], *map(values.get, keys)]
                for task, values in results.items()
                if values
            ]
            counts = zip(objects[label], LEVELS, strict=True)
            wanted = ", ".join(f"{count} {level}" for count, level in counts)
            title = f"In percent, {self._title(name)} (to be found: {wanted}):"
            lines += [title, tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="pipe")]
        logger.info("%s", "\n".join(lines), extra=SHOWN)

    def _doubts(self, objects: np.ndarray) -> Iterator[str]:
        """Of objects (C, 3) that are to be found: where scores say little, or leave objects out."""
        few = []
        for label, level in np.argwhere((objects > 0) & (objects < SAMPLES)):
            count = objects[label, level]
            reached = np.arange(SAMPLES) < count
            limits = [f"AP{n} {average_precision(reached, count, n):.1f}" for n in POINTS]
            few.append(f"{self.class_names[label]} {LEVELS[level]} ({count}): {', '.join(limits)}")
        if few:
            yield (
                f"KITTI samples {SAMPLES} recalls, and here are fewer objects than that. Even a "
                f"perfect detector gets no more than: {'; '.join(few)}."
            )
        truth, most = self.ground_truth.truth, DIFFICULTIES[-1]
        low = truth.boxes[:, 3] - truth.boxes[:, 1] <= most.height
        is_object = (truth.label != DONT_CARE) & ~truth.neighbor
        for label, name in enumerate(self.class_names):
            rows = is_object & (truth.label == label)
            if rows.any() and not objects[label].any():
                occluded = truth.occluded > most.occluded
                truncated = truth.truncated > most.truncated
                yield (
                    f"{name}: not one of {rows.sum()} objects is to be found at any difficulty, so "
                    f"that scores are NaN: {(rows & occluded).sum()} are occluded by more than 2 "
                    "(3: not known; write -1 where it is not labelled), "
                    f"{(rows & truncated).sum()} truncated by more than 0.5, {(rows & low).sum()} "
                    "at most 25 pixels high."
                )
        no_box, no_heading = is_object & ~truth.in_space, is_object & ~truth.headed
        if self._in_space and (no_box | no_heading).any():
            yield (
                f"Dataset '{self.dataset_name}': of {is_object.sum()} objects, {no_box.sum()} have "
                "no 3-D box (or its heading is not known) and are not to be found on the ground "
                f"and in space, where what is found there is false; {no_heading.sum()} have no "
                "known heading and are left out of 'aos'."
            )

    def _write_results(self, detections: KittiDetections) -> str:
        folder = os.path.join(self.output_folder, RESULT_FOLDER)
        decimals = FULL_DECIMALS if self.round_results is None else self.round_results
        write_result_files(folder, self.image_ids, self.class_names, detections, decimals=decimals)
        return folder
