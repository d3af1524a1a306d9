"""Accuracy against speed: what is joined, which points are the front, that labels are readable."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

from centernet_d2.visualization.speed import SpeedPoint, pareto_front, speed_figure

# Table 1 of "Objects as Points": many points in one corner.
TABLE = {
    "Hourglass-104": ((71, 40.3), (129, 42.2), (672, 45.1)),
    "DLA-34": ((19, 37.4), (36, 39.2), (248, 41.7)),
    "ResNet-101": ((22, 34.6), (40, 36.2), (259, 39.3)),
    "ResNet-18": ((7, 28.1), (14, 30.0), (81, 33.2)),
}
HOW = ("", "flip", "scales")


def table(**style) -> list[SpeedPoint]:
    rows = [
        (name, how, *row)
        for name, found in TABLE.items()
        for how, row in zip(HOW, found, strict=True)
    ]
    return [SpeedPoint(name, ms, ap, how, **style) for name, how, ms, ap in rows]


def test_front_holds_what_none_is_faster_and_better_than():
    found = [(point.name, point.variant) for point in pareto_front(table())]
    # By hand: the ones of several scales of DLA-34 (41.7 after 248 ms) and ResNet-101 are beaten by
    # Hourglass-104's 42.2 after 129 ms.
    ends = [("Hourglass-104", how) for how in HOW]
    assert found == [
        ("ResNet-18", ""),
        ("ResNet-18", "flip"),
        *[("DLA-34", h) for h in HOW[:2]],
        *ends,
    ]


@pytest.mark.parametrize("rate", [False, True])
def test_variants_of_a_detector_are_joined_and_labels_lie_apart(rate):
    published = table(is_published=True, machine="Titan Xp")
    own = [
        SpeedPoint("$own_$", ms, ap, how, "here")
        for ms, ap, how in ((30, 40, ""), (60, 41, "flip"))
    ]
    figure = speed_figure([*published, *own], score="bbox/AP", rate=rate)
    (axes,) = figure.axes
    lines = {tuple(line.get_ydata()): line for line in axes.lines}
    for rows in TABLE.values():
        line = lines[tuple(ap for _, ap in rows)]
        assert (line.get_linestyle(), line.get_markerfacecolor()) == ("--", "white")
        times = [1000 / ms if rate else ms for ms, _ in rows]
        np.testing.assert_allclose(line.get_xdata(), times)
    assert lines[40.0, 41.0].get_linestyle() == "-"
    assert axes.get_xscale() == "log"  # 7 to 672 ms
    texts = [text.get_text() for text in axes.texts]
    assert sorted(texts) == sorted([*TABLE, "$own_$", *["flip"] * 5, *["scales"] * 4])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        *("measured: here", "published: Titan Xp", "none measured is faster and better"),
    ]
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    shown = axes.transData.transform(np.concatenate([line.get_xydata() for line in axes.lines]))
    assert not [box for box in boxes if any(box.contains(*at) for at in shown)]
    assert all(axes.bbox.contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_points_that_cannot_be_drawn_are_named():
    with pytest.raises(ValueError, match=r"'mine flip' has no point: 0 ms"):
        SpeedPoint("mine", 0, 40.0, "flip")
    with pytest.raises(ValueError, match=r"'mine' has no point: 3 ms, score nan"):
        SpeedPoint("mine", 3, float("nan"))
    with pytest.raises(ValueError, match="that have AP"):
        speed_figure([])
    assert speed_figure([SpeedPoint("mine", 3, 40.0)]).axes[0].get_xscale() == "linear"
