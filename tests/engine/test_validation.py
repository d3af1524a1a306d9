"""The validation loss: its value, that a training is the same with it, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from centernet_d2.engine.lazy import load_lazy, settings
from centernet_d2.engine.trainer import Trainer
from centernet_d2.engine.validation import validation_loaders, validation_losses

from .small_world import ROOT, small_config


def trained(cfg) -> Trainer:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def plain_losses(model, spec: str) -> dict[str, float]:
    """Of each image of a COCO file in training mode, with norms as in inference, and the mean."""
    _, file, folder = spec.split(":")
    content, rows = json.loads(Path(file).read_text()), []
    model.train()
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eval()
    for image in content["images"]:
        pixels = np.asarray(Image.open(f"{folder}/{image['file_name']}"))[:, :, ::-1].copy()
        own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances(pixels.shape[:2], gt_boxes=Boxes(boxes))
        instances.gt_classes = torch.tensor([a["category_id"] - 1 for a in own])
        entry = {"image": torch.from_numpy(pixels).permute(2, 0, 1), "instances": instances}
        with torch.no_grad():
            rows.append(model([entry]))
    return {name: sum(row[name].item() for row in rows) / len(rows) for name in rows[0]}


def test_value_and_a_training_that_is_the_same_bit_for_bit(dataset, tmp_path):
    """In the frame "fit", which training images without crop have too, with averaged weights."""
    keys = ("SOLVER.MAX_ITER", 4, "TEST.EVAL_PERIOD", 2, "SOLVER.EMA_DECAY", 0.9)
    keys += ("TEST.CANVAS", "fit", "TEST.FLIP", True)
    metric = "validation/total_loss"
    seen = ("TEST.VALIDATION_LOSS", True, "SOLVER.BEST_METRIC", metric)
    off = trained(small_config(dataset, tmp_path / "off", *keys))
    on = trained(small_config(dataset, tmp_path / "on", *keys, *seen))
    for one, other in (
        (off.model.state_dict(), on.model.state_dict()),
        (off.average.state_dict(), on.average.state_dict()),
    ):
        assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [json.loads(line) for line in (tmp_path / "on/metrics.json").read_text().splitlines()]
    told = {line["iteration"]: line[metric] for line in lines if metric in line}
    assert sorted(told) == [1, 4]
    best = json.loads((tmp_path / "on/model_best.json").read_text())
    assert best["value"] == min(told.values())
    assert f",{metric}," in (tmp_path / "on/results.csv").read_text().splitlines()[0]
    with on.average.applied_to(on.model):
        expected = plain_losses(on.model, dataset)
    found = on._last_eval_results["validation"]
    assert found.pop("total_loss") == pytest.approx(sum(expected.values()), rel=1e-6)
    assert found == pytest.approx(expected, rel=1e-5)
    assert told[4] == pytest.approx(sum(found.values()))


@pytest.mark.parametrize(
    ("detector", "overrides"),
    [
        ("CornerNet", ()),
        ("StackedRetinaNet", ("MODEL.HOURGLASS.PYRAMID", True, "MODEL.RETINANET.NUM_CONVS", 1)),
    ],
)
def test_all_stacks_of_other_detectors_are_looked_at(config, dataset, detector, overrides):
    hourglass = {"CHANNELS": [16] * 6, "BLOCKS": [1] * 6, "STEM_CHANNELS": 16, "OUT_CHANNELS": 16}
    keys = [each for key, value in hourglass.items() for each in (f"MODEL.HOURGLASS.{key}", value)]
    cfg = config(
        *("MODEL.META_ARCHITECTURE", detector, *keys, *overrides, "TEST.CANVAS", "fit"),
        *("MODEL.BACKBONE.NAME", "build_centernet_hourglass_backbone"),
        *("MODEL.HEATMAP.IN_FEATURES", ["stack1", "stack2"], "MODEL.CORNERNET.POOL_CHANNELS", 4),
        *("MODEL.CORNERNET.HEAD_CHANNELS", 8, "TEST.VALIDATION_LOSS", True),
    )
    trainer = Trainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found = validation_losses(trainer.model, trainer.validation)
    assert trainer.model.training
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    total = found.pop("total_loss")
    assert found == pytest.approx(plain_losses(trainer.model, dataset), rel=1e-5)
    assert math.isclose(total, sum(found.values()))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ("SOLVER.BEST_METRIC", "validation/total_loss"),
            "TEST.VALIDATION_LOSS is False: set it to True",
        ),
        (
            ("SOLVER.BEST_METRIC", "loss"),
            "with TEST.VALIDATION_LOSS True 'validation/total_loss'",
        ),
        (("TEST.VALIDATION_LOSS", True, "DATASETS.TEST", ()), r"DATASETS.TEST \[\] has no annot"),
        (("TEST.VALIDATION_LOSS", "often"), "TEST.VALIDATION_LOSS is 'often'; it must be"),
    ],
)
def test_what_gives_no_loss_is_said_before_the_first_step(config, overrides, words):
    with pytest.raises(ValueError, match=words):
        Trainer(config(*overrides))


def test_unlabelled_images_and_other_models_are_said(config, dataset, tmp_path):
    content = json.loads(Path(dataset.split(":")[1]).read_text())
    del content["annotations"]
    file = tmp_path / "unlabelled.json"
    file.write_text(json.dumps(content))
    spec = f"coco:{file}:{dataset.split(':')[2]}"
    with pytest.raises(ValueError, match="has no annotations"):
        Trainer(config("DATASETS.TEST", (spec,), "TEST.VALIDATION_LOSS", True))
    trainer = Trainer(config())
    with pytest.raises(ValueError, match="Linear has no validation_losses"):
        validation_loaders(trainer, trainer.cfg, torch.nn.Linear(1, 1))


def test_a_lazy_file_has_the_key():
    lazy = load_lazy(str(ROOT / "configs/lazy/points_tiny.py"), ["train.validation_loss=True"])
    assert settings(lazy).TEST.VALIDATION_LOSS is True
