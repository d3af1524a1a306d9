"""The figures of a study show the numbers that they are given."""

from __future__ import annotations

import pytest

from centernet_d2.visualization.study_figures import draw_bars, draw_differences, draw_learning


def test_differences():
    rows = {"one": (2.0, 1.0, 3.0, 1.9, "holds", 0)}
    rows["two"] = (-1.0, -4.0, 2.0, None, "undecided", 1.5)
    (axes,) = draw_differences(rows).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one", "two"]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert drawn[:5] == [
        *(([1.0, 3.0], [0, 0]), ([2.0], [0]), ([1.9], [0])),
        *(([-4.0, 2.0], [1, 1]), ([-1.0], [1])),
    ]
    assert [bar.get_bbox().intervalx.tolist() for bar in axes.patches] == [[0, 0], [-1.5, 1.5]]
    assert axes.patches[1].get_bbox().intervaly == pytest.approx([0.55, 1.45])
    assert axes.lines[0].get_color() != axes.lines[3].get_color()


def test_learning_curves_and_their_mean():
    curves = [[(1.0, 10.0), (2.0, 30.0)], [(1.0, 20.0), (2.0, 40.0), (3.0, 50.0)]]
    panels = {title: {"a": curves, "b": curves[:1]} for title in ("p", "q", "r", "s")}
    axes = draw_learning(panels).axes
    assert [part.get_title() for part in axes] == ["p", "q", "r", "s"]  # and no empty ones
    mean = next(line for line in axes[3].lines if line.get_label() == "a")
    assert list(mean.get_ydata()) == [15.0, 35.0]
    assert [part.get_text() for part in axes[0].get_legend().get_texts()] == ["a", "b"]


def test_bars():
    groups = {"a": {"FD": [1, 3], "FD5": [4, 4]}, "b": {"FD": [5, 5], "FD5": [6, 8]}}
    (axes,) = draw_bars(groups).axes
    assert [bar.get_height() for bar in axes.patches] == [2.0, 4.0, 5.0, 7.0]
    assert axes.patches[0].get_x() < axes.patches[2].get_x() < axes.patches[1].get_x()
    (spread, *_) = axes.collections  # the first bar's: a deviation of sqrt(2) to both sides
    assert spread.get_segments()[0][:, 1] == pytest.approx([2 - 2**0.5, 2 + 2**0.5])
