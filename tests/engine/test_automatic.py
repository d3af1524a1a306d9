"""What AUTO chooses: the numbers, what stays, and that what was chosen once is chosen for good."""

from __future__ import annotations

import logging

import pytest
import torch
from detectron2.structures import BoxMode
from torch import nn

from centernet_d2.cli.parsers import train
from centernet_d2.engine import automatic
from centernet_d2.engine.automatic import PRESETS, frame, kept_per_image, schedule
from centernet_d2.engine.run import read_job
from centernet_d2.engine.setup import load_config, setup

from .small_world import ROOT, write_dataset
from .test_run import call

SMALL = str(ROOT / "configs" / "Own" / "points_small.yaml")
TINY = [
    *("MODEL.ENCODER_DECODER.CHANNELS", "[4, 4, 8, 8]", "MODEL.ENCODER_DECODER.OUT_CHANNELS", "8"),
    *("MODEL.POINTS_CENTERNET.HEAD_CHANNELS", "8", "MODEL.DEVICE", "cpu", "SEED", "1"),
    *("DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "4", "AUTO.PRESET", "cpu"),
]


@pytest.mark.parametrize(
    ("images", "preset", "batch", "expected"),
    [
        # Iterations, warm-up, decay of the average, period of saving and evaluating.
        (50, "cpu", 16, (800, 40, 0.99687, 80)),
        (292, "cpu", 16, (1000, 50, 0.9975, 100)),
        (500, "cpu", 16, (1420, 71, 0.99824, 142)),
        (50_000, "cpu", 16, (28_300, 1000, 0.9998, 2830)),
        (50_000, "gpu8", 32, (42_500, 1000, 0.9998, 4250)),
    ],
)
def test_schedule_by_the_number_of_images(images, preset, batch, expected):
    cfg = load_config(SMALL, ["SOLVER.IMS_PER_BATCH", batch])
    values, reason = schedule(cfg, images, PRESETS[preset][2])
    keys = ("SOLVER.MAX_ITER", "SOLVER.WARMUP_ITERS", "SOLVER.EMA_DECAY", "TEST.EVAL_PERIOD")
    assert tuple(values[key] for key in keys) == expected
    assert values["SOLVER.CHECKPOINT_PERIOD"] == expected[-1]
    assert (values["SOLVER.BEST_METRIC"], values["SOLVER.EARLY_STOPPING"]) == ("", 0)
    assert reason.startswith(f"{images} images, about ")
    assert reason.endswith("no score to choose the best by")


def pictures(height, width, *sides, turned=0):
    boxes = [
        {"bbox": [0, 0, side, side], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
        for side in sides
    ]
    sizes = [(height, width)] * (10 - turned) + [(width, height)] * turned
    return [{"height": h, "width": w, "annotations": boxes} for h, w in sizes]


@pytest.mark.parametrize(
    ("records", "overrides", "expected"),
    [
        (pictures(480, 640, 100), [], [224, 288]),  # 256 x 256 pixels in the images' form
        (pictures(640, 480, 100), [], [320, 224]),
        (pictures(480, 640, 100, turned=5), [], [256, 256]),
        (pictures(4000, 4000, 400), [], [256, 256]),
        (pictures(128, 128, 20), [], [128, 128]),  # not enlarged
        (pictures(1000, 1000, 20, 200), [], [384, 384]),  # 8 pixels of 20
        (pictures(4000, 4000, 10), [], [512, 512]),  # would need 3200
        (pictures(4000, 4000, 10), ["AUTO.PIXELS", 1024**2], [1024, 1024]),
        (pictures(128, 128, 20), ["TEST.CANVAS", "odd"], [127, 127]),
        (pictures(375, 1242, 60), [], [160, 480]),
        (pictures(480, 640, 100), ["TEST.FIXED_SIZE", [128, 160]], [128, 160]),
        (pictures(480, 640, 100), ["INPUT.TRAIN_SIZE", [96, 96]], [96, 96]),
    ],
)
def test_frame_by_the_images_and_their_objects(records, overrides, expected):
    cfg = load_config(SMALL, overrides)
    values, reason = frame(cfg, records, *PRESETS["cpu"][:2], overrides[::2])
    assert values["INPUT.TRAIN_SIZE"] == values["TEST.FIXED_SIZE"] == expected
    assert values["TEST.RESOLUTION"] == "fixed"
    assert ("cut into tiles" in reason) == (min(expected) > 400)


@pytest.fixture
def own(dataset, tmp_path):
    """Arguments of a training by Own/points_small, made tiny."""
    args = [*TINY, "DATASETS.TRAIN", dataset, "DATASETS.TEST", dataset]
    return [*args, "OUTPUT_DIR", str(tmp_path / "run"), "SOLVER.MAX_ITER", "4"]


def test_choices_are_told_and_what_is_set_stays(own, dataset, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(automatic, "has_fast_bfloat16", lambda: False)
    cfg = setup(load_config(SMALL, [*own, "SOLVER.EARLY_STOPPING", 2]))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.EARLY_STOPPING, cfg.TEST.EVAL_PERIOD) == (4, 2, 20)
    assert cfg.SOLVER.BEST_METRIC == "bbox/AP"
    assert cfg.INPUT.TRAIN_SIZE == cfg.TEST.FIXED_SIZE == [64, 64]
    assert not any(cfg.AUTO[word] for word in automatic.DONE)
    assert {"TEST.FIXED_SIZE", "SOLVER.EARLY_STOPPING"} < set(cfg.AUTO.CHOSEN)  # for an evaluation
    told = [line for line in caplog.messages if line.startswith("AUTO.")]
    assert [line.split(" ")[0] for line in told] == [
        *("AUTO.PRESET", "AUTO.SIZE", "AUTO.SCHEDULE", "AUTO.BATCH")
    ]
    assert told[0].endswith("(cpu): nothing; by hand: SOLVER.IMS_PER_BATCH 4.")
    assert told[2].endswith("; by hand: SOLVER.EARLY_STOPPING 2.")
    before = cfg.clone()
    assert setup(cfg) == before  # for good

    mine = tmp_path / "mine.yaml"  # a file of one's own stays too
    mine.write_text(f"_BASE_: {SMALL}\nTEST: {{FIXED_SIZE: [64, 96]}}\n")
    cfg = setup(load_config(str(mine), [*own[:-2], "DATASETS.TEST", ()]))
    assert cfg.INPUT.TRAIN_SIZE == [64, 96]
    assert (cfg.SOLVER.BEST_METRIC, cfg.SOLVER.EARLY_STOPPING) == ("", 0)
    assert cfg.SOLVER.MAX_ITER == 2 * 800 * 16 / 4  # AUTO.LENGTH of this config


def test_resume_and_evaluation_choose_what_the_training_chose(own, tmp_path, monkeypatch):
    call(["--config-file", SMALL, *own, "SOLVER.EARLY_STOPPING", "0"])
    saved = load_config(str(tmp_path / "run" / "config.yaml"))
    assert saved.INPUT.TRAIN_SIZE == [64, 64]
    assert not saved.AUTO.SIZE
    monkeypatch.setattr(automatic, "frame", lambda *_: pytest.fail("chosen again"))
    other = write_dataset(tmp_path / "other", images=3)
    call(
        ["--config-file", SMALL, "--resume", *own, "DATASETS.TRAIN", other, "SOLVER.MAX_ITER", "6"]
    )
    weights = str(tmp_path / "run" / "model_final.pth")
    file = torch.load(weights, weights_only=True)
    assert file["iteration"] == 5
    training = file["centernet_d2"]["training"]
    assert training["object_size"] == pytest.approx(12.5 * 64 / 48, rel=0.3)
    assert training["image_size"] == [40, 40]
    evaluated = [*own, "MODEL.WEIGHTS", weights]
    cfg = setup(load_config(SMALL, [*evaluated, "DATASETS.TRAIN", ()]))
    assert cfg.TEST.FIXED_SIZE == [64, 64]
    assert cfg.SOLVER.EMA_DECAY == saved.SOLVER.EMA_DECAY
    call(["--config-file", SMALL, "--eval-only", *evaluated])
    far = ["DATASETS.TEST", write_dataset(tmp_path / "many", images=20), "TEST.FIXED_SIZE"]
    with pytest.raises(ValueError, match=r"as MODEL.WEIGHTS tell.*Set TEST.RESOLUTION fixed"):
        call(["--config-file", SMALL, "--eval-only", *evaluated, *far, "[128, 128]"])


def test_a_preset_is_for_configs_that_choose(own):
    args = type("Args", (), {"resume": False, "eval_only": False, "preset": "gpu8", "opts": own})()
    args.config_file = str(ROOT / "configs" / "Shapes" / "points_tiny.yaml")
    with pytest.raises(
        ValueError, match=r"--preset gpu8: .*points_tiny.yaml' chooses nothing by it"
    ):
        read_job(args)
    args.config_file, args.opts = SMALL, own[4:-8]
    cfg = read_job(args).cfg
    assert cfg.AUTO.PRESET == "gpu8"
    assert set(train.PRESETS) == set(PRESETS)


def test_presets_widen_a_network_that_starts_from_nothing(dataset):
    def chosen(*overrides):
        args = ["MODEL.DEVICE", "cpu", "DATASETS.TRAIN", dataset, "AUTO.PRESET", "gpu24"]
        return setup(load_config(SMALL, [*args, "AUTO.BATCH", False, *overrides]))

    cfg = chosen()
    assert cfg.MODEL.ENCODER_DECODER.CHANNELS == [64, 128, 192, 256]
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.AMP.ENABLED) == (32, True)
    assert cfg.MODEL.HOURGLASS.OUT_CHANNELS == 256  # is not in use
    assert chosen("MODEL.WEIGHTS", "mine.pth").MODEL.ENCODER_DECODER.CHANNELS == [32, 64, 96, 128]


@pytest.mark.parametrize("fast", [False, True])
def test_a_cpu_that_multiplies_bfloat16_trains_in_it(dataset, fast, monkeypatch):
    capabilities = {"avx512_bf16": fast, "avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    given = ["DATASETS.TRAIN", dataset, "AUTO.BATCH", False, "MODEL.DEVICE", "cpu"]
    for preset, dtype in {"cpu": "bfloat16", "gpu8": "float16"}.items():
        cfg = setup(load_config(SMALL, [*given, "AUTO.PRESET", preset]))
        assert (fast or preset == "gpu8") == cfg.SOLVER.AMP.ENABLED
        assert (dtype if fast else "float16") == cfg.SOLVER.AMP_DTYPE


def test_a_start_from_a_detector_learns_more_slowly(dataset, tmp_path):
    weights = str(tmp_path / "start.pth")
    torch.save({"model": {}, "class_names": ["square"]}, weights)
    given = ["DATASETS.TRAIN", dataset, "AUTO.BATCH", False, "MODEL.DEVICE", "cpu"]
    rates = [
        setup(load_config(SMALL, [*given, *more])).SOLVER.BASE_LR
        for more in (
            (),
            ("MODEL.WEIGHTS", weights),
            ("MODEL.WEIGHTS", weights, "SOLVER.BASE_LR", 1.0),
        )
    ]
    assert rates == [0.002, 0.0005, 1.0]


class Squares(nn.Module):
    """Keeps its input, 4 bytes for each of 3 values a pixel, and the root, for the gradients."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def training_images(self, batch):
        return torch.stack([entry["image"] for entry in batch]).float()

    def predict(self, images):
        return (images * self.weight).exp()


def test_what_a_pass_keeps_is_counted():
    assert kept_per_image(Squares(), [10, 20]) == 2 * 10 * 20 * 3 * 4


@pytest.mark.parametrize(("memory", "parts"), [(2**40, 0), (2**21, 2), (2**10, 1)])
def test_images_pass_at_once_as_memory_allows(own, monkeypatch, memory, parts):
    monkeypatch.setattr(automatic, "_main_memory", lambda: memory)
    monkeypatch.setattr(automatic, "kept_per_image", lambda model, size: 180_000)
    cfg = setup(load_config(SMALL, own))
    assert cfg.SOLVER["IMS_AT_ONCE"] == parts
