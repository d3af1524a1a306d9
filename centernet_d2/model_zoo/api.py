"""`get_config`, `get_checkpoint_url` and `get`, with the arguments of detectron2's."""

from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, LazyConfig, instantiate
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from torch import nn

from ..checkpoint.files import read_tensors
from ..checkpoint.matching_config import config_node
from ..checkpoint.model_info import read_model_info
from ..checkpoint.pixels import turned_for
from ..config.protocols import apply_protocol
from .lookup import find_entry, get_config_file, shipped_models
from .path_handlers import IMAGENET, PUBLISHED


def get_checkpoint_url(config_path: str) -> str:
    """What to set MODEL.WEIGHTS to for an entry's published weights; nothing is downloaded.

    Args:
        config_path: config of the entry, e.g. "COCO-Detection/points_dla34_140e.yaml"; folder and
            ending may be left out. Or a model in the package, "bccd".

    Raises:
        UnknownModelError: the zoo has no such entry; the message lists near names.
    """
    is_shipped = config_path in shipped_models()
    return PUBLISHED + (config_path if is_shipped else find_entry(config_path).name)


def get_config(config_path: str, trained: bool = False) -> Any:
    """The config of a shipped model: a CfgNode, or a LazyConfig for a `.py`.

    Args:
        config_path: see `get_checkpoint_url`; also configs without published weights.
        trained: set MODEL.WEIGHTS (LazyConfig: train.init_checkpoint) to the published weights, and
            TEST.PROTOCOL, with all keys that it decides, to that of their published numbers.
            Otherwise both stay as in the file, which may name a pre-trained trunk.

    Raises:
        UnknownModelError: there is no such config or, with `trained`, no such entry.
    """
    url = get_checkpoint_url(config_path) if trained else ""
    if shipped := shipped_models().get(config_path):
        return config_node(read_model_info(shipped).config_values() | {"MODEL.WEIGHTS": url})
    file = get_config_file(config_path)
    if file.endswith(".py"):
        lazy = LazyConfig.load(file)
        if trained:
            lazy.train.init_checkpoint = url
        return lazy
    cfg = config_node({})
    cfg.merge_from_file(file)
    if trained:
        cfg.MODEL.WEIGHTS, cfg.TEST.PROTOCOL = url, find_entry(config_path).protocol
        apply_protocol(cfg)
    return cfg


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """The model of a shipped config, in training mode.

    Args:
        config_path: see `get_config`.
        trained: fill all of it with the published weights; else with what the config names, if any.
        device: by default the config's, or "cpu" where torch sees no GPU.

    Raises:
        UnknownModelError, OSError, RuntimeError: there is no such config, or the weights cannot be
            had (the message says what to do), or do not fill the model.
    """
    cfg = get_config(config_path)
    url = get_checkpoint_url(config_path) if trained else ""
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    if isinstance(cfg, CfgNode):
        cfg.MODEL.DEVICE = device or cfg.MODEL.DEVICE
        model, weights = build_model(cfg), cfg.MODEL.WEIGHTS
    else:
        model, weights = instantiate(cfg.model), cfg.train.get("init_checkpoint", "")
        model = model if device is None else model.to(device)
    if url:
        content = read_tensors(PathManager.get_local_path(url))
        model.load_state_dict(content["model"], strict=True)
    elif weights.startswith(IMAGENET):
        content = read_tensors(PathManager.get_local_path(weights))
        model.load_state_dict(turned_for(model, content), strict=False)
    elif weights:
        DetectionCheckpointer(model).load(weights)
    return model
