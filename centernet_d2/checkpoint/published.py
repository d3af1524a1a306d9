"""Published weights as detectron2 files: detected, renamed, checked, and cached."""

import functools
import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from .. import __version__
from .backbones import UnknownWeightsError, UnsupportedWeightsError
from .detect_source import MMDETECTION, DetectedSource, detect_source
from .files import cache_dir, read_tensors, sha256_of, write_weights
from .matching_config import COMMON, config_node, source_pixels
from .model_info import ModelInfo, config_text
from .pixels import as_bgr
from .rename import Renamed, RenameError, rename_state_dict
from .unwrap import UnwrapError, unwrap

logger = logging.getLogger(__name__)

VERSION = 6  # of what is written; raise it with any change, so that cached files are made anew
AUTHOR = "centernet_d2, converted from"


@dataclass(frozen=True)
class Converted:
    """Published weights under this package's names."""

    found: DetectedSource
    state_dict: dict[str, Tensor]  # of the whole model, unless `found.task` is "start"
    renamed: Renamed  # what the table did, with reasons

    def file_content(self) -> dict[str, Any]:
        """What a detectron2 file of these weights holds."""
        return {
            "model": self.state_dict,
            "__author__": f"{AUTHOR} {self.found.describe()}",
            "pixels": source_pixels(self.found).saved(),
            **self.found.names,
        }

    def report(self) -> str:
        """A few lines: what it is, how many tensors, what was left out and why."""
        numbers = sum(tensor.numel() for tensor in self.state_dict.values())
        counts = f"{len(self.renamed.state_dict)} tensors, {numbers:,} numbers"
        lines = [self.found.describe(), counts]
        left_out = {"dropped": self.renamed.dropped, "not in the file": self.renamed.kept}
        for what, reasons in left_out.items():
            for reason in dict.fromkeys(reasons.values()):
                keys = [key for key, given in reasons.items() if given == reason]
                lines.append(f"{what}: {len(keys)} ({keys[0]} ...): {reason}")
        return "\n".join(lines)


def convert(checkpoint: Mapping[str, Any], name: str = "") -> Converted:
    """Rename the tensors of a published file, which errors call `name`, and check them.

    Raises:
        UnknownWeightsError: no known source.
        RenameError: the keys or shapes are not exactly those of the detected network.
        UnwrapError: there is no state dict in it.
    """
    try:
        state = unwrap(checkpoint).state
        found = detect_source(state)
        renamed = rename_state_dict(state, found.table, model_names(found))
    except RenameError as error:
        file = f", file '{name}'" if name else ""
        table = f"{error.table_name}, for {found.describe()}{file}"
        raise RenameError(table, error.problems) from None
    except ValueError as error:
        if not name:
            raise
        raise type(error)(f"'{name}': {error}") from error
    filled = renamed.filled
    if found.task == "start":  # only in the layers that it has
        layers = {name.rpartition(".")[0] for name in renamed.state_dict}
        filled = {name: v for name, v in filled.items() if name.rpartition(".")[0] in layers}
    tensors = renamed.state_dict | filled
    return Converted(found, as_bgr(tensors) if found.source == MMDETECTION else tensors, renamed)


def model_names(found: DetectedSource) -> dict[str, Tensor]:
    """State dict of the matching model, its tensors without storage."""
    return _meta_model(COMMON | found.model).state_dict()


def _meta_model(keys: Mapping[str, Any]) -> nn.Module:
    cfg = config_node({**keys, "MODEL.DEVICE": "meta"})
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return build_model(cfg)


def published_info(keys: Mapping[str, Any], source: str) -> ModelInfo:
    """What a file says of converted weights of this config, as far as their authors' file did."""
    data = {key.lower(): list(keys.get(f"DATASETS.{key}", ())) for key in ("TRAIN", "TEST")}
    return ModelInfo(
        version=__version__,
        config=config_text(config_node(keys)),
        protocol=_meta_model(keys).describe_protocol(),
        training={"converted_from": os.path.basename(source)} | data,
    )


def detectron2_form(
    content: Mapping[str, Any], name: str, known: Collection[str] = ()
) -> dict[str, Any]:
    """The content of file `name` as detectron2 has it: "model" -> tensors, and what is beside them.

    Tensors of a published form get this package's names, unless they have those `known` of the
    model already; others keep theirs, without wrappers (see `unwrap`). What is not used is told.

    Raises:
        UnwrapError, RenameError, UnsupportedWeightsError: it cannot be used; the message names it.
    """
    try:
        unwrapped = unwrap(content, known)
    except UnwrapError as error:
        raise UnwrapError(f"'{name}': {error}.") from error
    for note in unwrapped.notes:
        logger.warning("'%s': %s", name, note)
    plain = {**unwrapped.beside, "model": unwrapped.state}
    given, wanted = set(unwrapped.state), set(known)
    if given <= wanted or (wanted and wanted <= given) or plain.get("matching_heuristics"):
        return plain
    try:
        return convert(unwrapped.state, name).file_content()
    except UnsupportedWeightsError:
        raise
    except UnknownWeightsError:
        return plain


def converted_file(path: str | os.PathLike[str]) -> Path:
    """The detectron2 file of a published one: made on first use, then from the cache.

    The cache knows a file by its content. One that is in detectron2's form already is returned as
    it is, or as a copy named ".pth".

    Raises:
        ValueError: see `read_tensors` and `detectron2_form`. Nothing is left behind.
    """
    path = Path(path)
    file = cache_dir() / "converted" / f"{path.stem[:60]}-{digest_of(path)[:16]}-v{VERSION}.pth"
    if file.is_file():
        return file
    checkpoint = read_tensors(path)
    content = detectron2_form(checkpoint, str(path))
    state = content["model"]
    is_own = "model" in checkpoint or any(key.startswith("head.stacks.") for key in state)
    if not is_own and "__author__" not in content:
        convert(state, str(path))  # raises, and says what it looks like
    written = checkpoint.get("model")
    if path.suffix == ".pth" and isinstance(written, Mapping) and list(written) == list(state):
        return path
    write_weights(file, content)
    what = content.get("__author__", "a copy with plain names").removeprefix(f"{AUTHOR} ")
    logger.info("%s: %s. Kept as %s.", path, what, file)
    return file


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, which is read once while it does not change."""
    status = path.stat()
    return _digest(str(path.absolute()), status.st_size, status.st_mtime_ns)


@functools.lru_cache
def _digest(path: str, _size: int, _changed: int) -> str:
    return sha256_of(path)
