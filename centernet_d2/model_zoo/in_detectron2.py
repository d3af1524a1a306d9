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

_original: dict[str, FunctionType] = {}  # detectron2's, once ours are added


def add_to_detectron2() -> None:
    """Let detectron2's `model_zoo` functions know the configs and weights of this package as well.

    Names are paths below the folder of configs, as "COCO-Detection/points_dla34_140e.yaml" or
    "lazy/points_tiny.py"; what they give is what the functions of this package give. All names that
    detectron2 knows give what they gave, and unknown ones its error. Calling it twice is harmless.
    """
    for name, ours in {} if _original else _FUNCTIONS.items():
        function = getattr(theirs, name)
        namespace = function.__globals__
        _original[name] = FunctionType(function.__code__, namespace, name, function.__defaults__)
        namespace["centernet_d2_answer"] = centernet_d2_answer  # by this name the code finds it
        function.__code__ = ours.__code__


def centernet_d2_answer(function: str, path: str, *options: Any) -> Any:
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


_FUNCTIONS: dict[str, Any] = {
    "get_checkpoint_url": lambda config_path: centernet_d2_answer(
        "get_checkpoint_url", config_path
    ),
    "get_config_file": lambda config_path: centernet_d2_answer("get_config_file", config_path),
    "get_config": lambda config_path, trained=False: centernet_d2_answer(
        "get_config", config_path, trained
    ),
    "get": lambda config_path, trained=False, device=None: centernet_d2_answer(
        "get", config_path, trained, device
    ),
}
