"""What the rows of a study say, as a page: `report.md` and `report.html`, and its figures."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import detectron2
import torch

from .. import __version__
from ..visualization.study_figures import draw_bars, draw_differences, draw_learning
from .page import Page
from .queue import Rows, read_rows
from .table import Claim, Table
from .verdict import UNDECIDED, Interval, difference, verdict

NOT_RUN = "not run"
COLUMNS = (("AP", "bbox", "AP"), ("AP50", "bbox", "AP50"), ("FD", "bbox", "FD"))
COLUMNS += (("joints' AP", "keypoints", "AP"),)
FALSE_DISCOVERY = ("FD", "FD5", "FD25", "FD50")
RULES = (
    "Every variant is trained with several seeds. The difference of the means of two trainings has "
    "Welch's interval (95 %); of two tests of the same weights the differences, seed by seed, have "
    "Student's. A claim **holds** where the whole interval lies on the paper's side of 0, it is "
    "**the opposite** where the whole interval lies on the other side, and otherwise the pair is "
    "**undecided**: closer than its spread. A claim that two are the same holds where the interval "
    "stays within {same:g} points. A run that does not reach AP50 {learned:g} did not learn, and "
    "its pair is undecided. Of twenty pairs that do not differ one is decided by chance. "
    "Differences are positive where the first of the pair is better: AP higher, FD lower. Small "
    "networks, minutes of training, the data named: the papers' numbers, of COCO and large "
    "networks, stand beside for the direction, and nothing here says what COCO would."
)


@dataclass(frozen=True)
class Finding:
    """What the rows say of a claim."""

    claim: Claim
    word: str  # of `verdict`, or `NOT_RUN`
    why: str
    interval: Interval | None  # positive where the first is better
    values: tuple[tuple[float, ...], ...]  # of the pair, seed by seed


def judge(claim: Claim, table: Table, rows: Rows, seeds: int) -> Finding:
    """Decide one claim by the rows of all its seeds."""
    task, _, metric = claim.metric.partition("/")
    there = [
        [row["scores"] for seed in range(seeds) if (row := rows.get(f"{name}-{seed}"))]
        for name in claim.pair
    ]
    values = tuple(tuple(scores[task][metric] for scores in group) for group in there)
    if min(map(len, values)) < seeds:
        why = f"{' and '.join(str(len(v)) for v in values)} of {seeds} seeds are done"
        return Finding(claim, NOT_RUN, why, None, values)
    shared = len({table.variants[name].weights or name for name in claim.pair}) == 1
    signed = [[-v if claim.lower_is_better else v for v in group] for group in values]
    interval = difference(*signed, paired=shared)
    learns = "keypoints" if task == "keypoints" else "bbox"
    lost = [
        name
        for name, group in zip(claim.pair, there, strict=True)
        if min(scores[learns]["AP50"] for scores in group) < table.learned
    ]
    if lost:
        why = f"{' and '.join(lost)} did not reach AP50 {table.learned:g} with every seed"
        return Finding(claim, UNDECIDED, why, interval, values)
    same = table.same_within if claim.expect == "same" else None
    return Finding(claim, verdict(interval, same_within=same), "", interval, values)


def write_report(folder: str, table: Table, seeds: int) -> str:
    """Write the report of the rows that are there; return a line that says what it found."""
    runs = table.runs(seeds)
    rows = read_rows(folder, runs)
    findings = [judge(claim, table, rows, seeds) for claim in table.claims]
    page = Page("Which claims of the papers hold", folder)
    page.text(RULES.format(same=table.same_within, learned=table.learned))
    page.text(
        f"{len(rows)} of {len(runs)} runs are done, at scale {table.scale}. {circumstances(rows)}"
    )
    page.table([summary(finding) for finding in findings])
    figures(page, table, findings, rows)
    for finding in findings:
        of_claim(page, finding, table)
    page.heading("All variants")
    page.table([*of_variants(table, rows, seeds)])
    page.write()
    counts = Counter(finding.word for finding in findings)
    told = ", ".join(f"{word}: {count}" for word, count in counts.items())
    return f"{len(findings)} claims ({told}): {os.path.join(folder, 'report.html')}"


def circumstances(rows: Rows) -> str:
    """Return by what, and when, it was measured."""
    dates = sorted({row["date"] for row in rows.values()})
    versions = f"centernet_d2 {__version__}, detectron2 {detectron2.__version__}"
    where = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    told = f"{versions}, torch {torch.__version__}, Python {platform.python_version()}; {where}"
    return f"{told}; {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}." if dates else f"{told}."


def summary(finding: Finding) -> dict[str, Any]:
    """Return a claim's row of the first table."""
    claim, found = finding.claim, finding.interval
    here = f"{found.difference:+.1f} ({found.low:+.1f} to {found.high:+.1f})" if found else ""
    return {
        "claim": claim.id,
        "pair": " against ".join(claim.pair),
        "of": f"{claim.paper}, {claim.table}",
        "metric": claim.metric,
        "expected": "no difference" if claim.expect == "same" else "first is better",
        "the paper's": "" if claim.gain is None else f"{claim.gain:+.1f}",
        "here (95 %)": here,
        "verdict": finding.word,
    }


