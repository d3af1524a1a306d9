"""Flip, scales and resolution are in the model, so every way of predicting agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model

from centernet_d2.data.images import read_image
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.setup import setup
from centernet_d2.engine.trainer import Trainer
from centernet_d2.inference.predictor import Predictor

from .small_world import small_config

FLIP = ("TEST.FLIP", True)
MS = (*FLIP, "TEST.SCALES", [0.5, 0.75, 1.0, 1.25, 1.5])
PROTOCOLS = {"no augmentation": (), "flip": FLIP, "ms": MS}


@pytest.fixture
def config(dataset, tmp_path):
    """A function from overrides to a config with weights whose detections are far from alike."""
    file = tmp_path / "weights.pth"

    def make(*overrides):
        output = tmp_path / "output"
        cfg = small_config(dataset, output, "MODEL.WEIGHTS", str(file), *overrides)
        if not file.exists():
            torch.manual_seed(0)
            model = build_model(setup(cfg.clone()))
            for name, parameter in model.head.named_parameters():
                if name.endswith("weight"):
                    torch.nn.init.normal_(parameter, std=0.3)
            torch.save({"model": model.state_dict()}, file)
        return cfg

    return make


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
def test_predictors_and_evaluation_agree(config, dataset, protocol, resolution):
    cfg = config(
        *PROTOCOLS[protocol],
        *("TEST.RESOLUTION", resolution, "TEST.FIXED_SIZE", [64, 64]),
        *("TEST.DETECTIONS_PER_IMAGE", 30),
    )
    name = {"keep_res": "keep_res", "fixed": "fixed 64x64"}[resolution]
    name = f"{protocol} / {name}" + (" / clean soft-NMS" if protocol == "ms" else "")
    evaluate_only(cfg)
    folder = Path(cfg.OUTPUT_DIR) / "inference"
    assert json.loads((folder / "coco_scores.json").read_text())["protocol"] == name

    ours, theirs = Predictor(cfg), DefaultPredictor(setup(cfg.clone()))
    content = json.loads(Path(dataset.split(":")[1]).read_text())
    evaluated = json.loads((folder / "coco_instances_results.json").read_text())
    for record in content["images"][:4]:
        image = read_image(f"{dataset.split(':')[2]}/{record['file_name']}")
        mine, other = ours(image)["instances"], theirs(image)["instances"]
        assert len(mine) >= 30
        assert torch.equal(mine.pred_boxes.tensor, other.pred_boxes.tensor)
        assert torch.equal(mine.scores, other.scores)
        written = [row for row in evaluated if row["image_id"] == record["id"]]
        boxes = np.array([row["bbox"] for row in written])
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, mine.pred_boxes.tensor.numpy(), atol=1e-3)
        scores = [row["score"] for row in written]
        np.testing.assert_allclose(scores, mine.scores.numpy(), atol=1e-6)


@pytest.mark.parametrize("word", ["published", "clean"])
def test_the_word_is_written_with_the_scores_and_decides_what_is_scored(config, word):
    cfg = config("TEST.PROTOCOL", word, "TEST.DETECTIONS_PER_IMAGE", 30, *MS)
    evaluate_only(cfg)
    folder = Path(cfg.OUTPUT_DIR) / "inference"
    told = {"published": " / rounded to 2 decimals", "clean": " / clean soft-NMS"}[word]
    protocol = json.loads((folder / "coco_scores.json").read_text())["protocol"]
    assert protocol == f"{word}: ms / keep_res{told}"
    rows = json.loads((folder / "coco_instances_results.json").read_text())
    values = np.array([[*row["bbox"], row["score"]] for row in rows])
    assert np.allclose(values, values.round(2), atol=1e-9) == (word == "published")


def test_protocols_differ(config, dataset):
    image = read_image(f"{dataset.split(':')[2]}/0001.png")
    scores = [
        Predictor(config(*overrides))(image)["instances"].scores for overrides in PROTOCOLS.values()
    ]
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)
    assert not torch.allclose(scores[1], scores[2][: len(scores[1])], atol=1e-3)


class Counts(DatasetEvaluator):
    """Counts images, and keeps what it was told."""

    def __init__(self, **told):
        self.told, self.images = told, 0

    def process(self, inputs, outputs):
        self.images += len(inputs)

    def evaluate(self):
        return {"counts": {"images": self.images, **self.told}}


class PlainTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None):
        """As detectron2's trainer has it."""
        return Counts()


class AskingTrainer(Trainer):
    @classmethod
    def build_evaluator(cls, cfg, dataset_name, output_folder=None, *, protocol, **told):
        return Counts(is_flipped=protocol.startswith("flip / "), fields=len(told["outputs"]))


@pytest.mark.parametrize(
    ("trainer", "told"), [(PlainTrainer, {}), (AskingTrainer, {"is_flipped": True, "fields": 1})]
)
def test_evaluators_of_ones_own_trainer_are_told_what_they_ask_for(config, trainer, told):
    cfg = setup(config(*FLIP))
    model = trainer.build_model(cfg).eval()
    assert trainer.test(cfg, model) == {"counts": {"images": 10, **told}}
