"""Scores of an exported file on a dataset, beside those of the detector that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from torch import nn

from ..engine.trainer import Trainer
from ..evaluation.build import build_evaluator, told_by_model
from ..export.formats import Arrays, Runner
from ..export.graph import PICTURES, PROJECTION
from ..export.write import rows_found
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..structures.boxes3d import Boxes3D

_FIELDS = {"pred_boxes": Boxes, "pred_boxes3d": Boxes3D}


class FileDetector(nn.Module):
    """A file in the place of its detector where that is evaluated: entries in, instances out."""

    def __init__(
        self, run: Runner, model: HeatmapDetector, frame: Mapping[str, int | None]
    ) -> None:
        """`frame` is that of the file's metadata."""
        super().__init__()
        self.run, self.frame, self.told = run, frame, told_by_model(model)
        self.cameras = [c for t in getattr(model, "tasks", ()) if (c := getattr(t, "cameras", 0))]

    def forward(self, entries: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect in each alone."""
        return [{"instances": self._instances(entry)} for entry in entries]

    def _instances(self, entry: dict[str, Any]) -> Instances:
        picture = entry["image"].permute(1, 2, 0).to(torch.uint8).numpy()
        size = picture.shape[:2]
        wanted = tuple(self.frame[a] or s for a, s in zip(("height", "width"), size, strict=True))
        if wanted != size:
            raise ValueError(
                f"'{entry.get('file_name')}' has {size[1]} x {size[0]} pixels, and the file takes "
                f"{wanted[1]} x {wanted[0]}: score a file of any size, without --size"
            )
        times = self.frame["batch"] or 1
        inputs = {PICTURES: np.stack([picture] * times)}
        if self.cameras:
            matrix = self.cameras[0].of_output(entry)
            inputs[PROJECTION] = np.stack([np.asarray(matrix, dtype=np.float32)] * times)
        return instances_of(rows_found(self.run(inputs), 0), size)


def instances_of(rows: Arrays, size: tuple[int, int]) -> Instances:
    """The detections of a picture as a detector gives them."""
    found = Instances(size)
    for name, values in rows.items():
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        found.set(name, _FIELDS.get(name, lambda t: t)(tensor))
    return found


def headline_scores(cfg: CfgNode, model: nn.Module) -> dict[str, float]:
    """Score on the one dataset of DATASETS.TEST: "bbox/AP" -> percent, of every task the first."""
    told = getattr(model, "told", None) or told_by_model(model)
    evaluator = build_evaluator(cfg, cfg.DATASETS.TEST[0], "", **told)
    results = Trainer.test(cfg, model, evaluator)
    first = {task: next(iter(scores)) for task, scores in results.items() if scores}
    return {f"{task}/{name}": float(results[task][name]) for task, name in first.items()}
