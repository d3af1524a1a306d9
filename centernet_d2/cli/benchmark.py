"""The verb `benchmark`: speed, memory and size, as tables."""

import argparse
import importlib
import sys
from dataclasses import fields
from pathlib import Path

import torch
from tabulate import tabulate

from ..atomic_write import write_json
from ..benchmark import BENCHMARK_REGISTRY, BenchmarkOptions, run_sections
from ..benchmark.runtimes import recommendation
from ..benchmark.sections import check_sections
from ..checked_values import check_value
from ..config.rules import device_here
from ..engine.terminal import start_logging
from .parsers.benchmark import DEFAULT_CONFIGS, SHORT_CONFIGS

CHECKOUT = Path(__file__).resolve().parents[2]


def add_sections_of_checkout() -> None:
    """Register what a checkout measures beside the detectors; the wheel does not hold it."""
    if (CHECKOUT / "benchmarks" / "__init__.py").is_file():
        sys.path.insert(0, str(CHECKOUT))
        importlib.import_module("benchmarks")


def run(args: argparse.Namespace) -> int:
    check_value("--device", args.device, device_here)
    add_sections_of_checkout()
    if records := args.compare or args.record:
        if "benchmarks" not in sys.modules:
            raise ValueError("--compare and --record are of a checkout: take --json, or leave them")
        records = importlib.import_module("benchmarks.records")
    if args.threads:
        torch.set_num_threads(args.threads)
    args.overrides, args.rounds = args.opts, args.rounds or (5 if args.short else 15)
    args.warm_up = (1 if args.short else 3) if args.warm_up is None else args.warm_up
    if args.runtimes:
        start_logging(verbose=args.verbose)
        unused = {"--sections": args.sections, "--amp": args.amp_dtype}
        unused["--size beside --images"] = args.size and args.images
        if told := [option for option, given in unused.items() if given]:
            raise ValueError(f"{told[0]} does nothing with --runtimes: leave it out")
        args.sections, args.batches = ["runtimes"], args.batches or [1, 8]
    elif args.weights or args.images:
        raise ValueError("--weights and --images go with --runtimes: give it, or leave them out")
    else:
        args.batches = args.batches or ([1] if args.short else [1, 2, 4, 8])
        args.configs = args.configs or (SHORT_CONFIGS if args.short else DEFAULT_CONFIGS)
        others = ("runtimes",) if args.device.startswith("cuda") else ("runtimes", "cuda_")
        every = [name for name, _ in BENCHMARK_REGISTRY if not name.startswith(others)]
        args.sections = args.sections or every
    check_sections(args.sections)
    given = {field.name: getattr(args, field.name) for field in fields(BenchmarkOptions)}
    options = BenchmarkOptions(**given)
    if args.compare:
        records.check_records(args.sections, options, args.compare, args.record)
    result = run_sections(
        args.sections,
        options,
        done=lambda name, rows: print(f"\n{name}\n{tabulate(rows, 'keys', 'pipe')}", flush=True),
    )
    if args.runtimes:
        told = recommendation(result["sections"]["runtimes"], args.rounds)
        result["machine"]["recommendation"] = told
    print("\n" + tabulate(result["machine"].items(), tablefmt="plain"))
    if args.json:
        write_json(args.json, result, indent=1)
    return records.compare_and_record(result, args.compare, args.record) if records else 0
