from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from centernet_d2.structures.targets import CenterTargets, CornerTargets, KeypointTargets, PeakIndex
from centernet_d2.visualization.canvas import class_color
from centernet_d2.visualization.heatmaps import (
    draw_heatmap,
    draw_heatmaps,
    draw_maps,
    overlay_heatmap,
    target_heatmaps,
)


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


@pytest.mark.parametrize(
    ("place", "expected"),
    [({"scale": 4, "shift": (-3, -6)}, (10, 13)), ({"scale": (5.0, 2.0)}, (8, 20))],
)
def test_scale_and_shift_undo_the_padding(place, expected):
    heatmap = np.zeros((8, 8), dtype=np.float32)
    heatmap[4, 4] = 1
    picture = overlay_heatmap(np.zeros((20, 26, 3), dtype=np.uint8), heatmap, **place)
    assert np.unravel_index(picture.sum(axis=2).argmax(), (20, 26)) == expected


def test_empty_map_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    before = image.copy()
    np.testing.assert_array_equal(overlay_heatmap(image, np.zeros((5, 10, 15))), before)
    np.testing.assert_array_equal(image, before)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(40, 60\).*\(5, 10, 15\)"):
        overlay_heatmap(np.zeros((40, 60)), np.zeros((5, 10, 15)))


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


def test_named_heatmaps_stand_beside_each_other():
    image = np.full((40, 200, 3), 100, dtype=np.uint8)
    maps = {name: torch.zeros(12, 10, 50) for name in ("top_left", "bottom_right", "center")}
    for column, heatmap in enumerate(maps.values()):
        heatmap[2, 5, 10 + 10 * column] = 1
    maps["center"][:, 0, 0] = 1  # a legend of several lines
    picture = draw_heatmaps(image, maps, scale=4.0)
    single = draw_heatmap(image, maps["top_left"], scale=4.0)
    tallest = draw_heatmap(image, maps["center"], scale=4.0)
    title = len(picture) - len(tallest)
    assert picture.shape[1] == 3 * 200 + 2 * 4
    assert title > 5
    for column in range(3):
        part = picture[title:, column * 204 :][:, :200]
        assert tuple(part[20, 40 + 40 * column].tolist()) == class_color(2)
        assert (picture[:title, column * 204 :][:, :200] < 128).any()  # the title's letters
    np.testing.assert_array_equal(picture[title : title + len(single), :200], single)
    assert (picture[title + len(single) :, :200] == 255).all()
    titles = [picture[:title, k * 204 : k * 204 + 200] for k in range(3)]
    assert (titles[0] != titles[1]).any()
    assert (titles[1] != titles[2]).any()


def test_one_heatmap_needs_no_title_and_none_is_an_error():
    image, heatmap = np.zeros((40, 200, 3), np.uint8), np.ones((2, 10, 50))
    alone = draw_heatmaps(image, {"center": heatmap}, ["a", "b"], threshold=0.2)
    np.testing.assert_array_equal(alone, draw_heatmap(image, heatmap, ["a", "b"], threshold=0.2))
    with pytest.raises(ValueError, match="none"):
        draw_heatmaps(image, {})


def test_maps_are_shown_where_their_peaks_are_in_colors_that_kinds_share():
    """Of embeddings 0 at both corners of one object and 4 at those of another."""
    maps = {"top_left": torch.zeros(2, 8, 8), "bottom_right": torch.zeros(2, 8, 8)}
    values = {f"{kind}_embedding": torch.full((1, 8, 8), 9.0) for kind in maps}
    for kind, column in (("top_left", 1), ("bottom_right", 5)):
        for row, value in ((2, 0.0), (6, 4.0)):
            maps[kind][0, row, column] = 1
            values[f"{kind}_embedding"][0, row, column] = value
    place = {"scale": (10.0, 10.0), "shift": (0.0, 0.0)}
    seen = SimpleNamespace(probabilities=maps, values=values, **place)
    picture = draw_maps(np.full((80, 80, 3), 100, np.uint8), seen, side=80)
    tile = (picture.shape[1] - 3 * 4) // 4
    assert tile == 80
    title = len(picture) - 80
    first, second = (picture[title:, 84 * k :][:, :80] for k in (2, 3))
    ends = cv2.applyColorMap(np.array([[0, 255]], np.uint8), cv2.COLORMAP_VIRIDIS)[0]
    for row, color in ((20, ends[0]), (60, ends[1])):
        np.testing.assert_allclose(first[row, 10], color, atol=8)
        np.testing.assert_allclose(second[row, 50], color, atol=8)
    assert (first[:, 40:] == 50).all()  # where no corner is: the dark image


def test_targets_by_keypoint():
    def kind(value):
        index = PeakIndex(*(torch.zeros(0, dtype=torch.int64) for _ in range(3)))
        return KeypointTargets(torch.full((2, 1, 3, 4), value), index, torch.zeros(0, 2))

    nothing = torch.zeros(0)
    corners = CornerTargets(kind(0.1), kind(0.2), None, nothing, 2)
    assert list(target_heatmaps(corners)) == ["top_left", "bottom_right"]
    triplet = CornerTargets(kind(0.1), kind(0.2), kind(0.3), nothing, 2)
    triplet.center.heatmap[1] = 0.4
    found = target_heatmaps(triplet, image=1)
    assert {name: round(float(m.mean()), 6) for name, m in found.items()} == {
        "top_left": 0.1,
        "bottom_right": 0.2,
        "center": 0.4,
    }
    points = CenterTargets(kind(0.5).heatmap, *(nothing,) * 7)
    (name, heatmap), *others = target_heatmaps(points).items()
    assert (name, tuple(heatmap.shape), others) == ("center", (1, 3, 4), [])
