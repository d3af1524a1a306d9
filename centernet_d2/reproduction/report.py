"""What the rows of a study say, as a page: `report.md` and `report.html`, and its figures."""

import os
import platform
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import detectron2
import torch

from .. import __version__
from ..analysis.speed import points_of
from ..threads import cpu_name
from ..visualization.speed import SpeedPoint, speed_figure
from ..visualization.study_figures import draw_bars, draw_differences, draw_learning
from .page import Page
from .queue import Rows, read_rows
from .table import Claim, Table
from .verdict import UNDECIDED, Interval, difference, verdict

FALSE_DISCOVERY = ("FD", "FD5", "FD25", "FD50")
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
    values = [[scores[task][key] for scores in group] for group in there]
    if min(map(len, values)) < seeds:
        done = " and ".join(str(len(group)) for group in values)
        return Finding(claim, values, why=f"{done} of {seeds} seeds are done")
    shared = len({table.variants[name].weights or name for name in claim.pair}) == 1
    interval = difference(*map(claim.gain, values), paired=shared)
    learns = task if task == "keypoints" else "bbox"
    least = [min(scores[learns]["AP50"] for scores in group) for group in there]
    lost = [name for name, low in zip(claim.pair, least, strict=True) if low < table.learned]
    if lost:
        why = f"{' and '.join(lost)} did not reach AP50 {table.learned:g} with every seed"
        return Finding(claim, values, UNDECIDED, why, interval)
    word = verdict(interval, same_within=table.same_within if claim.expect == "same" else None)
    return Finding(claim, values, word, "", interval)


def write_report(folder: str, table: Table, seeds: int) -> str:
    """Write the report of the rows that are there; return a line that says what it found."""
    runs = table.runs(seeds)
    rows = read_rows(folder, table, runs)
    findings = [judge(claim, table, rows, seeds) for claim in table.claims]
    page = Page("Which claims of the papers hold", folder)
    page.text(table.rules.format_map(vars(table)))
    dates = sorted({row["date"] for row in rows.values()}) or [""]
    page.text(
        f"{len(rows)} of {len(runs)} runs are done, at scale {table.scale}, {dates[0]} to "
        f"{dates[-1]}. This report: centernet_d2 {__version__}, detectron2 "
        f"{detectron2.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{cpu_name()}."
    )
    page.table([summary(finding) for finding in findings])
    figures(page, table, [finding for finding in findings if finding.interval], rows)
    for finding in findings:
        of_claim(page, finding, table)
    page.heading("All variants")
    page.table([of_variant(table, rows, name) for name in {r["variant"]: 0 for r in rows.values()}])
    page.write()
    counts = Counter(finding.word for finding in findings)
    told = ", ".join(f"{word}: {count}" for word, count in counts.items())
    return f"{len(findings)} claims ({told}): {os.path.join(folder, 'report.html')}"


def summary(finding: Finding) -> dict[str, Any]:
    """Return a claim's row of the first table."""
    claim, found, paper = finding.claim, finding.interval, papers(finding.claim)
    return {
        "claim": claim.id,
        "verdict": finding.word,
        "here (95 %)": found and "{:+.1f} ({:+.1f} to {:+.1f})".format(*found),
        "the paper's": "" if paper is None else f"{paper:+.1f}",
        "metric": claim.metric,
        "expected": "no difference" if claim.expect == "same" else "first is better",
        "pair": " against ".join(claim.pair),
        "of": f"{claim.paper}, {claim.table}",
    }


def papers(claim: Claim) -> float | None:
    """Return the difference that a paper has."""
    first, second = claim.gain(claim.published) or (None, None)
    return None if first is None or second is None else first - second


