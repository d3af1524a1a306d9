"""What happens beside the steps: watched losses, the best checkpoint, pictures."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.structures import Instances

from ..atomic_write import write_json
from ..losses.heatmap_focal import COLLAPSED
from .checkpointer import Checkpointer
from .step_loop import describe_batch, unwrapped

logger = logging.getLogger(__name__)


class TrainingHealthHook(HookBase):
    """Warn when training looks alive but learns nothing, with the images at hand.

    Two signs: a heatmap loss stands at 9.21 (all positives predicted as certain background: the
    branch has collapsed), and no batch holds an object. Each is told after `patience` such steps in
    a row, and again after as many.
    """

    def __init__(
        self, heatmap_losses: Mapping[str, float] | None = None, *, patience: int = 50
    ) -> None:
        """Watch `heatmap_losses`, names -> weights; a model of this package has its own."""
        self.patience = patience
        self.heatmap_losses = dict(heatmap_losses or {})
        self.collapsed_steps = dict.fromkeys(self.heatmap_losses, 0)
        self.empty_steps = 0

    def after_step(self) -> None:
        """Count, and warn."""
        loop = self.trainer._trainer
        for name, weight in self.heatmap_losses.items():
            loss = loop.losses.get(name, math.inf)
            collapsed = abs(loss - COLLAPSED * weight) < 1e-2 * weight
            self.collapsed_steps[name] = self.collapsed_steps[name] + 1 if collapsed else 0
            if self._due(self.collapsed_steps[name]):
                logger.warning(
                    "%s has been %.4f for %d steps: every object's keypoint is predicted as "
                    "certain background, the heatmap branch has collapsed. Check the boxes of the "
                    "dataset (xyxy given as xywh?), and its joints, and lower SOLVER.BASE_LR. "
                    "Images of this batch: %s",
                    *(name, loss, self.collapsed_steps[name], describe_batch(loop.batch)),
                )
        counts = [len(sample["instances"]) for sample in loop.batch if "instances" in sample]
        self.empty_steps = self.empty_steps + 1 if counts and not any(counts) else 0
        if self._due(self.empty_steps):
            logger.warning(
                "No object in %d batches in a row. Check the annotations and INPUT.CENTER_CROP; "
                "images without objects are left out by DATALOADER.FILTER_EMPTY_ANNOTATIONS True. "
                "Images of this batch: %s",
                self.empty_steps,
                describe_batch(loop.batch),
            )

    def _due(self, steps: int) -> bool:
        return steps > 0 and steps % self.patience == 0


class BestCheckpoint(HookBase):
    """Keep `model_best.pth`: the weights with the highest value of one evaluation result.

    The value stands beside it in `model_best.json`, so that a resumed run does not overwrite a
    better one. The file holds weights only and is not what a run resumes from. Register it after
    the evaluation hook.
    """

    def __init__(self, checkpointer: Checkpointer, metric: str) -> None:
        self.checkpointer, self.metric = checkpointer, metric
        self.record = os.path.join(checkpointer.save_dir, "model_best.json")
        self.best = -math.inf
        self._seen_iteration = -1
        self._told = False

    def before_train(self) -> None:
        """Take over the best value of the run that is resumed."""
        if self.trainer.start_iter > 0 and os.path.isfile(self.record):
            with open(self.record, encoding="utf-8") as file:
                saved = json.load(file)
            if saved["metric"] == self.metric:
                self.best = saved["value"]

    def after_step(self) -> None:
        """Save if the evaluation of this iteration is the best yet."""
        value, iteration = self.trainer.storage.latest().get(self.metric, (math.nan, -1))
        if iteration < 0:
            self._tell_unknown(getattr(self.trainer, "_last_eval_results", None))
        if iteration == self._seen_iteration or not value > self.best:  # also for NaN
            return
        self._seen_iteration = iteration
        self.best = value
        record = {"metric": self.metric, "value": value, "iteration": iteration}
        self.checkpointer.save("model_best", weights_only=True, tag=False, **record)
        write_json(self.record, record)
        logger.info("Best %s so far: %.4f, saved as model_best.pth.", self.metric, value)

    after_train = after_step  # the last evaluation runs after the last step

    def _tell_unknown(self, results: dict | None) -> None:
        """Warn once that the metric is no result of an evaluation that was done."""
        if results is None or self._told:
            return
        self._told = True
        logger.warning(
            "SOLVER.BEST_METRIC '%s' is no result of the evaluation; there are: %s. model_best.pth "
            "is not kept: stop and correct it, and continue with --resume.",
            self.metric,
            ", ".join(sorted(flatten_results_dict(results))) or "none",
        )


class VisualizationHook(HookBase):
    """Every `period` steps draw the batch's first image, its objects and its detections.

    The picture goes to detectron2's event storage, that is to TensorBoard.
    """

    def __init__(self, period: int, class_names: list[str], *, threshold: float = 0.3) -> None:
        self.period, self.class_names, self.threshold = period, class_names, threshold

    def after_step(self) -> None:
        """Draw if it is due."""
        if (self.trainer.iter + 1) % self.period == 0:
            sample = self.trainer._trainer.batch[0]
            picture = self.draw(sample, detect(unwrapped(self.trainer.model), sample))
            rgb = np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1))
            self.trainer.storage.put_image("objects left, detections right", rgb)

    def draw(self, sample: dict, detections: Instances) -> np.ndarray:
        """Draw a training sample: (H, 2W, 3) uint8, BGR."""
        from ..visualization.detections import draw_detections

        image = sample["image"].clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
        truth = sample["instances"]
        objects = Instances(
            truth.image_size,
            pred_boxes=truth.gt_boxes,
            pred_classes=truth.gt_classes,
            scores=torch.ones(len(truth)),
        )
        drawn = [
            draw_detections(image.copy(), instances.to("cpu"), self.class_names, self.threshold)
            for instances in (objects, detections)
        ]
        return np.concatenate(drawn, axis=1)


@torch.no_grad()
def detect(model: torch.nn.Module, sample: dict) -> Instances:
    """Detect in a training sample as in evaluation, in the frame of its image."""
    height, width = sample["image"].shape[1:]
    training = model.training
    model.eval()
    try:
        inputs = {"image": sample["image"], "height": height, "width": width}
        return model([inputs])[0]["instances"]
    finally:
        model.train(training)
