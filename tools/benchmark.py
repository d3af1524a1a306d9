#!/usr/bin/env python3
"""Measure speed, memory and size of the detectors and of the layers that they stand on.

taskset -c 0,1 tools/benchmark.py --threads 2 --json output/benchmark.json
tools/benchmark.py --sections deform_conv --batches 1
tools/benchmark.py --sections detector --config-file configs/COCO-Detection/... --device cuda

Run it on an otherwise idle machine; "spread" is the distance of the quartiles over the median.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import torch
from tabulate import tabulate

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)  # benchmarks/ is part of a checkout, not of the installed package

from benchmarks import BENCHMARK_REGISTRY, BenchmarkOptions, run_sections  # noqa: E402
from centernet_d2.atomic_write import write_json  # noqa: E402
from centernet_d2.checked_values import argument, whole  # noqa: E402
from centernet_d2.config.rules import device_here  # noqa: E402
from centernet_d2.text_files import expanded_output  # noqa: E402

DEFAULT_CONFIGS = [
    os.path.join(ROOT, "configs", name)
    for name in (
        "Shapes/points_tiny.yaml",
        "COCO-Detection/points_resnet18_dcn_140e.yaml",
        "COCO-Detection/points_dla34_140e.yaml",
        "COCO-Detection/points_hourglass104_50e.yaml",
        "COCO-Detection/cornernet_hourglass104.yaml",
        "COCO-Detection/triplet_hourglass104.yaml",
    )
]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's values."""
    sections = [name for name, _ in BENCHMARK_REGISTRY]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections)
    parser.add_argument("--config-file", nargs="+", default=DEFAULT_CONFIGS, help="detectors")
    count, batches = argument(whole(1)), [1, 2, 4, 8]
    parser.add_argument("--batches", nargs="+", type=count, default=batches, help="batch sizes")
    parser.add_argument("--size", nargs=2, type=count, metavar=("HEIGHT", "WIDTH"), help="images")
    parser.add_argument("--rounds", type=count, default=15, help="measurements, default 15")
    help_text = "runs before, default 3"
    parser.add_argument("--warm-up", type=argument(whole(0)), default=3, help=help_text)
    help_text = "cpu (default), cuda ..."
    parser.add_argument("--device", type=argument(device_here), default="cpu", help=help_text)
    parser.add_argument("--threads", type=count, help="of torch on the CPU")
    parser.add_argument("--amp", default="", choices=["", "bfloat16", "float16"], help="autocast")
    parser.add_argument("--json", type=expanded_output, help="file for all numbers")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], help="last: config overrides KEY VALUE ..."
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    args = parse_arguments(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    options = BenchmarkOptions(
        configs=args.config_file,
        overrides=args.opts,
        batches=args.batches,
        size=tuple(args.size) if args.size else None,
        rounds=args.rounds,
        warm_up=args.warm_up,
        device=args.device,
        amp_dtype=args.amp,
    )
    result = run_sections(
        args.sections,
        options,
        done=lambda name, rows: print(f"\n{name}\n{tabulate(rows, 'keys', 'pipe')}", flush=True),
    )
    print("\n" + tabulate(result.machine.items(), tablefmt="plain"))
    if args.json:
        write_json(args.json, vars(result), indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