def of_claim(page: Page, finding: Finding, table: Table) -> None:
    """Write what one claim says, its numbers, its verdict and its command."""
    claim = finding.claim
    page.heading(claim.id)
    page.text(f"{claim.paper}, {claim.table}: {claim.says} {claim.note}".strip())
    sides = zip(claim.pair, finding.values, claim.published or ("", ""), strict=True)
    page.table(
        [
            {"variant": name, claim.metric: mean(values), "seeds": listed(values), "paper": paper}
            for name, values, paper in sides
        ]
    )
    page.text(f"**{finding.word}**{finding.why and ': ' + finding.why}.")
    needs = sorted({table.variants[name].needs for name in claim.pair} - {""})
    more = "".join(f" --{data} FOLDER" for data in needs)
    more += f" --scale {table.scale}" * (table.scale != "cpu")
    page.text(f"`centernet-d2 reproduce ablations --output study --claims {claim.id}{more}`")


def of_variant(table: Table, rows: Rows, name: str) -> dict[str, Any]:
    """Return a row of numbers of all that was measured of a variant."""
    variant, done = table.variants[name], [r for r in rows.values() if r["variant"] == name]
    told = {"variant": name, "of": variant.weights or f"{variant.config}, {variant.steps} steps"}
    for metric in COLUMNS:
        task, _, key = metric.partition("/")
        scores = [row["scores"].get(task, {}) for row in done]
        told[metric] = mean([found[key] for found in scores if key in found])
    return told | {"minutes": mean([row["minutes"] for row in done if "minutes" in row])}


def mean(values: Sequence[float]) -> str:
    """Return mean and sample deviation as text."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}" if values else ""


def listed(values: Sequence[float]) -> str:
    """Return what each seed has as text."""
    return ", ".join(f"{value:.1f}" for value in values)


def figures(page: Page, table: Table, findings: Sequence[Finding], rows: Rows) -> None:
    """Draw what is there: differences, learning curves, false discoveries, speed and AP."""
    drawn = [f for f in findings if f.interval and not f.claim.metric.startswith("speed")]
    if drawn:
        shown = {f.claim.id: (*f.interval, f.word) for f in drawn if f.interval}
        other = {f.claim.id: papers(f.claim) for f in drawn}
        told = "Differences of the pairs, and the papers'"
        page.figure("differences", told, lambda file: draw_differences(file, shown, other))
    panels: dict[tuple[str, str], Any] = {}
    bars: dict[str, Any] = {}
    for claim in (finding.claim for finding in drawn):
        of = {name: [r for r in rows.values() if r["variant"] == name] for name in claim.pair}
        curves = {
            name: [row["minutes_AP"][f"{claim.metric.partition('/')[0]}/AP"] for row in group]
            for name, group in of.items()
            if "minutes_AP" in group[0]
        }
        if len(curves) == 2:
            panels.setdefault(claim.pair, (claim.id, curves))
        if claim.metric.startswith("bbox/FD"):
            for name, group in of.items():
                scores = [row["scores"]["bbox"] for row in group]
                bars[name] = {key: [found[key] for found in scores] for key in FALSE_DISCOVERY}
    if panels:
        told = "AP against minutes of one core; thin lines are the seeds"
        page.figure("learning", told, lambda file: draw_learning(file, dict(panels.values())))
    if bars:
        told = "False discovery in percent, lower is better"
        page.figure("false_discovery", told, lambda file: draw_bars(file, bars))
    if points := speed_points(page, table, rows):
        told = f"Speed and AP on {table.speed_on}, means of the seeds, batches of 16"
        page.figure("speed", told, lambda file: speed_figure(points).savefig(file, dpi=110))


def speed_points(page: Page, table: Table, rows: Rows) -> list[SpeedPoint]:
    """Return a point for each way in which weights are seen on the data of the figure."""
    runs: dict[str, list[SpeedPoint]] = {}
    for name, row in rows.items():
        variant = table.variants[row["variant"]]
        base = table.variants[variant.weights or variant.name]
        own = {key for key, value in variant.keys.items() if base.keys.get(key) != value}
        seen = variant.weights and table.speed_on in variant.keys.get("DATASETS.TEST", ())
        if seen and own <= {"TEST.FLIP", "TEST.SCALES"}:
            place = f"{variant.weights}={page.folder / name}"
            runs.setdefault(variant.name, []).extend(points_of(place, "bbox/AP"))
    middle = statistics.fmean
    return [
        replace(group[0], ms=middle(p.ms for p in group), score=middle(p.score for p in group))
        for group in runs.values()
    ]
