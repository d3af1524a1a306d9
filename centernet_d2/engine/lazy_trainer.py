"""A trainer that takes its parts from a LazyConfig file, see `lazy`."""

import copy
import functools
import logging
import os
from typing import Any

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.data import get_detection_dataset_dicts
from detectron2.evaluation import DatasetEvaluator
from detectron2.solver import LRMultiplier
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..checkpoint.model_info import NOT_OF_A_MODEL
from ..data.fields.base import keep_columns
from ..data.loader import DatasetDict, Mapper, check_training_dicts, load_dataset_dicts
from ..data.mapper import DetectionMapper, require_file_names
from .lazy import LAZY_KEYS, dump_lazy, target_of, with_values
from .trainer import Trainer

logger = logging.getLogger(__name__)


def lazy_trainer(lazy: DictConfig, base: type[Trainer] = Trainer) -> type[Trainer]:
    """Return a trainer with the parts of a lazy file; what `base` overrides comes over them."""
    bases = (LazyParts,) if base is Trainer else (base, LazyParts)
    return type(f"Lazy{base.__name__}", bases, {"lazy": lazy})


class LazyParts(Trainer):
    """Builds from `lazy` what `Trainer` builds from a config.

    Two parts may be left out of the file: `dataloader.evaluator`, then it is the one of the
    dataset, and a call as `lr_multiplier`, then its settings name detectron2's.
    """

    lazy: DictConfig

    @classmethod
    def part(cls, key: str, **changed: Any) -> Any:
        """Instantiate a call, with other arguments than the file's where it has them."""
        tree = copy.deepcopy(cls.lazy)  # whole, for values that refer to others
        node = OmegaConf.select(tree, key)
        for name, value in changed.items():
            if name in node:
                node[name] = value
        return instantiate(node)

    @functools.cached_property
    def config_text(self) -> str:
        """The lazy file as a checkpoint holds it, without the places that it names."""
        known = [key for key in NOT_OF_A_MODEL if key in LAZY_KEYS]
        empty = {key: [] if key.startswith("DATASETS.") else "" for key in known}
        return dump_lazy(with_values(self.lazy, empty))

    @classmethod
    def asks_catalog(cls, key: str) -> bool:
        function = target_of(cls.lazy.dataloader[key.lower()].dataset)
        return function in (load_dataset_dicts, get_detection_dataset_dicts)

    @classmethod
    def load_dataset(cls, cfg: CfgNode) -> list[DatasetDict]:
        mapper = cls.build_mapper(cfg, is_train=True)
        dicts = cls.part("dataloader.train.dataset", names=list(cfg.DATASETS.TRAIN))
        if isinstance(mapper, DetectionMapper):
            require_file_names(dicts, "dataloader.train.dataset")
            check_training_dicts(
                *(dicts, cfg.DATASETS.TRAIN, mapper.fields),
                crowd_as_objects=mapper.crowd_as_objects,
                difficult_as_objects=mapper.difficult_as_objects,
            )
        return dicts

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = cls.part("model", num_classes=cfg.MODEL.HEATMAP.NUM_CLASSES)
        logger.info("Model:\n%s", model)
        return model.to(torch.device(cfg.MODEL.DEVICE))

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer, which takes `model` itself or, as in detectron2, in its `params`."""
        node = copy.deepcopy(cls.lazy.optimizer)
        node.lr = cfg.SOLVER.BASE_LR
        (node.params if "params" in node else node).model = model
        return instantiate(node)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
        if "_target_" not in (cls.lazy.get("lr_multiplier") or {}):
            return super().build_lr_scheduler(cfg, optimizer)
        return LRMultiplier(optimizer, cls.part("lr_multiplier"), cfg.SOLVER.MAX_ITER)

    @classmethod
    def scheduler_name(cls, cfg: CfgNode) -> str:
        call = cls.lazy.get("lr_multiplier") or {}
        return target_of(call).__name__ if "_target_" in call else super().scheduler_name(cfg)

    @classmethod
    def build_mapper(cls, cfg: CfgNode, *, is_train: bool) -> Mapper:
        """Build the mapper of one of the loaders; what its fields read is loaded from now on."""
        mapper = cls.part(f"dataloader.{'train' if is_train else 'test'}.mapper")
        keep_columns(getattr(mapper, "fields", ()))
        return mapper

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, **given: Any) -> Any:
        return cls._loader("train", cls.build_mapper(cfg, is_train=True), **given)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        mapper = cls.build_mapper(cfg, is_train=False)  # before loading
        dataset = cls.part("dataloader.test.dataset", names=[dataset_name])
        return cls._loader("test", mapper, dataset=dataset)

    @classmethod
    def _loader(cls, kind: str, mapper: Mapper, **given: Any) -> Any:
        node = cls.lazy.dataloader[kind]
        own = {k: v for k, v in node.items() if k not in ("_target_", "dataset", "mapper")}
        return target_of(node)(mapper=mapper, **{**own, **given})

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None, **told: Any
    ) -> DatasetEvaluator:
        """Build the file's evaluator, else the one that the dataset asks for.

        `told` are further arguments, where an evaluator has them.
        """
        if "evaluator" not in cls.lazy.dataloader:
            return super().build_evaluator(cfg, dataset_name, output_folder, **told)
        folder = output_folder or os.path.join(cfg.OUTPUT_DIR, "inference")
        place = {"dataset_name": dataset_name, "output_folder": folder}
        return cls.part("dataloader.evaluator", **place, **told)
