"""What evaluators of boxes share: detections as checked arrays, gathered from all processes."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from tabulate import tabulate

from ..atomic_write import write_json

logger = logging.getLogger(__name__)

Detections = dict[str, np.ndarray]
"""Of one image: `boxes` (N, 4) float32 XYXY in original pixels, `scores` (N,) float64, `classes`
(N,) int64, and what an evaluator adds."""


class BoxEvaluator(DatasetEvaluator):
    """Collects `Instances` with `pred_boxes`, `scores` and `pred_classes`; subclasses score them.

    All images of the ground truth count: one that was never processed is an image without
    detections (and is reported). An image that was processed more than once, as samplers do that
    fill up the last round, counts once.
    """

    def __init__(
        self,
        *,
        dataset_name: str,
        image_ids: Sequence[int | str],
        num_classes: int,
        output_folder: str | None = None,
        protocol: str = "",
        rounding: str = "",
        distributed: bool = True,
    ):
        """Args are kept.

        Args:
            dataset_name: for messages.
            image_ids: of the ground truth, in its order.
            num_classes: of the ground truth.
            output_folder: where files are written; None: nowhere.
            protocol: name of the test protocol, printed and written with the scores.
            rounding: what is told after it, see `rounding_note`.
            distributed: gather the detections of all processes; the main one scores them, others
                return `{}`.
        """
        self.dataset_name = dataset_name
        self.image_ids = list(image_ids)
        self.num_classes = num_classes
        self.output_folder = output_folder
        self.protocol = " / ".join(filter(None, (protocol, rounding)))
        self.distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Forget all detections."""
        self._detections: dict[int | str, Detections] = {}
        self._repeated = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take the detections of some images: `inputs` have "image_id", `outputs` have "instances".

        Raises:
            ValueError: a class index that the dataset does not have.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            if image_id in self._detections:
                self._repeated += 1
                continue
            self._detections[image_id] = self._to_arrays(output["instances"], record)

    def _fields(self, instances: Instances, where: str) -> Detections:
        """Fields of detections as arrays, one row each; `where` names the image for messages."""
        return {
            "boxes": instances.pred_boxes.tensor.detach().float().cpu().numpy().reshape(-1, 4),
            "scores": instances.scores.detach().double().cpu().numpy(),
            "classes": instances.pred_classes.detach().cpu().numpy(),
        }

    def _to_arrays(self, instances: Instances, record: dict) -> Detections:
        where = f"image {record.get('file_name', record['image_id'])}"
        fields = self._fields(instances, where)
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
        if not finite.all():
            logger.warning(
                "%s: %d of %d detections have a NaN or infinite number and are left out. Have the "
                "weights diverged?",
                where,
                (~finite).sum(),
                len(finite),
            )
            fields = {name: values[finite] for name, values in fields.items()}
        return fields

    def _warn_without_scores(self, submission: str) -> None:
        """Say that the split has no annotations, and what there is instead."""
        logger.warning(
            "Dataset '%s' has no annotations, so there are no scores. %s",
            self.dataset_name,
            submission
            if self.output_folder
            else "Nothing was written either: the evaluator was given no output folder.",
        )

    def _gather(self) -> dict[int | str, Detections] | None:
        """Detections of all processes by image, in the ground truth's order; None: not here."""
        parts, repeated = [self._detections], self._repeated
        if self.distributed:
            comm.synchronize()
            gathered = comm.gather((self._detections, self._repeated), dst=0)
            if not comm.is_main_process():
                return None
            parts, repeated = [part for part, _ in gathered], sum(count for _, count in gathered)
        merged: dict[int | str, Detections] = {}
        for part in parts:
            for image_id, arrays in part.items():
                repeated += image_id in merged
                merged.setdefault(image_id, arrays)
        unknown = list(set(merged).difference(self.image_ids))
        if unknown:
            raise ValueError(
                f"Detections for {len(unknown)} images that dataset '{self.dataset_name}' does not "
                f"have, such as image_id {unknown[0]!r}. The test loader and the evaluator were "
                "given different datasets."
            )
        unseen = [image_id for image_id in self.image_ids if image_id not in merged]
        if unseen or repeated:
            logger.warning(
                "Dataset '%s': %d of %d images were never processed and count as images without "
                "detections%s; %d were processed more than once and count once.",
                self.dataset_name,
                len(unseen),
                len(self.image_ids),
                f" (such as image_id {unseen[0]!r})" if unseen else "",
                repeated,
            )
        return {image_id: merged[image_id] for image_id in self.image_ids if image_id in merged}

    def _stacked(self, gathered: Mapping[int | str, Detections]) -> tuple[np.ndarray, Detections]:
        """All detections by image, and then as the model gave them.

        Returns:
            (D,) int64, the place of each detection's image in `image_ids`; and `boxes`, `scores`
            and `classes` of all.
        """
        places = {image_id: place for place, image_id in enumerate(self.image_ids)}
        parts = list(gathered.values())
        counts = [len(part["scores"]) for part in parts]
        classes = [part["classes"].astype(np.int64) for part in parts]
        image = np.repeat([places[image_id] for image_id in gathered], counts).astype(np.int64)
        return image, {
            "boxes": np.concatenate([np.zeros((0, 4)), *(part["boxes"] for part in parts)]),
            "scores": np.concatenate([np.zeros(0), *(part["scores"] for part in parts)]),
            "classes": np.concatenate([np.zeros(0, dtype=np.int64), *classes]),
        }

    def _save_scores(
        self, file_name: str, results: Mapping[str, Mapping[str, float]], **besides: Any
    ) -> None:
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
        write_json(os.path.join(self.output_folder or "", file_name), content, indent=1)


def class_table(class_ap: dict[str, float], columns: int = 3) -> str:
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
