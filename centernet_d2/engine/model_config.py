"""The config that belongs to weights: the one that a file carries, or that of the model zoo."""

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.file_io import PathManager

from ..checked_values import nearest
from ..checkpoint.detect_source import detect_source
from ..checkpoint.download import is_url
from ..checkpoint.files import file_kind, read_tensors
from ..checkpoint.matching_config import matching_config
from ..checkpoint.model_info import ModelInfo
from ..checkpoint.unwrap import unwrap
from ..config.files import Level, read_levels
from ..config.protocols import apply_protocol, departures
from ..config.rules import gpu_count
from ..model_zoo.hub import HUB
from ..model_zoo.lookup import (
    UnknownModelError,
    find_entry,
    get_config_file,
    known_names,
    shipped_file,
)
from ..model_zoo.path_handlers import IMAGENET, PUBLISHED, local_file, published_file
from ..progress import SHOWN, tell_once
from ..text_files import expanded
from .saved_names import GIVEN
from .setup import BY_HAND, FROM_WEIGHTS, load_config
from .user_modules import AddKeys

logger = logging.getLogger(__name__)


def config_of(weights: str | os.PathLike[str]) -> CfgNode:
    """Return the config that belongs to weights, with MODEL.WEIGHTS set to them.

    It builds the model in `Predictor` as in detectron2's `DefaultPredictor`, for which what its
    loader cannot read (safetensors, tensors under other names) is "published:<absolute path>".

    Args:
        weights: a file that this package has written (.pth or .safetensors), one as its authors
            published it, an address, a name of the model zoo, or "hub:user/name[@revision]".

    Raises:
        FileNotFoundError: it is none of these.
        ValueError: it holds no config and is not recognised, or is no detector.
    """
    cfg, info = model_config(weights)
    file = cfg.MODEL.WEIGHTS
    is_torch = file_kind(file) == "torch" if os.path.isfile(file) else file.endswith(".pth")
    if not (file.startswith(PUBLISHED) or (info.config and is_torch)):
        cfg.MODEL.WEIGHTS = vars(cfg)[FROM_WEIGHTS] = PUBLISHED + file
    return cfg


def read_model_config(
    config_file: str = "",
    weights: str = "",
    overrides: Sequence[Any] = (),
    *,
    add_keys: Iterable[AddKeys] = (),
    evaluates: bool = False,
    trains: bool = False,
) -> CfgNode:
    """Return the config of a command: that of a file or, without one, the weights' own.

    With a name of the model zoo TEST.PROTOCOL is that of its published numbers, unless the file or
    the overrides set that key, or another one in contradiction to it, which is told.

    Args:
        config_file: YAML; "" for the config in `weights`.
        weights: see `config_of`; "" for the MODEL.WEIGHTS of the overrides or the config file.
        overrides: KEY VALUE KEY VALUE ..., which come over either.
        add_keys: further functions that add config keys, as for `load_config`.
        evaluates: DATASETS.TEST is needed; where it is not given it is that of the training.
        trains: the weights are a start, whose published numbers say nothing of what is trained.

    Raises:
        FileNotFoundError, ValueError: see `load_config` and `config_of`; or nothing is given.
    """
    given = dict(zip(overrides[::2], overrides[1::2], strict=False))
    if config_file:
        more = ["MODEL.WEIGHTS", named_weights(weights)] if weights else []
        cfg = load_config(config_file, [*overrides, *more], add_keys)
        if not trains and _take_protocol(cfg, vars(cfg)[GIVEN]):
            told = "TEST.PROTOCOL is that of the numbers of %s; TEST.PROTOCOL '' leaves it out."
            logger.info(told, cfg.MODEL.WEIGHTS.removeprefix(PUBLISHED), extra=SHOWN)
        return cfg
    if not (weights := weights or given.get("MODEL.WEIGHTS", "")):
        raise ValueError(
            "Nothing says which model: give --weights, a file that carries its config or a name of "
            "the model zoo, or --config-file."
        )
    cfg, info = model_config(weights, overrides, add_keys, trains)
    if evaluates and not cfg.DATASETS.TEST:
        cfg.DATASETS.update(_evaluated_on(info))
    return cfg


def _take_protocol(cfg: CfgNode, given: Collection[str]) -> bool:
    """Set the TEST.PROTOCOL of a name of the model zoo, unless a key that is given contradicts."""
    name = cfg.MODEL.WEIGHTS.removeprefix(PUBLISHED)
    entry = None if os.path.exists(name) else known_names().get(name)
    if not entry or not entry.protocol or "TEST.PROTOCOL" in given:
        return False
    cfg.TEST.PROTOCOL = entry.protocol
    against = [(key, *pair) for key, pair in departures(cfg).items() if key in given]
    if against:
        cfg.TEST.PROTOCOL, word = "", f"TEST.PROTOCOL {entry.protocol}"
        told = "{0} of {1} is not taken, as {2} is {3!r}: {0} would mean {4!r}."
        tell_once(told.format(word, name, *against[0]))
    return not against


def model_text(cfg: CfgNode) -> str:
    """What a config says of a model and its inference, but for its device and weights."""
    parts = cfg.clone()
    parts.defrost()
    parts.MODEL.DEVICE = parts.MODEL.WEIGHTS = ""
    return "\n".join(part.dump() for part in (parts.MODEL, parts.INPUT, parts.TEST))


