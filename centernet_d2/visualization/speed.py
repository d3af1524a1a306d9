"""Accuracy against speed, Figure 1 of "Objects as Points": named points in, a figure out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox

COLORS = ("#1f5fa8", "#c0392b", "#2a7f3f", "#8e44ad", "#d9820f", "#16858c", "#a0527a", "#5c6b1e")
MARKERS = "osD^vP*X"
PUBLISHED = "0.45"  # gray
FAR = 14  # pixels between a label and its point from which on a line leads there
POINTER = {"arrowstyle": "-", "alpha": 0.6, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4}
LOG_FROM = 10.0  # slowest over fastest from which on the axis is logarithmic


@dataclass(frozen=True)
class SpeedPoint:
    """One detector tested in one way: how long it takes, and how good it is."""

    name: str  # of the detector; points of one name are joined, in the order given
    ms: float  # milliseconds per picture
    score: float  # AP or another score, in percent
    variant: str = ""  # how it was tested: "", "flip", "multi-scale"
    machine: str = ""  # on which the time was measured
    is_published: bool = False  # a reference: hollow, gray and dashed

    def __post_init__(self) -> None:
        if not (0 < self.ms < math.inf and math.isfinite(self.score)):
            told = f"{self.name} {self.variant}".strip()
            raise ValueError(f"'{told}' has no point: {self.ms} ms, score {self.score}")


def pareto_front(points: Sequence[SpeedPoint]) -> list[SpeedPoint]:
    """The points that no other one beats in both, fastest first."""
    front: list[SpeedPoint] = []
    for point in sorted(points, key=lambda point: (point.ms, -point.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


def speed_figure(
    points: Sequence[SpeedPoint], *, score: str = "AP", rate: bool = False, title: str = ""
) -> Figure:
    """Draw points, those of one detector joined; no label lies on another one, a point or a line.

    Args:
        points: in the order in which those of one detector are joined; at least one.
        score: what their scores are, the name of the axis.
        rate: pictures per second in place of milliseconds per picture.
        title: above the figure.

    Returns:
        The figure, whose `savefig` writes PNG, SVG or PDF. The measured points that none beats in
        both are joined by a dotted staircase.
    """
    if not points:
        raise ValueError("No point to draw: accuracy against speed needs at least one.")
    figure = Figure(figsize=(9, 5.5 + 0.05 * len(points)), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, ylabel=score, axisbelow=True)
    axes.set_xlabel("pictures per second" if rate else "milliseconds per picture")
    axes.grid(visible=True, which="both", alpha=0.25)
    times = [point.ms for point in points]
    if max(times) / min(times) >= LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.12)
    labels = [label for line in _lines(axes, points, rate) for label in line]
    front = pareto_front([point for point in points if not point.is_published])
    if len(front) > 1:
        x = np.repeat([_x(point, rate) for point in front], 2)[1:]
        y = np.repeat([point.score for point in front], 2)[:-1]
        axes.plot(x, y, color="black", linestyle=":", linewidth=1)
    entries = list(_legend(points, with_front=len(front) > 1))
    figure.legend(handles=entries, loc="outside lower center", fontsize=8, frameon=False)
    _place(axes, labels)
    return figure


Label = tuple[str, tuple[float, float], str]  # text, the point in data coordinates, colour


def _lines(axes: Axes, points: Sequence[SpeedPoint], rate: bool) -> Iterator[list[Label]]:
    """Draw one line per detector; its first point is labelled with its name, others how tested."""
    groups: dict[tuple[bool, str], list[SpeedPoint]] = {}
    for point in points:
        groups.setdefault((point.is_published, point.name), []).append(point)
    count = {True: 0, False: 0}
    for (published, name), group in groups.items():
        number, count[published] = count[published], count[published] + 1
        color = PUBLISHED if published else COLORS[number % len(COLORS)]
        style = {"linestyle": "--", "markerfacecolor": "white"} if published else {}
        x, y = [_x(point, rate) for point in group], [point.score for point in group]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(x, y, color=color, marker=marker, markersize=6, linewidth=1.2, **style)
        texts = [f"{name} {group[0].variant}".strip(), *(p.variant or name for p in group[1:])]
        yield [(text, at, color) for text, at in zip(texts, zip(x, y, strict=True), strict=True)]


def _x(point: SpeedPoint, rate: bool) -> float:
    return 1e3 / point.ms if rate else point.ms


def _legend(points: Sequence[SpeedPoint], *, with_front: bool) -> Iterator[Line2D]:
    """What the two styles are, with the machine of the times where it is one."""
    for published, what in ((False, "measured"), (True, "published")):
        machines = {p.machine or "unknown machine" for p in points if p.is_published is published}
        if machines:
            where = machines.pop() if len(machines) == 1 else f"{len(machines)} machines"
            color, face = (PUBLISHED, "white") if published else (COLORS[0], COLORS[0])
            line = {
                "color": color,
                "markerfacecolor": face,
                "linestyle": "--" if published else "-",
            }
            yield Line2D([], [], marker="o", label=f"{what}: {where}", **line)
    if with_front:
        told = "none measured is faster and better"
        yield Line2D([], [], color="black", linestyle=":", label=told)


def _place(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label at the nearest place that is free; one without any is left out."""
    axes.figure.draw_without_rendering()
    axes.figure.set_layout_engine("none")  # the axes stay where they are
    to_pixels, scale = axes.transData.transform, 72 / axes.figure.dpi
    points = [Bbox([at - 5, at + 5]) for _, point, _ in labels for at in [to_pixels(point)]]
    taken = [*points]
    for line in axes.lines:
        ends = to_pixels(line.get_xydata())
        taken += [b for pair in pairwise(ends) for b in _along(*pair)]
    written: list[Bbox] = []
    for text, point, color in labels:
        style = {"fontsize": 8, "color": color, "parse_math": False}
        measured = axes.text(*point, text, **style)
        size, at = measured.get_window_extent().size + 4, to_pixels(point)
        measured.remove()
        for offset in _places(size):
            box = Bbox([at + offset - size / 2, at + offset + size / 2])
            is_far = (abs(offset) - size / 2).max() > FAR
            beside = offset * 10 / np.hypot(*offset)
            pointer = _along(at + beside, at + offset) if is_far else []
            inside = (box.min > axes.bbox.min).all() and (box.max < axes.bbox.max).all()
            crossed = any(part.count_overlaps(points + written) for part in pointer)
            if inside and not crossed and not box.count_overlaps(taken + written):
                written.append(box)
                there = {"xytext": offset * scale, "textcoords": "offset points"}
                there |= {"arrowprops": POINTER | {"color": color}} if is_far else {}
                axes.annotate(text, point, ha="center", va="center", **there, **style)
                break


def _along(start: np.ndarray, end: np.ndarray) -> list[Bbox]:
    """Small boxes along a line, in pixels."""
    steps = 1 + int(np.hypot(*(end - start)) / 6)
    return [Bbox.from_bounds(x - 1, y - 1, 2, 2) for x, y in np.linspace(start, end, steps + 1)]


def _places(size: np.ndarray) -> Iterator[np.ndarray]:
    """Offsets in pixels of a label's center from its point, the nearest first."""
    angles = np.pi / 8 * np.array([12, 4, 0, 8, 14, 2, 10, 6, 1, 3, 5, 7, 9, 11, 13, 15])
    for distance in 6 * 1.3 ** np.arange(18):  # to 500 pixels
        for angle in angles:
            yield np.array([np.cos(angle), np.sin(angle)]) * (distance + size / 2)
