"""Figures of a study of several seeds: numbers in, a figure out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLORS = {"holds": "#2a7f3f", "undecided": "0.55", "the opposite": "#c0392b"}
Curve = Sequence[tuple[float, float]]  # minutes, score


def draw_differences(rows: Mapping[str, tuple[Any, ...]]) -> Figure:
    """Draw a line per claim: difference, its ends, the paper's, verdict, band that means none."""
    figure = Figure(figsize=(9, 1.2 + 0.27 * len(rows)), layout="constrained")
    axes, known = figure.subplots(), dict[str, Any](marker="D", color="black", fillstyle="none")
    for place, (middle, low, high, own, word, same) in enumerate(rows.values()):
        axes.barh(place, 2 * same, 0.9, -same, color="0.87", zorder=0)
        ends = {"marker": "|", "markersize": 9, "markeredgewidth": 1.5}
        axes.plot([low, high], [place, place], color=COLORS[word], **ends)
        axes.plot(middle, place, "o", color=COLORS[word], markersize=4)
        if own is not None:
            axes.plot(own, place, markersize=5, **known)
    for word, color in COLORS.items():
        axes.plot([], [], "o-", color=color, markersize=4, label=word)
    axes.plot([], [], linestyle="", label="the paper's", **known)
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), rows)
    told = "right of 0 as the paper says; (same): within the gray band"
    axes.set(xlabel=f"difference in points, 95 %; {told}", xscale="symlog")
    axes.set_xticks(ticks := [-30, -10, -3, -1, 0, 1, 3, 10, 30], map(str, ticks))
    axes.grid(visible=True, axis="x", alpha=0.3)
    axes.invert_yaxis()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
    return figure


def draw_learning(panels: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Figure:
    """Draw score against minutes: a panel per title, of its variants all seeds and their mean."""
    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(11, 0.3 + 2.6 * rows), layout="constrained")
    parts = [*figure.subplots(rows, 3, squeeze=False).flat]
    for axes, (title, variants) in zip(parts, panels.items(), strict=False):
        for number, (name, curves) in enumerate(variants.items()):
            for curve in curves:
                axes.plot(*np.transpose(curve), color=f"C{number}", linewidth=0.8, alpha=0.5)
            length = min(map(len, curves))
            mean = np.mean([curve[:length] for curve in curves], axis=0)
            axes.plot(*mean.T, color=f"C{number}", linewidth=2, label=name)
        _dress(axes, title=title, xlabel="minutes of training", ylabel="AP")
    for axes in parts[len(panels) :]:
        axes.remove()
    return figure


def draw_bars(groups: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw means with sample deviations: name -> label under the bars -> values of the seeds."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes, width = figure.subplots(), 0.8 / len(groups)
    for place, (name, bars) in enumerate(groups.items()):
        x = np.arange(len(bars)) + (place - (len(groups) - 1) / 2) * width
        values = np.array([*bars.values()])
        style = {"yerr": values.std(axis=1, ddof=1), "capsize": 2, "label": name}
        axes.bar(x, values.mean(axis=1), width, **style)
        axes.set_xticks(range(len(bars)), bars)
    _dress(axes, ylabel="percent")
    return figure


def _dress(axes: Axes, **texts: str) -> None:
    axes.set(**texts, axisbelow=True)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