def _evaluated_on(info: ModelInfo) -> dict[str, Any]:
    """DATASETS.TEST and FROM_FILES of a model's training, as far as they are here."""
    names, beside = list(info.training.get("test", ())), _beside(info.source)
    found = {"TEST": names}
    if not set(names) <= set(DatasetCatalog.list()):
        levels = read_levels(beside) if os.path.isfile(beside) else []
        keys = {key: value for level in levels for key, value in level.values.items()}
        found = {name: keys.get(f"DATASETS.{name}") or [] for name in ("TEST", "FROM_FILES")}
    if not found["TEST"]:
        raise ValueError(
            f"'{info.source}' does not say where its evaluation data (of its training: "
            f"{', '.join(names) or 'none'}) is on this machine: add DATASETS.TEST <name>, or "
            "DATASETS.TEST coco:<json>:<image folder> or voc:<folder>:<split> (or --dataset, where "
            "the command has it)."
        )
    logger.info("DATASETS.TEST is that of the training: %s.", ", ".join(found["TEST"]))
    return found


def _beside(file: str | os.PathLike[str]) -> str:
    """The config.yaml that a run leaves beside its checkpoints."""
    return os.path.join(os.path.dirname(file), "config.yaml")


def named_weights(weights: str | os.PathLike[str]) -> str:
    """Return what MODEL.WEIGHTS is for a file, an address, a name of the zoo or of the Hub.

    Raises:
        FileNotFoundError: it is none of these; the message has the nearest names there are.
    """
    weights = expanded(weights)
    if weights.startswith(HUB):
        return str(published_file(weights))
    name = weights.removeprefix(PUBLISHED)
    if file := shipped_file(name):
        return str(file)
    if weights.startswith(IMAGENET) or is_url(name) or PathManager.isfile(name.partition("?")[0]):
        return weights
    try:
        return PUBLISHED + find_entry(name).name
    except UnknownModelError as error:
        if os.path.isdir(name):
            told = f"'{weights}' is a folder: name the file in it, such as model_final.pth."
            raise FileNotFoundError(told) from None
        folder, file = os.path.split(name)
        known = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
        near = nearest(file, known)
        raise FileNotFoundError(f"'{weights}': there is no such file{near}. {error}") from None


def model_config(
    weights: str | os.PathLike[str],
    overrides: Sequence[Any] = (),
    add_keys: Iterable[AddKeys] = (),
    trains: bool = False,
) -> tuple[CfgNode, ModelInfo]:
    """Return `config_of`, with MODEL.WEIGHTS as our own loading takes it, and what the file says.

    `overrides` and `add_keys` are those of `load_config`, `trains` that of `read_model_config`.
    """
    weights = named_weights(weights)
    name = file = weights.removeprefix(PUBLISHED)
    if is_url(name):
        fetch = local_file if name == weights else published_file
        file = fetch(name)
    elif os.path.isfile(name):
        weights = os.path.abspath(name)
    content = read_tensors(file, mapped=True) if os.path.isfile(file) else {}
    info = ModelInfo.of(content, weights)
    levels = _levels(content, info, os.fspath(file))
    if levels is None:
        raise ValueError(
            f"'{weights}' is a start for a training, no detector: name it as MODEL.WEIGHTS in the "
            "--config-file of a training, and predict with what that saves."
        )
    device = "cuda" if gpu_count() else "cpu"
    levels.append(Level("", {"MODEL.WEIGHTS": weights, "MODEL.DEVICE": device}))
    try:
        cfg = load_config(levels, overrides, add_keys)
    except (KeyError, ValueError) as error:
        if not info.newer:
            raise
        raise type(error)(f"{info.newer} {error.args[0]}") from error
    cfg.MODEL.WEIGHTS = vars(cfg)[FROM_WEIGHTS] = weights  # whatever the overrides say
    if not trains:
        _take_protocol(cfg, vars(cfg)[BY_HAND])
    apply_protocol(cfg)
    return cfg, info


def _levels(content: dict[str, Any], info: ModelInfo, file: str) -> list[Level] | None:
    """The config that a file carries, or that its tensors tell; of a name that of the zoo.

    None for weights of no detector.
    """
    if info.is_lazy:
        raise ValueError(
            f"'{info.source}' was trained from a LazyConfig, whose parts are calls, which are not "
            f"run from a file of weights. Evaluate it by --config-file {_beside(file)} --eval-only "
            f"train.init_checkpoint={info.source}, or build `model` of that config yourself."
        )
    if info.config:
        return [Level(f"The config in '{info.source}': ", info.config_values(), is_saved=True)]
    if not content:
        entry = None if info.source.startswith(IMAGENET) else find_entry(file)
        if entry is None or not entry.config:
            return None
        return read_levels(get_config_file(entry.config))
    try:
        found = detect_source(unwrap(content).state)
    except ValueError as error:
        raise ValueError(
            f"'{info.source}' carries no config: it was saved before files did, or elsewhere. Give "
            f"the one of its training: --config-file {_beside(file)}, or Predictor(load_config("
            f"'{_beside(file)}', ['MODEL.WEIGHTS', '{info.source}'])). ({error})"
        ) from error
    size = 512 if "512" in os.path.basename(file) else 384
    return None if found.task == "start" else [Level("", matching_config(found, voc_size=size))]
