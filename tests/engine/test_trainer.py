"""The trainer as a whole on a small dataset: what it writes, stops at, keeps and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model

from centernet_d2.engine.checkpointer import CheckpointMismatchError
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.setup import setup
from centernet_d2.engine.trainer import Trainer
from centernet_d2.inference.predictor import Predictor

from .small_world import small_config, write_dataset

SIZES = ((40, 48), (33, 31), (1, 7), (65, 40), (33, 31))  # (height, width)


def train(cfg, resume=False):
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer, trainer.train()


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """A run with everything switched on: (config with its weights, trainer, results)."""
    cfg = small_config(
        dataset,
        tmp_path_factory.mktemp("trained"),
        *("SOLVER.MAX_ITER", 40, "SOLVER.STEPS", (30,), "TEST.EVAL_PERIOD", 20),
        *("SOLVER.EMA_DECAY", 0.8, "SOLVER.BEST_METRIC", "bbox/AP", "VIS_PERIOD", 20),
    )
    trainer, results = train(cfg)
    cfg.MODEL.WEIGHTS = trainer.checkpointer.get_checkpoint_file()
    return cfg, trainer, results


def test_loss_falls_and_everything_is_written(trained):
    _, trainer, results = trained
    assert set(results["bbox"]) >= {"AP", "AP50", "AR100"}
    folder = Path(trainer.checkpointer.save_dir)
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:2])
    assert any("bbox/AP" in line for line in lines)
    assert lines[-1]["bbox/AP"] == pytest.approx(results["bbox"]["AP"])
    assert json.loads((folder / "model_best.json").read_text())["metric"] == "bbox/AP"
    events = b"".join(p.read_bytes() for p in folder.glob("events.out.tfevents*"))
    assert b"objects left, detections right" in events


def test_evaluation_alone_repeats_the_printed_score(trained):
    cfg, _, results = trained
    cfg = cfg.clone()
    again = evaluate_only(cfg)
    assert again["bbox"] == pytest.approx(results["bbox"], abs=1e-9, nan_ok=True)

    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP50", results["bbox"]["AP50"], 0.01]]
    evaluate_only(cfg)
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP50", results["bbox"]["AP50"] + 5.0, 0.01]]
    with pytest.raises(SystemExit):
        evaluate_only(cfg)


def test_default_predictor_and_ours_give_the_same_detections(trained):
    cfg, _, _ = trained
    ours, theirs = Predictor(cfg), DefaultPredictor(setup(cfg.clone()))
    assert ours.class_names == ["bright", "dark"]
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in SIZES]
    for image in images:
        mine, other = ours(image)["instances"], theirs(image)["instances"]
        assert len(mine) == len(other) > 0
        assert mine.image_size == image.shape[:2]
        assert torch.equal(mine.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(mine.scores, other.scores)
        assert torch.equal(mine.pred_classes, other.pred_classes)
    for image, found in zip(images, ours.batch(images, batch_size=3), strict=True):
        expected = ours(image)["instances"].scores
        torch.testing.assert_close(found["instances"].scores, expected, rtol=1e-4, atol=1e-5)


def test_predictor_reads_files_and_refuses_what_is_no_image(trained, dataset):
    predictor = Predictor(trained[0])
    folder = dataset.split(":")[2]
    found = predictor.batch([f"{folder}/0001.png", f"{folder}/0002.png"])
    assert [x["instances"].image_size for x in found] == [(40, 48), (33, 31)]
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        predictor.batch([f"{folder}/none.png"])
    with pytest.raises(TypeError, match=r"Predictor\.batch"):
        predictor(f"{folder}/0001.png")
    for shape, words in [
        ((8, 8), "COLOR_GRAY2BGR"),
        ((8, 8, 4), "COLOR_BGRA2BGR"),
        ((0, 8, 3), "empty"),
    ]:
        with pytest.raises(ValueError, match=words):
            predictor(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="uint16"):
        predictor(np.zeros((8, 8, 3), np.uint16))


def test_checkpoint_holds_the_average_and_the_training_weights(trained):
    _, trainer, _ = trained
    saved = torch.load(trainer.checkpointer.get_checkpoint_file(), weights_only=True)
    own = trainer.model.state_dict()
    average = trainer.average.state_dict()
    name = "backbone.stem.0.0.weight" if "backbone.stem.0.0.weight" in own else next(iter(own))
    assert torch.equal(saved["model"][name], average[name])
    assert torch.equal(saved["trainer"]["training_weights"][name], own[name])
    assert not torch.equal(average[name], own[name])
    model = build_model(trainer.cfg)
    DetectionCheckpointer(model).load(trainer.checkpointer.get_checkpoint_file())
    assert torch.equal(model.state_dict()[name], average[name])  # detectron2's own loader too


def test_schedule_from_epochs_is_used(config):
    cfg = config("SOLVER.EPOCHS", 3, "SOLVER.EPOCH_STEPS", [2], "SOLVER.BASE_BATCH_SIZE", 8)
    trainer, _ = train(cfg)
    assert trainer.max_iter == 6  # 10 images // 4 per step, 3 epochs
    assert tuple(trainer.cfg.SOLVER.STEPS) == (4,)
    # SOLVER.WARMUP_ITERS is 0 in the base config: half the rate (4 of 8 images), a tenth at the end
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / 2 / 10)
    assert cfg.SOLVER.EPOCHS == 3  # the caller's config stays as it was


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
def test_two_images_per_batch_start_with_any_number_of_workers(config, workers):
    cfg = config("SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", workers)
    cfg.SOLVER.MAX_ITER, cfg.DATASETS.TEST = 1, ()
    trainer, _ = train(cfg)
    assert trainer.iter == 1


def test_resume_with_other_classes_is_an_error(config, tmp_path):
    train(config("DATASETS.TEST", ()))
    other = write_dataset(tmp_path / "other", classes=("bright", "grey"))
    again = config("DATASETS.TRAIN", (other,), "DATASETS.TEST", (), "SOLVER.MAX_ITER", 8)
    with pytest.raises(ValueError, match="class 1 is 'dark' in the first and 'grey'"):
        train(again, resume=True)


def test_fine_tuning_takes_what_there_is_of_each_class_by_name(config, tmp_path, caplog):
    first, _ = train(config("DATASETS.TEST", (), "SOLVER.EMA_DECAY", 0.9))
    weights = first.checkpointer.get_checkpoint_file()
    theirs = torch.load(weights, weights_only=True)["model"]
    other = write_dataset(tmp_path / "other", classes=("grey", "Bright ", "dark_"))
    tuned = config(
        *("DATASETS.TRAIN", (other,), "DATASETS.TEST", (), "SOLVER.MAX_ITER", 1),
        *("MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(tmp_path / "tuned")),
    )
    with caplog.at_level("INFO"):
        trainer = Trainer(tuned)
        trainer.resume_or_load(resume=False)
    told = "2 of 3 classes taken from the checkpoint's 2: Bright , dark_; new: grey."
    assert told in caplog.text
    assert trainer.start_iter == 0
    ours = trainer.model.state_dict()
    name = "head.stacks.0.heatmap.2"
    for entry in ("weight", "bias"):
        assert ours[f"{name}.{entry}"][1:].equal(theirs[f"{name}.{entry}"])
    assert ours[f"{name}.bias"][0] == tuned.MODEL.HEATMAP.PRIOR_BIAS
    rest = [key for key in ours if not key.startswith(name)]
    assert all(ours[key].equal(theirs[key]) for key in rest)
    tuned.MODEL.CHECKPOINT_MISMATCH, tuned.OUTPUT_DIR = "fail", str(tmp_path / "again")
    with pytest.raises(CheckpointMismatchError):
        train(tuned)
    tuned.MODEL.CHECKPOINT_MISMATCH, tuned.MODEL.HEATMAP.IN_FEATURES = "report", ["deconv"]
    tuned.MODEL.BACKBONE.NAME = "build_centernet_resnet_deconv_backbone"
    with pytest.raises(CheckpointMismatchError, match="weights of another model"):
        train(tuned)


@pytest.mark.parametrize(("bounds", "told"), [([24.0], 1), ([16.0], 0), ([16.0, 24.0], 0)])
def test_other_sizes_of_as_many_channels_are_told(config, tmp_path, caplog, bounds, told):
    key = "MODEL.POINTS_CENTERNET.BOX2D.SIZE_BOUNDS"
    first = Trainer(config(key, [16.0]))
    first.checkpointer.save("sizes")
    weights = str(Path(first.cfg.OUTPUT_DIR, "sizes.pth").rename(tmp_path / "sizes.pth"))
    Trainer(config(key, bounds, "MODEL.WEIGHTS", weights)).resume_or_load(resume=False)
    line = f"{key} is [24.0], of MODEL.WEIGHTS [16.0]: their channels go on with other sizes."
    assert [text for text in caplog.messages if "other sizes" in text] == [line] * told


def test_evaluation_needs_weights_that_fit(config, tmp_path):
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        evaluate_only(config())
    trainer, _ = train(config("DATASETS.TEST", ()))
    weights = trainer.checkpointer.get_checkpoint_file()
    other = write_dataset(tmp_path / "other", classes=("bright", "grey"))
    with pytest.raises(ValueError, match="other classes"):
        evaluate_only(
            config("DATASETS.TEST", (other,), "DATASETS.TRAIN", (), "MODEL.WEIGHTS", weights)
        )
    with pytest.raises(ValueError, match=r"DATASETS\.TEST is empty"):
        evaluate_only(config("DATASETS.TEST", (), "MODEL.WEIGHTS", weights))


def test_predictor_does_not_ask_for_the_training_data(trained, tmp_path):
    cfg = trained[0].clone()
    cfg.DATASETS.TRAIN = (write_dataset(tmp_path / "other", classes=("cat", "dog", "cow")),)
    assert Predictor(cfg).class_names == ["bright", "dark"]


def test_too_few_images_for_the_processes(config, monkeypatch):
    from detectron2.utils import comm

    monkeypatch.setattr(comm, "get_world_size", lambda: 8)
    monkeypatch.setattr(comm, "all_gather", lambda data: [data])
    monkeypatch.setattr(comm, "shared_random_seed", lambda: 1)
    with pytest.raises(ValueError, match=r"SOLVER\.IMS_PER_BATCH 4 .* processes 8"):
        Trainer(config())


def test_a_compiled_training_is_the_same_and_keeps_its_names(config, tmp_path, monkeypatch):
    """With averaged weights, parts of a batch and bfloat16; an evaluation runs what is there."""
    calls, run = [], torch.compile

    def compile_without_cpp(function):
        calls.append(function.__name__)
        return run(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", compile_without_cpp)
    saved = []
    for compiles in (False, True):
        cfg = config(
            *("SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (), "SOLVER.COMPILE", compiles),
            *("SOLVER.EMA_DECAY", 0.5, "SOLVER.IMS_AT_ONCE", 3, "TEST.EVAL_PERIOD", 1),
            *("SOLVER.AMP.ENABLED", True, "SOLVER.AMP_DTYPE", "bfloat16"),
            *("OUTPUT_DIR", str(tmp_path / str(compiles))),
        )
        file = train(cfg)[0].checkpointer.get_checkpoint_file()
        saved.append(torch.load(file, weights_only=True)["model"])
        assert calls == ["predict", "losses_against"] * compiles
    plain, compiled = saved
    assert list(plain) == list(compiled)
    torch.testing.assert_close(compiled, plain)
