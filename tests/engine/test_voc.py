"""Pascal VOC from end to end: trained on `voc:<folder>:<split>`, the best weights kept by mAP."""

from __future__ import annotations

import json

import pytest
from data.voc_files import write_voc  # the folder beside this one

from centernet_d2.engine.trainer import Trainer
from centernet_d2.evaluation.voc import VocEvaluator


@pytest.fixture
def folder(tmp_path):
    objects = [("cat", 5, 5, 24, 30, 0), ("dog", 30, 10, 50, 40, 0), ("dog", 1, 1, 9, 9, 1)]
    images = {f"00000{k}": objects[: k % 4] for k in range(1, 6)}
    return write_voc(tmp_path / "VOC2007", images, split="trainval")


def test_trains_evaluates_and_keeps_the_best(config, folder, tmp_path):
    spec = f"voc:{folder}:trainval"
    cfg = config(
        *("DATASETS.TRAIN", (spec,), "DATASETS.TEST", (spec,)),
        *("SOLVER.MAX_ITER", 4, "TEST.EVAL_PERIOD", 2, "SOLVER.BEST_METRIC", "bbox/mAP07"),
    )
    trainer = Trainer(cfg)
    assert trainer.cfg.MODEL.HEATMAP.NUM_CLASSES == 20
    trainer.resume_or_load(resume=False)
    trainer.train()
    output = tmp_path / "run"
    assert (output / "model_best.pth").is_file()
    scores = json.loads((output / "inference" / VocEvaluator.scores_file).read_text())
    assert scores["images"] == 5
    assert {"mAP07", "mAP12", "AP50", "AP07-cat"} <= set(scores["scores"]["bbox"])
    files = list((output / "inference" / "results" / "VOC2007" / "Main").iterdir())
    assert len(files) == 20
    assert list(trainer.cfg.DATASETS.FROM_FILES) == [spec]
    assert trainer.cfg.DATASETS.TRAIN[0].startswith("VOC2007_trainval_")
