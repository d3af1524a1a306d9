"""Published models by name, in the form of detectron2's own model zoo.

    cfg = model_zoo.get_config("COCO-Detection/points_dla34_140e.yaml", trained=True)
    model = model_zoo.get("COCO-Detection/points_dla34_140e.yaml", trained=True)
    cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url("points_dla34_140e")
    model = model_zoo.get("bccd", trained=True)  # one that is in the package

Importing it registers the names of weights (`published:`, `torchvision:`, `timm:`, `hub:`) with
detectron2.
"""

from .api import get, get_checkpoint_url, get_config
from .entries import ENTRIES, Entry, Location
from .hub import from_hub, push_to_hub
from .in_detectron2 import add_to_detectron2
from .lookup import (
    UnknownModelError,
    config_names,
    find_entry,
    get_config_file,
    names,
    shipped_models,
)
from .path_handlers import register

register()

__all__ = [
    "ENTRIES",
    "Entry",
    "Location",
    "UnknownModelError",
    "add_to_detectron2",
    "config_names",
    "find_entry",
    "from_hub",
    "get",
    "get_checkpoint_url",
    "get_config",
    "get_config_file",
    "names",
    "push_to_hub",
    "shipped_models",
]
