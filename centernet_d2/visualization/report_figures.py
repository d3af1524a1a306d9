"""The figures of a report: arrays in, PNG out."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MOST_NAMED = 12  # classes with a colour and a name of their own, and numbers in their cells


def write_figures(
    folder: str,
    numbers: Mapping[str, Any],
    at: Mapping[str, np.ndarray],
    matches: Any,
    precisions: np.ndarray,
    curves: Mapping[str, Any],
) -> dict[str, str]:
    """Write the figures of `analysis.report` but for training and pictures: name -> caption."""
    names, known = list(numbers["classes"]), np.flatnonzero(matches.wanted)
    of, shown = f"at score {numbers['threshold']:g}", dict[str, tuple[str, Figure]]()

    def axes(key: str, title: str, x: str, y: str, caption: str, side: float = 4.2) -> Axes:
        figure = Figure(figsize=(1.5 * side, side), layout="constrained")
        shown[key] = caption, figure
        part = figure.subplots()
        part.set(title=title, xlabel=x, ylabel=y, axisbelow=True)
        part.grid(visible=True, alpha=0.3)
        return part

    told = "At IoU 0.5. A curve that ends early misses objects at any threshold."
    part = axes("precision_recall", "Precision and recall", "recall", "precision", told)
    rows = {names[k]: precisions[k] for k in known}
    _lines(part, rows, np.linspace(0, 1, precisions.shape[1]), "mean of classes")
    for key, told in (
        ("f1", "The peak is the threshold to predict with."),
        ("precision", "Where nothing false may be shown, take a higher threshold."),
    ):
        part = axes(key, key.capitalize(), "score threshold", key, told)
        part.axvline(numbers["threshold"], color="0.3", linestyle="--", label=of)
        rows = {names[k]: at[key][1 + k] for k in known}
        _lines(part, rows, at["threshold"], "all objects", at[key][0])
    told = "The less true and false ones overlap here, the better a threshold parts them."
    part = axes("scores", "Scores", "score", "detections", told)
    for kind, color in (("false", "#c0392b"), ("true", "#2a7f3f")):
        scores = matches.found.scores[getattr(matches, kind)]
        bins = np.linspace(0, at["threshold"][-1], 51)
        part.hist(scores, bins, color=color, alpha=0.65, label=f"{kind}: {len(scores)}")
    part.set(yscale="log", ylim=(0.7, None))
    part.legend(fontsize=8)
    _of_objects(axes, numbers)
    for task, rows in curves.items():
        told = "The benchmark's own, by overlap (IoU, of joints OKS) or class and difficulty."
        part = axes(f"curves_{task}", task, "recall", "precision", told)
        _lines(part, rows, np.linspace(0, 1, len(next(iter(rows.values()), ()))), "mean")
    for key, (_, figure) in shown.items():
        figure.savefig(os.path.join(folder, f"{key}.png"), dpi=110)
    return {key: caption for key, (caption, _) in shown.items()}


def _of_objects(axes: Callable[..., Axes], numbers: Mapping[str, Any]) -> None:
    """What objects are taken for, and which are missed."""
    names, of = list(numbers["classes"]), f"at score {numbers['threshold']:g}"
    told = "Row background: detections of nothing. Column background: missed objects."
    side = min(24, max(4.2, 2 + 0.16 * len(names)))
    part = axes("confusion", f"Confusion {of}", "detected as", "is", told, side)
    _matrix(part, np.array(numbers["confusion"]), [*names, "background"])
    for key, what, told in (
        ("size", "square root of the area, pixels", "Small ones: train and test at a larger size."),
        ("crowding", "largest overlap (IoU) with another object", "Of objects that overlap."),
    ):
        part = axes(key, f"Missed objects {of}", f"{what}, from", "share missed", told)
        low, count, missed = numbers["missed"][key].values()
        there = [k for k, number in enumerate(count) if number]
        bars = part.bar([f"{low[k]:g} " for k in there], [missed[k] / count[k] for k in there])
        part.bar_label(bars, [f"{missed[k]}/{count[k]}" for k in there], fontsize=8)
        part.set(ylim=(0, 1.1))


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
    axes.set(xlim=(0, x.max(initial=1)), ylim=(0, 1.02))
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
