"""What happens beside the steps: watched losses, checkpoints, the end."""

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from detectron2.engine import HookBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm

from ..atomic_write import write_json
from ..losses.heatmap_focal import COLLAPSED
from ..progress import SHOWN
from .checkpointer import Checkpointer
from .processes import StopSignals
from .step_loop import describe_batch

logger = logging.getLogger(__name__)

VALIDATION = "validation/"  # what the names of results begin with that are losses


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
        self.patience, self.heatmap_losses = patience, dict(heatmap_losses or {})
        self._steps: Counter[str] = Counter()  # in a row, by sign: a loss, "" for no object

    def after_step(self) -> None:
        loop = self.trainer._trainer
        for name, weight in self.heatmap_losses.items():
            loss = loop.losses.get(name, math.inf)
            if self._due(name, abs(loss - COLLAPSED * weight) < 1e-2 * weight):
                logger.warning(
                    "%s has been %.4f for %d steps: every object's keypoint is predicted as "
                    "certain background, the heatmap branch has collapsed. Check the boxes of the "
                    "dataset (xyxy given as xywh?), and its joints, and lower SOLVER.BASE_LR. "
                    "Images of this batch: %s",
                    *(name, loss, self._steps[name], describe_batch(loop.batch)),
                )
        counts = [len(sample["instances"]) for sample in loop.batch if "instances" in sample]
        if self._due("", bool(counts) and not any(counts)):
            logger.warning(
                "No object in %d batches in a row. Check the annotations and INPUT.CENTER_CROP; "
                "images without objects are left out by DATALOADER.FILTER_EMPTY_ANNOTATIONS True. "
                "Images of this batch: %s",
                *(self._steps[""], describe_batch(loop.batch)),
            )

    def _due(self, sign: str, seen: bool) -> bool:
        self._steps[sign] = self._steps[sign] + 1 if seen else 0
        return seen and is_due(self._steps[sign], self.patience)


@dataclass(eq=False)
class CheckpointHook(HookBase):
    """Save so often that little is lost however a training ends, and stop it at a signal.

    Checkpoints with a number are written every `period` steps and stay; `model_final.pth` ends the
    run. Between them `model_last.pth`, which each time takes the place of the one before, is
    written every `least` steps, before an evaluation, and where the training stops. Weights that
    are not finite are never saved. Register it in every process, behind the learning rate's hook
    and before the evaluation's.
    """

    LAST: ClassVar = "model_last"
    checkpointer: Checkpointer
    _: KW_ONLY
    period: int
    least: int
    evaluation_period: int
    signals: StopSignals
    complete: int = field(default=-1, init=False)  # the last iteration that is whole
    saved: int = field(default=-1, init=False)  # the last one that is in a file

    def before_train(self) -> None:
        self.complete = self.saved = self.trainer.start_iter - 1

    def after_step(self) -> None:
        """Save if it is due, and stop if a process was asked to."""
        self.trainer._trainer.end_step()
        self.complete = iteration = self.trainer.iter
        done, stopping = iteration + 1, self.signals.agreed()
        ends = done >= self.trainer.max_iter
        names = [f"model_{iteration:07d}"] * is_due(done, self.period) + ["model_final"] * ends
        often = is_due(done, self.least) or is_due(done, self.evaluation_period)
        for name in names or [self.LAST] * (stopping or often):
            self.save(name)
        if ends:
            self.checkpointer.remove(self.LAST)
        if stopping:
            comm.synchronize()  # a process that is gone would have the others ended while they save
            self.signals.stop()

    def save(self, name: str = LAST) -> None:
        """Save the state of `trainer.iter`.

        Raises:
            FloatingPointError: the weights are not finite; earlier checkpoints stay.
        """
        if not all(bool(p.isfinite().all()) for p in self.checkpointer.model.parameters()):
            raise FloatingPointError(
                f"The weights are not finite after iteration {self.trainer.iter} and are not "
                f"saved. The last batch: {describe_batch(self.trainer._trainer.batch)}. Lower "
                "SOLVER.BASE_LR, warm up (SOLVER.WARMUP_ITERS) or clip "
                "(SOLVER.CLIP_GRADIENTS.ENABLED True)."
            )
        self.checkpointer.save(name, iteration=self.trainer.iter)
        self.saved = self.trainer.iter

    def close(self, error: BaseException, how: str) -> str:
        """Save the last whole step where `error` ends a training; return how to go on."""
        stopped_at = self.trainer.iter
        try:
            if self.complete > self.saved and self.trainer._trainer.undo_half_a_step():
                self.trainer.iter = self.complete
                self.save()
        except Exception as problem:  # a GPU may be gone
            logger.error("The last steps cannot be saved: %s", problem)
        self.trainer.iter = stopped_at
        failed = isinstance(error, Exception) and not self.signals.received
        cause = "Training failed" if failed else "Training was stopped"
        file, done = self.checkpointer.get_checkpoint_file(), self.saved + 1
        if not file or not done:
            return f"{cause} before the first checkpoint: nothing is saved."
        total = self.trainer.max_iter
        return f"{cause}. {done} of {total} iterations are in {file}; to go on: {how}"


