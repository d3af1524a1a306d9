"""The part `published` of the verb `reproduce`: the model zoo's numbers, measured here."""

import argparse
from pathlib import Path

import torch
from tabulate import tabulate

from ..config.rules import has_device
from ..data.datasets.builtin import datasets_root
from ..model_zoo.measured import add_measured
from ..reproduction.published import evaluations, look, measure
from ..threads import cpu_name
from .models import matching, words


def run(args: argparse.Namespace) -> int:
    """Make the evaluations that can be made; 1 where any could not."""
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not has_device(device):
        raise ValueError(f"--device {device}: this machine, or this torch, does not have it.")
    every = list(evaluations())
    names = matching((each.entry.name for each in every), *args.models)
    data = matching((each.dataset for each in every), *args.datasets)
    chosen = [each for each in every if each.entry.name in names and each.dataset in data]
    if not chosen:
        raise ValueError("None of --models has a published number on one of --datasets.")
    if args.record:
        add_measured(Path(args.record), [])  # whether it is such a file, before hours of work
    look(chosen, Path(args.output), fetch=not args.list)
    if not args.list:
        gpu = device.startswith("cuda") and torch.cuda.get_device_name(device)
        machine = f"{args.num_gpus} x {gpu}" if gpu else cpu_name()
        options = ["--num-gpus", str(args.num_gpus), "MODEL.DEVICE", device]
        measure(chosen, options, device=machine)
    rows = [(e.entry.short_name, e.dataset, words(e.published), e.standing()) for e in chosen]
    print(tabulate(rows, ("model", "data", "published", "measured")))
    problems = dict.fromkeys(why for each in chosen for why in each.problems.values())
    if args.list:  # a sentence each; a run says all
        problems = dict.fromkeys(why.partition(". ")[0].rstrip(".") + "." for why in problems)
    print("\n".join(["", *problems] * bool(problems)))
    if any("no data" in each.problems for each in chosen):
        print(f"Data: looked for in '{datasets_root()}', $DETECTRON2_DATASETS; docs/datasets.md.")
    if args.record and not args.list:
        records = [each.record for each in chosen if "scores" in each.record]
        print(f"{args.record}: {add_measured(Path(args.record), records)} records of whole splits.")
    return int(bool(problems) and not args.list)
