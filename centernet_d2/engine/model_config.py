"""The config that belongs to weights: the one that a file carries, or that of the model zoo."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.file_io import PathManager

from ..checkpoint.backbones import UnknownWeightsError, UnsupportedWeightsError
from ..checkpoint.detect_source import detect_source
from ..checkpoint.download import is_url
from ..checkpoint.files import file_kind, read_tensors
from ..checkpoint.matching_config import matching_config
from ..checkpoint.model_info import ModelInfo
from ..checkpoint.unwrap import UnwrapError, unwrap
from ..config.files import Level, read_levels
from ..config.protocols import apply_protocol
from ..config.rules import gpu_count
from ..model_zoo.hub import HUB, from_hub
from ..model_zoo.lookup import UnknownModelError, find_entry, get_config_file
from ..model_zoo.path_handlers import IMAGENET, PUBLISHED, published_file
from ..text_files import expanded
from .checkpointer import without_query
from .setup import FROM_WEIGHTS, load_config, merged_config
from .user_modules import AddKeys, import_all

logger = logging.getLogger(__name__)

_NO_DETECTOR = (
    "'{}' is a start for a training, no detector: name it as MODEL.WEIGHTS in the --config-file of "
    "a training, and predict with what that saves."
)


def config_of(weights: str | os.PathLike[str]) -> CfgNode:
    """Return the config that belongs to weights, with MODEL.WEIGHTS set to them.

    It builds the model in `Predictor` as in detectron2's `DefaultPredictor`; for the latter files
    that torch has not written under this package's names are "published:<absolute path>".

    Args:
        weights: a file that this package has written (.pth or .safetensors), one as its authors
            published it, an address, a name of the model zoo, or "hub:user/name[@revision]".

    Raises:
        FileNotFoundError: it is none of these.
        ValueError: it holds no config and is not recognised, or is no detector.
    """
    cfg, info = model_config(weights)
    file = cfg.MODEL.WEIGHTS
    if os.path.isfile(file) and not (info.config and file_kind(file) == "torch"):
        cfg.MODEL.WEIGHTS = vars(cfg)[FROM_WEIGHTS] = PUBLISHED + file
    return cfg


def read_model_config(
    config_file: str = "",
    weights: str = "",
    overrides: Sequence[Any] = (),
    *,
    imports: Iterable[str] = (),
    add_keys: Iterable[AddKeys] = (),
    evaluates: bool = False,
) -> CfgNode:
    """Return the config of a command: that of a file or, without one, the weights' own.

    Args:
        config_file: YAML; "" for the config in `weights`.
        weights: see `config_of`; "" for the MODEL.WEIGHTS of the overrides or the config file.
        overrides: KEY VALUE KEY VALUE ..., which come over either.
        imports: modules to import before, see `user_modules`.
        add_keys: further functions that add config keys, as for `load_config`.
        evaluates: DATASETS.TEST is needed, which is then that of the training, as far as it names
            registered datasets.

    Raises:
        FileNotFoundError, ValueError: see `load_config` and `config_of`; or nothing is given.
    """
    add_keys = [*add_keys, *import_all(imports)]
    if config_file:
        more = ["MODEL.WEIGHTS", named_weights(weights)] if weights else []
        return load_config(config_file, [*overrides, *more], add_keys)
    named = dict(zip(overrides[::2], overrides[1::2], strict=False)).get("MODEL.WEIGHTS", "")
    if not (weights := weights or named):
        raise ValueError(
            "Nothing says which model: give --weights, a file that carries its config or a name of "
            "the model zoo, or --config-file."
        )
    cfg, info = model_config(weights, overrides, add_keys)
    if evaluates and not cfg.DATASETS.TEST:
        cfg.DATASETS.update(_evaluated_on(info))
    return cfg


def _evaluated_on(info: ModelInfo) -> dict[str, Any]:
    """DATASETS.TEST and FROM_FILES of a model's training, as far as they are here."""
    names = list(map(str, info.training.get("test", ())))
    found, where = {"TEST": names}, "in the file"
    if not names or not set(names) <= set(DatasetCatalog.list()):
        where = beside = os.path.join(os.path.dirname(info.source), "config.yaml")
        levels = read_levels(beside) if os.path.isfile(beside) else []
        keys = {key: value for level in levels for key, value in level.values.items()}
        found = {name: keys.get(f"DATASETS.{name}") or [] for name in ("TEST", "FROM_FILES")}
    if not found["TEST"]:
        told = f" (in training: {', '.join(names)})" if names else ""
        raise ValueError(
            f"'{info.source}' does not say where its evaluation data is on this machine{told}: add "
            "DATASETS.TEST <name>, or DATASETS.TEST coco:<json>:<image folder>."
        )
    logger.info("DATASETS.TEST is %s, as in training (%s).", ", ".join(found["TEST"]), where)
    return found


