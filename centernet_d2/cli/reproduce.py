"""The verb `reproduce`: tables of the papers, from one command."""

import argparse
import os

from tabulate import tabulate

from ..engine.terminal import start_logging
from ..reproduction.queue import read_rows, run_all
from ..reproduction.report import write_report
from ..reproduction.table import read_table
from . import reproduce_published

BCCD = "git clone https://github.com/Shenggan/BCCD_Dataset, and give its folder BCCD"


def run(args: argparse.Namespace) -> int:
    start_logging(verbose=args.verbose)
    return STUDIES[args.study](args)


def ablations(args: argparse.Namespace) -> int:
    if args.bccd and not os.path.isdir(os.path.join(args.bccd, "ImageSets")):
        raise ValueError(f"--bccd: there is no '{args.bccd}/ImageSets'; {BCCD}.")
    data = {"bccd": args.bccd and os.path.abspath(args.bccd)}
    table = read_table(args.scale, data, args.claims)
    if table.left_out and not args.claims:
        print(f"Left out without --bccd: {', '.join(table.left_out)} ({BCCD}).")
    runs = table.runs(args.seeds)
    if args.list:
        rows = [(c.id, f"{c.paper}, {c.table}", *c.pair, c.metric) for c in table.claims]
        print(tabulate(rows, ("claim", "paper", "first", "second", "metric")))
        trained, done = sum(not r.needed for r in runs), len(read_rows(args.output, table, runs))
        hours = sum(run.variant.minutes for run in runs) / 60
        print(
            f"\n{len(table.claims)} claims, {args.seeds} seeds: {trained} trainings and "
            f"{len(runs) - trained} tests of their weights, of which {done} are done. All take "
            f"about {hours:.1f} hours of one core at scale cpu."
        )
        return 0
    failed = [] if args.report_only else run_all(args.output, table, runs)
    print(write_report(args.output, table, args.seeds))
    return 1 if failed else 0


STUDIES = {"ablations": ablations, "published": reproduce_published.run}
