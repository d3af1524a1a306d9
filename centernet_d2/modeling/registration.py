"""Names in detectron2's registries, which every package of a process shares.

Backbones carry this package's prefix. Their names of before it (`build_dla_backbone` for
`build_centernet_dla_backbone`) are no entries of the registry, where they would stop the import of
another package that registers them: they are looked up when a model is built.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import detectron2.modeling
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, Backbone

from ..data.fields.base import detector_class
from ..structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

PREFIX = "build_centernet_"
_displaced: set[str] = set()  # our detectors whose names other packages registered first

Detector = TypeVar("Detector", bound=type)
Builder = TypeVar("Builder", bound=Callable)


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Return a decorator that registers what takes (cfg, input_shape) under a prefixed name."""

    def register(backbone: Builder) -> Builder:
        BACKBONE_REGISTRY._do_register(name, backbone)
        return backbone

    return register


def backbone_name(name: str) -> str:
    """Return the registered name for a MODEL.BACKBONE.NAME that may lack the prefix.

    A name that another package has registered is that package's. Either way a message, once per
    process, names this package's backbone.
    """
    ours = PREFIX + name.removeprefix("build_")
    if not name.startswith("build_") or ours not in BACKBONE_REGISTRY:
        return name
    if name not in BACKBONE_REGISTRY:
        _tell_once(f"'{name}' is now '{ours}'; the old name works in this release alone")
        return ours
    where = BACKBONE_REGISTRY.get(name).__module__
    _tell_once(f"'{name}' is the backbone of {where}; that of centernet_d2 is '{ours}'")
    return name


@functools.cache
def _tell_once(message: str) -> None:
    logger.warning("MODEL.BACKBONE.NAME: %s", message)


def build_backbone(cfg: CfgNode) -> Backbone:
    """Build the backbone of `cfg` as detectron2 does; see `backbone_name` for its name."""
    name = backbone_name(cfg.MODEL.BACKBONE.NAME)
    if name != cfg.MODEL.BACKBONE.NAME:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.BACKBONE.NAME = name
    return detectron2.modeling.build_backbone(cfg)


def register_detector(detector: Detector) -> Detector:
    """Register a class with META_ARCH_REGISTRY by its name, unless another package has taken it.

    `check_detector_name` then says so to whoever asks for the class by that name.
    """
    if detector.__name__ in META_ARCH_REGISTRY:
        _displaced.add(detector.__name__)
    else:
        META_ARCH_REGISTRY.register(detector)
    return detector


def check_detector_name(name: str) -> None:
    """Raise ValueError where a detector of this package has lost its name to another package."""
    if name in _displaced:
        other = META_ARCH_REGISTRY.get(name)
        raise ValueError(
            f"MODEL.META_ARCHITECTURE: '{name}' is {other.__module__}.{other.__qualname__}, which "
            "was registered before centernet_d2 was imported. Import centernet_d2 first, or build "
            f"centernet_d2.modeling.{name}(cfg) without its name"
        )


def complete_config(cfg: CfgNode) -> list[str]:
    """Let the detector of `cfg` fill what the config leaves open; return its warnings."""
    return _asked(cfg, "complete_config", [])


def output_skeleton(cfg: CfgNode) -> Skeleton | None:
    """The joints that the detector of `cfg` finds, see `DetectorDefaults.output_skeleton`."""
    return _asked(cfg, "output_skeleton", None)


def _asked(cfg: CfgNode, method: str, default: Any) -> Any:
    """What the class answers; the default for detectors of others, which have no such method."""
    detector = detector_class(cfg.MODEL.META_ARCHITECTURE)
    return getattr(detector, method)(cfg) if hasattr(detector, method) else default
