#!/usr/bin/env python3
"""Write the tables of BENCHMARKS.md from the records that `centernet-d2 benchmark --record` leaves.

    tools/make_benchmarks_page.py

A table stands between two marks, `<!-- record: soft_nms -->` and `<!-- end of record -->`; all
between them is replaced. A section that has no mark gets a heading at the end. The text around the
tables is written by hand. With --check nothing is written, and the exit status is 1 where the page
is not in step.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from _pages import write_or_check
from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[1]
FILE, RECORDS = ROOT / "BENCHMARKS.md", ROOT / "benchmarks" / "records"
PLACE = re.compile(r"<!-- record: (\w+) -->\n.*?<!-- end of record -->", re.DOTALL)
MOST = 8  # alternatives that have columns
EMPTY = "<!-- record: {} -->\n<!-- end of record -->"
PACKAGES = ("torch", "torchvision", "onnxruntime", "openvino", "numba", "numpy")
HIDDEN = ("uncertainty", "lowest_ms", "spread")


def page() -> str:
    """The page with the tables of all records."""
    text, records = FILE.read_text(encoding="utf-8"), read_records()
    for name in sorted(records.keys() - {*PLACE.findall(text)}):
        text = f"{text.rstrip()}\n\n## {name}\n\n{EMPTY.format(name)}\n"
    return PLACE.sub(lambda place: filled(place[1], records.get(place[1], [])), text)


def read_records() -> dict[str, list[dict[str, Any]]]:
    """Section -> its records, the latest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(RECORDS.glob("*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        found.setdefault(record["section"], []).append(record)
    return {name: sorted(f, key=lambda r: r["date"], reverse=True) for name, f in found.items()}


def filled(name: str, records: list[dict[str, Any]]) -> str:
    """What takes a place: the marks, and below each record's origin its table."""
    parts = [f"{origin(record)}\n\n{table(record['rows'])}" for record in records]
    body = "\n\n".join(parts or [f"Not measured yet: `make benchmarks SECTIONS={name}`."])
    return f"<!-- record: {name} -->\n\n{body}\n\n<!-- end of record -->"


def origin(record: dict[str, Any]) -> str:
    """When, on what, with what and how steadily a record was measured."""
    machine, options = record["machine"], record["options"]
    device = machine.get("gpu") or "{cpu} ({cpu_capability}), {threads} thread(s)".format(**machine)
    told = [record["date"], device, *(f"{p} {machine[p]}" for p in PACKAGES if p in machine)]
    if waiting := machine.get("openmp", "").rpartition("), ")[2]:
        told.append(waiting)
    told.append(f"at most {options['rounds']} rounds")
    told += [f"`{' '.join(map(str, options['overrides']))}`"] * bool(options["overrides"])
    if spreads := sorted(r["spread"] for r in record["rows"] if r.get("spread") is not None):
        told.append(f"spreads up to {spreads[-1]}, half of them up to {spreads[len(spreads) // 2]}")
    references = {row["reference"] for row in record["rows"] if row.get("reference")}
    what = f"; in brackets times as fast as {references.pop()}" if len(references) == 1 else ""
    return f"{', '.join(told)}{what}".rstrip(".") + "."


def table(rows: list[dict[str, Any]]) -> str:
    """One line for each subject, with a column per alternative; else the rows as they are.

    A cell says milliseconds and, in brackets, how many times as fast as the reference it is.
    """
    lines: dict[tuple[Any, ...], dict[str, Any]] = {}
    compared = [row for row in rows if row.get("reference") and "ms" in row]
    for row in compared:
        *subject, alternative = takewhile(lambda key: key != "reference", row)
        names = {key: row[key] for key in subject}
        line = lines.setdefault(tuple(names.values()), names)
        is_reference = row[alternative] == row["reference"]
        ratio = "" if is_reference else f" (**{row['speed_up']:g}**)"
        line[row[alternative]] = f"{row['ms']:{'.0f' if row['ms'] >= 100 else '#.3g'}}{ratio}"
    columns = list(dict.fromkeys(key for line in lines.values() for key in line))
    has_others = len(compared) < len(rows) or len(lines) * 2 > len(rows)
    if has_others or len(columns) - len(subject) > MOST:
        names = [k for k in dict.fromkeys(k for row in rows for k in row) if k not in HIDDEN]
        texts = {k for row in rows for k, value in row.items() if isinstance(value, str)}
        shown = [{name: row.get(name) for name in names} for row in rows]
        return _pipe(shown, [name not in texts for name in names])
    return _pipe(list(lines.values()), [column not in subject for column in columns])


def _pipe(rows: list[dict[str, Any]], is_number: Sequence[bool]) -> str:
    sides = ["right" if each else "left" for each in is_number]
    text = tabulate(rows, "keys", "pipe", colalign=sides, disable_numparse=True)
    return re.sub(r"-{4,}", "---", re.sub(r" {2,}", " ", text))


def main() -> int:
    """Write or check; return the exit status."""
    return write_or_check(FILE, page, __doc__)


if __name__ == "__main__":
    sys.exit(main())
