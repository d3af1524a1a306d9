"""Learning rate and iterations from the recipe, the batch and the dataset's length.

A recipe states a learning rate for its own batch size, and epochs. What a run needs - a learning
rate, iterations, steps - follows from them.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from detectron2.config import CfgNode

from ..checked_values import check_value, positive

# Key in iterations, given by hand -> key in epochs, from which iterations are computed.
PARTNERS = {
    "SOLVER.MAX_ITER": "SOLVER.EPOCHS",
    "SOLVER.STEPS": "SOLVER.EPOCH_STEPS",
    "TEST.EVAL_PERIOD": "TEST.EVAL_EPOCHS",
    "SOLVER.CHECKPOINT_PERIOD": "SOLVER.CHECKPOINT_EPOCHS",
}


def overridden_epoch_keys(levels: Iterable[Collection[str]]) -> list[str]:
    """Return the keys in epochs that the keys in iterations replace.

    Epochs take precedence where both are set, so a key in iterations that is set over a config in
    epochs empties its partner.

    Args:
        levels: the keys that each level sets itself, base first: files, then the command line.
    """
    replaced: dict[str, bool] = {}
    for level in levels:
        for by_hand, in_epochs in PARTNERS.items():
            if in_epochs in level or by_hand in level:
                replaced[in_epochs] = in_epochs not in level
    return [key for key, is_replaced in replaced.items() if is_replaced]


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
    scheduler: str = ""  # SOLVER.LR_SCHEDULER_NAME, or what a trainer builds instead
    warm_up: int = 0  # iterations
    gamma: float = 0.1  # by which each of `steps` multiplies the learning rate
    evaluates: bool = True  # there is data for it
    learning_rate_origin: str = ""  # how the learning rate came about; "": as given
    warm_up_origin: str = ""  # likewise, a sentence

    @property
    def least_saving(self) -> int:
        """Iterations after which the state is saved at the latest, whatever the periods are."""
        return max(self.iterations // 10, 1)

    def epochs(self, iterations: int) -> float:
        """Return how often iterations go through the data."""
        return iterations * self.images_per_batch / self.dataset_size

    def describe(self) -> str:
        """Return the schedule in two lines, for the log."""
        steps = f"times {self.gamma:g} after {', '.join(map(str, self.steps))}"
        steps = FORMS.get(self.scheduler) or (steps if self.steps else "constant")
        steps = f"{steps} after {self.warm_up} of warm-up" if self.warm_up else steps
        steps = steps if self.is_known else f"as {self.scheduler} says"
        period = self.evaluation_period
        evaluation = f"every {period} iterations and at the end" if period else "at the end"
        evaluation = evaluation if self.evaluates else "none (DATASETS.TEST)"
        saving = min(self.checkpoint_period, self.least_saving)
        saved = f"every {saving} iterations or sooner" if saving > 1 else "after every iteration"
        origin = f" ({self.learning_rate_origin})" if self.learning_rate_origin else ""
        return (
            f"{self.dataset_size} images, {self.images_per_batch} per step, "
            f"{self.iterations_per_epoch} iterations per epoch.\n"
            f"Learning rate {self.learning_rate:.6g}{origin}, {steps}; "
            f"{self.iterations} iterations (about {self.epochs(self.iterations):.1f} epochs); "
            f"evaluation {evaluation}, saved {saved}."
        )

    @property
    def is_known(self) -> bool:
        """Whether the scheduler is one of detectron2's, which steps and warm-up are of."""
        return self.scheduler in ("", "WarmupMultiStepLR", *FORMS)

    def with_time_to_learn(self) -> "Schedule":
        """Return it with a warm-up of a tenth of the run where it would take the whole run."""
        if self.warm_up < self.iterations or not self.is_known:
            return self
        shorter = min(self.least_saving, self.iterations - 1)
        told = (
            f"SOLVER.WARMUP_ITERS {self.warm_up} is not shorter than the run of "
            f"{self.iterations} iterations: it is shortened to {shorter}."
        )
        return replace(self, warm_up=shorter, warm_up_origin=told)

    def changes(self, saved: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each value, but the optimizer's, that differs in a checkpoint."""
        return [
            f"{key}: {getattr(self, field)} is used, the run had {saved[field]}."
            for field, key in TOLD.items()
            if field in saved and saved[field] != getattr(self, field)
        ]


# SOLVER.LR_SCHEDULER_NAME -> how the learning rate goes down, of those that have no steps.
FORMS = {
    "WarmupCosineLR": "lowered along a cosine",
    "WarmupStepWithFixedGammaLR": "lowered in even steps (SOLVER.NUM_DECAYS)",  # of main
}
# Value of a schedule -> what sets it, for messages.
TOLD = {
    "dataset_size": "Training images (DATASETS.TRAIN)",
    "images_per_batch": "SOLVER.IMS_PER_BATCH",
    "iterations": "SOLVER.MAX_ITER",
    "steps": "SOLVER.STEPS",
    "scheduler": "SOLVER.LR_SCHEDULER_NAME",
    "warm_up": "SOLVER.WARMUP_ITERS",
}


def schedule_from_config(cfg: CfgNode, dataset_size: int) -> Schedule:
    """Compute the schedule that `cfg` asks for on `dataset_size` training images.

    An epoch is `dataset_size // SOLVER.IMS_PER_BATCH` iterations (the published loader drops the
    last, smaller batch), and at least 1. What is set in epochs takes precedence over iterations.

    Raises:
        ValueError: a value makes no run; the message names its config key.
    """
    solver, rate, origin = cfg.SOLVER, cfg.SOLVER.BASE_LR, ""
    batch, base_batch = solver.IMS_PER_BATCH, solver.BASE_BATCH_SIZE
    check_value("the number of training images (DATASETS.TRAIN)", dataset_size, positive)
    check_value("SOLVER.IMS_PER_BATCH", batch, positive)
    check_value("SOLVER.BASE_LR", rate, positive)
    if base_batch:
        origin = f"{rate:.6g} x {batch}/{base_batch}"
        rate *= batch / base_batch
    per_epoch = max(dataset_size // batch, 1)
    iterations = solver.EPOCHS * per_epoch or solver.MAX_ITER
    check_value("SOLVER.EPOCHS or SOLVER.MAX_ITER", iterations, positive)
    steps = [epoch * per_epoch for epoch in solver.EPOCH_STEPS] if solver.EPOCHS else []
    checkpoint_period = solver.CHECKPOINT_EPOCHS * per_epoch or solver.CHECKPOINT_PERIOD
    check_value("SOLVER.CHECKPOINT_PERIOD or SOLVER.CHECKPOINT_EPOCHS", checkpoint_period, positive)
    return Schedule(
        dataset_size=dataset_size,
        images_per_batch=batch,
        iterations_per_epoch=per_epoch,
        learning_rate=rate,
        iterations=iterations,
        # Strictly increasing and inside the run, as detectron2's scheduler demands.
        steps=tuple(sorted({int(s) for s in steps or solver.STEPS if 0 < s < iterations})),
        evaluation_period=cfg.TEST.EVAL_EPOCHS * per_epoch or cfg.TEST.EVAL_PERIOD,
        checkpoint_period=checkpoint_period,
        scheduler=solver.LR_SCHEDULER_NAME,
        warm_up=solver.WARMUP_ITERS,
        gamma=solver.GAMMA,
        evaluates=bool(cfg.DATASETS.TEST),
        learning_rate_origin=origin,
    )


def fix_schedule(cfg: CfgNode, schedule: Schedule) -> CfgNode:
    """Return a copy of `cfg` in which `schedule` stands as if given by hand."""
    fixed = cfg.clone()
    fixed.defrost()
    fixed.SOLVER.BASE_LR = float(schedule.learning_rate)
    fixed.SOLVER.MAX_ITER = schedule.iterations
    fixed.SOLVER.STEPS = schedule.steps
    fixed.SOLVER.WARMUP_ITERS = schedule.warm_up
    fixed.SOLVER.CHECKPOINT_PERIOD = schedule.checkpoint_period
    fixed.TEST.EVAL_PERIOD = schedule.evaluation_period
    fixed.SOLVER.BASE_BATCH_SIZE = fixed.SOLVER.EPOCHS = fixed.SOLVER.CHECKPOINT_EPOCHS = 0
    fixed.SOLVER.EPOCH_STEPS = []
    fixed.TEST.EVAL_EPOCHS = 0
    fixed.freeze()
    return fixed
