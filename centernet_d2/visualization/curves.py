"""Loss and AP over a training run, from the `metrics.json` that detectron2 writes."""

import json
import os
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Series = tuple[list[int], list[float]]  # iterations, values


def read_metrics(path: str) -> dict[str, Series]:
    """Read `metrics.json` (one JSON object per line) as one series per name.

    A line cut off by a stopped run is left out; of an iteration written again, by a resumed run,
    the later value counts. No file, or none with a record, is an error that names it.
    """
    if not os.path.isfile(path):
        told = f"There is no {path}: detectron2 writes it while training, to OUTPUT_DIR."
        raise FileNotFoundError(told)
    values: dict[str, dict[int, float]] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            for name, value in record.items():
                if name != "iteration" and isinstance(value, int | float):
                    values.setdefault(name, {})[record.get("iteration", 0)] = value
    if not values:
        raise ValueError(f"{path} has no record of a training run: train for 20 iterations first.")
    return {name: (sorted(v), [v[i] for i in sorted(v)]) for name, v in values.items()}


def plot_curves(
    metrics_file: str,
    picture: str,
    *,
    task: str = "bbox",
    metrics: Sequence[str] = ("AP", "AP50", "AP75"),
) -> None:
    """Draw losses and, where evaluated, AP as a picture; the ending of its name is its format.

    The folder of `picture` is made. `<task>/<metric>` of `metrics.json` are drawn, in percent.
    """
    series = read_metrics(metrics_file)
    totals = ("total_loss", "validation/total_loss")
    losses = {n: s for n, s in series.items() if n.startswith("loss") or n in totals}
    scores = {n: series[f"{task}/{n}"] for n in metrics if f"{task}/{n}" in series}
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, losses, "loss", marker="")
    if losses and all(value > 0 for _, values in losses.values() for value in values):
        left.set_yscale("log")
    _draw(right, scores, f"{task} AP (percent)", marker="o")
    right.set(ylim=(0, 100), xlim=left.get_xlim())
    os.makedirs(os.path.dirname(os.path.abspath(picture)), exist_ok=True)
    figure.savefig(picture, dpi=120)


def _draw(axes: Axes, series: dict[str, Series], title: str, *, marker: str) -> None:
    for name, (iterations, values) in series.items():
        width = 2.0 if name.endswith("total_loss") or name == "AP" else 1.0
        marked = marker or ("o" if "/" in name else "")  # one value per evaluation
        axes.plot(iterations, values, label=name, marker=marked, linewidth=width)
    axes.set(title=title, xlabel="iteration")
    axes.grid(visible=True, alpha=0.3)
    if series:
        axes.legend()
    else:
        axes.text(0.5, 0.5, "none recorded", ha="center", va="center", transform=axes.transAxes)
