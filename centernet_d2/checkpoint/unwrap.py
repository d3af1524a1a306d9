"""From what a file holds to named tensors: without what programs put around and before them.

One step for loading and for recognising, so that whatever is recognised is also loaded.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Entries that hold the weights, the first that is there. Their moving average comes last: it is
# taken where a file has nothing else.
WEIGHTS = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "weights")
AVERAGES = ("model_ema", "ema_model", "ema", "ema_state_dict", "state_dict_ema", "ema_state")
# What torch.compile, FSDP and activation checkpoints put between the parts of a name.
_WRAPPERS = re.compile(r"(?<![^.])_(?:orig_mod|fsdp_wrapped_module|checkpoint_wrapped_module)\.")
# Before all names: DataParallel, and what a training program calls its network.
# Moving averages come last here too.
PREFIXES = tuple(
    f"{name}."
    for name in ("module", "model", "online_model", "net", "network", "detector", *AVERAGES)
)


class UnwrapError(ValueError):
    """There are no named tensors in a file, or two of one name."""


@dataclass(frozen=True)
class Unwrapped:
    """Named tensors of a file, and what stands beside them."""

    state: dict[str, Tensor]
    beside: dict[str, Any]  # the file's other entries
    notes: tuple[str, ...] = ()  # what of the file is not used, as sentences


def unwrap(content: Mapping[str, Any], known: Collection[str] = ()) -> Unwrapped:
    """Take the tensors out of their containers, and what wraps the network from their names.

    Args:
        content: of the file.
        known: names of the model that they are for: a prefix that is part of its names stays.

    Raises:
        UnwrapError: the file holds no named tensors, something else among them, or two of one name.
    """
    beside: dict[str, Any] = {}
    inside = ""
    while container := _container(content):
        beside |= {key: value for key, value in content.items() if key != container}
        content, inside = content[container], container
    state, others = {}, {}
    for name, value in content.items():
        is_array = isinstance(value, (Tensor, np.ndarray))
        (state if is_array and isinstance(name, str) else others)[name] = value
    # Modules may keep values of their own, which torch names so.
    strange = [str(name) for name in others if not str(name).endswith("_extra_state")]
    if not state or (inside and strange):
        where = f"its entry '{inside}'" if inside else "the checkpoint"
        entries = f": {shorten(strange)} are no tensors" if strange else ""
        raise UnwrapError(
            f"{where} holds no state dict{entries}. Save the weights as torch.save({{'model': "
            "{name: tensor}}, 'weights.pth')"
        )
    notes = []
    if averages := [key for key in AVERAGES if inside in WEIGHTS and key in beside]:
        notes.append(
            f"The weights are those of '{inside}'; their moving average in '{averages[0]}' is not "
            "used. To use it, save that entry as 'model'."
        )
    names = _plain_names(state, known)
    if left := [name for name in state if name not in names]:
        notes.append(f"{len(left)} tensors beside the network are not used: {shorten(left)}.")
    tensors: dict[str, Tensor] = {}
    for name, plain in names.items():
        if plain in tensors:
            raise UnwrapError(f"two of its tensors are '{plain}' without what wraps their names")
        tensors[plain] = _tensor(name, state[name])
    return Unwrapped(tensors, beside if inside else others, tuple(notes))


def plain_name(name: str) -> str:
    """The name of a tensor without what torch's wrappers of modules put between its parts."""
    return _WRAPPERS.sub("", name)


def _container(content: Mapping[str, Any]) -> str:
    entries = (key for key in (*WEIGHTS, *AVERAGES) if isinstance(content.get(key), Mapping))
    return next((key for key in entries if content[key]), "")


def _plain_names(names: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Name -> plain name, of what belongs to the network."""
    plain = {name: plain_name(name) for name in names}
    while not any(name in known for name in plain.values()):
        wrapped = {p: [n for n in plain if plain[n].startswith(p)] for p in PREFIXES}
        prefix, inner = max(wrapped.items(), key=lambda item: len(item[1]))
        if 2 * sum(map(len, wrapped.values())) <= len(plain):
            break
        plain = {name: plain[name].removeprefix(prefix) for name in inner}
    return plain


def _tensor(name: str, value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        return torch.from_numpy(np.array(value))  # a copy, which may be written to
    except TypeError as error:
        raise UnwrapError(f"its array '{name}' is of {value.dtype}, which is no number") from error


def shorten(names: Sequence[str], most: int = 3) -> str:
    """Join names by commas; of a long list the first `most` and the count of the rest."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
