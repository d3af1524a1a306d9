"""Weight files of any origin: where they are kept, what kind of file it is, its tensors only.

No code of a file is ever run: torch reads it with `weights_only`, of plain pickles arrays alone are
taken, and what is no weight file is named (a web page, a Git LFS pointer).
"""

import argparse
import hashlib
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from iopath.common.file_io import get_cache_dir

from ..atomic_write import atomic_write
from . import other_formats

CACHE_VARIABLE = "CENTERNET_D2_CACHE"

ZIP_START = b"PK\x03\x04"
# The magic number that opens the format of torch before 1.6, pickled with protocol 2.
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LFS_START = b"version https://git-lfs.github.com"
HTML_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head")


class WeightFileError(ValueError):
    """A file is no weight file, is damaged, or holds more than tensors and plain values."""


def cache_dir() -> Path:
    """The folder of this package's downloads and converted files; it need not exist.

    $CENTERNET_D2_CACHE, else `centernet_d2` in the cache of detectron2's own downloads, which is
    $FVCORE_CACHE or ~/.torch/iopath_cache.
    """
    own = os.environ.get(CACHE_VARIABLE)
    return Path(own).expanduser() if own else Path(get_cache_dir()) / "centernet_d2"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


EXPORTED = (".onnx", ".xml", ".pt2")  # endings of files that `centernet-d2 export` writes


def file_kind(path: str | os.PathLike[str]) -> str:
    """What a file is by how it begins: "torch", or one of the words below, or "unknown"."""
    with open(path, "rb") as stream:
        start = stream.read(512)
    if os.fspath(path).lower().endswith(EXPORTED):
        return "exported"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kinds = {
        "empty": not start,
        "torch": start.startswith((ZIP_START, LEGACY_START)),
        "html": text.startswith(HTML_STARTS),
        "lfs": start.startswith(LFS_START),
        "safetensors": other_formats.is_safetensors(start, os.path.getsize(path)),
        "pickle": start.startswith(b"\x80"),
    }
    return next((kind for kind, fits in kinds.items() if fits), "unknown")


_NOT_WEIGHTS = {
    "exported": "is a file of `centernet-d2 export`, not weights: `serve --model`, `app --model` "
    "and `python -m centernet_d2.runtime` run it. Name the weights that it was made of.",
    "html": "is a web page, not weights: the server answered with a page (a quota, a sign-in or a "
    "confirmation). Open the address in a browser and download the file itself.",
    "lfs": "is a Git LFS pointer, not the weights it stands for. Run `git lfs pull` in its "
    "repository, or download the file itself.",
    "empty": "is empty, it may be damaged or its download failed. Copy or download it again.",
    "unknown": "is no file that torch saved, or it is damaged. Copy or download it again.",
}

_SAVE_TENSORS = "torch.save({'model': {name: tensor}}, 'weights.pth')"


def read_tensors(path: str | os.PathLike[str], *, mapped: bool = False) -> dict[str, Any]:
    """Load weights that torch saved, in either of its formats, safetensors, or pickled arrays.

    The ending does not count. Besides tensors, on the CPU, only plain values, and numbers and
    arrays of numpy, are taken; anything else would be code. `mapped` leaves tensors on the disk
    until they are used, where the format allows it.

    Raises:
        WeightFileError: another kind of file, a damaged one, or one that holds no dict of these.
    """
    name = os.fspath(path)
    if (kind := file_kind(path)) in _NOT_WEIGHTS:
        raise WeightFileError(f"'{name}' {_NOT_WEIGHTS[kind]}")
    try:
        loaded = _READERS[kind](path, mapped)
    except ImportError:
        raise
    except pickle.UnpicklingError as error:
        what = "is a plain Python pickle" if kind == "pickle" else "holds Python objects"
        raise WeightFileError(
            f"'{name}' {what} of more than tensors and plain values, which could run code and is "
            "not loaded, or it is damaged. If you trust it, load it yourself and save its tensors: "
            f"{_SAVE_TENSORS}. ({_reason(error)})"
        ) from error
    # A file that is cut off fails in many ways, some of them far inside torch's reader.
    except Exception as error:
        if "TorchScript" in str(error):
            raise WeightFileError(
                f"'{name}' is a TorchScript program, not weights. Save its tensors as "
                f"{_SAVE_TENSORS}, from torch.jit.load(...).state_dict()."
            ) from error
        raise WeightFileError(
            f"'{name}' cannot be read, it may be damaged or cut off "
            f"({os.path.getsize(path):,} bytes): {_reason(error)}. Copy or download it again."
        ) from error
    if not isinstance(loaded, dict):
        raise WeightFileError(f"'{name}' holds a {type(loaded).__name__}, not a dict of tensors.")
    return loaded


def _read_torch(path: str | os.PathLike[str], mapped: bool) -> Any:
    # Training programs keep their options as a Namespace, which is plain values too.
    with torch.serialization.safe_globals([*other_formats.numpy_values(), argparse.Namespace]):
        mmap = mapped and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


_READERS = {
    "torch": _read_torch,
    "safetensors": lambda path, mapped: other_formats.read_safetensors(path),
    "pickle": lambda path, mapped: other_formats.read_pickle(path),
}


def _reason(error: Exception) -> str:
    """The part of a reader's message that says what is wrong, in one line."""
    if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"it asks for {asked[1]}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where no form of weights is known by the ending of a name."""
    if not os.fspath(path).endswith((".pth", ".safetensors")):
        raise ValueError(f"'{path}' must end in .pth, which detectron2 reads, or in .safetensors.")


def write_weights(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write tensors, "model", and plain values beside them, whole or not at all.

    The ending says in which form; of safetensors the values are metadata, as JSON.

    Raises:
        ValueError: another ending.
        ImportError: the package safetensors is not installed.
        OSError: the file cannot be written.
    """
    check_ending(path)
    if os.fspath(path).endswith(".pth"):
        with atomic_write(path) as stream:
            torch.save(content, stream)
        return
    beside = {name: value for name, value in content.items() if name != "model"}
    written = other_formats.safetensors_bytes(content["model"], beside)
    with atomic_write(path) as stream:
        stream.write(written)


def check_finite(state: Mapping[str, torch.Tensor], source: str) -> None:
    """Raise ValueError for NaN or infinity in weights, with which a model detects nothing."""
    floats = {name: value.float() for name, value in state.items() if value.is_floating_point()}
    if bad := [name for name, value in floats.items() if not value.isfinite().all()]:
        first = floats[bad[0]]
        raise ValueError(
            f"'{source}' holds NaN or infinity in {len(bad)} of {len(state)} tensors, first in "
            f"{bad[0]} ({(~first.isfinite()).sum().item()} of {first.numel()} values): its "
            "training diverged or the file is damaged. Use an earlier checkpoint, or copy it again."
        )
