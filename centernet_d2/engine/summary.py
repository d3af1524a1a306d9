"""What a person is told of a run: its data, its network, where it stands; what its model keeps."""

import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage
from torch import nn

from .. import threads
from ..checkpoint.unwrap import shorten
from ..data.statistics import count
from ..detectron2_versions import VERSION
from ..progress import SHOWN
from .schedule import Schedule

logger = logging.getLogger(__name__)

MOST_CLASSES = 8  # that are named with their number of objects


def describe_data(records: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> str:
    """Return how many images and objects there are, of which classes; crowds are no objects."""
    images = f"{len(records)} images"
    if not any(record.get("annotations") for record in records):
        return f"{images} without annotations"
    facts = count(records, class_names)
    empty, crowds = facts["images without objects"], facts.get("crowd objects")
    images += f" ({empty} without objects)" if empty else ""
    images += f", {facts['objects']} objects"
    images += f" and {crowds} crowd or ignored regions" if crowds else ""
    if not class_names or not facts["objects"]:
        return images
    rows = [(number, name) for name, number in facts["classes"].items()]
    missing = [name for count, name in rows if not count]
    rows = sorted((row for row in rows if row[0]), key=lambda row: -row[0])
    named = shorten([f"{name} {count}" for count, name in rows], MOST_CLASSES)
    named += f"; none of {shorten(missing, MOST_CLASSES)}" if missing else ""
    what = "class" if len(class_names) == 1 else "classes"
    return f"{images} of {len(class_names)} {what}: {named}"


def describe_network(model: nn.Module, weights: str, *, frame: Sequence[int] = ()) -> str:
    """Return lines on a model, its frame (height, width) in training, if known, and its device."""
    backbone, parameters = getattr(model, "backbone", None), list(model.parameters())
    name = type(model).__name__ + (f", backbone {type(backbone).__name__}" if backbone else "")
    millions = sum(parameter.numel() for parameter in parameters) / 1e6
    frames = [f"training {frame[0]} x {frame[1]} (height x width)"] if frame else []
    if protocol := getattr(model, "describe_protocol", str)():
        frames.append(f"evaluation {protocol}")
    told = f"Frame: {'; '.join(frames)}\n" if frames else ""
    return (
        f"Network: {name}, {millions:.2f} million parameters, {weights}\n"
        f"{told}Device: {describe_device(parameters[0].device)}"
    )


def describe_device(device: torch.device) -> str:
    """Return where a process computes, on how many threads, and how many processes do."""
    name, processes = str(device), comm.get_world_size()
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        name += f", {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return f"{name}, {threads.describe()}" + f"; {processes} processes" * (processes > 1)


def specs(names: Iterable[str]) -> list[str]:
    """Return datasets by their specification or, where they have none, by name."""
    return [MetadataCatalog.get(name).get("file_spec") or name for name in names]


def training_record(cfg: CfgNode, schedule: Schedule) -> dict[str, Any]:
    """Return plain values of data, run and machine; see docs/models.md.

    Of paths their last part alone: a file may leave this machine.
    """
    names = {"train": cfg.DATASETS.TRAIN, "test": cfg.DATASETS.TEST}
    return {
        **{k: [re.sub(r"[^:]*[/\\]", "", spec) for spec in specs(n)] for k, n in names.items()},
        "images": schedule.dataset_size,
        "max_iterations": schedule.iterations,
        "batch": schedule.images_per_batch,
        "detectron2": VERSION,
        "torch": str(torch.__version__),
        "date": time.strftime("%Y-%m-%d"),
    }


class PeriodPrinter(CommonMetricPrinter):
    """Logs a line per period; in place of detectron2's, whose `eta_seconds` it keeps."""

    def __init__(self, max_iter: int, *, images_per_step: int) -> None:
        super().__init__(max_iter)
        self.max_iter, self.images_per_step = max_iter, images_per_step
        self._seen = -1

    def write(self) -> None:
        """Log where the training stands, once after a step."""
        storage = get_event_storage()
        if storage.iter not in (self._seen, self.max_iter) and "total_loss" in storage.histories():
            self._seen = storage.iter
            logger.info("%s", self.line(storage), extra=SHOWN)

    def line(self, storage: Any) -> str:
        """Return the line: medians of 20 steps, but the images per second are of all so far."""
        known = storage.histories()
        medians = {key: known[key].median(20) for key in known if "loss" in key and "/" not in key}
        total = medians.pop("total_loss", None)
        parts = ", ".join(f"{key.removeprefix('loss_')} {v:.4g}" for key, v in medians.items())
        parts = f" ({parts})" if parts and total is not None else parts
        left = self._get_eta(storage)
        line = (
            f"iteration {storage.iter + 1} of {self.max_iter}",
            left and f"ETA {left}",
            "loss " + (f"{total:.4g}" if total is not None else "") + parts,
            "lr" in known and f"lr {known['lr'].latest():.3g}",
            "time" in known and f"{self.images_per_step / known['time'].global_avg():.1f} images/s",
            "data_time" in known and f"{1000 * known['data_time'].avg(20):.0f} ms for data",
            torch.cuda.is_available() and f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB",
        )
        return ", ".join(filter(None, line))
