"""The configs of generated pictures, as shipped: their networks begin to learn at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from centernet_d2.engine.setup import load_config
from centernet_d2.engine.trainer import Trainer
from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.registration import ANNOTATION_FILE, IMAGE_FOLDER, STREET_SPLIT
from centernet_d2.synthetic.settings import (
    FigureSettings,
    ShapeSettings,
    SplitSettings,
    StreetSettings,
)

from .small_world import ROOT

FILES = sorted((ROOT / "configs" / "Shapes").glob("*.yaml"))
STEPS = 40
SHARE = 0.85  # of the loss at the start; points_tiny reaches 0.72


@pytest.fixture(scope="session")
def datasets(tmp_path_factory) -> dict[str, str]:
    """Specs of 160 generated pictures by what the names of their configs begin with."""
    specs = {}
    for kind, scenes in (("", ShapeSettings()), ("pose", FigureSettings())):
        folder = tmp_path_factory.mktemp("shapes") / "split"
        ensure_split(SplitSettings(images=160, seed=1, scenes=scenes), str(folder))
        specs[kind] = f"coco:{folder / ANNOTATION_FILE}:{folder / IMAGE_FOLDER}"
    folder = tmp_path_factory.mktemp("streets") / "split"
    ensure_split(SplitSettings(40, 1, StreetSettings()), str(folder))  # these take longer to draw
    specs["box3d"] = f"kitti:{folder}:{STREET_SPLIT}"
    return specs


def test_there_are_configs():
    assert FILES


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_loss_falls_within_a_few_steps(datasets, tmp_path, file: Path):
    dataset = datasets.get(file.stem.split("_")[0], datasets[""])
    overrides = [
        *("DATASETS.TRAIN", (dataset,), "DATASETS.TEST", ()),
        *("OUTPUT_DIR", str(tmp_path), "SOLVER.BEST_METRIC", ""),
        *("MODEL.DEVICE", "cpu", "SEED", 1, "DATALOADER.NUM_WORKERS", 0),
        *("SOLVER.IMS_PER_BATCH", 8, "SOLVER.MAX_ITER", STEPS, "SOLVER.WARMUP_ITERS", 5),
    ]
    trainer = Trainer(load_config(str(file), overrides))
    trainer.train()
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    assert len(losses) == STEPS
    assert np.mean(losses[-5:]) < SHARE * np.mean(losses[:3])
