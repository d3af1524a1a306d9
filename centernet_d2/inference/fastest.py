"""The fastest way to run a detector here, measured once on the first pictures it detects in."""

import copy
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import chain, islice
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from ..atomic_write import write_json
from ..benchmark.timing import PAUSE, Call, Timing, time_interleaved
from ..engine.processes import told_by
from ..export.agreement import Agreement
from ..export.parity import Differences
from ..progress import say
from .runtime import CHOSEN, Entries, Runtimes, differences

logger = logging.getLogger(__name__)

GAIN = 1.1  # so many times as fast as the first way another one has to be: less may be chance
FAR = 2.0  # what takes so many times as long in its second call is not measured further
_choosing = threading.Lock()  # one measures at a time, and others wait for what it finds


class Fastest:
    """Called as a detector, it is the fastest way for so many pictures: see `choose`."""

    def __init__(self, known: Runtimes, runtime: str) -> None:
        """Choose among runtimes, of "auto", or among dtypes alone, of ""; as TEST.DTYPE allows.

        Files of onnxruntime and OpenVINO are made for it (3 to 8 s each for ResNet-18 and DLA-34),
        that of AOTInductor, for which a compiler takes 25 s, is taken if it is there.
        """
        self.known, self.what = known, "runtime 'auto'" if runtime else "TEST.DTYPE auto"
        on_cpu, is_loose = known.model.device.type == "cpu", known.cfg.TEST.DTYPE == "auto"
        there = (known.folder / "aotinductor-fp32" / "model.pt2").is_file()
        files = ["onnxruntime", "openvino", *["aotinductor"] * there] if runtime and on_cpu else []
        self.ways = ["folded", "eager", *files] if runtime else ["float32"]
        if is_loose:
            self.ways += ["float16"] * (not on_cpu) + ["bf16" if runtime else "bfloat16"]
            self.ways += ["openvino-bf16"] * bool(files)
        told = [*self.ways, *known.cfg.TEST.DTYPE_DIFFERENCE, torch.get_num_threads()]
        self.record = known.folder / f"auto_{'_'.join(map(str, told))}.json"
        self._measured = {} if is_loose or not runtime else known.fastest()
        self._open, self._found = cache(known.detector), self._recorded()

    def __call__(self, entries: Entries) -> list[dict[str, Any]]:
        """Detect by what `choose` chooses."""
        if not entries:
            return []
        with _choosing:
            detect = self._open(self.choose(entries))
        return detect(entries)

    def choose(self, entries: Entries, batch: int = 0) -> str:
        """The fastest for `batch` of such inputs (0: all of them), measured where it is not known.

        That is known of as many pictures, within a factor of 2, on canvases within a factor of 4,
        and by `centernet-d2 benchmark --runtimes`.
        """
        batch = min(batch or len(entries), len(entries))
        if not batch:
            return self.ways[0]
        if found := self._measured:
            say(f"{self.what} by number of pictures, as the benchmark has measured it: {found}")
            return found[max((n for n in found if n <= batch), default=min(found))]
        area = max(math.prod(self.known.model.canvas_of(e, 1.0)) for e in entries[:batch])
        key = f"{1 << batch.bit_length() - 1} x {1 << area.bit_length() // 2 * 2}"  # rounded
        if key not in self._found:
            self._found[key] = self._measure(entries, batch)
            told = {k: found for k, found in self._found.items() if found[2]}
            try:
                write_json(self.record, self._recorded() | told)  # other processes measure, too
            except OSError as error:
                logger.warning("%s is measured again in the next process: %s", self.what, error)
        way, why, _ = self._found[key]
        say(f"{self.what} is {way}: {why}")
        return way

    def _recorded(self) -> dict[str, Any]:
        """What was found before; what cannot be read is measured again."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            found = json.loads(self.record.read_text(encoding="utf-8"))
            return {k: (way, *more) for k, (way, *more) in found.items() if way in self.ways}
        return {}

    def _timings(self, entries: Entries) -> dict[str, Timing]:
        """Of each way, the first one first; what is far slower is timed once."""
        timings, calls, device = dict[str, Timing](), dict[str, Call](), self.known.model.device
        for way in self.ways:
            try:
                call = partial(self._open(way), entries)
                timings |= time_interleaved({way: call}, rounds=1, warm_up=1, device=device)
            except Exception as error:  # those of runtimes share no class
                if not timings:
                    raise
                logger.info("%s: %s is left out: %s", self.what, way, error)
                continue
            if timings[way].median <= FAR * timings[self.ways[0]].median:
                calls[way] = call
        rounds = 2 + min(2, int(1 / timings[self.ways[0]].median))  # 2 of what takes a second
        how: dict[str, Any] = {"warm_up": 0, "device": device, "pause": PAUSE}
        return timings | time_interleaved(calls, rounds=rounds, **how)

    @torch.no_grad()
    def _measure(self, entries: Entries, batch: int) -> tuple[str, str, bool]:
        """The way to go, what was measured, in words, and whether the pictures could tell."""
        (apart, lost), first = self.known.cfg.TEST.DTYPE_DIFFERENCE, self.ways[0]
        timings = self._timings(entries[:batch])
        times = ", ".join(f"{way} {timing.ms:.3g}" for way, timing in timings.items())
        size = " x ".join(map(str, entries[0]["image"].shape[1:]))
        told = [f"{batch} of {size} pixels take {times} ms ({torch.get_num_threads()} threads)"]
        faster, parts = clearly_faster(timings), range(0, len(entries), batch)
        told += [] if faster else [f"none is {GAIN:g} times as fast as {first}"]
        can_tell, batches = True, [entries[start : start + batch] for start in parts]
        for way in faster:
            alike = Agreement(apart=apart, overlap=1 - lost)
            report = Differences() if way in CHOSEN else alike
            try:
                differences(self.known.model, self._open(way), batches, report)
            except Exception as error:  # of other numbers of pictures, or sizes, than were timed
                told.append(f"{way} fails: {error}")
                can_tell = False
                continue
            worst = ", ".join(f"{output} by {value:.2g}" for output, value in report.worst.items())
            fault = report.fault()
            told.append(f"{way} differs in {worst or 'all'}: {fault or report.told()}")
            if not fault:
                break
            can_tell &= bool(getattr(report, "sure", report.detections))
        else:
            way = first
        self._open.cache_clear()  # they take memory
        return way, "; ".join(told), can_tell


def clearly_faster(timings: Mapping[str, Timing]) -> list[str]:
    """Those `GAIN` times as fast as the first, by their slow calls too; the best first."""
    first = next(iter(timings.values()))
    fits = [
        (timing.median, way)
        for way, timing in timings.items()
        if timing.quartiles[1] < first.quartiles[0] and GAIN * timing.median <= first.median
    ]
    return [way for _, way in sorted(fits)]


def to_evaluate(
    cfg: CfgNode, model: Any, names: list[str], runtime: str, loader: Callable[..., Any]
) -> Any:
    """The detector as a runtime or, of "", TEST.DTYPE auto runs it; its protocol has the name.

    What is measured is measured on the first images that `loader`, of config and dataset, gives.
    """
    if runtime and comm.get_world_size() > 1:
        raise ValueError("--runtime is of one process: leave --num-gpus out")
    known, batch = Runtimes(model, {"class_names": names}, cfg), cfg.TEST.IMS_PER_BATCH

    def choose() -> str:
        inputs = chain.from_iterable(loader(cfg, cfg.DATASETS.TEST[0]))
        return Fastest(known, runtime).choose([*islice(inputs, max(4, batch))], batch)

    is_auto = runtime in ("", "auto")
    way = told_by(comm.is_main_process(), choose)[0] if is_auto else runtime
    if isinstance(detect := known.detector(way), nn.Module):
        model = detect
    else:  # `detect` keeps the model as it is, for what it leaves to it
        model = copy.copy(model)
        model.forward = partial(detect)
    model.protocol = replace(model.protocol, dtype=way + " (auto)" * is_auto)
    return model
