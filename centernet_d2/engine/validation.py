"""The validation loss: a detector's losses on the annotated images of DATASETS.TEST."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data.transforms import AugmentationList
from detectron2.evaluation.evaluator import inference_context
from detectron2.utils import comm
from torch import nn

from ..data.loader import build_test_loader
from ..data.mapper import DetectionMapper
from ..progress import SHOWN, bar

logger = logging.getLogger(__name__)

Loader = Iterable[list[dict[str, Any]]]


def validation_loaders(parts: Any, cfg: CfgNode, model: nn.Module) -> list[Loader]:
    """Build a loader of each dataset with the ground truth of `parts`, a `Trainer`, not augmented.

    ValueError, before the first step, where there is no validation loss.
    """
    mapper, names = parts.build_mapper(cfg, is_train=True), cfg.DATASETS.TEST
    built = [getattr(parts.build_test_loader(cfg, name), "dataset", None) for name in names]
    records = [[r for r in getattr(each, "dicts", ()) if "annotations" in r] for each in built]
    labelled = [any(record["annotations"] for record in each) for each in records]
    for what, given in (
        (f"{type(model).__name__} has no validation_losses", hasattr(model, "validation_losses")),
        ("the training's mapper is no DetectionMapper", isinstance(mapper, DetectionMapper)),
        (f"DATASETS.TEST {list(names)} has no annotations", names and all(labelled)),
    ):
        if not given:
            raise ValueError(f"TEST.VALIDATION_LOSS is True, but {what}. Set it to False.")
    mapper.augmentations = AugmentationList(())
    workers = cfg.DATALOADER.NUM_WORKERS
    return [build_test_loader(each, mapper=mapper, num_workers=workers) for each in records]


@torch.no_grad()
def validation_losses(model: nn.Module, loaders: Sequence[Loader]) -> dict[str, float]:
    """Mean losses over the images of all loaders and processes, and their sum "total_loss".

    Images go one by one, as published, so that the numbers depend on no batch. Only the main
    process gets them, the others {}; the model stays as it is.
    """
    sums, count, total = Counter[str](), 0, Counter[str]()
    if comm.is_main_process():
        loaders = [bar(each, what="Validation loss", unit="batch") for each in loaders]
    with inference_context(model):
        model.head.training = True  # it alone, so that it gives all stacks
        for entry in chain.from_iterable(chain.from_iterable(loaders)):
            losses = model.validation_losses(entry)
            sums.update({name: loss.item() for name, loss in losses.items()})
            count += 1
    if not (told := comm.gather((sums, count))):
        return {}
    for own, _ in told:
        total.update(own)
    images = sum(number for _, number in told)
    means = {name: value / images for name, value in total.items()}
    means = {"total_loss": sum(means.values()), **means}
    line = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
    logger.info("Validation loss of %d images: %s", images, line, extra=SHOWN)
    return means
