"""Names in detectron2's registries, which every package of a process shares.

Backbones carry this package's prefix, so that another package may have a `build_dla_backbone`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

from ..data.fields.base import detector_class
from ..structures.skeleton import Skeleton

_displaced: set[str] = set()  # our detectors whose names other packages registered first

Detector = TypeVar("Detector", bound=type)
Builder = TypeVar("Builder", bound=Callable)


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Return a decorator that registers what takes (cfg, input_shape) under a prefixed name."""

    def register(backbone: Builder) -> Builder:
        BACKBONE_REGISTRY._do_register(name, backbone)
        return backbone

    return register


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
