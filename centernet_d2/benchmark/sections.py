"""The registry of what can be measured, the options of a measurement, and the machine it ran on."""

import contextlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from fvcore.common.registry import Registry

from ..engine.step_loop import AMP_DTYPES
from ..runtime.cores import allowed_cores
from ..threads import cpu_name, describe
from .timing import Call, Timing, time_interleaved

BENCHMARK_REGISTRY = Registry("BENCHMARK")
BENCHMARK_REGISTRY.__doc__ = """
What can be measured: name -> function `(BenchmarkOptions) -> list of rows`. A row is a flat dict
of plain values; the rows of a section share their keys and become one table. The keys of a
comparison end in `Timing.against`, after those that say what was measured: `records` has its use.
"""
Row = dict[str, Any]
PACKAGES = ("numpy", "numba", "opencv-python-headless", "onnxruntime", "openvino")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What a measurement may vary; each section takes what concerns it."""

    configs: Sequence[str] = ()  # YAML files of detectors
    overrides: Sequence[str] = ()  # KEY VALUE KEY VALUE ...
    batches: Sequence[int] = (1, 2, 4, 8)
    size: Sequence[int] | None = None  # (height, width) of images; None: the config's TRAIN_SIZE
    rounds: int = 15
    warm_up: int = 3
    device: str = "cpu"
    amp_dtype: str = ""  # "", "bfloat16" or "float16": autocast of the detector
    weights: str = ""  # of the detector whose runtimes are measured
    images: Sequence[str] = ()  # files, folders, patterns
    short: bool = False  # fewer cases, the same names

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    def autocast(self) -> torch.autocast:
        dtype = AMP_DTYPES.get(self.amp_dtype)
        return torch.autocast(self.torch_device.type, dtype=dtype, enabled=dtype is not None)

    def time(
        self,
        calls: Mapping[str, Call],
        *,
        most_rounds: int = 0,
        warm_up: int = -1,
        pause: float = 0,
    ) -> dict[str, Timing]:
        """Time calls in turns; a section of slow calls may ask for fewer rounds than given."""
        return time_interleaved(
            calls,
            rounds=min(self.rounds, most_rounds or self.rounds),
            warm_up=self.warm_up if warm_up < 0 else warm_up,
            device=self.torch_device,
            pause=pause,
        )


def run_sections(
    names: Sequence[str],
    options: BenchmarkOptions,
    *,
    done: Callable[[str, list[Row]], None] = lambda name, rows: None,
) -> dict[str, dict[str, Any]]:
    """Measure the named sections one after the other; `done` is told of each as it ends.

    Returns what was measured, "sections", on what "machine", with what "options", and the "date".

    Raises:
        ValueError: an unknown section.
    """
    known = [name for name, _ in BENCHMARK_REGISTRY]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"No benchmark section {unknown}; known: {', '.join(known)}.")
    machine, sections = describe_machine(options.device), dict[str, list[Row]]()
    for name in names:
        sections[name] = BENCHMARK_REGISTRY.get(name)(options)
        done(name, sections[name])
    machine["load_after"] = _load()
    date = datetime.now(UTC).date().isoformat()
    return {"date": date, "machine": machine, "options": asdict(options), "sections": sections}


def describe_machine(device: str) -> dict[str, object]:
    """Return what a number is worth nothing without."""
    machine: dict[str, object] = {
        "cpu": cpu_name(),
        "cores_of_machine": os.cpu_count(),
        "cores_allowed": allowed_cores(),
        "threads": torch.get_num_threads(),
        "openmp": describe(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "load_before": _load(),
    }
    for package in ("torch", "torchvision", "detectron2", *PACKAGES):
        with contextlib.suppress(PackageNotFoundError):
            machine[package] = version(package)
    if torch.device(device).type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
        machine["cuda"] = torch.version.cuda
    return machine


def _load() -> float | None:
    """Processes that wanted to run over the last minute: other work on the machine shows here."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
