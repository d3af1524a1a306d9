"""Which training options help on data of one's own, at equal CPU time, beyond the seeds' spread.

    python -m benchmarks.own_data_recipe base base+giou base+giou+border --seeds 0 1 2 \
        --train voc:data:train --val voc:data:val --cpu-minutes 3 --output output/recipe

A variant is a sum of named sets of config keys, in `own_data_recipe.yaml` beside this file or
another one; the first one is what the others are compared with.
Every training is a process of its own and leaves one row in `rows.jsonl`; those that are there are
not repeated, so the same command goes on after an interruption. The choice is made on `--val`; a
test split is named there once, for the recipe that was chosen (`--train` is then all the rest).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

PARTS = Path(__file__).with_suffix(".yaml")
METRICS = ("AP", "AP50", "AP75")
Row = dict[str, Any]


def overrides(parts: Mapping[str, Mapping[str, Any]], variant: str) -> tuple[str, dict[str, Any]]:
    """Return config and keys of a variant, "part+part", of which later ones replace earlier ones.

    Raises:
        KeyError: there is no such part.
    """
    keys: dict[str, Any] = {}
    for name in variant.split("+"):
        if name not in parts:
            raise KeyError(f"there is no part '{name}': {', '.join(parts)}")
        keys |= parts[name]
    return keys.pop("CONFIG"), keys


def words(keys: Mapping[str, Any]) -> list[str]:
    """Return keys as KEY VALUE words of a command line."""
    return [word for key, value in keys.items() for word in (key, str(value))]


def train_one(args: argparse.Namespace, name: str, seed: int, steps: int) -> Row:
    """Train a variant in this process; return its row. CPU seconds are those of all its threads."""
    import centernet_d2
    from centernet_d2.engine.run import run

    class Timed(centernet_d2.Trainer):
        """Notes when the steps are done, before the evaluation at the end."""

        def after_step(self) -> None:
            if self.iter + 1 == self.max_iter:
                self.cpu_at_end, self.clock_at_end = cpu_seconds(), time.perf_counter()
            super().after_step()

        def before_train(self) -> None:
            Timed.last = self
            self.cpu_at_start, self.clock_at_start = cpu_seconds(), time.perf_counter()
            super().before_train()

    centernet_d2.register()
    config, keys = overrides(read_parts(args), name)
    folder = Path(args.output, f"{name}-{seed}-{steps}")
    keys = common_keys(args, folder) | keys | {"SOLVER.MAX_ITER": steps, "SEED": seed}
    options = {"config_file": config, "resume": False, "eval_only": False, "overwrite": True}
    results = run(argparse.Namespace(opts=words(keys), **options), trainer=Timed) or {}
    last, scores = Timed.last, results.get("bbox", {})
    cpu = last.cpu_at_end - last.cpu_at_start
    row = {"variant": name, "seed": seed, "steps": steps, **task_of(args)}
    row |= {key: round(float(scores[key]), 2) for key in scores}
    row |= {"cpu_s": round(cpu, 1), "cpu_s_per_step": round(cpu / steps, 4)}
    row["wall_s"] = round(last.clock_at_end - last.clock_at_start, 1)
    row["parameters"] = sum(p.numel() for p in last.model.parameters())
    if not args.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return row


def cpu_seconds() -> float:
    """CPU seconds of this process and of the workers that have ended."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in spent)