def model_config(
    weights: str | os.PathLike[str],
    overrides: Sequence[Any] = (),
    add_keys: Iterable[AddKeys] = (),
) -> tuple[CfgNode, ModelInfo]:
    """Return `config_of`, with MODEL.WEIGHTS as our own loading takes it, and what the file says.

    `overrides` and `add_keys` are those of `load_config`.
    """
    weights = named_weights(weights)
    path, info = weights.removeprefix(PUBLISHED), ModelInfo(weights)
    if weights.startswith(IMAGENET):
        raise ValueError(_NO_DETECTOR.format(weights))
    if is_url(path):
        is_published = path != weights
        file = published_file(path) if is_published else PathManager.get_local_path(path)
        levels, info = _of_file(file, weights)
    elif os.path.exists(path):
        levels, info = _of_file(path, weights)
        weights = os.path.abspath(path)
    else:
        levels = _of_entry(path)
    device = "cuda" if gpu_count() else "cpu"
    here = Level("", {"MODEL.WEIGHTS": weights, "MODEL.DEVICE": device})
    try:
        cfg = merged_config([*levels, here], overrides, add_keys)
    except (KeyError, ValueError) as error:
        if info.newer:
            raise type(error)(f"{info.newer} {error.args[0]}") from error
        raise
    cfg.MODEL.WEIGHTS = weights  # whatever the overrides say
    if cfg.TEST.PROTOCOL:
        apply_protocol(cfg)
    vars(cfg)[FROM_WEIGHTS] = weights
    return cfg, info


def _of_file(file: str | os.PathLike[str], weights: str) -> tuple[list[Level], ModelInfo]:
    """What a file says of its config, or what its tensors tell."""
    if os.path.isdir(file):
        raise FileNotFoundError(f"'{weights}' is a folder: name the file in it, model_final.pth.")
    content = read_tensors(file, mapped=True)
    info, folder = ModelInfo.of(content, weights), os.path.dirname(file)
    names = (f"{os.path.splitext(file)[0]}.yaml", os.path.join(folder, "config.yaml"))
    beside = next(filter(os.path.isfile, names), "config.yaml")
    if info.is_lazy:
        raise ValueError(
            f"'{weights}' was trained from a LazyConfig, whose parts are calls, which are not run "
            f"from a file of weights. Evaluate it by --config-file {beside} --eval-only "
            f"train.init_checkpoint={weights}, or build `model` of that config yourself."
        )
    if info.config:
        source = f"The config in '{weights}': "
        return [Level(source, info.config_values(), is_saved=True)], info
    try:
        found = detect_source(unwrap(content).state)
    except UnsupportedWeightsError as error:
        raise UnsupportedWeightsError(f"'{weights}': {error}") from error
    except (UnknownWeightsError, UnwrapError) as error:
        raise ValueError(
            f"'{weights}' carries no config: it was saved before files did, or elsewhere. Give the "
            f"one that it was trained with: --config-file {beside}, or Predictor(load_config("
            f"'{beside}', ['MODEL.WEIGHTS', '{weights}']))."
        ) from error
    if found.task == "start":
        raise ValueError(_NO_DETECTOR.format(weights))
    size = 512 if "512" in os.path.basename(file) else 384
    return [Level("", matching_config(found, voc_size=size))], info


def _of_entry(name: str) -> list[Level]:
    """The config of an entry of the model zoo."""
    entry = find_entry(name)
    if not entry.config:
        raise ValueError(_NO_DETECTOR.format(name))
    protocol = Level("", {"TEST.PROTOCOL": entry.protocol})
    return [*read_levels(get_config_file(entry.config)), protocol]


def named_weights(weights: str | os.PathLike[str]) -> str:
    """Return what MODEL.WEIGHTS is for a file, an address, or a name of the model zoo.

    Raises:
        FileNotFoundError: it is none of these; the message has the nearest names of the zoo.
    """
    weights = expanded(weights)
    if weights.startswith(HUB):
        return str(from_hub(weights))
    name = weights.removeprefix(PUBLISHED)
    if weights.startswith(IMAGENET) or is_url(name) or PathManager.exists(without_query(name)):
        return weights
    try:
        return PUBLISHED + find_entry(name).name
    except UnknownModelError as error:
        raise FileNotFoundError(f"'{weights}': there is no such file. {error}") from None
