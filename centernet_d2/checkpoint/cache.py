"""Where downloaded and converted weights are kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from iopath.common.file_io import get_cache_dir

CACHE_VARIABLE = "CENTERNET_D2_CACHE"


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
