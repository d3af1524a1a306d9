"""Evaluator of KITTI's scores, in the image, of orientation, on the ground and in space."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances
from tabulate import tabulate

from .box_evaluator import BoxEvaluator, Detections, mean_of_known, rounding_note
from .kitti_ap import DIFFICULTIES, SAMPLES, KittiCurves, average_precision, score_kitti
from .kitti_files import rounded, write_result_files
from .kitti_ground_truth import load_ground_truth
from .kitti_objects import NO_BOX3D, KittiDetections

logger = logging.getLogger(__name__)

# KITTI's development kit looks for the files of a result in a folder `data`. What lies there is
# replaced, so the folder above it has a name of its own.
RESULT_FOLDER = os.path.join("kitti_results", "data")
SCORES_FILE = "kitti_scores.json"
FULL_DECIMALS = 6  # of result files that are not to be rounded

# Of a class: overlap in the image, and on the ground and in space by the official and by the loose
# table, the one that the points paper's numbers go by. Other classes are held to those of cars.
MIN_OVERLAPS = {
    "car": (0.7, 0.7, 0.5),
    "pedestrian": (0.5, 0.5, 0.25),
    "cyclist": (0.5, 0.5, 0.25),
}
POINTS = (40, 11)
TASKS = {  # of the results: table, metric, curve
    "bbox": ("strict", "image", "precision"),
    "aos": ("strict", "image", "orientation"),
    "bev": ("strict", "ground", "precision"),
    "box3d": ("strict", "space", "precision"),
    "bev_loose": ("loose", "ground", "precision"),
    "box3d_loose": ("loose", "space", "precision"),
}


def min_overlaps(
    class_names: Sequence[str], *, in_space: bool = True
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Table ("strict", "loose") -> metric -> overlap that must be exceeded, by class."""
    rows = [MIN_OVERLAPS.get(name.lower(), MIN_OVERLAPS["car"]) for name in class_names]
    image, strict, loose = (tuple(column) for column in zip(*rows, strict=True))
    if not in_space:
        return {"strict": {"image": image}}
    return {
        "strict": {"image": image, "ground": strict, "space": strict},
        "loose": {"ground": loose, "space": loose},
    }


