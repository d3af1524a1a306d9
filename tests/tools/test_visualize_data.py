from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from .conftest import CORNER_OVERRIDES

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


def test_heatmaps_lie_on_the_networks_own_canvas(
    load_tool, tiny_yaml, tiny_overrides, tmp_path, monkeypatch
):
    """A crop of 60 x 60 stands in the middle of 64 x 64, and the boxes with it."""
    tool, drawn = load_tool("visualize_data"), {}

    def keep(name):
        original = getattr(tool, name)

        def draw(*arguments, **options):
            drawn[name] = (*arguments, options)
            return original(*arguments, **options)

        monkeypatch.setattr(tool, name, draw)

    keep("draw_objects")
    keep("draw_heatmap")
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out"), "--count", "1"]
    overrides = [*tiny_overrides, "INPUT.TRAIN_SIZE", "[60, 60]", "INPUT.CENTER_CROP", "none"]
    for key in ("FLIP_PROBABILITY", "COLOR_JITTER", "PCA_LIGHTING"):
        overrides += [f"INPUT.{key}", "0.0"]
    assert tool.main([*arguments, "--heatmaps", *overrides]) == 0
    image, heatmap, _, options = drawn["draw_heatmap"]
    assert image.shape == (64, 64, 3)
    assert not image[:2].any()
    assert not image[:, -2:].any()
    assert image[2:62, 2:62].min() >= 39  # the picture's gray, after the way through the network
    # The square from (8, 10) to (28, 30), scaled by 60 / 64 and moved by 2.
    box = np.array([8, 10, 28, 30]) * 60 / 64 + 2
    np.testing.assert_allclose(
        drawn["draw_objects"][1].gt_boxes.tensor.numpy(), [box], rtol=0, atol=1e-4
    )
    assert options["scale"] == (4, 4)
    row, column = np.unravel_index(int(heatmap[0].argmax()), heatmap.shape[1:])
    assert (column, row) == (int((box[0] + box[2]) / 8), int((box[1] + box[3]) / 8))


def test_corner_targets_stand_beside_each_other(load_tool, tiny_overrides, tmp_path, monkeypatch):
    """The square from (8, 10) to (28, 30) on a canvas of 63 pixels and a map of 16 cells."""
    tool, drawn = load_tool("visualize_data"), []
    original = tool.draw_heatmap

    def draw(image, heatmap, *arguments, **options):
        drawn.append((heatmap, options["scale"]))
        return original(image, heatmap, *arguments, **options)

    monkeypatch.setattr(tool, "draw_heatmap", draw)
    config = ROOT / "configs" / "Shapes" / "triplet_tiny.yaml"
    arguments = ["--config-file", str(config), "--output", str(tmp_path / "out"), "--count", "1"]
    overrides = [*tiny_overrides, *CORNER_OVERRIDES, "INPUT.TRAIN_SIZE", "[63, 63]"]
    overrides += ["INPUT.CENTER_CROP", "none", "TEST.CANVAS", "odd"]
    for key in ("FLIP_PROBABILITY", "COLOR_JITTER", "PCA_LIGHTING"):
        overrides += [f"INPUT.{key}", "0.0"]
    assert tool.main([*arguments, "--heatmaps", *overrides]) == 0
    (picture,) = (cv2.imread(str(f)) for f in (tmp_path / "out").iterdir())
    assert picture.shape[1] == 4 * 63 + 3 * 4  # the sample and three heatmaps
    box = np.array([8, 10, 28, 30]) * 63 / 64 * 16 / 63
    expected = [box[:2], box[2:], (box[:2] + box[2:]) / 2]
    for (heatmap, scale), point in zip(drawn, expected, strict=True):
        assert scale == (63 / 16, 63 / 16)
        row, column = np.unravel_index(int(heatmap[0].argmax()), heatmap.shape[1:])
        assert (column, row) == tuple(point.astype(int))
