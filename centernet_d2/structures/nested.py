"""Tensors inside mappings, lists, tuples and dataclasses, such as the outputs of a network."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor


def mapped(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """The same nested values with what a function makes of each tensor; others stay."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: mapped(each, function) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        each = [mapped(part, function) for part in value]
        return value._make(each) if hasattr(value, "_make") else type(value)(each)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        return replace(value, **mapped(parts, function))
    return value


def tensors_of(nested: Any) -> list[Tensor]:
    """All tensors, in the order of keys, fields and elements."""
    found: list[Tensor] = []
    mapped(nested, found.append)
    return found