class EvaluationHook(hooks.EvalHook):
    """detectron2's, which would also evaluate where the last step failed or was to be the last."""

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()
        else:
            del self._func  # which holds the trainer


def is_due(steps: int, period: int) -> bool:
    """Whether something that is done every `period` steps is due after so many; 0: never."""
    return period > 0 and steps % period == 0


class StoppedEarly(BaseException):
    """Ends a training that gets no better; detectron2 reports each `Exception` as a fault."""


@dataclass(eq=False)
class BestCheckpoint(HookBase):
    """Keep the weights with the best value of one evaluation result, and stop without better.

    The highest is the best, of the validation loss the lowest.

    The value stands beside `model_best.pth` in `model_best.json` and in every checkpoint, so that a
    resumed run does not overwrite a better one. The file holds weights only and is not what a run
    resumes from. Register it after the evaluation hook, in every process; the main one knows the
    results. After `patience` evaluations, each after `period` steps, without a better value the
    training ends with `model_final.pth`; 0: never. `keeper` saves then, and that count otherwise.
    """

    checkpointer: Checkpointer
    metric: str
    _: KW_ONLY
    keeper: CheckpointHook | None = None
    patience: int = 0
    period: int = 0

    def __post_init__(self) -> None:
        self.record = os.path.join(self.checkpointer.save_dir, "model_best.json")
        self.sign = -1 if self.metric.startswith(VALIDATION) else 1
        self.best, self.without_better = -self.sign * math.inf, 0  # and evaluations since it
        self._seen_iteration, self._told = -1, False

    def state_dict(self) -> dict[str, Any]:
        return {"metric": self.metric, "best": self.best, "without_better": self.without_better}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["metric"] == self.metric:
            self.best, self.without_better = state["best"], state["without_better"]

    def before_train(self) -> None:
        """Take over the best value of a resumed run; end at once where it has ended early."""
        if self.trainer.start_iter > 0 and os.path.isfile(self.record):
            with open(self.record, encoding="utf-8") as file:
                saved = json.load(file)
            if saved["metric"] == self.metric:
                self.best = max(self.best, saved["value"], key=lambda v: self.sign * v)
        if self._is_over():
            self._end(self.trainer.start_iter)

    def after_step(self) -> None:
        """Look at this step's evaluation; save, and end if there was none better for too long."""
        self._look()
        done = self.trainer.iter + 1
        if not self.patience or not is_due(done, self.period) or done >= self.trainer.max_iter:
            return
        if not self._is_over():
            self.keeper.save()
            return
        self.keeper.save("model_final")
        self.checkpointer.remove(self.keeper.LAST)
        self._end(done)

    def after_train(self) -> None:
        """Look at the evaluation at the end; say again where the metric was in none."""
        told_before = self._told
        self._look()
        if told_before:
            logger.warning(
                "SOLVER.BEST_METRIC '%s' was no result of any evaluation: no model_best.pth is "
                "kept of this run.",
                self.metric,
            )

    def _look(self) -> None:
        """Save if the last evaluation, which may have been done just now, is the best yet."""
        if not comm.is_main_process():
            return
        value, iteration = self.trainer.storage.latest().get(self.metric, (math.nan, -1))
        results = getattr(self.trainer, "_last_eval_results", None)
        if iteration < 0 and results is not None and not self._told:
            self._told = True
            logger.warning(
                "SOLVER.BEST_METRIC '%s' is no result of the evaluation; there are: %s. "
                "model_best.pth is not kept: stop and correct it, and continue with --resume.",
                self.metric,
                ", ".join(sorted(flatten_results_dict(results))) or "none",
            )
        if iteration in (self._seen_iteration, -1):
            return
        self._seen_iteration = iteration
        if not self.sign * value > self.sign * self.best:  # also for NaN
            self.without_better += 1
            return
        self.best, self.without_better = value, 0
        record = {"metric": self.metric, "value": value, "iteration": iteration}
        self.checkpointer.save("model_best", weights_only=True, **record)
        write_json(self.record, record)
        told = (self.metric, value)
        logger.info("Best %s so far: %.4f, saved as model_best.pth.", *told, extra=SHOWN)

    def _is_over(self) -> bool:  # as the main process counts
        return 0 < self.patience <= comm.all_gather(self.without_better)[0]

    def _end(self, done: int) -> None:
        raise StoppedEarly(
            f"Stopped early after {done} iterations: {self.patience} evaluations without a better "
            "SOLVER.BEST_METRIC (SOLVER.EARLY_STOPPING)."
        )
