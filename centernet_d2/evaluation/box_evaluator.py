"""What evaluators of boxes share: detections as checked arrays, gathered from all processes."""

import logging
import math
import os
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from tabulate import tabulate

from ..atomic_write import write_json
from ..progress import clock

logger = logging.getLogger(__name__)

Detections = dict[str, np.ndarray]
"""Of one image: `boxes` (N, 4) float32 XYXY in original pixels, `scores` (N,) float64, `classes`
(N,) int64, and what an evaluator adds."""
Scores = Mapping[str, Mapping[str, float]]
"""Task -> name -> percent, NaN where there is nothing to average over."""


class BoxEvaluator(DatasetEvaluator):
    """Collects `Instances` with `pred_boxes`, `scores` and `pred_classes`; subclasses score them.

    All images of the ground truth count: one that was never processed is an image without
    detections (and is reported). An image that was processed more than once, as samplers do that
    fill up the last round, counts once. Result files are written to `output_folder`; a split
    without labels gives these and empty dicts.
    """

    tasks: Sequence[str] = ("bbox",)  # keys of the results
    scores_file: str
    submission: str  # how a split without labels is scored elsewhere by the files, {}

    def __init__(
        self,
        *,
        dataset_name: str,
        image_ids: Sequence[int | str],  # of the ground truth, in its order
        num_classes: int,
        is_labelled: bool,  # whether there is anything to compare detections with
        output_folder: str | None = None,  # where files are written; None: nowhere
        protocol: str = "",  # name of the test protocol, printed and written with the scores
        rounding: str = "",  # what is told after it, see `rounding_note`
        distributed: bool = True,
    ):
        """Take what the ground truth says, from a subclass, and what its own caller says.

        Where `distributed`, the detections of all processes are gathered; the main one scores them,
        others return `{}`.
        """
        self.dataset_name, self.image_ids = dataset_name, list(image_ids)
        self.num_classes, self.is_labelled = num_classes, is_labelled
        self.output_folder, self.distributed = output_folder, distributed
        self.protocol = " / ".join(filter(None, (protocol, rounding)))
        self.besides: dict[str, Any] = {}  # what stands beside the last scores: curves, options
        self.reset()

    def reset(self) -> None:
        self._detections: dict[int | str, Detections] = {}
        self._repeated = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take the detections of some images: `inputs` have "image_id", `outputs` "instances"."""
        for record, output in zip(inputs, outputs, strict=True):
            where = f"image {record.get('file_name', record['image_id'])}"
            self.take(record["image_id"], self._fields(output["instances"], where), where)

    def take(self, image_id: int | str, found: Detections, where: str) -> None:
        """Take the detections of one image as arrays; `where` names it for messages."""
        if image_id in self._detections:
            self._repeated += 1
        else:
            self._detections[image_id] = self._checked(found, where)

    def evaluate(self) -> OrderedDict:
        """Score what was processed since `reset()`; collective over all processes."""
        gathered = self._gather()
        if gathered is None:
            return OrderedDict()
        detections = self._joined(gathered)
        files = ""
        if self.output_folder:
            files = self._write_results(detections)
            logger.info("%d detections of %s: %s", len(detections), self.dataset_name, files)
        if not self.is_labelled:
            nothing = "Nothing was written either: the evaluator was given no output folder."
            logger.warning(
                "Dataset '%s' has no annotations, so there are no scores. %s",
                self.dataset_name,
                self.submission.format(files) if files else nothing,
            )
            return OrderedDict((task, {}) for task in self.tasks)
        if not len(detections):
            logger.warning("Not one detection for dataset '%s'.", self.dataset_name)
        with clock(f"Scoring {self.dataset_name}"):
            results, self.besides = self._score(detections)
        if all(math.isnan(value) for values in results.values() for value in values.values()):
            logger.warning(
                "Dataset '%s' has no object to be found, so all scores are NaN.", self.dataset_name
            )
        if self.output_folder:
            self._save_scores(results, self.besides)
        return OrderedDict(results)

    @abstractmethod
    def _joined(self, gathered: Mapping[int | str, Detections]) -> Sized:
        """All detections as they are written and scored, from those of each image."""

    @abstractmethod
    def _write_results(self, detections: Any) -> str:
        """Write the files that the benchmark takes; return their path."""

    @abstractmethod
    def _score(self, detections: Any) -> tuple[Scores, dict[str, Any]]:
        """Score and report; what stands in the file beside the scores comes with them."""

    def _fields(self, instances: Instances, where: str) -> Detections:
        """Fields of detections as arrays, one row each; `where` names the image for messages."""
        return {
            "boxes": instances.pred_boxes.tensor.detach().float().cpu().numpy().reshape(-1, 4),
            "scores": instances.scores.detach().double().cpu().numpy(),
            "classes": instances.pred_classes.detach().cpu().numpy(),
        }

    def _checked(self, fields: Detections, where: str) -> Detections:
        classes = fields["classes"]
        if classes.size and not 0 <= classes.min() <= classes.max() < self.num_classes:
            raise ValueError(
                f"{where}: detections of class {classes.max()}, but dataset '{self.dataset_name}' "
                f"has {self.num_classes} classes. The model was made for another dataset: set "
                "MODEL.HEATMAP.NUM_CLASSES and the weights that belong to this one."
            )
        finite = np.ones(len(classes), dtype=bool)
        for values in fields.values():
            finite &= np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if finite.all():
            return fields
        logger.warning(
            "%s: %d of %d detections have a NaN or infinite number and are left out. Have the "
            "weights diverged?",
            *(where, (~finite).sum(), len(finite)),
        )
        return {name: values[finite] for name, values in fields.items()}

    def _gather(self) -> dict[int | str, Detections] | None:
        """Detections of all processes by image, in the ground truth's order; None: not here."""
        gathered = [(self._detections, self._repeated)]
        if self.distributed:
            comm.synchronize()
            gathered = comm.gather(gathered[0], dst=0)
            if not comm.is_main_process():
                return None
        repeated = sum(count for _, count in gathered)
        merged: dict[int | str, Detections] = {}
        for part, _ in gathered:
            repeated += sum(image_id in merged for image_id in part)
            merged = part | merged
        unknown = list(set(merged).difference(self.image_ids))
        if unknown:
            raise ValueError(
                f"Detections for {len(unknown)} images that dataset '{self.dataset_name}' does not "
                f"have, such as image_id {unknown[0]!r}. The test loader and the evaluator were "
                "given different datasets."
            )
        unseen = [image_id for image_id in self.image_ids if image_id not in merged]
        if unseen or repeated:
            example = f" (such as image_id {unseen[0]!r})" if unseen else ""
            logger.warning(
                "Dataset '%s': %d of %d images were never processed and count as images without "
                "detections%s; %d were processed more than once and count once.",
                *(self.dataset_name, len(unseen), len(self.image_ids), example, repeated),
            )
        return {image_id: merged[image_id] for image_id in self.image_ids if image_id in merged}

    def _stacked(self, gathered: Mapping[int | str, Detections]) -> tuple[np.ndarray, Detections]:
        """All D detections by image, and then as the model gave them.

        First (D,) int64, the place of each one's image in `image_ids`; then all `boxes`, `scores`
        and `classes`.
        """
        places = {image_id: place for place, image_id in enumerate(self.image_ids)}
        counts = [len(part["scores"]) for part in gathered.values()]
        image = np.repeat([places[image_id] for image_id in gathered], counts).astype(np.int64)
        empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "classes": np.zeros(0, np.int64)}
        return image, {
            name: np.concatenate([none, *(part[name] for part in gathered.values())])
            for name, none in empty.items()
        }

    def _title(self, task: str) -> str:
        """What heads a table: of which dataset, by which protocol."""
        protocol = f", protocol {self.protocol}" if self.protocol else ""
        return f"{task} of {self.dataset_name}{protocol}"

    def _save_scores(self, results: Scores, besides: Mapping[str, Any]) -> None:
        """Write scores by task, NaN as null, with what they are of and `besides`."""
        content = {
            "dataset": self.dataset_name,
            "protocol": self.protocol,
            "images": len(self.image_ids),
            "unit": "percent",
            "scores": {
                task: {key: None if math.isnan(value) else value for key, value in values.items()}
                for task, values in results.items()
            },
            **besides,
        }
        write_json(os.path.join(self.output_folder or "", self.scores_file), content, indent=1)


def as_table(values: Mapping[str, float]) -> str:
    """Numbers under their names."""
    return tabulate([values], headers="keys", floatfmt=".2f", tablefmt="pipe")


def class_table(class_ap: Mapping[str, float], columns: int = 3) -> str:
    """Return a table of one number per class, several classes in a row."""
    cells = [cell for item in class_ap.items() for cell in item]
    width = 2 * min(columns, len(class_ap))
    rows = [cells[start : start + width] for start in range(0, len(cells), width)] if width else []
    headers = ["class", "AP"] * (width // 2)
    return tabulate(rows, headers=headers, floatfmt=".2f", tablefmt="pipe")


def rounding_note(decimals: int | None, published: int | None) -> str:
    """What a protocol's name says of decimals of what is scored; "" of the published ones."""
    if decimals == published:
        return ""
    return "unrounded" if decimals is None else f"rounded to {decimals} decimals"


def mean_of_known(values: np.ndarray) -> float:
    """Mean without NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