def of_claim(page: Page, finding: Finding, table: Table) -> None:
    """Write what one claim says, its numbers, its verdict and its command."""
    claim, published = finding.claim, finding.claim.published or ("", "")
    page.heading(claim.id)
    page.text(f"{claim.paper}, {claim.table}: {claim.says} {claim.note}".strip())
    sides = zip(claim.pair, finding.values, published, strict=True)
    page.table(
        [
            {
                "variant": name,
                claim.metric: mean(values),
                "seeds": told(values),
                "the paper's": paper,
            }
            for name, values, paper in sides
        ]
    )
    page.text(f"**{finding.word}**{finding.why and ': ' + finding.why}.")
    needs = "".join(f" --{data} FOLDER" for data in table.needs(claim))
    scale = f" --scale {table.scale}" * (table.scale != "cpu")
    page.code(f"centernet-d2 reproduce ablations --output study --claims {claim.id}{needs}{scale}")


def of_variants(table: Table, rows: Rows, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each variant of which a run is there."""
    for name, variant in table.variants.items():
        done = [rows[key] for seed in range(seeds) if (key := f"{name}-{seed}") in rows]
        if not done:
            continue
        scores = [row["scores"] for row in done]
        yield {
            "variant": name,
            "of": variant.weights or f"{variant.config}, {variant.steps} steps",
            **{
                title: mean([s[task][metric] for s in scores if metric in s.get(task, ())])
                for title, task, metric in COLUMNS
            },
            "minutes": mean([row["minutes"] for row in done if "minutes" in row]),
        }


def mean(values: Sequence[float]) -> str:
    """Return mean and sample deviation as text."""
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}" if values else ""


def told(values: Sequence[float]) -> str:
    """Return what each seed has as text."""
    return ", ".join(f"{value:.1f}" for value in values)


def figures(page: Page, table: Table, findings: Sequence[Finding], rows: Rows) -> None:
    """Draw what is there: differences, learning curves, false discoveries."""
    decided = {f.claim.id: (f.interval, f.word) for f in findings if f.interval}
    if not decided:
        return
    shown = {k: (i.difference, i.low, i.high, word) for k, (i, word) in decided.items()}
    papers = {f.claim.id: f.claim.gain for f in findings if f.claim.gain is not None}
    with page.figure("differences", "Differences of all pairs, and the papers'") as file:
        draw_differences(file, shown, papers)
    panels: dict[str, dict[str, list]] = {}
    for finding in findings:
        task = finding.claim.metric.partition("/")[0]
        groups = {
            name: [
                row["minutes_AP"][f"{task}/AP"] for row in rows.values() if row["variant"] == name
            ]
            for name in finding.claim.pair
            if not table.variants[name].weights
        }
        if (
            finding.interval
            and len(groups) == 2
            and [*groups] not in [[*p] for p in panels.values()]
        ):
            panels[finding.claim.id] = groups
    if panels:
        with page.figure("learning", "AP against minutes of one core; thin: the seeds") as file:
            draw_learning(file, panels)
    bars: dict[str, dict[str, list[float]]] = {}
    for name in dict.fromkeys(n for f in findings if f.claim.lower_is_better for n in f.claim.pair):
        scores = [row["scores"]["bbox"] for row in rows.values() if row["variant"] == name]
        if scores:
            bars[name] = {key: [found[key] for found in scores] for key in FALSE_DISCOVERY}
    if bars:
        with page.figure("false_discovery", "False discovery, lower is better") as file:
            draw_bars(file, bars, "percent")
