"""How a table of config keys is written, and what only config values may be."""

from typing import Any, NamedTuple

import torch

from ..checked_values import Rule, listed, one_of, whole


class Key(NamedTuple):
    """A config key that this package adds."""

    name: str  # dotted
    default: Any
    rule: Rule
    doc: str


class Block(NamedTuple):
    """Keys of one group of the tree, and what the group is for."""

    path: str
    about: str
    keys: tuple[Key, ...]


def block(path: str, about: str, **keys: tuple[Any, Rule, str]) -> Block:
    """Return the keys `path.NAME`, each given as NAME=(default, rule, meaning)."""
    return Block(path, about, tuple(Key(f"{path}.{name}", *row) for name, row in keys.items()))


def _is_device(value: Any) -> bool:
    try:
        return isinstance(value, str) and torch.device(value) is not None
    except RuntimeError:
        return False


def gpu_count() -> int:
    """How many GPUs of CUDA this torch sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def has_device(name: str) -> bool:
    """Whether this torch, on this machine, has a device; a GPU is not touched for it."""
    try:
        wanted = torch.device(name)
        if wanted.type == "cuda":
            return (wanted.index or 0) < gpu_count()
        return torch.empty(0, device=wanted) is not None
    except (RuntimeError, NotImplementedError, AssertionError):  # each type has its own
        return False


device = Rule("a device of torch, such as 'cuda', 'cuda:1' or 'cpu'", _is_device)
device_here = Rule(
    "a device that this machine has, such as 'cpu'",
    lambda value: isinstance(value, str) and has_device(value),
)
size = Rule("[height, width], two whole numbers of 1 or more", listed(whole(1), count=2).accepts)
channels = whole(1)
widths = listed(channels, least=1)
norm = one_of(  # the names that detectron2 knows
    *("BN", "SyncBN", "GN", "FrozenBN", "LN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N", "")
)
