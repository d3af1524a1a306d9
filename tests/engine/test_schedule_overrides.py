"""Iterations given by hand win over epochs, on the command line and in a file over its base."""

from __future__ import annotations

from pathlib import Path

import pytest

from centernet_d2.config import value_of
from centernet_d2.config.files import read_levels
from centernet_d2.engine.schedule import PARTNERS, overridden_epoch_keys, schedule_from_config
from centernet_d2.engine.setup import load_config

BASE = """
SOLVER: {EPOCHS: 10, EPOCH_STEPS: [8], CHECKPOINT_EPOCHS: 2, STEPS: []}
TEST: {EVAL_EPOCHS: 3}
"""
IN_EPOCHS = {
    "SOLVER.EPOCHS": 10,
    "SOLVER.EPOCH_STEPS": [8],
    "TEST.EVAL_EPOCHS": 3,
    "SOLVER.CHECKPOINT_EPOCHS": 2,
}
BY_HAND = {  # what is set, and what the schedule then has
    "SOLVER.MAX_ITER": (7, "iterations", 7),
    "SOLVER.STEPS": ([5], "steps", (5,)),
    "TEST.EVAL_PERIOD": (6, "evaluation_period", 6),
    "SOLVER.CHECKPOINT_PERIOD": (4, "checkpoint_period", 4),
}


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return str(path)


def expect(cfg, by_hand: str) -> None:
    """Only the partner of `by_hand` is empty, and the schedule has what was given."""
    for key, value in IN_EPOCHS.items():
        expected = type(value)() if key == PARTNERS[by_hand] else value
        assert value_of(cfg, key) == expected, key
    _, field, value = BY_HAND[by_hand]
    assert getattr(schedule_from_config(cfg, 160), field) == value  # 10 iterations per epoch


def test_the_cases_are_all_pairs():
    assert set(BY_HAND) == set(PARTNERS)
    assert set(IN_EPOCHS) == set(PARTNERS.values())


@pytest.mark.parametrize("key", PARTNERS)
def test_an_override_empties_its_partner(base, key):
    value = BY_HAND[key][0]
    expect(load_config(base, [key, str(value)]), key)
    partner = PARTNERS[key]
    cfg = load_config(base, [key, value, partner, IN_EPOCHS[partner]])
    assert value_of(cfg, partner) == IN_EPOCHS[partner]


@pytest.mark.parametrize("key", PARTNERS)
def test_a_file_over_its_base_empties_its_partner(base, tmp_path, key):
    block, name = key.split(".")
    child, grandchild = tmp_path / "child.yaml", tmp_path / "grandchild.yaml"
    child.write_text(f"_BASE_: {Path(base).name}\n{block}:\n  {name}: {BY_HAND[key][0]}\n")
    expect(load_config(str(child)), key)
    grandchild.write_text("_BASE_: child.yaml\nSEED: 1\n")
    expect(load_config(str(grandchild)), key)
    partner = PARTNERS[key]  # which wins where it is set later
    cfg = load_config(str(child), [partner, IN_EPOCHS[partner]])
    assert value_of(cfg, partner) == IN_EPOCHS[partner]


def test_a_saved_config_with_both_keeps_its_epochs(base, tmp_path):
    saved = tmp_path / "config.yaml"
    saved.write_text(load_config(base, ["SOLVER.MAX_ITER", 7, "SOLVER.EPOCHS", 5]).dump())
    assert load_config(str(saved)).SOLVER.EPOCHS == 5


def test_shipped_recipe_with_steps_by_hand(config_root):
    path = str(config_root / "COCO-Detection" / "points_resnet18_dcn_140e.yaml")
    cfg = load_config(path, ["SOLVER.STEPS", "(1000,)"])
    assert schedule_from_config(cfg, 118287).steps == (1000,)
    assert schedule_from_config(load_config(path), 118287).steps == (90 * 1056, 120 * 1056)
    # Constant: detectron2's default step at 30000 iterations is nobody's choice.
    constant = load_config(path, ["SOLVER.EPOCH_STEPS", "[]"])
    assert schedule_from_config(constant, 118287).steps == ()


def test_several_bases(tmp_path):
    (tmp_path / "a.yaml").write_text("SOLVER: {EPOCHS: 3}\n")
    (tmp_path / "b.yaml").write_text("SOLVER:\n  MAX_ITER: 9\n")
    child = tmp_path / "c.yaml"
    child.write_text("_BASE_: [a.yaml, b.yaml]\n")
    levels = [set(level.values) for level in read_levels(str(child))]
    keys = {"SOLVER.EPOCHS", "SOLVER.MAX_ITER"}
    assert [level & keys for level in levels] == [{"SOLVER.EPOCHS"}, {"SOLVER.MAX_ITER"}, set()]
    assert overridden_epoch_keys(levels) == ["SOLVER.EPOCHS"]
