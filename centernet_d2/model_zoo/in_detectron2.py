"""The names of this zoo in detectron2's own.

    centernet_d2.model_zoo.add_to_detectron2()
    model = detectron2.model_zoo.get("COCO-Detection/points_dla34_140e.yaml", trained=True)

What detectron2's functions look into is left alone: their table has no place for weights elsewhere,
its folder belongs to another package, and a config of this package needs keys that detectron2's
have not.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from detectron2 import model_zoo
from detectron2.model_zoo import model_zoo as theirs

from . import api, lookup

Function = Callable[..., Any]
FUNCTIONS: dict[str, Function] = {
    "get_config_file": lookup.get_config_file,
    "get_checkpoint_url": api.get_checkpoint_url,
    "get_config": api.get_config,
    "get": api.get,
}


@functools.cache  # once
def add_to_detectron2() -> None:
    """Let detectron2's `model_zoo` functions know the configs and weights of this package as well.

    Call it before a function of detectron2's is imported by its name: the functions are replaced,
    in `detectron2.model_zoo` and `detectron2.model_zoo.model_zoo`.

    Names are paths below the folder of configs, as "COCO-Detection/points_dla34_140e.yaml" or
    "lazy/points_tiny.py"; what they give is what the functions of this package give. All names that
    detectron2 knows give what they gave, and unknown ones its error. Calling it twice is harmless.
    """
    original = {name: getattr(theirs, name) for name in FUNCTIONS}
    for name, ours in FUNCTIONS.items():
        function = _either(ours, name, original)
        vars(model_zoo)[name] = vars(theirs)[name] = function


def _either(ours: Function, name: str, original: Mapping[str, Function]) -> Function:
    """The function of this package for names that it knows and detectron2 does not."""

    @functools.wraps(original[name])
    def answer(config_path: str, *options: Any, **named: Any) -> Any:
        try:
            original["get_config_file"](config_path)
        except RuntimeError:
            if config_path in (*lookup.config_names(), *lookup.names()):
                try:
                    return ours(config_path, *options, **named)
                except lookup.UnknownModelError:
                    return original["get_checkpoint_url"](config_path)  # its error: there are none
        return original[name](config_path, *options, **named)

    return answer
