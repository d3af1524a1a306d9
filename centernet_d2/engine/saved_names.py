"""The names that weights hold, of classes and joints: known ones, and those that are a guess."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from pathlib import Path
from urllib.parse import urlparse

from iopath.common.file_io import get_cache_dir

from ..checkpoint.detect_source import COCO_SKELETON, DATASET_CLASSES, detect_source
from ..checkpoint.download import is_url
from ..checkpoint.files import file_kind, read_tensors
from ..checkpoint.matching_config import source_pixels
from ..checkpoint.model_info import ModelInfo
from ..checkpoint.unwrap import unwrap
from ..model_zoo.lookup import UnknownModelError, find_entry
from ..model_zoo.path_handlers import IMAGENET, PUBLISHED, downloaded_file, local_file
from .checkpointer import without_query

logger = logging.getLogger(__name__)

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
    return downloaded_file(name) if is_url(name) else Path(name).expanduser()


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


@functools.cache
def tell_once(message: str) -> None:
    """Warn; once in a process of the same."""
    logger.warning(message)


_fetched: dict[str, Path] = {}  # name -> its local file


def fetch_weights(weights: str) -> None:
    """Download `weights` where they are not here yet, so that their class names can be read."""
    if weights and not weights.startswith(IMAGENET):
        name = without_query(weights)
        _fetched[name] = local_file(name)
