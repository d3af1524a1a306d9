"""The verb `reproduce`: tables of the papers, from one command."""

import argparse
import os

from tabulate import tabulate

from ..engine.terminal import start_logging
from ..reproduction.queue import open_folder, read_rows, run_all
from ..reproduction.report import write_report
from ..reproduction.table import Table, read_table
from . import reproduce_published

BCCD = "git clone https://github.com/Shenggan/BCCD_Dataset, and give its folder BCCD"


def run(args: argparse.Namespace) -> int:
    start_logging(verbose=args.verbose)
    return STUDIES[args.study](args)


def ablations(args: argparse.Namespace) -> int:
    if args.bccd and not os.path.isdir(os.path.join(args.bccd, "ImageSets")):
        raise ValueError(f"--bccd: there is no '{args.bccd}/ImageSets'; {BCCD}.")
    data = {"bccd": args.bccd and os.path.abspath(args.bccd)}
    table = read_table(args.scale, data).chosen(args.claims)
    if table.left_out and not args.claims:
        print(f"Left out without --bccd: {', '.join(table.left_out)} ({BCCD}).")
    runs = table.runs(args.seeds)
    if args.list:
        show(table, args.seeds, done=len(read_rows(args.output, runs)))
        return 0
    open_folder(args.output, table)
    failed = [] if args.report_only else run_all(args.output, runs)
    print(write_report(args.output, table, args.seeds))
    return 1 if failed else 0


def show(table: Table, seeds: int, *, done: int) -> None:
    """Print claims and runs of a study."""
    rows = [(c.id, f"{c.paper}, {c.table}", *c.pair, c.metric) for c in table.claims]
    print(tabulate(rows, ("claim", "of", "first", "second", "metric")))
    runs = table.runs(seeds)
    minutes = sum(run.variant.minutes for run in runs)
    trainings = sum(not run.needed for run in runs)
    print(
        f"\n{len(table.claims)} claims, {seeds} seeds: {trainings} trainings, "
        f"{len(runs) - trainings} tests of their weights; {done} of these are done. All together "
        f"take about {minutes / 60:.1f} hours of one core at scale cpu."
    )


STUDIES = {"ablations": ablations, "published": reproduce_published.run}
