"""detectron2's LazyConfig files: parts as calls, settings as plain values.

`model`, `optimizer` and what `dataloader` holds are calls, which take the place of what a YAML
config would build, see `lazy_trainer`; numbers and names become the config keys of `SETTINGS`, so
that schedule, steps, hooks, checkpoints, averages and resuming are those of any training.
`configs/common/` has the shared parts.
"""

import copy
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, LazyConfig, get_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.registry import locate
from omegaconf import DictConfig, ListConfig, OmegaConf

from ..checked_values import nearest
from ..checkpoint.pixels import KEYS
from ..config import add_centernet_config
from ..config.files import expand_paths, merge_level, override_level
from ..modeling.point_tasks.base import POINT_TASK_REGISTRY
from .saved_names import GIVEN
from .schedule import overridden_epoch_keys
from .user_modules import AddKeys

# Key of a lazy file -> config key that it sets; what a file leaves out has the config's default.
SETTINGS = {
    "train.output_dir": "OUTPUT_DIR",
    "train.init_checkpoint": "MODEL.WEIGHTS",
    "train.checkpoint_mismatch": "MODEL.CHECKPOINT_MISMATCH",
    "train.device": "MODEL.DEVICE",
    "train.seed": "SEED",
    "train.cudnn_benchmark": "CUDNN_BENCHMARK",
    "train.max_iter": "SOLVER.MAX_ITER",
    "train.epochs": "SOLVER.EPOCHS",
    "train.base_batch_size": "SOLVER.BASE_BATCH_SIZE",
    "train.amp.enabled": "SOLVER.AMP.ENABLED",
    "train.amp.dtype": "SOLVER.AMP_DTYPE",
    "train.ema_decay": "SOLVER.EMA_DECAY",
    "train.checkpointer.period": "SOLVER.CHECKPOINT_PERIOD",
    "train.checkpointer.epochs": "SOLVER.CHECKPOINT_EPOCHS",
    "train.best_metric": "SOLVER.BEST_METRIC",
    "train.early_stopping": "SOLVER.EARLY_STOPPING",
    "train.eval_period": "TEST.EVAL_PERIOD",
    "train.eval_epochs": "TEST.EVAL_EPOCHS",
    "train.validation_loss": "TEST.VALIDATION_LOSS",
    "train.expected_results": "TEST.EXPECTED_RESULTS",
    "train.fold_norm": "TEST.FOLD_NORM",
    "train.test_dtype": "TEST.DTYPE",
    "train.test_dtype_difference": "TEST.DTYPE_DIFFERENCE",
    "train.vis_period": "VIS_PERIOD",
    "train.writers": "LOGGING.WRITERS",
    "train.log_period": "LOGGING.PERIOD",
    "train.report": "LOGGING.REPORT",
    "train.check_images": "DATASETS.CHECK_IMAGES",
    "train.check_records": "DATASETS.CHECK_RECORDS",
    "train.skip_unreadable": "DATASETS.SKIP_UNREADABLE",
    "train.classes": "DATASETS.CLASSES",
    "train.scale_mismatch": "INPUT.SCALE_MISMATCH",
    "lr_multiplier.name": "SOLVER.LR_SCHEDULER_NAME",
    "lr_multiplier.steps": "SOLVER.STEPS",
    "lr_multiplier.epoch_steps": "SOLVER.EPOCH_STEPS",
    "lr_multiplier.gamma": "SOLVER.GAMMA",
    "lr_multiplier.warmup_iters": "SOLVER.WARMUP_ITERS",
    "lr_multiplier.warmup_factor": "SOLVER.WARMUP_FACTOR",
    "optimizer.lr": "SOLVER.BASE_LR",
    "dataloader.train.dataset.names": "DATASETS.TRAIN",
    "dataloader.train.total_batch_size": "SOLVER.IMS_PER_BATCH",
    "train.ims_at_once": "SOLVER.IMS_AT_ONCE",
    "train.compile": "SOLVER.COMPILE",
    "dataloader.train.num_workers": "DATALOADER.NUM_WORKERS",
    "dataloader.test.dataset.names": "DATASETS.TEST",
    "dataloader.test.batch_size": "TEST.IMS_PER_BATCH",
    "model.num_classes": "MODEL.HEATMAP.NUM_CLASSES",
}
NEEDED = ("model", "optimizer", "dataloader.train.dataset", "dataloader.train.mapper", "train")
LAZY_KEYS = {name: key for key, name in SETTINGS.items()}


