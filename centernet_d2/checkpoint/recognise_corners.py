"""Corner detectors from the keys of a published file: the authors' own, and mmdetection's."""

from __future__ import annotations

from torch import Tensor

from . import corner_repositories, mmdetection
from .architectures import hourglass
from .recognised import CORNERNET, MMDETECTION, TRIPLET, Overrides, Recognised, State

# Names of mmdetection's hourglass -> those of the authors, which `hourglass` reads.
MMDETECTION_TRUNK = {
    "backbone.hourglass_modules.": "kps.",
    "backbone.stem.0.": "pre.0.",
    "backbone.out_convs.": "cnvs.",
}


def published(state: State) -> Recognised | None:
    """CornerNet or triplet CenterNet in any number of stacks, as their authors write it."""
    if "tl_heats.0.1.weight" not in state or "kps.0.up1.0.conv1.weight" not in state:
        return None
    is_triplet = "ct_heats.0.1.weight" in state
    pooling = "cascade" if "tl_cnvs.0.look_conv1.conv.weight" in state else "corner"
    _, architecture, model = hourglass(state)
    keys = _head(state["tl_heats.0.0.conv.weight"], state["tl_heats.0.1.weight"])
    keys["MODEL.CORNERNET.POOL_CHANNELS"] = state["tl_cnvs.0.p1_conv1.conv.weight"].shape[0]
    keys["MODEL.CORNERNET.POOLING"] = pooling
    detector = "TripletCenterNet" if is_triplet else "CornerNet"
    return Recognised(
        source=TRIPLET if is_triplet else CORNERNET,
        architecture=architecture,
        task="box2d",
        num_classes=keys["MODEL.HEATMAP.NUM_CLASSES"],
        # The triplet's table knows the cascade's layers, which a CornerNet may be trained with.
        table=corner_repositories.TRIPLET
        if is_triplet or pooling == "cascade"
        else corner_repositories.CORNERNET,
        model={"MODEL.META_ARCHITECTURE": detector} | model | keys,
    )


def of_mmdetection(state: State) -> Recognised | None:
    """mmdetection's CornerNet."""
    heatmap = "bbox_head.tl_heat.0.1.conv.weight"
    if heatmap not in state or "backbone.hourglass_modules.0.up1.0.conv1.weight" not in state:
        return None
    if "bbox_head.tl_emb.0.1.conv.weight" not in state:
        return None  # CentripetalNet, a detector of its own
    _, architecture, model = hourglass(
        {
            here + key.removeprefix(theirs): value
            for key, value in state.items()
            for theirs, here in MMDETECTION_TRUNK.items()
            if key.startswith(theirs)
        }
    )
    keys = _head(state["bbox_head.tl_heat.0.0.conv.weight"], state[heatmap])
    pooled = state["bbox_head.tl_pool.0.direction1_conv.conv.weight"]
    keys["MODEL.CORNERNET.POOL_CHANNELS"] = pooled.shape[0]
    return Recognised(
        source=MMDETECTION,
        architecture=f"cornernet, {architecture}",
        task="box2d",
        num_classes=keys["MODEL.HEATMAP.NUM_CLASSES"],
        table=mmdetection.CORNERNET,
        model={"MODEL.META_ARCHITECTURE": "CornerNet"} | model | keys,
        as_bgr=True,
    )


def _head(hidden: Tensor, heatmap: Tensor) -> Overrides:
    return {
        "MODEL.HEATMAP.NUM_CLASSES": heatmap.shape[0],
        "MODEL.CORNERNET.HEAD_CHANNELS": hidden.shape[0],
    }
