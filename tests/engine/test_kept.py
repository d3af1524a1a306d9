"""Nothing is lost: however a training ends, what is done is saved, and the last line says so."""

from __future__ import annotations

import logging
import os
import re
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


def act_at(trainer: Trainer, iteration: int, act, *, place: str) -> None:
    """Let `act` be called in step `iteration`, behind what is done at that place."""
    loop = trainer._trainer
    target, name = {
        "loading": (loop, "_copy_buffers"),
        "forward": (loop.model, "forward"),
        "backward": (loop.grad_scaler, "scale"),
        "update": (loop.optimizer, "step"),
        "evaluation": (trainer, "test"),
    }[place]
    original = getattr(target, name)

    def call(*arguments, **named):
        result = original(*arguments, **named)
        if trainer.iter == iteration:
            act(trainer)
        return result

    setattr(target, name, call)


def fail(trainer: Trainer) -> None:
    raise RuntimeError("broken on purpose")


def stop(number: int):
    return lambda trainer: os.kill(os.getpid(), number)


def broken(cfg, iteration: int, act, place: str, error=RuntimeError):
    """Train, of itself saving every third step only, until `act` ends it; return its error."""
    trainer = Trainer(cfg)
    trainer._keeper.least = 3
    act_at(trainer, iteration, act, place=place)
    with pytest.raises(error) as caught:
        trainer.train()
    return caught.value


def last(cfg) -> dict:
    folder = Path(cfg.OUTPUT_DIR)
    return torch.load(folder / (folder / "last_checkpoint").read_text(), weights_only=True)


@pytest.mark.parametrize("place", ["loading", "forward", "backward"])
def test_a_step_that_fails_leaves_the_state_before_it(config, tmp_path, caplog, place):
    overrides = [*NO_TEST, "SOLVER.EMA_DECAY", 0.9]
    cfg, file = config(*overrides), tmp_path / "run" / "model_last.pth"
    error = broken(cfg, 4, fail, place)
    assert last(cfg)["iteration"] == 3
    line = f"Training failed. 4 of 6 iterations are in {file}; to go on: "
    assert caplog.messages[-1].startswith(line)
    assert error.__notes__ == [caplog.messages[-1]]
    assert "--resume" in caplog.messages[-1]
    expected = train(config(*overrides, "OUTPUT_DIR", str(tmp_path / "whole")))
    assert differing(train(cfg, resume=True), expected) == []
    assert not file.exists()  # model_final.pth has taken its place


def test_an_update_that_breaks_off_is_not_saved(config, caplog):
    cfg = config(*NO_TEST)
    broken(cfg, 4, fail, "update")
    assert last(cfg)["iteration"] == 2  # that of every tenth of the run
    assert "3 of 6 iterations" in caplog.messages[-1]


def test_weights_that_are_not_finite_replace_nothing(config, caplog):
    def spoil(trainer: Trainer) -> None:
        next(trainer.model.parameters()).data[:] = torch.nan

    cfg = config(*NO_TEST)
    broken(cfg, 4, spoil, "update", FloatingPointError)
    assert last(cfg)["iteration"] == 2
    assert all(value.isfinite().all() for value in last(cfg)["model"].values())
    assert "are not saved. The last batch: image" in caplog.text


def test_a_failure_before_the_first_checkpoint_says_so(config, caplog):
    cfg = config(*NO_TEST)
    broken(cfg, 0, fail, "backward")
    assert caplog.messages[-1].startswith("Training failed before the first checkpoint")
    assert not list(Path(cfg.OUTPUT_DIR).glob("*.pth"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_after_the_step_and_resume_is_exact(config, tmp_path, caplog, number, code):
    caplog.set_level(logging.INFO)
    before = signal.getsignal(number)
    overrides = [*NO_TEST, "DATALOADER.NUM_WORKERS", 1]
    cfg = config(*overrides)
    error = broken(cfg, 4, stop(number), "forward", SystemExit if code else KeyboardInterrupt)
    assert getattr(error, "code", None) == code
    assert signal.getsignal(number) == before
    assert last(cfg)["iteration"] == 4
    assert "Training was stopped. 5 of 6 iterations are in" in caplog.messages[-1]
    whole = train(config(*overrides, "OUTPUT_DIR", str(tmp_path / "whole")))
    assert differing(train(cfg, resume=True), whole) == []


@pytest.mark.parametrize(
    ("act", "error"), [(fail, RuntimeError), (stop(signal.SIGINT), KeyboardInterrupt)]
)
def test_an_evaluation_that_fails_or_is_stopped_finds_all_steps_saved(config, caplog, act, error):
    caplog.set_level(logging.INFO)
    cfg = config("SOLVER.CHECKPOINT_PERIOD", 1000, "TEST.EVAL_PERIOD", 4)
    broken(cfg, 3, act, "evaluation", error)  # at once, nor is there another one at the end
    assert last(cfg)["iteration"] == 3
    assert "4 of 6 iterations" in caplog.messages[-1]


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
BEST = ("SOLVER.BEST_METRIC", "bbox/AP")
SCORES = [10.0, 12.0, 11.0, 12.0, 13.0]  # the best of the first four is the second
EARLY = (
    *("SOLVER.MAX_ITER", 60, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 100),
    *(*BEST, "SOLVER.EARLY_STOPPING", 2),
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
    act_at(trainer, stopped_at, fail, place="forward")
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.train()
    (tmp_path / "run" / "model_best.json").unlink()  # it is in the checkpoint as well
    again = scored(cfg, resume=True)
    again.train()
    assert last(cfg)["iteration"] == 7
    assert torch.load(tmp_path / "run" / "model_best.pth", weights_only=True)["value"] == 12.0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["SOLVER.EARLY_STOPPING", 3], "EARLY_STOPPING is 3, but SOLVER.BEST_METRIC is ''"),
        (["SOLVER.EARLY_STOPPING", 3, *BEST], "EARLY_STOPPING is 3, but TEST.EVAL_PERIOD is 0"),
        (["SOLVER.BEST_METRIC", "keypoint/AP"], "results begin with bbox/ (as in 'bbox/AP')"),
        ([*BEST, *NO_TEST], "SOLVER.BEST_METRIC is 'bbox/AP', but DATASETS.TEST is empty"),
    ],
)
def test_what_is_watched_has_to_be_evaluated(config, overrides, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Trainer(config(*overrides))
