"""What weights hold beside tensors: names of classes and joints, known or a guess; their pixels."""

import contextlib
import functools
import logging
import os
from pathlib import Path
from urllib.parse import urlparse

from detectron2.config import CfgNode, get_cfg
from iopath.common.file_io import get_cache_dir

from ..checkpoint.detect_source import COCO_SKELETON, DATASET_CLASSES, detect_source
from ..checkpoint.download import is_url
from ..checkpoint.files import file_kind, read_tensors
from ..checkpoint.imagenet import Source
from ..checkpoint.matching_config import source_pixels
from ..checkpoint.model_info import ModelInfo
from ..checkpoint.pixels import COCO, VOC, Pixels, from_keys
from ..checkpoint.pixels import KEYS as PIXEL_KEYS
from ..checkpoint.unwrap import unwrap
from ..config import flattened
from ..config.files import read_levels
from ..model_zoo.lookup import UnknownModelError, find_entry, get_config_file, shipped_file
from ..model_zoo.path_handlers import IMAGENET, PUBLISHED, downloaded_file, local_file
from ..progress import SHOWN, tell_once
from .checkpointer import without_query

logger = logging.getLogger(__name__)

GIVEN = "__given__"  # attribute of a config: the keys that files or overrides have set
# The cure where weights name nothing.
HOW_TO_NAME = (
    "Name a dataset in DATASETS.TEST, or give the names to `centernet-d2 convert --classes "
    "--joints`"
)


def saved_names(weights: str) -> ModelInfo:
    """Names in `weights` as far as they are known without a download.

    Those of the model zoo are stated with their entry. A file is read where it is local, or where
    an address was downloaded before. Files as their authors published them hold no names: these
    are guessed from the numbers of classes and joints, and are marked so.
    """
    if not weights:
        return ModelInfo()
    name = without_query(weights)
    if name.startswith(PUBLISHED) and not _expected_file(name).is_file():
        with contextlib.suppress(UnknownModelError):
            if benchmark := find_entry(name.removeprefix(PUBLISHED)).benchmark:
                joints = COCO_SKELETON if benchmark.dataset == "coco_person" else {}
                classes = DATASET_CLASSES[benchmark.dataset]
                return ModelInfo(weights, class_names=classes, joints=joints)
    file = _fetched.get(name) or _expected_file(name)
    return _names_in(file, os.stat(file).st_mtime_ns, weights) if file.is_file() else ModelInfo()


def _expected_file(name: str) -> Path:
    """Where the file of a name is, if it is here."""
    if is_url(name):
        return Path(get_cache_dir()) / urlparse(name).path.lstrip("/")  # as PathManager keeps it
    name = name.removeprefix(PUBLISHED)
    if is_url(name):
        return downloaded_file(name)
    return shipped_file(name) or Path(name).expanduser()


@functools.lru_cache(maxsize=8)
def _names_in(file: Path, _changed: int, source: str) -> ModelInfo:
    try:
        if file_kind(file) not in ("torch", "safetensors"):
            return ModelInfo()
        loaded = read_tensors(file, mapped=True)
        if "class_names" not in loaded:
            found = detect_source(unwrap(loaded).state)
            loaded = found.names | {"pixels": source_pixels(found).saved()}
        info = ModelInfo.of(loaded, source)
    except (OSError, ValueError):  # reported where they are loaded, with their name and the cure
        return ModelInfo()
    if info.newer:
        tell_once(info.newer)
    return info


_fetched: dict[str, Path] = {}  # name -> its local file


def fetch_weights(weights: str) -> None:
    """Download `weights` where they are not here yet, so that their class names can be read."""
    if weights and not weights.startswith(IMAGENET):
        name = without_query(weights)
        _fetched[name] = local_file(name)


def weights_pixels(weights: str) -> Pixels | None:
    """What MODEL.WEIGHTS were trained to see, as far as it is known without a download."""
    if weights.startswith(IMAGENET):
        return Source.named(weights).pixels
    if not (pixels := saved_names(weights).pixels) and weights.startswith(PUBLISHED):
        with contextlib.suppress(UnknownModelError):
            levels = read_levels(get_config_file(weights.removeprefix(PUBLISHED)))
            pixels = from_keys({k: v for level in levels for k, v in level.values.items()})
    return pixels


def follow_pixels(cfg: CfgNode) -> None:
    """Set MODEL.PIXEL_MEAN and STD, in place, to the weights', or tell where they contradict.

    By hand is what a file or an override has set; in a config from elsewhere what is not
    detectron2's default. The published trainings gave ImageNet's weights other images, knowingly.
    """
    model, pixels = cfg.MODEL, weights_pixels(cfg.MODEL.WEIGHTS)
    if model.WEIGHTS.startswith(IMAGENET) and "timm" in model.BACKBONE.NAME:
        own, theirs = (
            n.partition(".")[0] for n in (model.TIMM.NAME, Source.named(model.WEIGHTS).model)
        )
        if own != theirs and own.removeprefix("tf_") == theirs.removeprefix("tf_"):
            raise ValueError(
                f"MODEL.WEIGHTS '{model.WEIGHTS}' are of {theirs}, which pads and normalises "
                f"otherwise than MODEL.TIMM.NAME {own}, of the same shapes: make them agree."
            )
    if pixels is None or pixels.same(model.PIXEL_MEAN, model.PIXEL_STD):
        return
    own, default = flattened(cfg), flattened(get_cfg())
    given = vars(cfg).get(GIVEN, [key for key in PIXEL_KEYS if own[key] != default[key]])
    theirs = "PIXEL_MEAN {} and PIXEL_STD {}".format(
        *([round(v, 2) for v in p] for p in pixels[:2])
    )
    if not {*PIXEL_KEYS} & {*given}:
        model.PIXEL_MEAN, model.PIXEL_STD = list(pixels.mean), list(pixels.std)
        logger.info("MODEL.%s are those of '%s'.", theirs, model.WEIGHTS, extra=SHOWN)
    elif cfg.DATASETS.TRAIN and not (
        pixels.rgb and any(each.same(model.PIXEL_MEAN, model.PIXEL_STD) for each in (COCO, VOC))
    ):
        tell_once(
            f"MODEL.PIXEL_MEAN {model.PIXEL_MEAN} and PIXEL_STD {model.PIXEL_STD} are set by hand, "
            f"but '{model.WEIGHTS}' was trained with {theirs} (blue, green, red). Leave both keys "
            "out, and they follow the weights, as the order of channels does."
        )
