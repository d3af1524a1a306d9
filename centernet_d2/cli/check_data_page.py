"""What `check-data` found as one HTML page: no scripts, nothing from elsewhere."""

import base64
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from ..data.checks.annotations import Objects
from ..data.checks.findings import Finding
from ..data.images import ImageFileError, read_image
from ..visualization.detections import draw_boxes

SHOWN, SIDE = 24, 480  # pictures, their pixels
MOST_BARS, MOST_NAMES = 200, 25  # of classes and numbers
_STYLE = """body{font:15px/1.4 system-ui,sans-serif;max-width:80em;margin:2em auto;padding:0 1em}
td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}
div{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;width:300px}img{max-width:100%}
table{border-collapse:collapse}td:nth-child(n+4),figure{overflow-wrap:anywhere}
td:nth-child(4),td:nth-child(6){min-width:14em}td:nth-child(5){min-width:22em}"""
Records = Sequence[Mapping[str, Any]]


def page(
    facts: str, findings: Sequence[Finding], datasets: Mapping[str, tuple[Records, Sequence[str]]]
) -> str:
    """All of it as HTML: `facts` are a table in it, findings stand with the most severe first.

    `datasets`: specification -> records and class names.
    """
    heads = ("", "kind", "count", "what", "examples", "cure")
    rows = []
    for each in findings:
        places = [replace(e, file=os.path.basename(e.file)) for e in each.examples]
        told = (each.what, each.dataset and f"in {each.dataset}")
        shown = "; ".join(map(str, places))
        rows.append((each.severity, each.kind, each.count, " ".join(told), shown, each.cure))
    records = {str(r.get("file_name")): r for found, _ in datasets.values() for r in found}
    return "\n".join(
        [
            f"<!doctype html><meta charset=utf-8><title>check-data</title><style>{_STYLE}</style>",
            f"<h1>What check-data found</h1>{tabulate(rows, heads, 'html')}<h2>Data</h2>{facts}",
            *(f"<h3>{escape(spec)}</h3>{_histograms(*found)}" for spec, found in datasets.items()),
            "<h2>Pictures</h2><p>Boxes with a fault are red, others green.</p><div>",
            *(f"<figure>{each}</figure>" for each in _pictures(findings, records)),
            "</div>",
        ]
    )


def _embedded(data: bytes, kind: str) -> str:
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _histograms(records: Records, names: Sequence[str]) -> str:
    """Objects of each class, per image, and their sizes, as one picture."""
    objects = Objects.of([record for record in records if "annotations" in record])
    numbers = np.bincount(objects.image, minlength=len(objects.files))
    sizes = np.sqrt(np.abs(objects.boxes[:, 2:].prod(axis=1)))
    figure = Figure(figsize=(12, 3), layout="constrained")
    titles = ("objects of each class", "objects per image", "object size in pixels")
    for title, values in zip(titles, (objects.classes, numbers, sizes), strict=True):
        axes = figure.add_subplot(1, 3, titles.index(title) + 1, title=title)
        values = values[np.isfinite(values)]
        whole = np.arange(min(values.max(initial=0) + 2, MOST_BARS)) - 0.5
        axes.hist(values, bins=whole if values.dtype.kind == "i" else 30, rwidth=0.9)
        axes.locator_params(integer=True)
    if len(names) <= MOST_NAMES:  # of more classes their numbers stand there
        shown = [name if len(name) < 20 else f"{name[:18]}..." for name in names]
        style = {"rotation": 30, "ha": "right", "parse_math": False}
        figure.axes[0].set_xticks(range(len(names)), shown, **style)
    figure.savefig(stream := io.BytesIO(), format="png", dpi=80)
    return _embedded(stream.getvalue(), "png")


def _pictures(findings: Iterable[Finding], records: Mapping[str, Any]) -> Iterator[str]:
    """The pictures of the examples that can be read, those of the most severe first."""
    kinds: dict[str, dict[int | None, list[str]]] = {}
    for finding in findings:
        for example in finding.examples:
            wrong = kinds.setdefault(example.file, {})
            wrong.setdefault(example.object, []).append(finding.kind)
    number = 0
    for file in (file for file in kinds if file in records):
        try:
            image = read_image(file, upright=not records[file].get("as_stored", False))
        except (OSError, ImageFileError):
            continue
        told = ", ".join(dict.fromkeys(kind for found in kinds[file].values() for kind in found))
        picture = _embedded(_drawn(image, records[file], kinds[file]), "jpeg")
        yield picture + escape(f"{os.path.basename(file)}: {told}")
        if (number := number + 1) == SHOWN:
            return


def _drawn(image: np.ndarray, record: Mapping[str, Any], wrong: Mapping[Any, list[str]]) -> bytes:
    """A picture of `SIDE` pixels at most as JPEG, its `wrong` boxes red and named."""
    scale = min(1.0, SIDE / max(image.shape[:2]))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    objects = Objects.of([{"annotations": [], "width": 1, "height": 1, **record}])
    corners = np.nan_to_num(scale * objects.boxes).clip(-9e3, 9e3)
    corners[:, 2:] += corners[:, :2]
    for x1, y1, x2, y2 in corners.round().astype(int).tolist():
        cv2.rectangle(image, (x1, y1), (x2, y2), (90, 200, 90), 1)
    red = [k for k in wrong if k is not None]  # the color of class 0
    image = draw_boxes(image, corners[red], [0] * len(red), [", ".join(wrong[k]) for k in red])
    return cv2.imencode(".jpg", image)[1].tobytes()
