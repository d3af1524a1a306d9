"""Accuracy against speed, Figure 1 of "Objects as Points": named points in, a figure out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox

COLORS = ("#1f5fa8", "#c0392b", "#2a7f3f", "#8e44ad", "#d9820f", "#16858c", "#a0527a", "#5c6b1e")
MARKERS = "osD^vP*X"
PUBLISHED = {"color": "0.45", "markerfacecolor": "white", "linestyle": "--"}
LOG_FROM = 10.0  # slowest over fastest from which on the axis is logarithmic
DISTANCES = 6 * 1.3 ** np.arange(18)  # of a label from its point, to 500 pixels
TURNS = np.pi / 8 * np.array([12, 4, 0, 8, 14, 2, 10, 6, 1, 3, 5, 7, 9, 11, 13, 15])  # below first
Label = tuple[str, tuple[float, float], str]  # text, point, color


@dataclass(frozen=True)
class SpeedPoint:
    """One detector tested in one way: how long it takes, and how good it is."""

    name: str  # of the detector; points of one name are joined, in the order given
    ms: float  # milliseconds per picture
    score: float  # AP or another score, in percent
    variant: str = ""  # how it was tested: "", "flip", "scales" (multi-scale)
    machine: str = ""  # on which the time was measured, and in batches of how many
    data: str = ""  # that the score is of
    is_published: bool = False  # a reference: hollow, gray and dashed

    def __post_init__(self) -> None:
        if not (self.name and 0 < self.ms < math.inf and math.isfinite(self.score)):
            told = f"{self.name} {self.variant}".strip()
            raise ValueError(f"'{told}' has no point: {self.ms} ms, score {self.score}")


def pareto_front(points: Sequence[SpeedPoint]) -> list[SpeedPoint]:
    """The points that no other one beats in both, fastest first."""
    order = sorted(points, key=lambda point: (point.ms, -point.score))
    return [p for k, p in enumerate(order) if all(p.score > q.score for q in order[:k])]


def speed_figure(
    points: Sequence[SpeedPoint], *, score: str = "AP", rate: bool = False, title: str = ""
) -> Figure:
    """Draw points, those of one detector joined; no label lies on another one, a point or a line.

    `score` names the axis of the scores; `rate`: pictures per second in place of milliseconds. The
    measured points that none beats in both are joined by a dotted staircase, if they are of one
    machine and data set.
    """
    if not points:
        raise ValueError(f"No point to draw: give runs, or a reference, that have {score}.")
    figure = Figure(figsize=(9, 5.5 + 0.05 * len(points)), layout="constrained")
    axes = figure.subplots()
    x_name = "pictures per second" if rate else "milliseconds per picture"
    axes.set(title=title, xlabel=x_name, ylabel=score, axisbelow=True)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.margins(0.12)
    times = [point.ms for point in points]
    if max(times) / min(times) >= LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    labels = _draw_points(axes, points, rate=rate)
    front = pareto_front([point for point in points if not point.is_published])
    if len(front) > 1 and len({(point.machine, point.data) for point in front}) == 1:
        x = np.repeat([1e3 / point.ms if rate else point.ms for point in front], 2)[1:]
        y = np.repeat([point.score for point in front], 2)[:-1]
        axes.plot(x, y, color="black", linestyle=":", label="none measured is faster and better")
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    _place(axes, labels)
    return figure


def _draw_points(axes: Axes, points: Sequence[SpeedPoint], *, rate: bool) -> list[Label]:
    """Draw the points of each detector and the line that joins them; return their labels."""
    labels: list[Label] = []
    for published, what in ((False, "measured"), (True, "published")):
        of_kind = [point for point in points if point.is_published is published]
        where = {point.machine or "unknown set-up" for point in of_kind}
        told = f"{what}: {where.pop() if len(where) == 1 else f'{len(where)} set-ups'}"
        for number, name in enumerate(dict.fromkeys(point.name for point in of_kind)):
            group = [point for point in of_kind if point.name == name]
            style = {"color": COLORS[number % len(COLORS)]} | (PUBLISHED if published else {})
            style |= {"marker": MARKERS[number % len(MARKERS)], "label": "" if number else told}
            at = [(1e3 / point.ms if rate else point.ms, point.score) for point in group]
            axes.plot(*zip(*at, strict=True), **style)
            how = [point.variant for point in group]
            texts = [f"{name} {how[0]}".strip(), *(variant or name for variant in how[1:])]
            labels += [(*label, style["color"]) for label in zip(texts, at, strict=True)]
    return labels


def _place(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label at the nearest free place.

    A line leads from there to its point; it crosses others only where there is no other way.
    """
    axes.figure.draw_without_rendering()
    axes.figure.set_layout_engine("none")  # the axes stay where they are
    to_pixels = axes.transData.transform
    points = [Bbox([at - 5, at + 5]) for _, point, _ in labels for at in [to_pixels(point)]]
    ends = [pair for line in axes.lines for pair in pairwise(to_pixels(line.get_xydata()))]
    taken = points + [part for pair in ends for part in _along(*pair)]
    written: list[Bbox] = []
    for text, point, color in labels:
        style = {"fontsize": 8, "color": color, "parse_math": False}
        measured = axes.text(*point, text, **style)
        half, at = measured.get_window_extent().size / 2 + 2, to_pixels(point)
        measured.remove()
        for crossing, distance, turn in product((False, True), DISTANCES, TURNS):
            way = np.array([np.cos(turn), np.sin(turn)])
            center = at + way * (distance + half)
            box = Bbox([center - half, center + half])
            inside = (box.min > axes.bbox.min).all() and (box.max < axes.bbox.max).all()
            crossed = any(b.count_overlaps(points + written) for b in _along(at + 10 * way, center))
            if inside and crossed <= crossing and not box.count_overlaps(taken + written):
                written.append(box)
                line = {"arrowstyle": "-", "color": color, "linewidth": 0.5}
                there = {"xytext": (center - at) * 72 / axes.figure.dpi, "arrowprops": line}
                there |= {"textcoords": "offset points", "ha": "center", "va": "center"}
                axes.annotate(text, point, zorder=1, **there, **style)
                break


def _along(start: np.ndarray, end: np.ndarray) -> list[Bbox]:
    """Small boxes along a line, in pixels."""
    steps = 2 + int(np.hypot(*(end - start)) / 6)
    return [Bbox.from_bounds(x - 1, y - 1, 2, 2) for x, y in np.linspace(start, end, steps)]
