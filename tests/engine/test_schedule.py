"""Schedules by hand: the published COCO recipes, small batches, and what is fixed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

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
    cfg = load_config("", ["DATASETS.TEST", "some"])
    keys = {"SOLVER.IMS_PER_BATCH": batch, "SOLVER.MAX_ITER": 0, "SOLVER.STEPS": (), **keys}
    cfg.merge_from_list([part for pair in keys.items() for part in pair])
    return schedule_from_config(cfg, dataset_size)


BY_HAND = {
    **{"SOLVER.BASE_LR": 0.3, "SOLVER.MAX_ITER": 50, "SOLVER.STEPS": [20, 20, 60, 50]},
    **{"TEST.EVAL_PERIOD": 9, "SOLVER.CHECKPOINT_PERIOD": 11},
}


@pytest.mark.parametrize(
    ("size", "batch", "keys", "expected"),
    [
        # 118287 // 128 iterations per epoch: the last, smaller batch is dropped.
        (COCO_TRAIN, 128, RECIPE, {"iterations_per_epoch": 924, "iterations": 924 * 140}),
        (COCO_TRAIN, 128, RECIPE, {"learning_rate": 5e-4, "steps": (924 * 90, 924 * 120)}),
        (COCO_TRAIN, 2, RECIPE, {"learning_rate": 5e-4 / 64, "iterations": 59143 * 140}),
        # Smaller than the batch: one iteration per epoch.
        (5, 128, RECIPE, {"iterations": 140, "steps": (90, 120)}),
        # Repeated steps and steps outside the run are left out.
        (100, 7, BY_HAND, {"learning_rate": 0.3, "iterations": 50, "steps": (20,)}),
        (100, 7, BY_HAND, {"evaluation_period": 9, "checkpoint_period": 11}),
        (1280, 128, {**RECIPE, "SOLVER.EPOCH_STEPS": [], "SOLVER.STEPS": [700]}, {"steps": (700,)}),
        (100, 8, RECIPE | {"TEST.EVAL_EPOCHS": 2}, {"evaluation_period": 24}),
        (100, 8, RECIPE | {"SOLVER.CHECKPOINT_EPOCHS": 3}, {"checkpoint_period": 36}),
    ],
)
def test_values(size, batch, keys, expected):
    schedule = schedule_of(size, batch, keys)
    assert {key: getattr(schedule, key) for key in expected} == expected


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


FLAT = {**RECIPE, "SOLVER.EPOCH_STEPS": []}
EVEN = {"SOLVER.LR_SCHEDULER_NAME": "WarmupStepWithFixedGammaLR", "SOLVER.WARMUP_ITERS": 0}
COSINE = {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR", "SOLVER.WARMUP_ITERS": 50}


@pytest.mark.parametrize(
    ("size", "batch", "keys", "text"),
    [
        (COCO_TRAIN, 64, {}, "118287 images, 64 per step, 1848 iterations per epoch."),
        (COCO_TRAIN, 64, {}, "Learning rate 0.00025 (0.0005 x 64/128), times 0.1 after 166320, 22"),
        (COCO_TRAIN, 64, {}, "; 258720 iterations (about 140.0 epochs); evaluation at the end, "),
        (COCO_TRAIN, 64, {"SOLVER.CHECKPOINT_PERIOD": 99999}, "at the end, saved every 25872 iter"),
        (COCO_TRAIN, 64, {"SOLVER.CHECKPOINT_PERIOD": 5000}, "at the end, saved every 5000 iter"),
        (1280, 128, {"SOLVER.EPOCHS": 1}, "evaluation at the end, saved after every iteration."),
        (1280, 128, {"DATASETS.TEST": ()}, "epochs); evaluation none (DATASETS.TEST), saved"),
        (1280, 112, {"SOLVER.BASE_BATCH_SIZE": 114}, "0.000491228 (0.0005 x 112/114),"),
        (1280, 112, {"SOLVER.BASE_BATCH_SIZE": 0}, "Learning rate 0.0005,"),
        (1280, 128, FLAT | COSINE, "lowered along a cosine after 50 of warm-up;"),
        (1280, 128, FLAT | {"SOLVER.WARMUP_ITERS": 0}, "constant;"),
        (1280, 128, FLAT | {"SOLVER.WARMUP_ITERS": 7}, "constant after 7 of warm-up;"),
        (1280, 128, {"SOLVER.GAMMA": 0.5, "SOLVER.WARMUP_ITERS": 0}, "times 0.5 after 900, 1200;"),
        (1280, 128, FLAT | EVEN, "lowered in even steps (SOLVER.NUM_DECAYS);"),
        (
            1280,
            128,
            {"SOLVER.LR_SCHEDULER_NAME": "OneCycle"},
            "0.0005 x 128/128), as OneCycle says;",
        ),
    ],
)
def test_description(size, batch, keys, text):
    assert text in schedule_of(size, batch, RECIPE | keys).describe()


@pytest.mark.parametrize(
    ("run", "warm_up", "taken"),
    [(100, 99, 99), (100, 100, 10), (100, 1000, 10), (20, 50, 2), (5, 50, 1), (1, 50, 0)],
)
def test_a_warm_up_as_long_as_the_run_is_shortened_and_told(run, warm_up, taken):
    keys = {"SOLVER.MAX_ITER": run, "SOLVER.WARMUP_ITERS": warm_up}
    schedule = schedule_of(50, 2, keys).with_time_to_learn()
    assert schedule.warm_up == taken
    told = f"SOLVER.WARMUP_ITERS {warm_up} is not shorter than the run of {run} iterations: it is "
    assert schedule.warm_up_origin == (f"{told}shortened to {taken}." if taken < warm_up else "")
    own = replace(schedule_of(50, 2, keys), scheduler="OneCycle")  # may not read the key
    assert own.with_time_to_learn() == own


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
    files = sorted((config_root / "COCO-Detection").glob("points_*[0-9]e.yaml"))
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