def load_lazy(path: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Load a lazy file, Python or saved as YAML, and change what `overrides` say.

    They are `key=value` in detectron2's form; `+key=value` adds a key.

    Raises:
        ValueError: an override has another form or an unknown key, or the file lacks a part or sets
            what nothing reads.
    """
    lazy = LazyConfig.load(path)
    keys = [_key_of(text) for text in overrides]
    known = list(_keys(lazy))
    for key, text in zip(keys, overrides, strict=True):
        if key not in known and not text.startswith("+") and key not in SETTINGS:
            raise ValueError(f"{path} has no '{key}' to override{nearest(key, known, 3)}.")
    try:
        lazy = LazyConfig.apply_overrides(lazy, list(overrides))
    except Exception as error:  # hydra's kinds, KeyError
        raise ValueError(
            f"Overrides {list(overrides)} of {path} cannot be read: {error}. Put quotes around a "
            "value with special signs: key=\"'value'\"."
        ) from error
    for key in overridden_epoch_keys([{SETTINGS[key] for key in keys if key in SETTINGS}]):
        OmegaConf.update(lazy, LAZY_KEYS[key], [] if key == "SOLVER.EPOCH_STEPS" else 0)
    check(lazy, path)
    return lazy


def check(lazy: DictConfig, path: str) -> None:
    """Raise ValueError for parts that are missing and for settings that nothing reads."""
    if missing := [key for key in NEEDED if OmegaConf.select(lazy, key) is None]:
        raise ValueError(
            f"{path} has no {', '.join(missing)}. A LazyConfig that trains here has {NEEDED}; see "
            "configs/lazy and configs/common."
        )
    plain = ["train"]
    if "_target_" not in (lazy.get("lr_multiplier") or {}):
        plain.append("lr_multiplier")
    for key in (key for name in plain if name in lazy for key in _keys(lazy[name], f"{name}.")):
        if not any(f"{key}.".startswith(f"{s}.") or s.startswith(f"{key}.") for s in SETTINGS):
            near = nearest(key, [s for s in SETTINGS if s.split(".")[0] in plain], 3)
            raise ValueError(f"{path} sets '{key}', which nothing here reads{near}.")


def settings(lazy: DictConfig, add_keys: Iterable[AddKeys] = ()) -> CfgNode:
    """Return the config of a lazy file's plain values, before `setup`."""
    cfg = get_cfg()
    add_centernet_config(cfg)
    for add in add_keys:
        add(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()
    cfg.MODEL.HEATMAP.NUM_CLASSES = 0  # from the dataset, if the model does not say
    # Nothing lowers the learning rate that the file does not name; images are as they are.
    cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS, cfg.INPUT.MIN_SIZE_TEST = (), 0, 0
    for key, name in SETTINGS.items():
        if (value := OmegaConf.select(lazy, key)) is not None:
            if isinstance(value, ListConfig):
                value = OmegaConf.to_container(value, resolve=True)
            merge_level(cfg, override_level([name, value])._replace(source=f"{key}: "))
    if (name := getattr(target_of(lazy.model), "__name__", "")) in META_ARCH_REGISTRY:
        cfg.MODEL.META_ARCHITECTURE = name
    _set_tasks(cfg, lazy.model)
    for key, name in (("mean", "PIXEL_MEAN"), ("std", "PIXEL_STD")):
        if values := OmegaConf.select(lazy, f"model.pixels.{key}"):  # compared with the weights'
            cfg.MODEL[name] = [float(value) for value in values]
    vars(cfg)[GIVEN] = frozenset(KEYS)
    expand_paths(cfg)
    return cfg


def _set_tasks(cfg: CfgNode, model: DictConfig) -> None:
    """Let the config say which point tasks the model has, for evaluators and checkpoints."""
    points = cfg.MODEL.POINTS_CENTERNET
    tasks = {getattr(target_of(node), "name", ""): node for node in model.get("tasks") or ()}
    if known := [name for name in tasks if name in POINT_TASK_REGISTRY]:
        points.TASKS = known
    for name in known:
        block = points.get(name.upper(), {})
        for key, value in OmegaConf.to_container(tasks[name], resolve=True).items():
            if key.upper() in block and type(value) is type(block[key.upper()]):
                block[key.upper()] = value


def target_of(node: DictConfig) -> Any:
    """Return what a call calls."""
    return locate(node._target_) if isinstance(node._target_, str) else node._target_


def with_values(lazy: DictConfig, changed: Mapping[str, Any]) -> DictConfig:
    """Return a copy with other values of some config keys."""
    lazy = copy.deepcopy(lazy)
    for name, value in changed.items():
        OmegaConf.update(lazy, LAZY_KEYS[name], value)
    return lazy


def dump_lazy(lazy: DictConfig) -> str:
    """Return the text that `LazyConfig.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "config.yaml")
        LazyConfig.save(lazy, file)
        with open(file, encoding="utf-8") as stream:
            return stream.read()


def _keys(lazy: DictConfig, prefix: str = "") -> Iterable[str]:
    for key in lazy:
        yield f"{prefix}{key}"
        node = None if OmegaConf.is_interpolation(lazy, key) else lazy[key]
        if isinstance(node, ListConfig):
            node = {str(index): entry for index, entry in enumerate(node)}
            node = DictConfig(node, flags={"allow_objects": True})
        if isinstance(node, DictConfig):
            yield from _keys(node, f"{prefix}{key}.")


def _key_of(text: str) -> str:
    key, equals, _ = text.partition("=")
    if not equals:
        raise ValueError(
            f"Override '{text}' of a LazyConfig has no '='. Write key=value, for example "
            "train.max_iter=100; KEY VALUE is for YAML configs."
        )
    return key.lstrip("+")
