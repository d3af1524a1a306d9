"""What the rows of a study say, as a page: `report.md` and `report.html`, and its figures."""

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from ..visualization.speed import SpeedPoint, speed_figure
from ..visualization.study_figures import draw_bars, draw_differences, draw_learning
from .page import Page
from .queue import STUDY_FILE, Rows, made_with, read_rows
from .table import Claim, Table
from .verdict import UNDECIDED, Interval, difference, verdict

FALSE_DISCOVERY = ("FD", "FD5", "FD25", "FD50")
MARKS = {"first": "", "same": " (same)"}  # behind a claim's id, by what it expects
COLUMNS = ("bbox/AP", "bbox/AP50", "bbox/FD", "keypoints/AP", "speed/ms")


@dataclass(frozen=True)
class Finding:
    """What the rows say of a claim."""

    claim: Claim
    values: Sequence[Sequence[float]]  # of the pair, seed by seed
    word: str = "not run"  # or a word of `verdict`
    why: str = ""
    interval: Interval | None = None  # positive where the first is better


def judge(claim: Claim, table: Table, rows: Rows, seeds: int) -> Finding:
    """Decide one claim by the rows of all its seeds."""
    names = [[f"{name}-{seed}" for seed in range(seeds)] for name in claim.pair]
    there = [[rows[name]["scores"] for name in group if name in rows] for group in names]
    task, _, key = claim.metric.partition("/")
    values = [[number(scores, task, key) for scores in group] for group in there]
    if (least := min(map(len, values))) < seeds:
        done = zip(map(len, values), claim.pair, strict=True)
        why = f"of {seeds} seeds {' and '.join(f'{n} of {name}' for n, name in done)} are done"
        return Finding(claim, values, f"{least} of {seeds} seeds" if least else "not run", why)
    trained = dict.fromkeys(table.variants[name].weights or name for name in claim.pair)
    interval = difference(*map(claim.gain, values), paired=len(trained) == 1)
    if math.isnan(interval[0]):
        return Finding(claim, values, UNDECIDED, f"{claim.metric} is not a number with every seed")
    learns = task if task == "keypoints" else "bbox"
    reached = {n: [number(r["scores"], learns, "AP50") for r in of_name(rows, n)] for n in trained}
    if lost := [n for n in trained if not all(ap >= table.learned for ap in reached[n])]:
        why = f"{' and '.join(lost)} did not reach AP50 {table.learned:g} with every seed"
        return Finding(claim, values, UNDECIDED, why, interval)
    word = verdict(interval, same_within=table.same_within * (claim.expect == "same"))
    return Finding(claim, values, word, "", interval)


def write_report(folder: str, table: Table, seeds: int) -> str:
    """Write the report of the rows that are there; return a line that says what it found."""
    if not os.path.isfile(os.path.join(folder, STUDY_FILE)):
        raise ValueError(f"'{folder}' has no {STUDY_FILE}: there is no study to report.")
    runs, page = table.runs(seeds), Page(folder)
    rows = read_rows(folder, table, runs)
    findings = [judge(claim, table, rows, seeds) for claim in table.claims]
    page.add(table.rules.format_map(vars(table)))
    dates = sorted({row["date"] for row in rows.values()} or {"no date"})
    period = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    page.add(f"{len(rows)} of {len(runs)} runs are done, at scale {table.scale}, {period}.")
    makers = Counter(row.get("made_with", "no record of it") for row in rows.values())
    made = "; ".join(f"{name} ({count} rows)" for name, count in makers.items())
    page.add(f"Versions and machine: {made}. This page: {made_with('')}.")
    page.table([summary(finding) for finding in findings])
    figures(page, table, [f for f in findings if f.interval], rows)
    for finding in findings:
        of_claim(page, finding, table)
    page.add("## All variants")
    page.table([of_variant(table, rows, name) for name in {r["variant"]: 0 for r in rows.values()}])
    page.write("Which claims of the papers hold")
    counts = Counter(finding.word for finding in findings)
    told = ", ".join(f"{word}: {count}" for word, count in counts.items())
    return f"{len(findings)} claims ({told}): {os.path.join(folder, 'report.html')}"


def number(scores: Mapping[str, Any], task: str, key: str) -> float:
    """Return a score, NaN where it is not known."""
    value = scores.get(task, {}).get(key)
    return math.nan if value is None else value


def summary(finding: Finding) -> dict[str, Any]:
    """Return a claim's row of the first table."""
    claim, found, paper = finding.claim, finding.interval, finding.claim.papers
    digits = 1 + bool(found and found[2] - found[1] < 0.2)
    return {
        "claim": f"[{claim.id}](#{claim.id}){MARKS[claim.expect]}",
        "verdict": finding.word,
        "here (95 %)": found and "{1:+z.{0}f} ({2:+z.{0}f} to {3:+z.{0}f})".format(digits, *found),
        "the paper's": "" if paper is None else f"{paper:+z.1f}",
        "metric": claim.metric,
        "first, second": ", ".join(claim.pair),
        "paper": f"{claim.paper}, {claim.table}",
    }


