"""How long an evaluation takes, by stage: `centernet-d2 evaluate --timing`."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
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
        warm_up = min(5, (len(batches.rows) + 9) // 10)  # not of few batches half of them
        gathered = comm.gather(batches.rows[warm_up:] or batches.rows, dst=0)
        if comm.is_main_process():
            machine = describe_machine(str(device))
            where = machine.get("gpu") or "{cpu}, {threads} thread(s)".format(**machine)
            size = size_text(np.median(batches.sizes, axis=0).astype(int))
            told = {"protocol": told_by_model(model)["protocol"], "weights": cfg.MODEL.WEIGHTS}
            told |= {"device": where, "picture_size": size, "num_workers": batches.num_workers}
            told |= {"scores": plain_scores(results), "scoring_seconds": batches.row["scoring"]}
            told |= summarize(gathered)
            file = Path(result_folder(cfg.OUTPUT_DIR, eval_only=True), TIMING_FILE)
            before = json.loads(file.read_text("utf-8"))["datasets"] if file.is_file() else {}
            write_json(file, {"machine": machine, "datasets": before | {name: told}}, indent=1)
            logger.info("%s", table(name, told), extra=SHOWN)
        return results


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
    """The batches of a loader, and the seconds of each."""

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
    """Of the batches of each process: milliseconds per picture by stage, and the rate of all."""
    rows = [row for of_process in gathered for row in of_process]
    ms = {stage: 1e3 * np.array([row[stage] for row in rows]) for stage in rows[0]}
    pictures, stages = ms.pop("pictures") / 1e3, {}
    if "read" in ms:
        ms["map"] = ms["map"] - ms["read"]
    if "network" in ms:
        ms["decode"] = ms["detector"] - ms["preprocess"] - ms["network"]
    for stage in (stage for stage in (*STAGES, "whole") if stage in ms):
        each, mean = ms[stage] / pictures, ms[stage].sum() / pictures.sum()
        stages[stage] = {"median": np.median(each), "mean": mean, "p90": np.percentile(each, 90)}
    whole = stages["whole"]["mean"]
    known = sum(stages[stage]["mean"] for stage in ("wait", "detector", "evaluator"))
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
        "Time per picture of {name}: {pictures} pictures after a warm-up, mostly {picture_size}, "
        "in batches of {batch}; {protocol}; {device}, {processes} process(es). Wait, detector and "
        "evaluator are {stages_over_whole:.1%} of the wall clock.\n{text}"
    ).format(name=name, text=text, **told)
