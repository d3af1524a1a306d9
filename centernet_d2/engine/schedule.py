"""Learning rate and iterations from the recipe, the batch and the dataset's length.

A recipe states a learning rate for its own batch size, and epochs. What a run needs - a learning
rate, iterations, steps - follows from them. Pure arithmetic; only the two functions at the end know
`cfg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode


@dataclass(frozen=True)
class Schedule:
    """What a run uses. Periods and steps are iterations; a period of 0: only at the end."""

    dataset_size: int
    images_per_batch: int
    iterations_per_epoch: int
    learning_rate: float
    iterations: int
    steps: tuple[int, ...]
    evaluation_period: int
    checkpoint_period: int
    learning_rate_origin: str = ""  # how the learning rate came about; "": as given

    def describe(self) -> str:
        """Return the schedule in two lines, for the log."""
        epochs = self.iterations * self.images_per_batch / self.dataset_size
        steps = f"lowered after {', '.join(map(str, self.steps))}" if self.steps else "constant"
        period = self.evaluation_period
        evaluation = f"every {period} iterations and at the end" if period else "at the end"
        origin = f" ({self.learning_rate_origin})" if self.learning_rate_origin else ""
        return (
            f"{self.dataset_size} images, {self.images_per_batch} per step, "
            f"{self.iterations_per_epoch} iterations per epoch.\n"
            f"Learning rate {self.learning_rate:.6g}{origin}, {steps}; "
            f"{self.iterations} iterations (about {epochs:.1f} epochs); evaluation {evaluation}, "
            f"checkpoint every {self.checkpoint_period} iterations."
        )


def compute_schedule(
    *,
    dataset_size: int,
    images_per_batch: int,
    base_learning_rate: float,
    base_batch_size: int = 0,
    epochs: int = 0,
    epoch_steps: Sequence[int] = (),
    iterations: int = 0,
    steps: Sequence[int] = (),
    evaluation_epochs: int = 0,
    evaluation_period: int = 0,
    checkpoint_epochs: int = 0,
    checkpoint_period: int = 5000,
) -> Schedule:
    """Compute the schedule of a run.

    An epoch is `dataset_size // images_per_batch` iterations (the published loader drops the last,
    smaller batch), and at least 1. The learning rate is multiplied after each epoch of
    `epoch_steps`.

    Args:
        dataset_size: number of training images.
        images_per_batch: images per step, over all processes.
        base_learning_rate: learning rate of a batch of `base_batch_size` images.
        base_batch_size: 0 uses `base_learning_rate` as it is.
        epochs: length of the run; 0 uses `iterations` and `steps` as they are.
        epoch_steps: epochs after which the learning rate is lowered; none uses `steps`.
        iterations: length of the run where `epochs` is 0.
        steps: iterations after which the learning rate is lowered where `epochs` is 0 or
            `epoch_steps` empty.
        evaluation_epochs: epochs between evaluations; 0 uses `evaluation_period`.
        evaluation_period: iterations between evaluations; 0: only at the end.
        checkpoint_epochs: epochs between checkpoints; 0 uses `checkpoint_period`.
        checkpoint_period: iterations between checkpoints.

    Raises:
        ValueError: an argument makes no run, with the name of its config key.
    """
    _check_positive("the number of training images (DATASETS.TRAIN)", dataset_size)
    _check_positive("SOLVER.IMS_PER_BATCH", images_per_batch)
    _check_positive("SOLVER.BASE_LR", base_learning_rate)
    per_epoch = max(dataset_size // images_per_batch, 1)
    origin = ""
    if base_batch_size:
        origin = f"{base_learning_rate:.6g} x {images_per_batch}/{base_batch_size}"
        base_learning_rate *= images_per_batch / base_batch_size
    if epochs:
        iterations = epochs * per_epoch
        steps = [epoch * per_epoch for epoch in epoch_steps] or steps
    _check_positive("SOLVER.EPOCHS or SOLVER.MAX_ITER", iterations)
    if checkpoint_epochs:
        checkpoint_period = checkpoint_epochs * per_epoch
    _check_positive("SOLVER.CHECKPOINT_PERIOD or SOLVER.CHECKPOINT_EPOCHS", checkpoint_period)
    return Schedule(
        dataset_size=dataset_size,
        images_per_batch=images_per_batch,
        iterations_per_epoch=per_epoch,
        learning_rate=base_learning_rate,
        iterations=iterations,
        # Strictly increasing and inside the run, as detectron2's scheduler demands.
        steps=tuple(sorted({int(step) for step in steps if 0 < step < iterations})),
        evaluation_period=evaluation_epochs * per_epoch if evaluation_epochs else evaluation_period,
        checkpoint_period=checkpoint_period,
        learning_rate_origin=origin,
    )


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} is {value}; it must be more than 0.")


def schedule_from_config(cfg: CfgNode, dataset_size: int) -> Schedule:
    """Compute the schedule that `cfg` asks for on `dataset_size` images."""
    solver = cfg.SOLVER
    return compute_schedule(
        dataset_size=dataset_size,
        images_per_batch=solver.IMS_PER_BATCH,
        base_learning_rate=solver.BASE_LR,
        base_batch_size=solver.BASE_BATCH_SIZE,
        epochs=solver.EPOCHS,
        epoch_steps=solver.EPOCH_STEPS,
        iterations=solver.MAX_ITER,
        steps=solver.STEPS,
        evaluation_epochs=cfg.TEST.EVAL_EPOCHS,
        evaluation_period=cfg.TEST.EVAL_PERIOD,
        checkpoint_epochs=solver.CHECKPOINT_EPOCHS,
        checkpoint_period=solver.CHECKPOINT_PERIOD,
    )


def fix_schedule(cfg: CfgNode, schedule: Schedule) -> CfgNode:
    """Return a copy of `cfg` in which `schedule` stands as if given by hand."""
    fixed = cfg.clone()
    fixed.defrost()
    fixed.SOLVER.BASE_LR = float(schedule.learning_rate)
    fixed.SOLVER.MAX_ITER = schedule.iterations
    fixed.SOLVER.STEPS = schedule.steps
    fixed.SOLVER.CHECKPOINT_PERIOD = schedule.checkpoint_period
    fixed.TEST.EVAL_PERIOD = schedule.evaluation_period
    fixed.SOLVER.BASE_BATCH_SIZE = fixed.SOLVER.EPOCHS = fixed.SOLVER.CHECKPOINT_EPOCHS = 0
    fixed.SOLVER.EPOCH_STEPS = []
    fixed.TEST.EVAL_EPOCHS = 0
    fixed.freeze()
    return fixed
