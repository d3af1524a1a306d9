"""The fastest way to run a detector here, measured once on the first pictures it detects in."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from ..atomic_write import write_json
from ..engine.processes import told_by
from ..export.agreement import Agreement
from ..export.parity import Differences
from ..progress import say
from .runtime import CHOSEN, Detect, Entries, Runtimes, compare

logger = logging.getLogger(__name__)

GAIN = 1.1  # so many times as fast as folded float32 another way has to be: less may be chance
SECONDS, LEAST, MOST = 3.0, 2, 9  # of measuring, after `LEAST` turns and until `MOST`
PAUSE = 0.3  # seconds between two ways: the threads of some spin after a call
NEAR = 4.0  # canvases up to so many times as large or small are not measured again


class Fastest:
    """Called as a detector, it is the fastest way for so many pictures: see `choose`."""

    def __init__(self, known: Runtimes, runtime: str) -> None:
        """Choose among runtimes, of "auto", or among dtypes alone, of ""; as TEST.DTYPE allows.

        Files of onnxruntime and OpenVINO are made for it (3 to 8 s each for the detectors of the
        papers), that of AOTInductor, for which a compiler takes 25 s, is taken if it is there.
        """
        self.known, self.what = known, "runtime 'auto'" if runtime else "TEST.DTYPE auto"
        on_cpu, is_loose = known.model.device.type == "cpu", known.cfg.TEST.DTYPE == "auto"
        self.ways = ["folded", "eager"] if runtime else ["float32"]  # the first is hard to leave
        if runtime and on_cpu:
            there = (known.folder / "aotinductor-fp32" / "model.pt2").is_file()
            self.ways += ["onnxruntime", "openvino"] + ["aotinductor"] * there
        if is_loose:
            self.ways += ["float16"] * (not on_cpu) + ["bf16" if runtime else "bfloat16"]
            self.ways += ["openvino-bf16"] * bool(runtime and on_cpu)
        ways = f"{'+'.join(self.ways)}_{torch.get_num_threads()}_threads.json"
        self.record, self._opened = known.folder / f"auto_{ways}", dict[str, Detect]()
        self._by_count = {} if is_loose or not runtime else known.fastest()
        try:
            rows = json.loads(self.record.read_text(encoding="utf-8"))
            self._found = {tuple(key): found for *key, found in rows if found[0] in self.ways}
        except (OSError, ValueError, LookupError, TypeError):
            self._found = {}

    def __call__(self, entries: Entries) -> list[dict[str, Any]]:
        """Detect by what `choose` chooses."""
        return self._open(self.choose(entries))(entries)

    def choose(self, entries: Entries, batch: int = 0) -> str:
        """The fastest for `batch` of such inputs (0: all of them), measured where it is not known.

        It is known of as many pictures, within a factor of two, on nearly as large a canvas; and
        where `centernet-d2 benchmark --runtimes` has measured it.
        """
        batch, found = batch or len(entries), self._by_count
        if found:
            say(f"{self.what} by number of pictures, as it was measured: {found}")
            return found[max((n for n in found if n <= batch), default=min(found))]
        area = max(math.prod(self.known.model.canvas_of(e, 1.0)) for e in entries[:batch])
        near = min(
            (key for key in self._found if key[0].bit_length() == batch.bit_length()),
            key=lambda key: abs(math.log(key[1] / area)),
            default=(batch, math.inf),
        )
        if not 1 / NEAR <= near[1] / area <= NEAR:
            near = (batch, area)
            self._found[near] = self._measure(entries, batch)
            write_json(
                self.record, [[*key, found] for key, found in self._found.items() if found[2]]
            )
        name, told, _ = self._found[near]
        say(f"{self.what} is {name}: {told}")
        return name

    def _open(self, name: str) -> Detect:
        if name not in self._opened:
            self._opened[name] = self.known.detector(name)
        return self._opened[name]

    @torch.no_grad()
    def _measure(self, entries: Entries, batch: int) -> tuple[str, str, bool]:
        """Name, what was measured, in words, and whether other pictures would hardly change it."""
        chosen, ready, is_sure = self.ways[0], dict[str, Detect](), True
        for name in self.ways:
            try:
                ready[name] = self._open(name)
            except (ImportError, OSError, RuntimeError, ValueError) as error:
                logger.info("%s: %s is left out: %s", self.what, name, error)
        seconds = time_in_turns(ready, entries[:batch], self.known.model.device)
        size = " x ".join(map(str, entries[0]["image"].shape[1:]))
        times = ", ".join(f"{name} {1e3 * np.median(s):.3g}" for name, s in seconds.items())
        told = [f"{batch} of {size} pixels take {times} ms ({torch.get_num_threads()} threads)"]
        faster = clearly_faster(seconds)
        for name in faster:
            report, (apart, lost) = Differences(), self.known.cfg.TEST.DTYPE_DIFFERENCE
            if name not in (*CHOSEN, "float32"):
                report = Agreement(apart=apart, overlap=1 - lost)
            for start in range(0, len(entries), batch):
                compare(self.known.model, ready[name], entries[start : start + batch], report)
            worst = ", ".join(f"{output} by {v:.2g}" for output, v in report.worst.items())
            fault = report.fault()
            told.append(f"{name} differs in {worst or 'nothing'}, {fault or report.told()}")
            if not fault:
                chosen = name
                break
            is_sure &= bool(report.worst)
        told += [] if faster else [f"no other is {GAIN:g} times as fast as {chosen}"]
        self._opened = {chosen: ready[chosen]}
        return chosen, "; ".join(told), is_sure


def time_in_turns(
    ways: Mapping[str, Detect], entries: Entries, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of calls, two after a warm one in each turn; what is clearly slower ends early."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    first, began, left = next(iter(ways)), time.perf_counter(), list(ways)
    for turn in range(MOST):
        for name in left:
            time.sleep(PAUSE)
            for call in range(3):
                start = time.perf_counter()
                ways[name](entries)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds[name] += [time.perf_counter() - start] if call else []
        most = GAIN * min(seconds[first])
        left = [name for name in left if name == first or min(seconds[name]) < most]
        if len(left) == 1 or (turn + 1 >= LEAST and time.perf_counter() - began > SECONDS):
            break
    return seconds


def clearly_faster(seconds: Mapping[str, Sequence[float]]) -> list[str]:
    """Names, best first, `GAIN` times as fast as the first, three quarters against a quarter."""
    first, *others = seconds
    quarter, most = np.percentile(seconds[first], 25), np.median(seconds[first]) / GAIN
    faster = {name: np.median(seconds[name]) for name in others}
    faster = {
        n: s for n, s in faster.items() if np.percentile(seconds[n], 75) < quarter and s <= most
    }
    return sorted(faster, key=faster.__getitem__)


def to_evaluate(
    cfg: CfgNode, model: Any, names: list[str], runtime: str, entries: Callable[[], Entries]
) -> Any:
    """A copy of the detector that detects by a runtime, or TEST.DTYPE auto, and says so by name."""
    if runtime and comm.get_world_size() > 1:
        raise ValueError("--runtime is of one process: leave --num-gpus out")
    known, name = Runtimes(model, {"class_names": names}, cfg), runtime
    if is_auto := runtime in ("", "auto"):
        fastest, batch = Fastest(known, runtime), cfg.TEST.IMS_PER_BATCH
        name = told_by(comm.is_main_process(), lambda: fastest.choose(entries(), batch))[0]
    detect = known.detector(name)
    if isinstance(detect, nn.Module):
        model = detect
    else:
        model = copy.deepcopy(model)
        model.forward = lambda entries: detect(entries)
    model.protocol = replace(model.protocol, dtype=name + " (auto)" * is_auto)
    return model
