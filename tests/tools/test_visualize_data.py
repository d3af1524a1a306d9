from __future__ import annotations

import cv2
import pytest


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