class KittiEvaluator(BoxEvaluator):
    """Scores `Instances` with `pred_boxes`, `scores`, `pred_classes` and `pred_boxes3d`.

    Boxes are XYXY in original pixels and may leave the image, 3-D boxes are `Boxes3D` in the camera
    frame. A detector without `pred_boxes3d` is scored in the image alone.

    `evaluate()` returns a dict per task of `TASKS`: 2-D AP ("bbox"), orientation similarity
    ("aos"), AP from above ("bev") and in space ("box3d") by the official overlaps, and both by the
    loose ones. Each has `AP40-<class>-<difficulty>` and `AP11-...` in percent, and `AP40`, `AP11`,
    the means over classes at moderate difficulty. NaN where nothing is to be found.

    The result files are written to `kitti_results/data/` in the output folder and replace what is
    there. A split without labels gives these and empty dicts. What counts is said at `BoxEvaluator`
    and in `kitti_ap.py`.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        output_folder: str | None = None,
        round_results: int | None = 2,
        protocol: str = "",
        distributed: bool = True,
    ):
        """Read the ground truth.

        Args:
            dataset_name: a registered dataset; see `kitti_ground_truth`.
            output_folder: where the result files and the scores are written; None: nowhere.
            round_results: decimals of the result files, scores included, that are scored too, as
                published; None: score what the model gave, and write 6.
            protocol: name of the test protocol, printed and written with the scores.
            distributed: gather the detections of all processes; the main one scores them, others
                return `{}`.
        """
        self.round_results = round_results
        self.ground_truth = load_ground_truth(dataset_name)
        super().__init__(
            dataset_name=dataset_name,
            image_ids=self.ground_truth.image_ids,
            num_classes=len(self.ground_truth.class_names),
            output_folder=output_folder,
            protocol=protocol,
            rounding=rounding_note(round_results, 2),
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
        detections = self._joined(gathered)
        if self.output_folder:
            self._write_results(detections)
        if self.ground_truth.truth is None:
            folder = os.path.join(self.output_folder or "", RESULT_FOLDER)
            self._warn_without_scores(f"The files to submit are in {folder}: zip them.")
            return OrderedDict((task, {}) for task in TASKS)
        if not len(detections):
            logger.warning("Not one detection for dataset '%s'.", self.dataset_name)
        in_space = all("boxes3d" in arrays for arrays in gathered.values())
        overlaps = min_overlaps(self.ground_truth.class_names, in_space=in_space)
        curves = score_kitti(self.ground_truth.truth, detections, overlaps)
        results = self._results(curves)
        objects = curves["strict"]["image"].objects
        logger.info("%s", self._report(results, objects))
        self._warn_of_few(objects)
        if self.output_folder:
            self._write_scores(results, curves)
        return results

    def _fields(self, instances: Instances, where: str) -> Detections:
        fields = super()._fields(instances, where)
        if instances.has("pred_boxes3d"):
            fields["boxes3d"] = instances.pred_boxes3d.tensor.detach().double().cpu().numpy()
        return fields

    def _joined(self, gathered: dict[str, Detections]) -> KittiDetections:
        """All detections, by frame and then as the model gave them; rounded as the files are."""
        frame, stacked = self._stacked(gathered)
        boxes3d = [
            part.get("boxes3d", np.tile(NO_BOX3D, (len(part["scores"]), 1)))
            for part in gathered.values()
        ]
        detections = KittiDetections(
            frame=frame,
            label=stacked["classes"],
            boxes=stacked["boxes"],
            boxes3d=np.concatenate([np.zeros((0, 8)), *boxes3d]),
            scores=stacked["scores"],
        )
        return detections if self.round_results is None else rounded(detections, self.round_results)

    def _results(self, curves: dict[str, dict[str, KittiCurves]]) -> OrderedDict:
        results = OrderedDict()
        for task, (table, metric, name) in TASKS.items():
            known = curves.get(table, {}).get(metric)
            curve = None if known is None else getattr(known, name)
            if curve is None:
                results[task] = {}
                continue
            values = {points: average_precision(curve, known.objects, points) for points in POINTS}
            results[task] = {
                f"AP{points}": mean_of_known(values[points][:, 1]) for points in POINTS
            }
            for points in POINTS:
                results[task].update(
                    (self._key(points, label, level), float(values[points][label, level]))
                    for label in range(self.num_classes)
                    for level in range(len(DIFFICULTIES))
                )
        return results

    def _key(self, points: int, label: int, level: int) -> str:
        return f"AP{points}-{self.ground_truth.class_names[label]}-{DIFFICULTIES[level].name}"

    def _report(self, results: OrderedDict, objects: np.ndarray) -> str:
        protocol = f", protocol {self.protocol}" if self.protocol else ""
        levels = [difficulty.name for difficulty in DIFFICULTIES]
        headers = ["", "IoU >", *(f"AP{points} {level}" for points in POINTS for level in levels)]
        overlaps = min_overlaps(self.ground_truth.class_names)
        lines = []
        for label, name in enumerate(self.ground_truth.class_names):
            rows = []
            for task, values in results.items():
                table, metric, _ = TASKS[task]
                keys = [self._key(n, label, k) for n in POINTS for k in range(len(levels))]
                if values:
                    rows.append([task, overlaps[table][metric][label], *map(values.get, keys)])
            counts = ", ".join(f"{n} {k}" for n, k in zip(objects[label], levels, strict=True))
            title = f"{name} in percent, {self.dataset_name}{protocol} (to be found: {counts}):"
            lines += [title, tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="pipe")]
        return "\n".join(lines)

    def _warn_of_few(self, objects: np.ndarray) -> None:
        """Say what a perfect detector would get where objects are fewer than recall samples."""
        few = []
        for label, level in np.argwhere((objects > 0) & (objects < SAMPLES)):
            count = objects[label, level]
            reached = np.arange(SAMPLES) < count
            limits = [f"AP{n} {average_precision(reached, count, n):.1f}" for n in POINTS]
            name = self.ground_truth.class_names[label]
            few.append(f"{name} {DIFFICULTIES[level].name} ({count}): {', '.join(limits)}")
        if few:
            logger.warning(
                "KITTI samples %d recalls, and here are fewer objects than that. Even a perfect "
                "detector gets no more than: %s.",
                SAMPLES,
                "; ".join(few),
            )

    def _write_results(self, detections: KittiDetections) -> None:
        folder = os.path.join(self.output_folder, RESULT_FOLDER)
        decimals = FULL_DECIMALS if self.round_results is None else self.round_results
        names = self.ground_truth.class_names
        write_result_files(folder, self.image_ids, names, detections, decimals=decimals)
        logger.info("%d detections, a file per frame: %s", len(detections), folder)

    def _write_scores(
        self, results: OrderedDict, curves: dict[str, dict[str, KittiCurves]]
    ) -> None:
        overlaps = min_overlaps(self.ground_truth.class_names)
        self._save_scores(
            SCORES_FILE,
            results,
            round_results=self.round_results,
            min_overlaps=overlaps,
            least_overlaps=overlaps,  # the key of earlier files, for one release
            classes=self.ground_truth.class_names,
            difficulties=[difficulty.name for difficulty in DIFFICULTIES],
            # Shares of 1: class, difficulty, 41 recalls.
            curves={
                task: getattr(curves[TASKS[task][0]][TASKS[task][1]], TASKS[task][2]).tolist()
                for task, values in results.items()
                if values
            },
        )
