"""How long a step and a prediction take where other processes use the same two cores.

The processes are pinned to the first two cores that this one may use. The detector is
configs/Shapes/points_tiny: a training step of its batch (16 images of 128 x 128: forward, backward,
Adam), and a prediction of one image.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.threads import COUNTS, PASSIVE, POLICY, SHORT, SPINS

from .comparing import comparison_rows

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "Shapes/points_tiny"
# What `threads.fit_threads` sets: the second, or the third where others compute already.
SETTINGS: dict[str, dict[str, str]] = {
    "OpenMP's default": {},
    f"{SHORT} spins": {SPINS: SHORT},
    "passive": {POLICY: PASSIVE},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
BESIDE = ((0, "nothing"), (1, "busy loop"), (3, "busy loop"), (1, "training"), (3, "training"))
SHORT_BESIDE = ((0, "nothing"), (3, "busy loop"), (1, "training"))
CALLS = {"training step": ("step", 2), "prediction": ("predict", 6)}


@BENCHMARK_REGISTRY.register()
def cpu_threads(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of each setting of OpenMP, in turns, and times as fast as its default.

    Other trainings have the setting of that which is measured; they stand still (SIGSTOP) while
    another setting is measured.
    """
    beside, rows = SHORT_BESIDE if options.short else BESIDE, []
    most = max(count for count, kind in beside if kind != "busy loop")
    with contextlib.ExitStack() as stack:
        workers = {
            name: [stack.enter_context(_worker(setting)) for _ in range(1 + most)]
            for name, setting in SETTINGS.items()
        }
        for worker in chain.from_iterable(workers.values()):
            worker.stdout.readline()  # it is ready
        for group in workers.values():
            for other in group[1:]:
                _ask(other, "step", 0)
                other.send_signal(signal.SIGSTOP)
        for count, kind in beside:
            with _busy_loops(count if kind == "busy loop" else 0):
                for what, (name, calls) in CALLS.items():
                    timed = {
                        setting: partial(
                            _beside, group[1 : 1 + count] if kind == "training" else [],
                            partial(_ask, group[0], name, calls),
                        )
                        for setting, group in workers.items()
                    }  # fmt: skip
                    subject = {"what": what, "beside": f"{count} x {kind}" if count else kind}
                    timings = options.time(timed, most_rounds=9, warm_up=1)
                    rows += comparison_rows(subject, timings, next(iter(SETTINGS)), calls)
    return rows


def _pinned() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


@contextlib.contextmanager
def _worker(setting: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process that computes when it is asked, with these variables of OpenMP alone."""
    names = {*COUNTS, SPINS, POLICY}
    environ = {k: v for k, v in os.environ.items() if k not in names} | setting
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-c", "from benchmarks.cpu_threads import work; work()"]
    with subprocess.Popen(
        command, env=environ, text=True, preexec_fn=_pinned, cwd=ROOT, **pipes
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _busy_loops(count: int) -> Iterator[None]:
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command, preexec_fn=_pinned) for _ in range(count)]
    time.sleep(0.5 * bool(count))
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _beside(others: list[subprocess.Popen], call: Callable[[], object]) -> None:
    for other in others:
        other.send_signal(signal.SIGCONT)
    try:
        call()
    finally:
        for other in others:
            other.send_signal(signal.SIGSTOP)


def _ask(worker: subprocess.Popen, name: str, calls: int) -> None:
    """Let a worker do it so many times; 0: without end, and nobody waits."""
    worker.stdin.write(f"{name} {calls}\n")
    worker.stdin.flush()
    if calls and not worker.stdout.readline():
        raise RuntimeError(f"A worker of this benchmark ended with status {worker.wait()}.")


def work() -> None:
    """Build the detector and do what standard input asks for, one line after the other."""
    import torch

    from centernet_d2.benchmark.detector import build

    from .training_step import random_samples

    overrides = ("DATASETS.TRAIN", "()", "DATASETS.TEST", "()", "MODEL.HEATMAP.NUM_CLASSES", "3")
    model, size = build(CONFIG, BenchmarkOptions(overrides=overrides))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    batch = random_samples(16, size)

    def step() -> None:
        loss = sum(model.train()(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def predict() -> None:
        model.eval()(batch[:1])

    for _ in range(2):
        step()
        predict()
    print("ready", flush=True)
    for line in sys.stdin:
        name, calls = line.split()
        call = {"step": step, "predict": predict}[name]
        while calls == "0":
            call()
        for _ in range(int(calls)):
            call()
        print("done", flush=True)
