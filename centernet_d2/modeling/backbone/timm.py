"""Any timm model with maps down to stride 4 as a backbone (optional package `timm`)."""

from typing import Any

from detectron2.config import configurable
from torch import Tensor

from centernet_d2.missing import needed_by
from centernet_d2.modeling.backbone.base import OneMapBackbone, TopDown
from centernet_d2.modeling.registration import register_backbone


@register_backbone("build_centernet_timm_backbone")
class TimmBackbone(OneMapBackbone):
    """A timm feature extractor, and a feature pyramid from its maps back to stride 4.

    (N, in_channels, H, W), H and W multiples of the coarsest stride -> {"timm": (N, out_channels, H
    / 4, W / 4)}. Finer maps than stride 4 are not used.
    """

    output = "timm"
    block = "TIMM"

    @configurable
    def __init__(
        self,
        *,
        name: str = "resnet18",  # a model of `timm.list_models()`, e.g. "convnextv2_atto"
        in_channels: int = 3,  # of the image
        out_channels: int = 64,  # of the pyramid and of the output
        norm: str = "BN",  # of the pyramid; the trunk keeps its own
    ) -> None:
        """Build the network with random weights; MODEL.WEIGHTS "timm:<name>" loads timm's.

        Raises:
            ImportError: timm is not installed.
            ValueError: timm has no such model, or its maps are not at strides 4, 8, 16 ...
        """
        super().__init__()
        trunk = _feature_extractor(name, in_channels)
        strides = trunk.feature_info.reduction()
        used = [i for i, stride in enumerate(strides) if stride >= 4]
        self.strides = [strides[i] for i in used]
        if self.strides != [4 * 2**i for i in range(len(used))] or not used:
            raise ValueError(
                f"TimmBackbone: {name!r} gives maps of strides {strides}, but strides 4, 8, 16 ... "
                "are needed; take a hierarchical model, e.g. a ResNet or ConvNeXt"
            )
        self.trunk, self.first_used = trunk, used[0]
        self.coarsest_stride = self.strides[-1]
        channels = trunk.feature_info.channels()
        self.decoder = TopDown([channels[i] for i in used], out_channels, norm=norm)
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"timm": self.decoder(self.trunk(images)[self.first_used :])}

    def freezable_stages(self) -> list[tuple[str, ...]]:
        """The trunk's modules up to each of its maps, see `freeze_stages`."""
        # A feature extractor writes "stages_0" for the "stages.0" of the whole network.
        ends = {name.replace("_", ".") for name in self.trunk.feature_info.module_name()}
        stages: list[tuple[str, ...]] = []
        modules: tuple[str, ...] = ()
        for name, child in self.trunk.named_children():
            plain = name.replace("_", ".")
            holds_ends = plain not in ends and any(end.startswith(f"{plain}.") for end in ends)
            parts = [f"{name}.{part}" for part, _ in child.named_children()] if holds_ends else []
            for part in parts or [name]:
                modules += (f"trunk.{part}",)
                if part.replace("_", ".") in ends:
                    stages, modules = [*stages, modules], ()
        return stages


def _feature_extractor(name: str, in_channels: int) -> Any:
    with needed_by("the backbone build_centernet_timm_backbone"):
        import timm
    if name.split(".")[0] not in timm.list_models():
        raise ValueError(
            f"TimmBackbone: timm {timm.__version__} has no model {name!r}; MODEL.TIMM.NAME must be "
            "one of timm.list_models()"
        )
    try:
        return timm.create_model(name, pretrained=False, features_only=True, in_chans=in_channels)
    except (RuntimeError, AttributeError) as error:  # what timm raises for a model without maps
        raise ValueError(
            f"TimmBackbone: timm gives no feature maps of {name!r}: {error}"
        ) from error
