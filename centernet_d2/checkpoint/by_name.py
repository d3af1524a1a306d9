"""Branches with channels of each class or joint, taken from other weights by the names of these."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor


def same_names(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Index of each of our names that is among theirs -> its index there.

    Case, blanks and what stands for them do not matter ("Traffic_light", "traffic light").
    """
    places = {_plain(name): index for index, name in reversed(list(enumerate(theirs)))}
    pairs = {index: places.get(_plain(name)) for index, name in enumerate(ours)}
    return {index: place for index, place in pairs.items() if place is not None}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def last_layers(names: Collection[str], branches: Collection[str]) -> list[str]:
    """The tensors of a model's last layer of some branches of its head."""
    pattern = re.compile(rf"(head\.(?:.+\.)?(?:{'|'.join(branches)}))\.(\d+)\.(?:weight|bias)")
    found = [match for name in names if (match := pattern.fullmatch(name))]
    last = {match[1]: match[2] for match in sorted(found, key=lambda match: int(match[2]))}
    return [match[0] for match in found if last[match[1]] == match[2]]


def taken_by_name(
    start: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    names: Collection[str],
    rows: Mapping[int, int],
    numbers: tuple[int, int],
) -> dict[str, Tensor]:
    """The tensors `names` of a model, with the channels of what its weights know.

    Args:
        start: the model's own values, which stay where a name is new.
        given: of the weights.
        names: of both, as far as they have as many channels for each class (or joint).
        rows: see `same_names`.
        numbers: of classes (or joints), ours and theirs.
    """
    found = {}
    for name in names:
        pair = start[name], given.get(name)
        if pair[1] is None or any(len(v) % n for v, n in zip(pair, numbers, strict=True)):
            continue
        new, old = (v.unflatten(0, (n, -1)) for v, n in zip(pair, numbers, strict=True))
        if new.shape[1:] == old.shape[1:]:
            new = new.clone()
            new[list(rows)] = old[list(rows.values())].to(new)
            found[name] = new.flatten(0, 1)
    return found