def of_claim(page: Page, finding: Finding, table: Table) -> None:
    """Write what one claim says, its numbers, its verdict and its command."""
    claim, published = finding.claim, finding.claim.published or ("", "")
    page.add(f"## {claim.id}")
    page.add(f"{claim.paper}, {claim.table}: {claim.says} {claim.note}".strip())
    page.table(
        [
            {"variant": name, claim.metric: mean(values), "paper": paper}
            | {"seeds": ", ".join(f"{value:.1f}" for value in values)}
            for name, values, paper in zip(claim.pair, finding.values, published, strict=True)
        ]
    )
    page.add(f"**{finding.word}**{finding.why and ': ' + finding.why}.")
    needs = {table.variants[name].needs for name in claim.pair} - {""}
    scale = [f"--scale {table.scale}"] * (table.scale != "cpu")
    words = [claim.id, *(f"--{data} FOLDER" for data in needs), *scale]
    page.add(f"`centernet-d2 reproduce ablations --output study --claims {' '.join(words)}`")


def of_variant(table: Table, rows: Rows, name: str) -> dict[str, Any]:
    """Return a row of all that was measured of a variant."""
    variant, done = table.variants[name], of_name(rows, name)
    told = {"variant": name, "from": variant.weights or f"{variant.config}, {variant.steps} steps"}
    for task, key in (metric.split("/") for metric in COLUMNS):
        told[f"{task}/{key}"] = mean([number(row["scores"], task, key) for row in done])
    return told | {"minutes": mean(sorted(row["minutes"] for row in done if "minutes" in row)[:1])}


def of_name(rows: Rows, name: str) -> list[dict[str, Any]]:
    """Return a variant's rows."""
    return [row for row in rows.values() if row["variant"] == name]


def mean(values: Sequence[float]) -> str:
    """Return mean and sample deviation, of the values that are numbers, as text."""
    values = [value for value in values if math.isfinite(value)]
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{fmean(values):.1f}{spread}" if values else ""


def figures(page: Page, table: Table, findings: Sequence[Finding], rows: Rows) -> None:
    """Draw what is there: differences, learning curves, false discoveries, speed and AP."""
    drawn = [finding for finding in findings if not finding.claim.metric.startswith("speed")]
    shown = {}
    for claim, found, word in ((f.claim, f.interval or (), f.word) for f in drawn):
        same = table.same_within * (claim.expect == "same")
        shown[claim.id + MARKS[claim.expect]] = (*found, claim.papers, word, same)
    panels: dict[tuple[str, str], Any] = {}
    bars: dict[str, Any] = {}
    for claim in (finding.claim for finding in drawn):
        task, _, metric = claim.metric.partition("/")
        done = {name: of_name(rows, name) for name in claim.pair}
        if all("minutes" in row for group in done.values() for row in group):
            of_task = f"{task}/AP"
            curves = {name: [*learning_curves(group, of_task)] for name, group in done.items()}
            panels.setdefault(claim.pair, (claim.id, curves))
        for name, group in done.items() if metric.startswith("FD") else ():
            bars[name] = {k: [number(r["scores"], task, k) for r in group] for k in FALSE_DISCOVERY}
    points = speed_points(page, table, rows)
    for name, caption, data, draw in (
        ("differences", "Differences of the pairs, and the papers'", shown, draw_differences),
        ("learning", "AP against minutes of one core", dict(panels.values()), draw_learning),
        ("false_discovery", "False discovery in percent, lower is better", bars, draw_bars),
        ("speed", f"Speed and AP on {table.speed_on}, means of the seeds", points, speed_figure),
    ):
        if data:
            page.figure(name, caption, lambda file, d=data, of=draw: of(d).savefig(file, dpi=110))


def learning_curves(rows: Sequence[dict[str, Any]], metric: str) -> Iterator[list[Any]]:
    """Yield each seed's points, at the minutes of the fastest: the others shared their core."""
    fastest = min(row["minutes"] for row in rows)
    for row in rows:
        yield [(at * fastest / row["minutes"], value) for at, value in row["minutes_AP"][metric]]


def speed_points(page: Page, table: Table, rows: Rows) -> list[SpeedPoint]:
    """Return a point for each way in which weights are seen on the data of the figure."""
    runs: dict[str, list[SpeedPoint]] = {}
    for name, row in rows.items():
        variant = table.variants[row["variant"]]
        base = table.variants[variant.weights or variant.name]
        own = {key for key, value in variant.keys.items() if base.keys.get(key) != value}
        seen = variant.weights and table.speed_on in variant.keys.get("DATASETS.TEST", ())
        if seen and own <= {"TEST.FLIP", "TEST.SCALES"}:
            ms, ap = (number(row["scores"], *key) for key in (("speed", "ms"), ("bbox", "AP")))
            if math.isnan(ms + ap):
                page.add(f"{name}: no time or AP in its row, left out of the figure of speed.")
                continue
            keys, where = variant.keys, row.get("timed_on", "the machine of the study")
            how = "scales" if "TEST.SCALES" in keys else "flip" * keys.get("TEST.FLIP", False)
            point = SpeedPoint(variant.weights, ms, ap, how, where)
            runs.setdefault(variant.name, []).append(point)
    return [
        replace(group[0], ms=fmean(p.ms for p in group), score=fmean(p.score for p in group))
        for group in runs.values()
    ]
