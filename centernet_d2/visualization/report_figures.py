"""The figures of a report: arrays in, PNG out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MOST_NAMED = 12  # classes with a colour and a name of their own, and numbers in their cells
FIGURES = {  # what each says
    "training": "Loss and AP of the training. Both still improving: train longer.",
    "precision_recall": "How much is right of what is found, against how much is found of what is "
    "there, at IoU 0.5. A curve that ends early misses objects at any threshold.",
    "f1": "F1 against the score threshold: its peak is the threshold to predict with.",
    "precision": "Where nothing false may be shown, take a higher threshold.",
    "scores": "The less true and false detections overlap here, the better a threshold parts them.",
    "confusion": "Row: what an object is. Column: as what it is detected. The row 'background' are "
    "detections of nothing, the column 'background' are missed objects.",
    "size": "Missed objects by size. Small ones: train and test at a larger size.",
    "crowding": "Missed objects by their largest overlap with another object.",
    "curves": "The benchmark's own curves, by overlap (IoU, of joints OKS) or difficulty.",
}


def write_figures(
    folder: str,
    numbers: Mapping[str, Any],
    at: Mapping[str, np.ndarray],
    matches: Any,
    precisions: np.ndarray,
    besides: Mapping[str, Any],
) -> list[str]:
    """Write the figures of `analysis.report` but for training and pictures; return their names."""
    names, best = list(numbers["classes"]), numbers["threshold"]["best_f1"]
    known, shown = np.flatnonzero(matches.wanted), []

    def axes(key: str, title: str, x: str, y: str, side: float = 4.2) -> Axes:
        figure = Figure(figsize=(1.5 * side, side), layout="constrained")
        FigureCanvasAgg(figure)
        shown.append((key, figure))
        part = figure.subplots()
        part.set(title=title, xlabel=x, ylabel=y, axisbelow=True)
        part.grid(visible=True, alpha=0.3)
        return part

    rows = {names[k]: precisions[k] for k in known}
    part = axes("precision_recall", "Precision and recall", "recall", "precision")
    _lines(part, rows, np.linspace(0, 1, precisions.shape[1]), "mean of classes")
    for key in ("f1", "precision"):
        part = axes(key, key.capitalize(), "score threshold", key)
        if best:
            label = f"best F1 at {best['threshold']:g}"
            part.axvline(best["threshold"], color="0.3", linestyle="--", label=label)
        rows = {names[k]: at[key][1 + k] for k in known}
        _lines(part, rows, at["threshold"], "all objects", at[key][0])
    part = axes("scores", "Scores", "score", "detections")
    for values, color, name in (
        (matches.false, "#c0392b", "false"),
        (matches.true, "#2a7f3f", "true"),
    ):
        scores, bins = matches.found.scores[values], np.linspace(0, at["threshold"][-1], 51)
        part.hist(scores, bins, color=color, alpha=0.65, label=f"{name}: {len(scores)}")
    part.set(yscale="log", ylim=(0.7, None))
    part.legend(fontsize=8)
    of = f"at score {numbers['confusion']['threshold']:g}"
    side = min(24, max(4.2, 2 + 0.16 * len(names)))
    part = axes("confusion", f"Confusion {of}", "detected as", "is", side)
    _matrix(part, np.array(numbers["confusion"]["counts"]), [*names, "background"])
    for key, what in (("size", "square root of the area, pixels"), ("crowding", "largest IoU")):
        part = axes(key, f"Missed objects {of}", f"{what}, from", "share missed")
        ranges = numbers["missed"][key]
        rates = [row["missed"] / row["objects"] for row in ranges]
        ticks = [f"{row['from']:g}" for row in ranges]
        bars = part.bar(range(len(ranges)), rates, tick_label=ticks, color="#d98e04")
        part.bar_label(bars, [f"{row['missed']}/{row['objects']}" for row in ranges], fontsize=8)
        part.set(ylim=(0, 1.1))
    for task, rows in filter(itemgetter(1), besides.get("curves", {}).items()):
        if isinstance(rows, list):  # KITTI's: of classes, of difficulties
            levels = [
                f"{n} {level}" for n in besides["classes"] for level in besides["difficulties"]
            ]
            rows = dict(zip(levels, (row for of_class in rows for row in of_class), strict=True))
        part = axes(f"curves-{task}", task, "recall", "precision")
        _lines(part, rows, np.linspace(0, 1, len(next(iter(rows.values())))), "mean")
    for key, figure in shown:
        figure.savefig(os.path.join(folder, f"{key}.png"), dpi=110)
    return [key for key, _ in shown]


def _lines(
    axes: Axes,
    rows: Mapping[str, Sequence[float]],
    x: np.ndarray,
    what: str,
    overall: np.ndarray | None = None,
) -> None:
    """One line per name, and a black one of all, by default their mean; too many are gray."""
    for name, row in rows.items():
        style = {"label": _plain(name)} if len(rows) <= MOST_NAMED else {"color": "0.75"}
        axes.plot(x, row, linewidth=1, **style)
    if len(rows) > 1:
        mean = np.mean([*rows.values()], axis=0) if overall is None else overall
        axes.plot(x, mean, color="black", linewidth=2, label=what)
    axes.set(xlim=(x[0], x[-1]), ylim=(0, 1.02))
    if rows:
        axes.legend(fontsize=8)


def _matrix(axes: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """Counts (C, C), coloured by their share of the row."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.grid(visible=False)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.figure.colorbar(image, ax=axes, label="share of the row")
    labels, size = [_plain(name) for name in names], 8 if len(names) <= MOST_NAMED else 6
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    for (row, column), count in np.ndenumerate(counts) if len(names) <= MOST_NAMED else ():
        color = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)


def _plain(name: str) -> str:
    """A class name as matplotlib takes it for text, shortened."""
    name = name if len(name) <= 20 else f"{name[:17]}..."
    return name.replace("$", r"\$").replace("_", "\u2060_", 1)  # a first "_" hides a label
