"""What several tests need: where the real data is, small configs, one thread count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TEST_DATA = "CENTERNET_D2_TEST_DATA"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data, or a skip that says what is missing."""
    folder = os.environ.get(TEST_DATA)
    if not folder:
        pytest.skip(f"real data: set {TEST_DATA} to the folder that holds coco_mini, kitti, ...")
    return Path(folder)


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _limit_of_pixels(monkeypatch):
    """Pillow's own at first: INPUT.MAX_PIXELS of any config holds for the whole process."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


@pytest.fixture
def config_root() -> Path:
    """The folder of the shipped configs."""
    return ROOT / "configs"


@pytest.fixture(scope="session")
def tiny_config():
    """A function that gives a small points config for the CPU: 5 classes, 64-pixel crops,
    ResNet-free."""

    def make(*overrides):
        from detectron2.config import get_cfg

        from centernet_d2.config import add_centernet_config

        cfg = get_cfg()
        add_centernet_config(cfg)
        cfg.merge_from_file(str(ROOT / "configs" / "Base-PointsCenterNet.yaml"))
        cfg.merge_from_list(
            [
                *("MODEL.DEVICE", "cpu"),
                *("MODEL.BACKBONE.NAME", "build_centernet_encoder_decoder_backbone"),
                *("MODEL.HEATMAP.IN_FEATURES", ["decoder"]),
                *("MODEL.HEATMAP.NUM_CLASSES", 5),
                *("MODEL.ENCODER_DECODER.CHANNELS", [8, 8, 16, 16]),
                *("MODEL.ENCODER_DECODER.OUT_CHANNELS", 8),
                *("MODEL.POINTS_CENTERNET.HEAD_CHANNELS", 8),
                *("INPUT.TRAIN_SIZE", [64, 64]),
                *overrides,
            ]
        )
        return cfg

    return make