def common_keys(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Keys of every variant: the data, one process, one evaluation, at the end.

    Without workers reading is part of the CPU time; that of workers counts only when they end.
    """
    return {
        "DATASETS.TRAIN": f"('{args.train}',)",
        "DATASETS.TEST": f"('{args.val}',)",
        "MODEL.DEVICE": args.device,
        "DATALOADER.NUM_WORKERS": args.workers,
        "TEST.EVAL_PERIOD": 0,
        "OUTPUT_DIR": str(folder),
    }


def read_parts(args: argparse.Namespace) -> dict[str, Any]:
    """Return name -> config keys of the file."""
    return yaml.safe_load(Path(args.parts).read_text(encoding="utf-8"))


def task_of(args: argparse.Namespace) -> Row:
    """What rows have in common that may be compared: data, budget and device."""
    budget = f"{args.steps} steps" if args.steps else f"{args.cpu_minutes:g} CPU minutes"
    return {"data": f"{args.train} {args.val}", "budget": budget, "device": args.device}


def read_rows(file: Path) -> list[Row]:
    """Return the rows that are there; the oldest say no device."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return [{"device": "cpu"} | json.loads(line) for line in lines]


def measure_costs(args: argparse.Namespace, names: Iterable[str], rounds: int = 5) -> dict:
    """Return the least CPU seconds of a step, reading included, of each variant.

    All variants take turns, so that what else the machine does falls on all of them alike.
    """
    import centernet_d2
    from centernet_d2 import load_config
    from centernet_d2.engine.step_loop import StepLoop

    centernet_d2.register()
    loops: dict[str, StepLoop] = {}
    for name in names:
        config, keys = overrides(read_parts(args), name)
        cfg = load_config(config, words(common_keys(args, Path(args.output, "costs")) | keys))
        loops[name] = centernet_d2.Trainer(cfg)
    spent: dict[str, list[float]] = {name: [] for name in loops}
    from detectron2.utils.events import EventStorage

    with EventStorage(0):
        for _ in range(rounds):
            for name, trainer in loops.items():
                start = cpu_seconds()
                trainer._trainer.iter = 0
                trainer._trainer.run_step()
                spent[name].append(cpu_seconds() - start)
    return {name: round(min(times[1:]), 4) for name, times in spent.items()}


def table(rows: list[Row], costs: Mapping[str, float], base: str) -> str:
    """Return mean and sample standard deviation of each variant, and differences to `base`.

    The last column is the difference over the standard deviation of a difference of two means,
    from the deviations of both; "-" where either has one seed.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["variant"], []).append(row)
    lines = ["| variant | seeds | steps | CPU s / step | AP | AP50 | AP75 | AP to base | spreads |"]
    lines.append("| --- |" + " ---: |" * 8)
    for name, of_name in groups.items():
        reference = groups.get(base, of_name)
        cells = [f"{mean(of_name, key):.1f} ± {spread(of_name, key):.1f}" for key in METRICS]
        difference = mean(of_name, "AP") - mean(reference, "AP")
        squares = [spread(group, "AP") ** 2 / len(group) for group in (of_name, reference)]
        several = min(len(of_name), len(reference)) > 1
        ratio = f"{difference / max(sum(squares), 1e-6) ** 0.5:+.1f}" if several else "-"
        steps = "/".join(map(str, sorted({row["steps"] for row in of_name})))
        cost = costs.get(name) or statistics.median(row["cpu_s_per_step"] for row in of_name)
        cells = [name, str(len(of_name)), steps, f"{cost:.3f}", *cells, f"{difference:+.1f}", ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mean(rows: list[Row], key: str) -> float:
    """Mean of a score."""
    return statistics.fmean(row[key] for row in rows)


def spread(rows: list[Row], key: str) -> float:
    """Sample standard deviation of a score; 0 of one row."""
    return statistics.stdev(row[key] for row in rows) if len(rows) > 1 else 0.0


def run_all(args: argparse.Namespace, names: list[str], costs: Mapping[str, float]) -> None:
    """Train what has no row yet, seed by seed, each in a process of its own."""
    file = Path(args.output, "rows.jsonl")
    for seed in args.seeds:
        for name in names:
            steps = args.steps or max(1, round(60 * args.cpu_minutes / costs[name]))
            key = {"variant": name, "seed": seed, **task_of(args)}
            if any(key.items() <= row.items() for row in read_rows(file)):
                continue
            one = ["--one", name, str(seed), str(steps)]
            command = [sys.executable, "-m", "benchmarks.own_data_recipe", *sys.argv[1:], *one]
            log = Path(args.output, f"{name}-{seed}.log")
            with log.open("w") as stream:
                code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT).returncode
            print(f"{name}, seed {seed}, {steps} steps: {'done' if not code else f'see {log}'}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", required=True, help="data set to train on, such as coco:...")
    parser.add_argument("--val", required=True, help="data set that the choice is made on")
    parser.add_argument("--output", required=True, help="folder of rows.jsonl")
    parser.add_argument("variants", nargs="+", help="sums of parts, the first one to compare with")
    parser.add_argument("--parts", default=str(PARTS), help="YAML: name -> config keys")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, default=0, help="of every variant")
    budget.add_argument(
        "--cpu-minutes", type=float, default=3.0, help="steps by measured costs, of a CPU"
    )
    parser.add_argument("--device", default="cpu", help="of the trainings, default: cpu")
    parser.add_argument("--workers", type=int, default=0, help="that read pictures, default: 0")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the trainings")
    parser.add_argument("--table", action="store_true", help="print what is there, train nothing")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.makedirs(args.output, exist_ok=True)
    file, costs_file = Path(args.output, "rows.jsonl"), Path(args.output, "costs.json")
    if args.one:
        name, seed, steps = args.one
        row = train_one(args, name, int(seed), int(steps))
        with file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        return
    names = args.variants
    costs = json.loads(costs_file.read_text()) if costs_file.is_file() else {}
    if not (args.table or args.steps) and not set(names) <= set(costs):
        costs |= measure_costs(args, names)
        costs_file.write_text(json.dumps(costs, indent=1))
    if not args.table:
        run_all(args, names, costs)
    rows = [row for row in read_rows(file) if task_of(args).items() <= row.items()]
    print(table([row for row in rows if row["variant"] in names], costs, names[0]))


if __name__ == "__main__":
    main()
