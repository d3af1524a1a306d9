"""The names of this zoo in detectron2's own.

    centernet_d2.model_zoo.add_to_detectron2()
    model = detectron2.model_zoo.get("COCO-Detection/points_dla34_140e.yaml", trained=True)

detectron2's four functions get other code and stay the same objects, so that an earlier `from
detectron2.model_zoo import get_config` knows the names too. What those functions look into is left
alone: their table has no place for weights elsewhere, its folder belongs to another package, and a
config of this package needs keys that detectron2's have not.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from detectron2.model_zoo import model_zoo as theirs

from . import api, lookup

NAMES = ("get_checkpoint_url", "get_config_file", "get_config", "get")
_original: dict[str, FunctionType] = {}  # detectron2's, once ours are added


def add_to_detectron2() -> None:
    """Let detectron2's `model_zoo` functions know the configs and weights of this package as well.

    Names are paths below the folder of configs, as "COCO-Detection/points_dla34_140e.yaml" or
    "lazy/points_tiny.py"; what they give is what the functions of this package give. All names that
    detectron2 knows give what they gave, and unknown ones its error. Calling it twice is harmless.
    """
    for name in () if _original else NAMES:
        function = getattr(theirs, name)
        code, names = function.__code__, (function.__globals__, name, function.__defaults__)
        _original[name] = FunctionType(code, *names)
        function.__code__ = _CODE[name]


def answer(function: str, path: str, *options: Any) -> Any:
    """What `detectron2.model_zoo.<function>(path, *options)` gives, for any name."""
    if not _is_ours(path):
        return _original[function](path, *options)
    asks_weights = function == "get_checkpoint_url" or any(options[:1])  # `trained`
    if asks_weights and lookup.without_ending(path) not in lookup.names():
        _original["get_checkpoint_url"](path)  # its error: there are none
    return getattr(lookup if function == "get_config_file" else api, function)(path, *options)


def _is_ours(path: str) -> bool:
    """Whether this package knows a name and detectron2 does not."""
    try:
        _original["get_config_file"](path)
    except RuntimeError:
        return path in (*lookup.config_names(), *lookup.names())
    return False


# Code of functions whose names are detectron2's globals: each imports what it calls.
def _get_checkpoint_url(config_path: Any) -> Any:
    from centernet_d2.model_zoo.in_detectron2 import answer

    return answer("get_checkpoint_url", config_path)


def _get_config_file(config_path: Any) -> Any:
    from centernet_d2.model_zoo.in_detectron2 import answer

    return answer("get_config_file", config_path)


def _get_config(config_path: Any, trained: bool = False) -> Any:
    from centernet_d2.model_zoo.in_detectron2 import answer

    return answer("get_config", config_path, trained)


def _get(config_path: Any, trained: bool = False, device: Any = None) -> Any:
    from centernet_d2.model_zoo.in_detectron2 import answer

    return answer("get", config_path, trained, device)


_OURS = (_get_checkpoint_url, _get_config_file, _get_config, _get)
_CODE = {name: function.__code__ for name, function in zip(NAMES, _OURS, strict=True)}
