from __future__ import annotations

from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("heatmaps", [False, True])
def test_draws_augmented_samples(load_tool, tiny_yaml, tiny_overrides, tmp_path, heatmaps):
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out")]
    arguments += ["--count", "2", "--repeat", "2", *(["--heatmaps"] if heatmaps else [])]
    assert load_tool("visualize_data").main([*arguments, *tiny_overrides]) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["0000_0.jpg", "0001_0.jpg", "0002_1.jpg", "0003_1.jpg"]
    pictures = [cv2.imread(str(file)) for file in files]
    assert pictures[0].shape[1] == (64 + 4 + 64 if heatmaps else 64)
    assert (pictures[0] != pictures[1]).any()  # two augmentations of one image


def test_same_seed_same_pictures(load_tool, tiny_yaml, tiny_overrides, tmp_path):
    tool = load_tool("visualize_data")
    for folder in ("a", "b"):
        arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / folder)]
        tool.main([*arguments, "--count", "2", *tiny_overrides])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_own_data_with_a_config_whose_test_data_has_other_classes(load_tool, squares, tmp_path):
    config = ROOT / "configs" / "COCO-Detection" / "points_resnet18_dcn_140e.yaml"
    arguments = ["--config-file", str(config), "--output", str(tmp_path / "out"), "--count", "1"]
    arguments += ["DATASETS.TRAIN", squares, "MODEL.HEATMAP.NUM_CLASSES", "0"]
    assert load_tool("visualize_data").main(arguments) == 0
    assert len(list((tmp_path / "out").iterdir())) == 1
