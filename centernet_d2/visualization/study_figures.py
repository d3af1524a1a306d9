"""Figures of a study of several seeds: numbers in, PNG out."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"holds": "#2a7f3f", "undecided": "0.55", "the opposite": "#c0392b"}
Curve = Sequence[tuple[float, float]]  # minutes, score


def draw_differences(
    path: str,
    rows: Mapping[str, tuple[float, float, float, str]],
    published: Mapping[str, float | None],
) -> None:
    """Draw one line per claim: difference, low and high end of its interval, coloured by verdict.

    `published` has the papers' own differences of some, as open diamonds.
    """
    figure = Figure(figsize=(9, 1.2 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (name, (middle, low, high, word)) in enumerate(rows.items()):
        axes.plot([low, high], [place, place], color=COLORS[word], linewidth=2)
        axes.plot(middle, place, "o", color=COLORS[word])
        if (own := published.get(name)) is not None:
            axes.plot(own, place, "D", color="black", fillstyle="none", markersize=5)
    for word, color in COLORS.items():
        axes.plot([], [], "o-", color=color, label=word)
    axes.plot([], [], "D", color="black", fillstyle="none", label="the paper's")
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="difference in points, right of 0 as the paper says; 95 %", xscale="symlog")
    axes.set_xticks(ticks := [-30, -10, -3, -1, 0, 1, 3, 10, 30], map(str, ticks))
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.invert_yaxis()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    figure.savefig(path, dpi=110)


def draw_learning(path: str, panels: Mapping[str, Mapping[str, Sequence[Curve]]]) -> None:
    """Draw score against minutes of training: a panel per title, of its variants all seeds."""
    columns = 3
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(11, 0.3 + 2.6 * rows), layout="constrained")
    parts = figure.subplots(rows, columns, squeeze=False).flat
    for axes, panel in zip_longest(parts, panels.items()):
        if panel is None:
            axes.remove()
            continue
        for (name, curves), color in zip(panel[1].items(), ("C0", "C1", "C2"), strict=False):
            for curve in curves:
                axes.plot(*np.transpose(curve), color=color, linewidth=0.8, alpha=0.5)
            length = min(map(len, curves))
            mean = np.mean([curve[:length] for curve in curves], axis=0)
            axes.plot(*mean.T, color=color, linewidth=2, label=name)
        _dress(axes, title=panel[0], xlabel="minutes of training", ylabel="AP")
    figure.savefig(path, dpi=110)


def draw_bars(path: str, groups: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """Draw means with sample deviations: name -> label under the bars -> values of the seeds."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes, width = figure.subplots(), 0.8 / max(1, len(groups))
    for place, (name, bars) in enumerate(groups.items()):
        x = np.arange(len(bars)) + (place - (len(groups) - 1) / 2) * width
        means = [np.mean(values) for values in bars.values()]
        spreads = [np.std(values, ddof=1) if len(values) > 1 else 0 for values in bars.values()]
        axes.bar(x, means, width, yerr=spreads, capsize=2, label=name)
        axes.set_xticks(range(len(bars)), bars)
    _dress(axes, ylabel="percent")
    figure.savefig(path, dpi=110)


def _dress(axes: Axes, **texts: str) -> None:
    axes.set(**texts, axisbelow=True)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
