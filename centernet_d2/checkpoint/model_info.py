"""What a model file says of its model beside the tensors, so that the file is all that is needed.

A checkpoint, and a file of safetensors in its metadata, holds under "centernet_d2" the config as
YAML, the test protocol in words and how the model was trained; see docs/models.md.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from detectron2.config import CfgNode, get_cfg
from torch.torch_version import TorchVersion

from .. import __version__
from ..config import flattened, value_of
from ..config.files import read_yaml
from ..detectron2_versions import KEYS_OF_MAIN
from ..structures.names import plural
from ..structures.skeleton import Skeleton
from .files import read_tensors
from .pixels import Pixels, from_keys
from .unwrap import shorten

BLOCK = "centernet_d2"
_TEXTS = ("version", "config", "protocol")
# Keys of a machine or a run, not of the model, neither written nor read: a file tells no folder of
# whoever made it, and names none to whoever uses it.
NOT_OF_A_MODEL = (
    *("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.DEVICE", "TEST.EXPECTED_RESULTS"),
    *(f"DATASETS.{name}" for name in ("TRAIN", "TEST", "FROM_FILES")),
    *(f"DATASETS.PROPOSAL_FILES_{name}" for name in ("TRAIN", "TEST")),
)


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself; what it does not say is empty."""

    source: str = ""  # the file
    version: str = ""  # of the package that wrote it
    config: str = ""  # text in YAML, of a LazyConfig where `is_lazy`
    class_names: tuple[str, ...] = ()
    joints: Mapping[str, Any] = field(default_factory=dict)  # see `Skeleton.saved`
    guessed: tuple[str, ...] = ()  # "class_names", "joint_names": they are a guess from the number
    protocol: str = ""  # test protocol, as it is printed beside scores
    training: Mapping[str, Any] = field(default_factory=dict)  # plain values, see docs/models.md
    seen: Mapping[str, Any] = field(default_factory=dict)  # see `Pixels.saved`, of converted files

    @classmethod
    def of(cls, content: Mapping[str, Any], source: str) -> Self:
        """What the content of a file says; entries of another form, in others' files, nothing."""
        block = _mapping(content.get(BLOCK))
        return cls(
            source,
            **{name: block[name] for name in _TEXTS if isinstance(block.get(name), str)},
            class_names=_texts(content.get("class_names")),
            joints={k: value for k, value in content.items() if str(k).startswith("joint_")},
            guessed=_texts(content.get("guessed")),
            training=_mapping(block.get("training")),
            seen=_mapping(content.get("pixels")),
        )

    def block(self) -> dict[str, Any]:
        """What stands under "centernet_d2": plain values."""
        return {name: getattr(self, name) for name in (*_TEXTS, "training")}

    @property
    def is_lazy(self) -> bool:
        """Whether the config is a LazyConfig's, whose parts are calls."""
        return re.search(r"^model:", self.config, re.MULTILINE) is not None

    @property
    def newer(self) -> str:
        """A sentence where the file was written by a newer version of this package, else ""."""
        if TorchVersion(self.version or "0") <= __version__:
            return ""
        return (
            f"'{self.source}' was written by centernet_d2 {self.version}, this is {__version__}: "
            "what is new there is not understood here. Update this package."
        )

    @property
    def pixels(self) -> Pixels | None:
        """What the weights were trained to see, as far as the file says it."""
        keys = self.config_values() if self.config and not self.is_lazy else {}
        return from_keys(keys) or from_keys(self.seen)

    @property
    def skeleton(self) -> Skeleton | None:
        """The joints; None where none are named."""
        return Skeleton.from_saved(self.joints, f"checkpoint '{self.source}'")

    def names(self, what: str) -> list[str]:
        """Names of "class" or "joint"."""
        return list(self.class_names if what == "class" else self.joints.get("joint_names") or ())

    def guess_of(self, what: str) -> str:
        """A sentence that says so where the names of "class" or "joint" are a guess; else ""."""
        if f"{what}_names" not in self.guessed:
            return ""
        names = self.names(what)
        return (
            f"'{self.source}' names no {plural(what)}; by their number, {len(names)}, they are "
            f"guessed to be {shorten(names)}"
        )

    def config_values(self) -> dict[str, Any]:
        """Dotted key -> value of the config; not of a LazyConfig's.

        Raises:
            ValueError: the text is no YAML of keys and values.
        """
        values = flattened(read_yaml(f"The config in '{self.source}'", self.config))
        return {key: value for key, value in values.items() if key not in NOT_OF_A_MODEL}


def read_model_info(path: str | os.PathLike[str]) -> ModelInfo:
    """Read what a model file says of itself; its tensors stay on the disk.

    Raises:
        WeightFileError: it is no file of weights.
    """
    return ModelInfo.of(read_tensors(path, mapped=True), os.fspath(path))


def for_use(content: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only a training needs: the state of its optimizer, its averages."""
    kept = ("model", "class_names", "guessed", "pixels", "__author__", BLOCK)
    return {k: v for k, v in content.items() if k in kept or str(k).startswith("joint_")}


def config_text(cfg: CfgNode) -> str:
    """The YAML of a merged config as a model file holds it: all keys but `NOT_OF_A_MODEL`.

    Keys that only one version of detectron2 has are left out where they are at their default.
    """
    cfg, defaults = cfg.clone(), flattened(get_cfg())
    cfg.defrost()
    left = [k for k in KEYS_OF_MAIN if k in defaults and value_of(cfg, k) == defaults[k]]
    for key in (*NOT_OF_A_MODEL, *left):
        group, _, name = key.rpartition(".")
        del (value_of(cfg, group) if group else cfg)[name]
    text: str = cfg.dump()
    return text


def _texts(entry: Any) -> tuple[str, ...]:
    is_list = isinstance(entry, (list, tuple)) and all(isinstance(text, str) for text in entry)
    return tuple(entry) if is_list else ()


def _mapping(entry: Any) -> Mapping[str, Any]:
    return entry if isinstance(entry, Mapping) else {}
