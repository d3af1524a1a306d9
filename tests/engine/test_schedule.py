"""Schedules by hand: the published COCO recipes, small batches, and what is fixed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.solver import build_lr_scheduler

from centernet_d2.data.samplers import PositionSampler
from centernet_d2.engine.schedule import Schedule, fix_schedule, schedule_from_config
from centernet_d2.engine.setup import load_config

ROOT = Path(__file__).resolve().parents[2]
COCO_TRAIN = 118287
RECIPE = {
    "SOLVER.BASE_LR": 5e-4,
    "SOLVER.BASE_BATCH_SIZE": 128,
    "SOLVER.EPOCHS": 140,
    "SOLVER.EPOCH_STEPS": [90, 120],
}


def schedule_of(dataset_size: int, batch: int, keys: dict) -> Schedule:
    cfg = load_config()
    keys = {"SOLVER.IMS_PER_BATCH": batch, "SOLVER.MAX_ITER": 0, "SOLVER.STEPS": (), **keys}
    cfg.merge_from_list([part for pair in keys.items() for part in pair])
    return schedule_from_config(cfg, dataset_size)


def test_published_batch():
    schedule = schedule_of(COCO_TRAIN, 128, RECIPE)
    assert schedule.iterations_per_epoch == 924  # 118287 // 128: the last, smaller batch is dropped
    assert schedule.learning_rate == 5e-4
    assert schedule.iterations == 924 * 140
    assert schedule.steps == (924 * 90, 924 * 120)


def test_smaller_batch_scales_rate_and_iterations():
    schedule = schedule_of(COCO_TRAIN, 2, RECIPE)
    assert schedule.learning_rate == pytest.approx(5e-4 / 64)
    assert schedule.iterations == 59143 * 140


COCO = "configs/COCO-Detection"
HALF = 250_000 * 49


@pytest.mark.parametrize(
    ("path", "images", "lowered_after"),
    [
        (f"{COCO}/cornernet_hourglass104.yaml", 2 * HALF, 450_000 * 49),
        (f"{COCO}/triplet_hourglass104.yaml", 480_000 * 48, 450_000 * 48),
        (f"{COCO}/triplet_hourglass52.yaml", 480_000 * 48, 450_000 * 48),
        (f"{COCO}/cornernet_resnet101_fpn.yaml", HALF, None),
        ("configs/Ablations/cornernet_fixed_radius.yaml", HALF, None),
        ("configs/Ablations/triplet_none.yaml", 480_000 * 48, 450_000 * 48),
    ],
)
@pytest.mark.parametrize("batch", [4, 48, 96])
def test_corner_detectors_see_the_published_number_of_images_at_any_batch(
    path, images, lowered_after, batch
):
    cfg = load_config(str(ROOT / path), ["SOLVER.IMS_PER_BATCH", batch])
    schedule = schedule_from_config(cfg, COCO_TRAIN)
    assert schedule.iterations * batch == pytest.approx(images, rel=0.005)
    assert len(schedule.steps) == (lowered_after is not None)
    for step in schedule.steps:
        assert step * batch == pytest.approx(lowered_after, rel=0.005)
    assert schedule_from_config(cfg, 1000).iterations == cfg.SOLVER.EPOCHS * (1000 // batch)


def test_dataset_smaller_than_the_batch_has_one_iteration_per_epoch():
    schedule = schedule_of(5, 128, RECIPE)
    assert schedule.iterations == 140
    assert schedule.steps == (90, 120)


def test_fixed_by_hand():
    given = {
        "SOLVER.BASE_LR": 0.3,
        "SOLVER.MAX_ITER": 50,
        "SOLVER.STEPS": [20, 20, 60, 50],
        "TEST.EVAL_PERIOD": 9,
        "SOLVER.CHECKPOINT_PERIOD": 11,
    }
    schedule = schedule_of(100, 7, given)
    assert schedule.learning_rate == 0.3
    assert schedule.iterations == 50
    assert schedule.steps == (20,)  # repeated steps and steps outside the run are left out
    assert schedule.evaluation_period == 9
    assert schedule.checkpoint_period == 11


def test_steps_by_hand_are_used_beside_epochs():
    given = {**RECIPE, "SOLVER.EPOCH_STEPS": [], "SOLVER.STEPS": [700]}
    assert schedule_of(1280, 128, given).steps == (700,)


def test_the_rate_tells_how_it_came_about():
    recipe = {**RECIPE, "SOLVER.BASE_BATCH_SIZE": 114}
    text = schedule_of(1280, 112, recipe).describe()
    assert "Learning rate 0.000491228 (0.0005 x 112/114)," in text
    recipe["SOLVER.BASE_BATCH_SIZE"] = 0
    text = schedule_of(1280, 112, recipe).describe()
    assert "Learning rate 0.0005," in text


def test_warm_up_and_cosine_are_told():
    told = {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "SOLVER.WARMUP_ITERS": 50}
    flat = {**RECIPE, "SOLVER.EPOCH_STEPS": [], "SOLVER.STEPS": []}
    text = schedule_of(1280, 128, flat | told).describe()
    assert "lowered along a cosine after 50 of warm-up;" in text
    assert "constant;" in schedule_of(1280, 128, flat | {"SOLVER.WARMUP_ITERS": 0}).describe()


def lines_of(images: int, keys: dict) -> str:
    cfg = load_config()
    cfg.merge_from_list([part for pair in keys.items() for part in pair])
    schedule = schedule_from_config(cfg, images)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=schedule.learning_rate)
    fixed = fix_schedule(cfg, schedule)
    text = schedule.describe(build_lr_scheduler(fixed, optimizer))
    return f"{text}\n{schedule.too_long_warm_up()}"


def test_the_rates_that_are_told_are_the_schedulers():
    run = {"SOLVER.MAX_ITER": 100, "SOLVER.BASE_LR": 0.1, "SOLVER.WARMUP_FACTOR": 0.1}
    steps = {**run, "SOLVER.STEPS": [60, 80], "SOLVER.WARMUP_ITERS": 20}
    assert (
        "\nRate: 0.01 in iteration 0, 0.1 in iteration 20, 0.01 in iteration 60, "
        "0.001 in iteration 80, 0.001 in iteration 99.\n"
    ) in lines_of(50, steps)
    # detectron2 warms up to the rate that is due then: lowered already, or part of the cosine.
    inside = lines_of(50, {**steps, "SOLVER.STEPS": [10]})
    assert "0.01 in iteration 20, 0.01 in iteration 99." in inside
    cosine = {**run, "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "SOLVER.WARMUP_ITERS": 20}
    assert "Rate: 0.01 in iteration 0, 0.0905 in iteration 20, 2.47e-05 in" in lines_of(50, cosine)
    flat = lines_of(50, {**run, "SOLVER.STEPS": [], "SOLVER.WARMUP_ITERS": 0})
    assert "Rate" not in flat
    assert "WARMUP_ITERS" not in flat


@pytest.mark.parametrize("warm_up", [100, 1000])
def test_a_warm_up_longer_than_the_run_is_told(warm_up):
    run = {"SOLVER.MAX_ITER": 100, "SOLVER.WARMUP_ITERS": warm_up, "SOLVER.STEPS": []}
    words = f"SOLVER.WARMUP_ITERS {warm_up} is not shorter than the run of 100 iterations"
    assert words in lines_of(50, run)
    assert words not in lines_of(50, {**run, "SOLVER.WARMUP_ITERS": 99})


def test_periods_in_epochs():
    periods = {"TEST.EVAL_EPOCHS": 2, "SOLVER.CHECKPOINT_EPOCHS": 3}
    schedule = schedule_of(100, 8, RECIPE | periods)
    assert schedule.evaluation_period == 24
    assert schedule.checkpoint_period == 36


def test_description_names_the_numbers():
    text = schedule_of(COCO_TRAIN, 64, RECIPE).describe()
    for part in ("118287 images", "64 per step", "1848 iterations per epoch", "0.00025", "258720"):
        assert part in text


@pytest.mark.parametrize(
    ("size", "change", "key"),
    [
        (0, {}, "DATASETS.TRAIN"),
        (10, {"SOLVER.IMS_PER_BATCH": 0}, "SOLVER.IMS_PER_BATCH"),
        (10, {"SOLVER.BASE_LR": 0.0}, "SOLVER.BASE_LR"),
        (10, {"SOLVER.EPOCHS": 0}, "SOLVER.MAX_ITER"),
        (10, {"SOLVER.CHECKPOINT_PERIOD": 0}, "SOLVER.CHECKPOINT_PERIOD"),
    ],
)
def test_impossible_values_name_their_key(size, change, key):
    with pytest.raises(ValueError, match=key):
        schedule_of(size, 2, RECIPE | change)


def test_fixing_twice_changes_nothing(config):
    cfg = config("SOLVER.EPOCHS", 4, "SOLVER.EPOCH_STEPS", [3], "SOLVER.BASE_BATCH_SIZE", 16)
    once = fix_schedule(cfg, schedule_from_config(cfg, 10))
    assert pytest.approx(0.01 * 4 / 16) == once.SOLVER.BASE_LR
    assert once.SOLVER.MAX_ITER == 8
    assert tuple(once.SOLVER.STEPS) == (6,)
    assert fix_schedule(once, schedule_from_config(once, 10)) == once


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_published_batches_split_over_any_number_of_processes(config_root, world_size):
    files = sorted((config_root / "COCO-Detection").glob("points_*.yaml"))
    assert files
    for file in files:
        cfg = load_config(str(file))
        batch = cfg.SOLVER.IMS_PER_BATCH
        schedule = schedule_from_config(cfg, COCO_TRAIN)
        epochs = int(file.stem.rsplit("_", 1)[1].removesuffix("e"))  # the name ends in "140e"
        assert schedule.iterations == epochs * (COCO_TRAIN // batch)
        expected = cfg.SOLVER.BASE_LR * batch / cfg.SOLVER.BASE_BATCH_SIZE
        assert schedule.learning_rate == pytest.approx(expected)
        sampler = PositionSampler(COCO_TRAIN, batch_size=batch, rank=0, world_size=world_size)
        assert len(next(iter(sampler))) == -(-batch // world_size)
