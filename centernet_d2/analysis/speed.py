"""Accuracy against speed of runs, of tables of other programs, and of the papers."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

from ..atomic_write import atomic_write, write_json
from ..text_files import expanded, read_text
from ..visualization.speed import SpeedPoint, pareto_front, speed_figure

PUBLISHED = str(Path(__file__).with_name("published_speed.csv"))  # with the tables of the papers
Rows = list[dict[str, Any]]


def points_of(spec: str, metric: str) -> list[SpeedPoint]:
    """Points of the folder of a run, also as `name=folder`, or of a table, see `table_points`.

    Of a run it is one for each data set; `metric` is "<task>/<name>" (percent), and the time the
    median over batches of the detector's, from pixels to detections, in milliseconds per picture.

    Raises:
        FileNotFoundError, ValueError: the run has no times, or no such score.
    """
    name, _, place = ("", "", spec) if os.path.exists(expanded(spec)) else spec.rpartition("=")
    place = expanded(place)
    if place.endswith((".csv", ".json")):
        return table_points(place, metric)
    file = os.path.join(place, "inference", "timing.json")
    if not os.path.isfile(file):
        how = f"`centernet-d2 evaluate --timing ... OUTPUT_DIR {place}` writes it, with the scores"
        raise FileNotFoundError(f"there is no '{file}': {how}")
    points, (task, _, key) = [], metric.rpartition("/")
    datasets = json.loads(read_text(file))["datasets"]
    for dataset, told in datasets.items():
        scores, variant = told["scores"], told["protocol"].partition(" / ")[0].rpartition(": ")[2]
        variant = re.sub(r"^ms\b", "scales", variant.replace("no augmentation", "").strip())
        if (score := scores.get(task, {}).get(key)) is None:
            known = ", ".join(f"{task}/{key}" for task in scores for key in scores[task]) or "none"
            raise ValueError(f"'{file}' has no number {metric} of {dataset}; it has {known}")
        label = name or Path(place).resolve().name
        label += f" {dataset}" * (len(datasets) > 1)
        ms = told["ms_per_picture"]["detector"]["median"]
        where = f"{told['device']}, batches of {told['batch']}"
        points.append(SpeedPoint(label, ms, score, variant, where, dataset))
    return points


def table_points(file: str, metric: str, *, data: str = "") -> list[SpeedPoint]:
    """Points of the rows of a .csv or .json: `name`, `ms` or `fps`, and the metric.

    They may have `variant`, `machine`, `data` and `published`. With `data` only rows of these are
    taken, and of those the ones with the metric; ValueError: there are none.
    """
    text, points, names = read_text(file), [], (metric, metric.rpartition("/")[2])
    rows = json.loads(text) if file.endswith(".json") else csv.DictReader(text.splitlines())
    for number, row in enumerate(rows, 1):
        try:
            score = next((row[key] for key in names if row.get(key) not in (None, "")), None)
            if data and (row["data"] != data or score is None):
                continue
            ms = float(row["ms"]) if row.get("ms") else 1e3 / float(row["fps"])
            texts = [row.get(key) or "" for key in ("variant", "machine", "data", "published")]
            points.append(SpeedPoint(row["name"], ms, float(score), *texts[:3], bool(texts[3])))
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            needs = f"it needs name, {metric} and ms (or fps), both numbers"
            raise ValueError(f"'{file}', row {number}: {needs}, and is {row}") from error
    if not (points or data):
        raise ValueError(f"'{file}' has no rows")
    if data and not points:
        told = "COCO's are beside bbox/AP, AP50 and AP75, VOC's beside bbox/AP50"
        raise ValueError(f"The papers tell no time beside {metric} on {data}: {told}")
    return points


def write_plot(points: list[SpeedPoint], folder: str, metric: str, *, rate: bool) -> Rows:
    """Write plot.svg, plot.png and plot.json; return the rows of the last, a table as above."""
    figure = speed_figure(points, score=metric, rate=rate)
    for form in ("svg", "png"):
        with atomic_write(os.path.join(folder, f"plot.{form}")) as file:
            figure.savefig(file, format=form, dpi=150)
    front, rows = pareto_front([point for point in points if not point.is_published]), []
    for point in points:
        row = {"name": point.name, "variant": point.variant, metric: point.score, "ms": point.ms}
        row |= {"fps": 1e3 / point.ms, "machine": point.machine, "data": point.data}
        marks = {"published": "yes" * point.is_published, "front": "yes" * (point in front)}
        rows.append(row | marks)
    write_json(os.path.join(folder, "plot.json"), rows, indent=1)
    return rows
