"""Backbones pre-trained on ImageNet: where their weights come from and how they are renamed.

A source is named like other weights, `torchvision:resnet18` or `timm:dla34.in1k`. Nothing here
needs a model: the names of the source decide the table. A trunk that another package hosts is
fetched only when `imagenet_state_dict` is called.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from .download import download
from .files import read_tensors
from .points_repository import BATCH_COUNTERS, RESNET_TRUNK, dla_trunk
from .rename import Drop, Keep, Rename, RenameTable, renames


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
        "50, 101 or 152, 'timm:dla34.in1k', and 'timm:<model>' for the backbone TimmBackbone"
    )


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
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            f"the weights {source!r} come from timm, which is not installed: `pip install timm`"
        ) from error
    network = timm.create_model(model, pretrained=True, features_only=table is IMAGENET_TIMM)
    return network.state_dict()
