from __future__ import annotations

import numpy as np
import pytest
import torch

from centernet_d2.visualization.detections import class_color
from centernet_d2.visualization.heatmaps import draw_heatmap, overlay_heatmap


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_peak_stands_at_four_times_its_cell(make):
    heatmap = np.zeros((3, 16, 20), dtype=np.float32)
    heatmap[2, 5, 7] = 1
    image = np.zeros((64, 80, 3), dtype=np.uint8)
    picture = overlay_heatmap(image, make(heatmap), strength=1.0)
    y, x = np.unravel_index(picture.sum(axis=2).argmax(), (64, 80))
    assert (y, x) == (20, 28)
    np.testing.assert_array_equal(picture[20, 28], class_color(2))
    assert not picture[24:, :].any()
    assert not picture[:, :24].any()


def test_scale_and_shift_undo_the_padding():
    heatmap = np.zeros((8, 8), dtype=np.float32)
    heatmap[4, 4] = 1
    image = np.zeros((20, 26, 3), dtype=np.uint8)
    picture = overlay_heatmap(image, heatmap, scale=4, shift=(-3, -6))
    assert np.unravel_index(picture.sum(axis=2).argmax(), (20, 26)) == (10, 13)


def test_empty_map_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(overlay_heatmap(image, np.zeros((5, 10, 15))), before)
    np.testing.assert_array_equal(image, before)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(40, 60\).*\(5, 10, 15\)"):
        overlay_heatmap(np.zeros((40, 60)), np.zeros((5, 10, 15)))


def test_scales_of_both_axes():
    heatmap = np.zeros((8, 8), dtype=np.float32)
    heatmap[2, 3] = 1
    picture = overlay_heatmap(np.zeros((40, 40, 3), np.uint8), heatmap, scale=(5.0, 2.0))
    assert np.unravel_index(picture.sum(axis=2).argmax(), (40, 40)) == (4, 15)


@pytest.mark.parametrize("width", [60, 200, 900])
def test_legend_names_the_classes_by_their_highest_value(width):
    heatmap = torch.zeros(4, 10, 12)
    heatmap[1, 4, 4], heatmap[3, 2, 2], heatmap[0, 1, 1] = 1, 0.5, 0.05
    image = np.full((50, width, 3), 200, dtype=np.uint8)
    picture = draw_heatmap(image, heatmap, ["w", "x", "y", "z"], scale=4.0)
    assert picture.shape[1] == width
    assert picture.shape[0] > 50
    legend = {tuple(pixel) for pixel in picture[50:].reshape(-1, 3).tolist()}
    assert {class_color(1), class_color(3)} <= legend
    assert class_color(0) not in legend  # under the threshold
    # The image is gray and dimmed, a peak has its class's full color.
    assert picture[40, 40].tolist() == [120, 120, 120]
    assert tuple(picture[16, 16].tolist()) == class_color(1)


def test_legend_of_nothing():
    picture = draw_heatmap(np.zeros((40, 200, 3), np.uint8), np.zeros((2, 10, 50)))
    assert picture.shape[0] > 40
    assert (picture[40:] < 128).any()  # it says so
