"""How long an evaluation takes, by stage: `centernet-d2 evaluate --timing`."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from detectron2.utils import comm
from tabulate import tabulate

from ..analysis.oracle import replaced
from ..atomic_write import write_json
from ..engine.run import TIMING_FILE, plain_scores, result_folder
from ..engine.trainer import Trainer
from ..evaluation.build import told_by_model
from ..progress import SHOWN
from .detector import size_text
from .sections import describe_machine
from .timing import synchronize

logger = logging.getLogger(__name__)

# Methods of detector and evaluator -> the stage that they are.
METHODS = {"inference_images": "preprocess", "attach_inputs": "preprocess", "predict": "network"}
METHODS |= {"forward": "detector", "process": "evaluator", "evaluate": "scoring"}
STAGES = ("read", "map", "wait", "preprocess", "network", "decode", "detector", "evaluator")
CPU = torch.device("cpu")
Row = dict[str, float]  # of a batch: stage -> seconds, and "pictures", their number


class TimedTrainer(Trainer):
    """Evaluates as `Trainer` does, and tells how long each stage took, beside the scores.

    Each process times its own loop; the numbers are of the pictures of all.
    """

    @classmethod
    def infer(cls, cfg: Any, name: str, model: Any, loaded: Any, evaluator: Any) -> Any:
        device, batches = next(model.parameters()).device, TimedBatches(loaded)
        with ExitStack() as stack:
            for part, (method, stage) in product((model, evaluator), METHODS.items()):
                if function := getattr(part, method, None):
                    function = partial(timed, stage, batches.row, device, function)
                    stack.enter_context(replaced(part, method, function))
            results = super().infer(cfg, name, model, batches, evaluator)
        gathered = comm.gather(batches.rows, dst=0)
        if comm.is_main_process():
            try:
                told = {"protocol": told_by_model(model)["protocol"], "weights": cfg.MODEL.WEIGHTS}
                told |= {"num_workers": batches.num_workers, "scores": plain_scores(results)}
                told |= {"scoring_seconds": batches.row.get("scoring", 0.0)}
                machine = describe_machine(str(device))
                told |= describe(gathered, batches.sizes, machine)
                file = Path(result_folder(cfg.OUTPUT_DIR, eval_only=True), TIMING_FILE)
                before = json.loads(file.read_text("utf-8"))["datasets"] if file.is_file() else {}
                write_json(file, {"machine": machine, "datasets": before | {name: told}}, indent=1)
                level = logging.WARNING if told["warning"] else logging.INFO
                logger.log(level, "%s", table(name, told), extra=SHOWN)
            except Exception:  # the scores took long, and are right
                logger.exception("No times of %s; its scores stay", name, extra=SHOWN)
        return results


def describe(
    gathered: Sequence[Sequence[Row]], sizes: Sequence[Sequence[int]], machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what times are of, `sizes` (height, width) in pixels, and those of `summarize`.

    The first tenth of a process' batches, at most five, is warm-up, and left out if there are more.
    """
    left_out = [min(5, (len(rows) + 9) // 10) * (len(rows) > 1) for rows in gathered]
    times = summarize([rows[n:] for rows, n in zip(gathered, left_out, strict=True)])
    cold = sum(len(rows) == 1 for rows in gathered)
    told = {"device": machine.get("gpu") or "{cpu}, {threads} thread(s)".format(**machine)}
    told |= {"picture_size": size_text(np.median(sizes, axis=0).astype(int))}
    warning = f"WARM-UP INCLUDED: {cold} process(es) had a single batch" if cold else ""
    return told | times | {"warm_up_batches": sum(left_out), "warning": warning}


def timed(stage: str, row: Row, device: Any, function: Any, *given: Any, **named: Any) -> Any:
    """Call a function; its seconds, on a GPU until it is done, add up in the row."""
    synchronize(device)
    start = perf_counter()
    result = function(*given, **named)
    synchronize(device)
    row[stage] = row.get(stage, 0.0) + perf_counter() - start
    return result


def with_seconds(mapper: Any, row: Row, record: Any) -> Any:
    """A mapped sample with what it took, in whichever process."""
    row.clear()
    sample = timed("map", row, CPU, mapper, record)
    return sample and {**sample, "seconds": dict(row)}


class TimedBatches:
    """The batches of a loader; `rows` are their seconds (per batch, not per picture)."""

    def __init__(self, loaded: Any) -> None:
        self.loaded, self.sizes = loaded, list[Sequence[int]]()  # height, width of pictures
        self.rows, self.row = list[Row](), Row()  # those done, and of the batch at work
        loader, row = getattr(loaded, "iterable", loaded), Row()  # without its bar
        self.num_workers = getattr(loader, "num_workers", None)
        dataset = getattr(loader, "dataset", None)
        if mapper := getattr(dataset, "mapper", None):  # there is none in others' loaders
            if hasattr(mapper, "read_image"):
                mapper.read_image = partial(timed, "read", row, CPU, mapper.read_image)
            dataset.mapper = partial(with_seconds, mapper, row)

    def __len__(self) -> int:
        return len(self.loaded)

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        start = perf_counter()
        for batch in self.loaded:
            seconds = Counter({"pictures": len(batch), "wait": perf_counter() - start})
            for sample in batch:
                self.sizes.append(sample["image"].shape[-2:])
                seconds.update(sample.pop("seconds", {}))
            self.row.clear()
            self.row |= seconds
            yield batch
            self.rows.append({**self.row, "whole": perf_counter() - start})
            start = perf_counter()


def summarize(gathered: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """Milliseconds per picture by stage (0 where a batch lacks one), and pictures per second."""
    rows = [row for of_process in gathered for row in of_process]
    if not rows:
        raise ValueError("no picture was evaluated")
    names = dict.fromkeys(stage for row in rows for stage in row)
    ms = {stage: 1e3 * np.array([row.get(stage, 0.0) for row in rows]) for stage in names}
    pictures, stages = ms.pop("pictures") / 1e3, {}
    if "read" in ms:
        ms["map"] = ms["map"] - ms["read"]
    if "network" in ms:
        ms["decode"] = ms["detector"] - ms.get("preprocess", 0.0) - ms["network"]
    for stage in (stage for stage in (*STAGES, "whole") if stage in ms):
        each, mean = ms[stage] / pictures, ms[stage].sum() / pictures.sum()
        stages[stage] = {"median": np.median(each), "mean": mean, "p90": np.percentile(each, 90)}
    whole = stages["whole"]["mean"]
    known = sum(stages[s]["mean"] for s in ("wait", "detector", "evaluator") if s in stages)
    rate = 1e3 / whole * sum(map(bool, gathered))
    told = {"processes": len(gathered), "batch": int(pictures.max()), "ms_per_picture": stages}
    told |= {"pictures_per_second": rate, "stages_over_whole": known / whole}
    return told | {"pictures": int(pictures.sum())}


def table(name: str, told: dict[str, Any]) -> str:
    """What a terminal shows of a data set's times."""
    found = told["ms_per_picture"].items()
    rows = [(stage, *ms.values(), 1e3 / max(ms["mean"], 1e-4)) for stage, ms in found]
    heads = ("stage", "median ms", "mean ms", "90% below", "pictures/s")
    text = tabulate(rows, heads, "pipe", floatfmt=("", ".2f", ".2f", ".2f", ".1f"))
    return (
        "Time per picture of {name}: {pictures} pictures, mostly {picture_size}, after a warm-up "
        "of {warm_up_batches} batch(es), in batches of {batch}; {protocol}; {device}, {processes} "
        "process(es). Wait, detector and evaluator are {stages_over_whole:.1%} of the wall clock."
        "{cold}\n{text}"
    ).format(name=name, text=text, cold=told["warning"] and f" {told['warning']}.", **told)
