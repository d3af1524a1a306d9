"""Weight files that torch has not written: pickles of arrays (detectron2's zoo), safetensors."""

import collections
import contextlib
import json
import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..missing import needed_by

Path = str | os.PathLike[str]


def numpy_values() -> list[tuple[Any, str]]:
    """What rebuilds numpy's numbers and arrays (data, no code), as numpy 1 and 2 name it."""
    from numpy._core import multiarray, numeric

    kinds = [type(np.dtype(code)) for code in ("?", "i4", "i8", "u1", "f4", "f8")]
    return [
        (np.dtype, "numpy.dtype"),
        (np.ndarray, "numpy.ndarray"),
        *((kind, f"{kind.__module__}.{kind.__qualname__}") for kind in kinds),
        *(
            (getattr(multiarray, function), f"numpy.{core}.multiarray.{function}")
            for core in ("core", "_core")
            for function in ("scalar", "_reconstruct")
        ),
        *((numeric._frombuffer, f"numpy.{core}.numeric._frombuffer") for core in ("core", "_core")),
    ]


class ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and plain values; whatever else a pickle names is refused, not run."""

    allowed: dict[str, Any] = {
        **{name: value for value, name in numpy_values()},
        "collections.OrderedDict": collections.OrderedDict,
        "_codecs.encode": str.encode,  # bytes, which pickles of protocol 2 hold as text
    }

    def find_class(self, module: str, name: str) -> Any:
        if (found := self.allowed.get(f"{module}.{name}")) is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return found


def read_pickle(path: Path) -> Any:
    """Load a pickle of arrays.

    Raises:
        pickle.UnpicklingError: it holds something else, or is damaged.
    """
    with open(path, "rb") as stream:
        loaded = ArrayUnpickler(stream, encoding="latin1").load()  # detectron2's are of Python 2
    if not isinstance(loaded, dict) or any(n == "model" or "." in str(n) for n in loaded):
        return loaded
    blobs = loaded.get("blobs", loaded)  # Caffe2's names, which detectron2 translates
    state = {name: value for name, value in blobs.items() if not name.endswith("_momentum")}
    return {"model": state, "__author__": "Caffe2", "matching_heuristics": True}


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins as safetensors do: a length, then JSON."""
    return start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8


def safetensors_bytes(state: Mapping[str, Any], beside: Mapping[str, Any]) -> bytes:
    """Return a file of safetensors; its metadata are texts, of each value of `beside` its JSON.

    Tensors that share memory, which the form does not know, are written each for itself.

    Raises:
        ImportError: the package safetensors is not installed.
    """
    with needed_by("A file of safetensors"):
        from safetensors.torch import save
    tensors, seen = {}, set()
    for name, tensor in state.items():
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = (tensor.clone() if memory in seen else tensor).detach().contiguous()
        seen.add(memory)
    metadata = {name: json.dumps(value) for name, value in beside.items()}
    return bytes(save(tensors, {"format": "pt"} | metadata))


def read_safetensors(path: Path) -> dict[str, Any]:
    """Load safetensors as {"state_dict": ...} and the JSON values of their metadata.

    Raises:
        ImportError: the package safetensors is not installed.
    """
    with needed_by(f"'{path}'"):
        from safetensors import safe_open
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata() or {}
    values: dict[str, Any] = dict(metadata)
    for name, text in metadata.items():
        with contextlib.suppress(ValueError):  # plain text
            values[name] = json.loads(text)
    return values | {"state_dict": state}
