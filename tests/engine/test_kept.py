"""Nothing is lost: however a training ends, what is done is saved, and the last line says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from centernet_d2.engine.trainer import Trainer

from .test_resume import differing, train

NO_TEST = ("DATASETS.TEST", (), "SOLVER.CHECKPOINT_PERIOD", 100)


@pytest.fixture(autouse=True)
def _signals_as_on_a_terminal():
    """What runs in the background ignores some of them, and so would the training."""
    usual = {signal.SIGINT: signal.default_int_handler}
    usual |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class At:
    """Calls `act` in step `iteration`, in `before_step`, of the loop or behind its update."""

    def __init__(self, trainer: Trainer, iteration: int, act, *, place: str) -> None:
        self.trainer, self.iteration, self.act = trainer, iteration, act
        loop = trainer._trainer
        target, name = {
            "forward": (loop.model, "forward"),
            "backward": (loop.grad_scaler, "scale"),
            "update": (loop.optimizer, "step"),
            "evaluation": (trainer, "test"),
            "loading": (loop, "_copy_buffers"),
        }[place]
        self.original = getattr(target, name)
        setattr(target, name, self)

    def __call__(self, *arguments, **named):
        if self.trainer.iter != self.iteration:
            return self.original(*arguments, **named)
        result = self.original(*arguments, **named)  # what it changes is changed
        self.act()
        return result


def sparing(cfg) -> Trainer:
    """A trainer that of itself saves every third step only."""
    trainer = Trainer(cfg)
    trainer._keeper.least = 3
    return trainer


def fail() -> None:
    raise RuntimeError("broken on purpose")


def last(cfg) -> dict:
    folder = Path(cfg.OUTPUT_DIR)
    name = (folder / "last_checkpoint").read_text()
    return torch.load(folder / name, weights_only=True)


def whole_run(config, tmp_path, *overrides) -> dict:
    return train(config(*overrides, "OUTPUT_DIR", str(tmp_path / "whole")))


@pytest.mark.parametrize("place", ["loading", "forward", "backward"])
def test_a_step_that_fails_leaves_the_state_before_it(config, tmp_path, caplog, place):
    cfg = config(*NO_TEST, "SOLVER.EMA_DECAY", 0.9)
    trainer = sparing(cfg)
    At(trainer, 4, fail, place=place)
    with pytest.raises(RuntimeError, match="on purpose") as caught:
        trainer.train()
    saved = last(cfg)
    assert saved["iteration"] == 3
    file = tmp_path / "run" / "model_last.pth"
    line = f"Training failed. 4 of 6 iterations are in {file}; to go on: "
    assert line in caplog.messages[-1]
    assert caught.value.__notes__ == [caplog.messages[-1]]
    assert "--resume" in caplog.messages[-1]
    overrides = [*NO_TEST, "SOLVER.EMA_DECAY", 0.9]
    expected = whole_run(config, tmp_path, *overrides)
    assert differing(train(cfg, resume=True), expected) == []
    assert not file.exists()  # model_final.pth has taken its place


def test_an_update_that_breaks_off_is_not_saved(config, caplog):
    cfg = config(*NO_TEST)
    trainer = sparing(cfg)
    At(trainer, 4, fail, place="update")
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.train()
    assert last(cfg)["iteration"] == 2  # that of every tenth of the run
    assert "3 of 6 iterations" in caplog.messages[-1]


def test_weights_that_are_not_finite_replace_nothing(config, caplog):
    cfg = config(*NO_TEST)
    trainer = sparing(cfg)

    def spoil() -> None:
        next(trainer.model.parameters()).data[:] = torch.nan

    At(trainer, 4, spoil, place="update")
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer.train()
    assert last(cfg)["iteration"] == 2
    assert all(value.isfinite().all() for value in last(cfg)["model"].values())
    assert "are not saved. The last batch: image" in caplog.text


def test_a_failure_before_the_first_checkpoint_says_so(config, caplog):
    trainer = Trainer(config(*NO_TEST))
    At(trainer, 0, fail, place="backward")
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.train()
    assert caplog.messages[-1].startswith("Training failed before the first checkpoint")
    assert not list(Path(trainer.cfg.OUTPUT_DIR).glob("*.pth"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_after_the_step_and_resume_is_exact(config, tmp_path, caplog, number, code):
    before = signal.getsignal(number)
    overrides = [*NO_TEST, "DATALOADER.NUM_WORKERS", 1]
    cfg = config(*overrides)
    trainer = sparing(cfg)
    At(trainer, 4, lambda: os.kill(os.getpid(), number), place="forward")
    with pytest.raises(SystemExit if code else KeyboardInterrupt) as caught:
        trainer.train()
    assert getattr(caught.value, "code", None) == code
    assert signal.getsignal(number) == before
    assert last(cfg)["iteration"] == 4
    assert "Training was stopped. 5 of 6 iterations are in" in caplog.messages[-1]
    assert differing(train(cfg, resume=True), whole_run(config, tmp_path, *overrides)) == []


def test_a_signal_in_an_evaluation_stops_at_once(config, caplog):
    cfg = config("SOLVER.CHECKPOINT_PERIOD", 1000, "TEST.EVAL_PERIOD", 4)
    trainer = sparing(cfg)
    At(trainer, 3, lambda: os.kill(os.getpid(), signal.SIGINT), place="evaluation")
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert last(cfg)["iteration"] == 3  # saved before the evaluation
    assert "4 of 6 iterations" in caplog.messages[-1]


def test_an_evaluation_that_fails_finds_all_steps_saved(config, caplog):
    cfg = config("SOLVER.CHECKPOINT_PERIOD", 1000, "TEST.EVAL_PERIOD", 4)
    trainer = sparing(cfg)
    At(trainer, 3, fail, place="evaluation")
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.train()
    assert last(cfg)["iteration"] == 3
    assert not hasattr(trainer, "_last_eval_results")  # nor is there another one at the end


def test_every_tenth_of_a_run_is_saved_in_one_file(config):
    cfg = config(*NO_TEST, "SOLVER.MAX_ITER", 20, "SOLVER.CHECKPOINT_PERIOD", 8)
    trainer, saved = Trainer(cfg), []
    original = trainer.checkpointer.save
    trainer.checkpointer.save = lambda name, **more: (saved.append(name), original(name, **more))
    trainer.train()
    numbered = {8: "model_0000007", 16: "model_0000015", 20: "model_final"}
    assert saved == [numbered.get(done, "model_last") for done in range(2, 21, 2)]
    names = ["model_0000007.pth", "model_0000015.pth", "model_final.pth"]
    assert sorted(p.name for p in Path(cfg.OUTPUT_DIR).glob("*.pth")) == names


# ---------------------------------------------------------------------------------- early stopping
SCORES = [10.0, 12.0, 11.0, 12.0, 13.0]  # the best of the first four is the second
EARLY = (
    *("SOLVER.MAX_ITER", 60, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 100),
    *("SOLVER.BEST_METRIC", "bbox/AP", "SOLVER.EARLY_STOPPING", 2),
)


def scored(cfg, *, resume: bool = False) -> Trainer:
    trainer = Trainer(cfg)
    trainer.test = lambda cfg, model: {"bbox": {"AP": SCORES[(trainer.iter + 1) // 2 - 1]}}
    trainer.resume_or_load(resume=resume)
    return trainer


def test_early_stopping_ends_with_weights_and_results(config, tmp_path, caplog):
    caplog.set_level("INFO")
    cfg = config(*EARLY)
    assert scored(cfg).train() == {"bbox": {"AP": 12.0}}
    assert last(cfg)["iteration"] == 7
    files = sorted(p.name for p in (tmp_path / "run").glob("*.pth"))
    assert files == ["model_best.pth", "model_final.pth"]
    told = [m for m in caplog.messages if m.startswith("Stopped early")]
    assert told == [
        "Stopped early after 8 iterations: 2 evaluations without a better SOLVER.BEST_METRIC "
        "(SOLVER.EARLY_STOPPING)."
    ]
    again = scored(cfg, resume=True)
    assert again.train() == {"bbox": {"AP": 12.0}}  # evaluated, not trained
    assert again.iter == 8


@pytest.mark.parametrize("stopped_at", [5, 6])  # in the step after the third score, and behind it
def test_best_score_and_count_survive_a_resume(config, tmp_path, stopped_at):
    cfg = config(*EARLY)
    trainer = scored(cfg)
    At(trainer, stopped_at, fail, place="forward")
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.train()
    (tmp_path / "run" / "model_best.json").unlink()  # it is in the checkpoint as well
    again = scored(cfg, resume=True)
    again.train()
    assert last(cfg)["iteration"] == 7
    assert torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)["value"] == 12.0


def test_early_stopping_needs_a_metric_and_evaluations(config):
    early = ["SOLVER.EARLY_STOPPING", 3]
    with pytest.raises(ValueError, match=r"EARLY_STOPPING is 3, but SOLVER\.BEST_METRIC is ''"):
        Trainer(config(*early))
    with pytest.raises(ValueError, match=r"EARLY_STOPPING is 3, but TEST\.EVAL_PERIOD is 0"):
        Trainer(config(*early, "SOLVER.BEST_METRIC", "bbox/AP"))
