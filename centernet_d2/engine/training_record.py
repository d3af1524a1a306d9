"""How a model was trained, as its checkpoints say it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ..detectron2_versions import VERSION
from .schedule import Schedule


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
