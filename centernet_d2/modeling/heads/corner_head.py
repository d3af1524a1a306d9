"""Features -> raw maps of corners, and of centers where asked: no loss, no decoding."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from torch import Tensor, nn

from ...checked_values import check_at_least, check_choice
from ...config import from_block
from ...layers.blocks import PredictionBranch, evaluated_stacks, start_norms
from ...layers.corner_modules import CascadeCornerPooling, CenterPooling, CornerPooling
from ...structures.predictions import CornerPredictions, KeypointMaps

POOLINGS = {"corner": CornerPooling, "cascade": CascadeCornerPooling}


class CornerHead(nn.Module):
    """Per stack and kind of keypoint a pooling module, and branches on its output.

    Parameters are named `stacks.<stack>.<keypoint>.pooling...` and
    `stacks.<stack>.<keypoint>.<branch>.<0 or 2>.{weight,bias}`, with the branches `heatmap`,
    `offset` and, of corners, `embedding`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],  # of each stack's feature map
        num_classes: int,
        hidden_channels: int = 256,  # of the modules' output and of the branches' 3x3 convolution
        pool_channels: int = 128,  # of the modules' pooled branches
        pooling: str = "corner",  # module of the corners, or "cascade"
        cascade_order: str = "inside_first",  # or "boundary_first", see `CascadeCornerPooling`
        pools: bool = True,  # whether the corners' modules pool; they keep all their parameters
        center_pools: bool | None = None,  # likewise the centers' module; None: no centers
        norm: str = "BN",  # of the modules
        norm_init: str = "ones",  # or "uniform", see `start_norms`
        prior_bias: float = -2.19,  # of the last layer of the heatmap branches
    ) -> None:
        super().__init__()
        check_choice("pooling", pooling, POOLINGS)
        check_at_least("pool_channels", pool_channels, 1)
        check_at_least("hidden_channels", hidden_channels, 1)
        shared = {"pool_channels": pool_channels, "norm": norm}
        corners = {"pools": pools, **({"order": cascade_order} if pooling == "cascade" else {})}

        def keypoint(module: nn.Module, *, is_corner: bool) -> nn.ModuleDict:
            def branch(channels: int, bias: float | None = None) -> PredictionBranch:
                return PredictionBranch(hidden_channels, hidden_channels, channels, prior_bias=bias)

            parts = {"pooling": module, "heatmap": branch(num_classes, prior_bias)}
            if is_corner:
                parts["embedding"] = branch(1)
            return nn.ModuleDict(parts | {"offset": branch(2)})

        self.stacks = nn.ModuleList()
        for width in in_channels:
            keypoints = {
                corner: keypoint(
                    POOLINGS[pooling](width, hidden_channels, corner=corner, **corners, **shared),
                    is_corner=True,
                )
                for corner in ("top_left", "bottom_right")
            }
            if center_pools is not None:
                module = CenterPooling(width, hidden_channels, pools=center_pools, **shared)
                keypoints["center"] = keypoint(module, is_corner=False)
            self.stacks.append(nn.ModuleDict(keypoints))
        start_norms(self, norm_init)

    def forward(self, features: Sequence[Tensor]) -> list[CornerPredictions]:
        """Features (N, D, h, w) per stack -> maps, per stack."""
        return [
            CornerPredictions(**{name: _maps(parts, feature) for name, parts in stack.items()})
            for stack, feature in evaluated_stacks(self, features)
        ]


def corner_head(cfg: CfgNode, in_channels: Sequence[int], *, centers: bool) -> CornerHead:
    """The head of `MODEL.CORNERNET`, whose centers are those of `MODEL.TRIPLET_CENTERNET`."""
    return from_block(
        CornerHead,
        cfg,
        "MODEL.CORNERNET",
        {"hidden_channels": "HEAD_CHANNELS"},
        in_channels=in_channels,
        num_classes=cfg.MODEL.HEATMAP.NUM_CLASSES,
        center_pools=cfg.MODEL.TRIPLET_CENTERNET.POOLING == "center" if centers else None,
        prior_bias=cfg.MODEL.HEATMAP.PRIOR_BIAS,
    )


def _maps(parts: nn.ModuleDict, features: Tensor) -> KeypointMaps:
    pooled = parts["pooling"](features)
    return KeypointMaps(
        heatmap=parts["heatmap"](pooled),
        offset=parts["offset"](pooled),
        embedding=parts["embedding"](pooled) if "embedding" in parts else None,
    )
