from __future__ import annotations

import numpy as np
import pytest
import torch

from centernet_d2.visualization.detections import class_color
from centernet_d2.visualization.heatmaps import overlay_heatmap


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
