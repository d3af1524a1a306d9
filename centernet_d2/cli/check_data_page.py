"""What `check-data` found as one HTML page: no scripts, nothing from elsewhere."""

from __future__ import annotations

import base64
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

from ..data.checks.annotations import Objects
from ..data.checks.findings import Finding
from ..data.images import ImageFileError, read_image
from ..visualization.detections import draw_boxes

SHOWN, SIDE, BARS, MOST_CLASSES = 24, 480, 12, 40  # pictures, their pixels, bars, classes
_STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{padding:.25em .7em;border-bottom:1px solid #ddd;text-align:left;
vertical-align:top;overflow-wrap:anywhere}td.n{text-align:right;white-space:nowrap}
.error{color:#b00020}.warning{color:#a05a00}.note{color:#44688a}small{color:#666}
.bar{background:#4a7ebb;height:.9em;display:inline-block;min-width:1px;vertical-align:middle}
.row{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0;width:300px;overflow-wrap:anywhere}
img{max-width:100%;border:1px solid #ccc}"""


def page(
    tables: Mapping[str, Mapping[str, Any]],
    findings: Sequence[Finding],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """All of it as HTML; `tables` and `records` by dataset, findings the most severe first."""
    parts = [f"<title>check-data</title><meta charset=utf-8><style>{_STYLE}</style>"]
    parts.append("<h1>What check-data found</h1>")
    heads = ("", "count", "what", "examples", "cure")
    rows = [
        [
            f"<b class={f.severity}>{f.severity}</b><br><small>{escape(f.kind)}</small>",
            *(f"{f.count:,}", escape(f.what) + f"<br><small>{escape(f.dataset)}</small>"),
            *("<br>".join(escape(str(example)) for example in f.examples), escape(f.cure)),
        ]
        for f in findings
    ]
    parts.append(_table(rows, heads) if rows else "<p>Nothing is wrong.</p>")
    for spec, facts in tables.items():
        told = [(name, v) for name, v in facts.items() if name != "classes"]
        lists = {name: " / ".join(map(str, v)) if isinstance(v, list) else v for name, v in told}
        parts.append(f"<h2>{escape(spec)}</h2><small>Lengths: least / median / most.</small>")
        cells = [[escape(name), escape(f"{value}")] for name, value in lists.items()]
        parts.append("<div class=row>" + _table(cells))
        parts.append("<div>" + "".join(_histograms(facts, records[spec])) + "</div></div>")
    parts.append("<h2>Pictures</h2><small>Boxes with a fault are red.</small><div class=row>")
    everything = {str(r.get("file_name")): r for found in records.values() for r in found}
    return "\n".join([*parts, *_pictures(findings, everything), "</div>"])


def _table(rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """Rows of HTML cells; numbers stand to the right."""
    head = "".join(f"<th>{cell}</th>" for cell in heads)
    cells = ([f"<td{' class=n' * c[:1].isdigit()}>{c}</td>" for c in row] for row in rows)
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{''.join(r)}</tr>" for r in cells) + "</table>"


def _histograms(facts: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Bars of the classes, of objects per image and of their sizes."""
    labelled = [record for record in records if "annotations" in record]
    objects = Objects.of(labelled)
    numbers = np.bincount(objects.image[objects.counted], minlength=len(labelled))
    with np.errstate(invalid="ignore"):
        sizes = np.sqrt(np.abs(objects.boxes[objects.counted, 2:].prod(axis=1)))
    classes = sorted(facts["classes"].items(), key=lambda item: -item[1])[:MOST_CLASSES]
    yield _bars("Objects of each class", classes)
    for title, values in {"Objects per image": numbers, "Object size, pixels": sizes}.items():
        values = values[np.isfinite(values)]
        counts, edges = np.histogram(values, min(BARS, int(values.max(initial=0)) + 1))
        names = [f"{low:.0f} - {high:.0f}" for low, high in zip(edges, edges[1:], strict=False)]
        yield _bars(title, list(zip(names, counts.tolist(), strict=True)))


def _bars(title: str, rows: Sequence[tuple[str, int]]) -> str:
    most = max([count for _, count in rows] or [1]) or 1
    bar = '<span class=bar style="width:{:.0f}px"></span> {:,}'
    cells = [[f" {escape(name)}", bar.format(250 * n / most, n)] for name, n in rows]
    return f"<h3>{title}</h3>" + _table(cells)


def _pictures(
    findings: Iterable[Finding], records: Mapping[str, Mapping[str, Any]]
) -> Iterable[str]:
    """The pictures of the examples that can be read, those of the most severe first."""
    kinds: dict[str, dict[int | None, list[str]]] = defaultdict(lambda: defaultdict(list))
    for finding in findings:
        for example in finding.examples:
            kinds[example.file][example.object].append(finding.kind)
    shown = 0
    for file, wrong in kinds.items():
        try:
            image = read_image(file, upright=not records[file].get("as_stored", False))
        except (KeyError, OSError, ImageFileError):
            continue
        scale = min(1.0, SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        record = {"annotations": [], "width": 1, "height": 1, **records[file]}
        objects = Objects.of([record])
        corners = scale * objects.boxes
        corners[:, 2:] += corners[:, :2]
        order = sorted(range(len(corners)), key=lambda k: k in wrong)
        corners = np.nan_to_num(corners[order])
        names = [", ".join(wrong.get(k, ())) for k in order]
        image = draw_boxes(image, corners, objects.classes[order], names)
        for ends in corners[[bool(name) for name in names]].round().astype(int).tolist():
            cv2.rectangle(image, ends[:2], ends[2:], (0, 0, 255), 3)
        data = base64.b64encode(cv2.imencode(".jpg", image)[1]).decode()
        told = ", ".join(dict.fromkeys(kind for each in wrong.values() for kind in each))
        yield (
            f'<figure><img alt="" src="data:image/jpeg;base64,{data}"><figcaption>'
            f"{escape(os.path.basename(file))}: {escape(told)}</figcaption></figure>"
        )
        if (shown := shown + 1) == SHOWN:
            return
