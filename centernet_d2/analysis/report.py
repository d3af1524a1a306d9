"""What detections show, as one page: `report.html`, its figures as PNG, its numbers as JSON.

The page holds its pictures and opens from disk, without a network.
"""

import base64
import html
import logging
import os
import shlex
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from tabulate import tabulate

from ..atomic_write import atomic_write, write_json
from ..data.datasets.from_files import title_of
from ..data.datasets.skeletons import skeleton_of
from ..evaluation.box_evaluator import Detections
from ..evaluation.box_overlap import box_area
from ..visualization.curves import plot_curves
from ..visualization.report_figures import write_figures
from ..visualization.skeletons import SkeletonDrawing
from . import matching
from .comparison import Comparison, as_instances
from .matching import Matches
from .results_files import Dataset

logger = logging.getLogger(__name__)

WORST, BEST = 8, 4  # pictures shown
SIZES, CROWDING = [0, 8, 16, 32, 64, 96, 128, 256, 512, np.inf], [0, 0.01, 0.1, 0.3, 0.5, 1.01]
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>:root{{color-scheme:light dark}}
body{{font:16px/1.4 sans-serif;max-width:80rem;margin:1rem auto;padding:0 1rem}}
img{{max-width:100%;background:#fff}}figure{{margin:0 0 1rem}}code{{overflow-wrap:anywhere}}
.row{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}}
.wide{{overflow-x:auto;white-space:nowrap}}td,th{{padding:.1rem .5rem;border-bottom:1px solid}}
</style></head><body><h1>{title}</h1>{body}</body></html>"""


def write_report(
    dataset: Dataset,
    found: Mapping[Hashable, Detections],
    folder: str,
    *,
    scores: Mapping[str, Mapping[str, float | None]],
    besides: Mapping[str, Any],
    source: str,
    weights: str = "",
    metrics_file: str = "",
    max_detections: int = 0,
    upright: bool = True,
) -> dict[str, Any]:
    """Write `report.html`, `report.json` and the figures in `report/`; return the numbers.

    Args:
        dataset: with annotations; ValueError without.
        found: as `read_results` gives it.
        folder: is made; an earlier report there is replaced.
        scores: the benchmark's own, percent by task and name, shown as they are.
        besides: what the evaluator says beside them; its `curves` are drawn.
        source: where the detections come from, for the heading.
        weights: the detector's, where they are known, for the command that is advised.
        metrics_file: `metrics.json` of the training, "" for none.
        max_detections: that count, of each picture and class; 0: COCO's 100.
        upright: whether boxes are in pictures that EXIF turned.
    """
    if not dataset.is_labelled:
        raise ValueError(f"Dataset '{dataset.name}' has no annotations to compare with")
    records = sorted(dataset.records, key=lambda record: record["image_id"])  # as COCO's scores
    every = {"detections": {key: as_instances(arrays) for key, arrays in found.items()}}
    comparison = Comparison(records, every, dataset.class_names, max_detections or 100)
    matches = comparison.matches["detections"]
    at = matching.by_threshold(matches)
    numbers = {"dataset": dataset.name, "results": source, "images": len(records)}
    numbers["weights"] = weights
    numbers |= _numbers(matches, at, dataset.class_names) | {"scores": scores}
    place = os.path.join(folder, "report")
    os.makedirs(place, exist_ok=True)
    precisions = matching.precisions(matches)
    shown = write_figures(place, numbers, at, matches, precisions, _curves(besides))
    if os.path.isfile(metrics_file):
        task = next(iter(scores), "bbox")
        drawn = [name for name in scores.get(task, ()) if name.startswith("AP")][:3]
        plot_curves(metrics_file, os.path.join(place, "training.png"), task=task, metrics=drawn)
        told = "Where both still improve at the end, a longer training helps."
        shown = {"training": told} | shown
    threshold = numbers["threshold"]
    mistakes = comparison.mistakes(threshold)[0]
    worst = [k for k in comparison.ordered("worst", threshold)[:WORST] if mistakes[k].any()]
    best = [k for k in comparison.ordered("best", threshold) if k not in worst][:BEST]
    how = {"upright": upright, "drawing": SkeletonDrawing.of(skeleton_of(dataset.name))}
    for kind, places in (("worst", worst), ("best", best)):
        entries = comparison.write(places, place, f"{kind}_{{number}}.jpg", threshold, **how)
        numbers[kind] = [entry.pop("models")["detections"] | entry for entry in entries]
    write_json(os.path.join(folder, "report.json"), numbers, indent=1)
    with atomic_write(os.path.join(folder, "report.html"), "w") as file:
        file.write(_page(numbers, shown, place))
    return numbers


def advice(numbers: Mapping[str, Any]) -> tuple[str, str]:
    """What a report says of the threshold, and the command that takes it ("" for none)."""
    all_classes = numbers["all classes"]
    if not all_classes["f1"]:
        return "Not one detection is right: no score threshold can be advised.", ""
    told = "Best F1 {f1:.3f} at score threshold {threshold:g} (precision {precision:.3f}, recall "
    told += "{recall:.3f}); precision 0.9 from {precise_from} on."
    weights = numbers["weights"] and shlex.quote(numbers["weights"])
    command = weights and f"centernet-d2 predict --weights {weights} --input photos --output found"
    command += f" --score-threshold {all_classes['threshold']:g}" * bool(weights)
    return told.format(**all_classes).replace("from None on", "at none"), command


def _curves(besides: Mapping[str, Any]) -> dict[str, Mapping[str, Sequence[float]]]:
    """What an evaluator saved, by task and name; KITTI's are of classes, of difficulties."""
    classes, levels = besides.get("classes", ()), besides.get("difficulties", ())
    names = [f"{name} {level}" for name in classes for level in levels]
    return {
        task: rows if isinstance(rows, dict) else dict(zip(names, chain(*rows), strict=True))
        for task, rows in besides.get("curves", {}).items()
    }


def _numbers(matches: Matches, at: dict[str, np.ndarray], names: Sequence[str]) -> dict[str, Any]:
    precisions = [None, *matching.precisions(matches)]
    advised = [matching.advised(at, row) for row in range(1 + len(names))]
    threshold = advised[0]["threshold"] or 0.3
    here = int(np.searchsorted(at["threshold"], threshold))
    rows = {
        name: {
            "objects": int(at["wanted"][row]),
            **{kind: int(at[kind][row, here]) for kind in ("true", "false")},
            "AP50": float(precisions[row].mean()) if row and at["wanted"][row] else None,
            **advised[row],
        }
        for row, name in enumerate(("", *names))
    }
    counts = matching.confusion(matches, threshold)
    for shift in (1, -1) if len(names) > 2 else ():
        if np.trace(counts[:-1, :-1], shift) > counts[:-1, :-1].sum() / 2:
            told = "Most detections on an object name the class %+d in the list: ids off by one?"
            logger.warning(told, shift)
    counted, missed = ~matches.objects.difficult, matches.missed(threshold)
    sizes, crowding = np.sqrt(box_area(matches.objects.boxes)), matching.crowding(matches.objects)
    return {
        "all classes": rows.pop(""),
        "classes": rows,
        "threshold": threshold,
        "confusion": counts.tolist(),
        "missed": {
            key: {"from": edges[:-1]}
            | {
                kind: np.histogram(values[chosen], edges)[0].tolist()
                for kind, chosen in (("objects", counted), ("missed", missed))
            }
            for key, values, edges in (("size", sizes, SIZES), ("crowding", crowding, CROWDING))
        },
    }


def figure_html(file: str, caption: str) -> str:
    """A picture that a page holds, with what stands below it."""
    with open(file, "rb") as stream:
        data = base64.b64encode(stream.read()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image;base64,{data}"><br>{text}</figure>'


def _page(numbers: Mapping[str, Any], shown: Mapping[str, str], folder: str) -> str:
    def figure(file: str, caption: str) -> str:
        return figure_html(os.path.join(folder, file), caption)

    def table(rows: Sequence[Mapping[str, Any]], digits: int) -> str:
        options = {"tablefmt": "html", "floatfmt": f".{digits}f", "missingval": "-"}
        options |= {"disable_numparse": [0]}  # names are no numbers
        return f'<div class="wide">{tabulate(rows, "keys", **options)}</div>'

    told, command = map(html.escape, advice(numbers))
    facts = f"{numbers['images']} pictures, {numbers['results']}"
    parts = [f"<p>{html.escape(facts)}</p><p>{told}<br><code>{command}</code></p>"]
    scores: Mapping[str, Mapping[str, float | None]] = numbers["scores"]
    every = [
        {"percent": key, **{task: row.get(key) for task, row in scores.items()}}
        for key in dict.fromkeys(chain(*scores.values()))
    ]
    parts.append(table([row for row in every if "-" not in row["percent"]], 1))
    parts.append(f"<details><summary>All scores</summary>{table(every, 1)}</details>")
    parts.append(f"<h2>Classes, at score {numbers['threshold']:g} and IoU {matching.IOU}</h2>")
    rows = {"all": numbers["all classes"], **numbers["classes"]}
    parts.append(table([{"class": name, **row} for name, row in rows.items()], 3))
    figures = [figure(f"{name}.png", caption) for name, caption in shown.items()]
    parts.append(f'<h2>Figures</h2><div class="row">{"".join(figures)}</div>')
    for kind, what in (("worst", "most"), ("best", "fewest")):
        entries = [entry for entry in numbers[kind] if "picture" in entry]
        parts += [f"<h2>Pictures with the {what} mistakes</h2>"] * bool(entries)
        for entry in entries:
            told = f"{entry['false']} false, {entry['missed']} missed"
            parts.append(figure(entry["picture"], f"{os.path.basename(entry['file'])}: {told}"))
    title = html.escape(f"Detections on {title_of(numbers['dataset'])}")
    return PAGE.format(title=title, body="\n".join(parts))
