"""Heads: from the shapes of published ones to their config; channels by the names of classes."""

import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from .backbones import Backbone, Overrides, State, UnsupportedWeightsError

# Branch whose outputs have a form -> the key that says it, and the form of all published ones.
FORMS = {
    "size": ("MODEL.POINTS_CENTERNET.BOX2D.SIZE_FORM", "cells"),
    "heatmap": ("MODEL.POINTS_CENTERNET.HEATMAP_LOSS", "focal"),
    "joint_heatmap": ("MODEL.POINTS_CENTERNET.POSE.HEATMAP_LOSS", "focal"),
}
CLASSES, JOINTS = "MODEL.HEATMAP.NUM_CLASSES", "MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS"
# (network, way up) -> how its authors start the regression branches, where not "normal".
REGRESSION_INIT = {
    ("resnet", "plain"): "last_normal",
    ("dla", "deform"): "zero_bias",
    ("hourglass", ""): "torch",
}


def points_heads(state: State, backbone: Backbone, network: str) -> tuple[str, Overrides]:
    """Task and config keys of the heads of points CenterNet.

    Raises:
        UnsupportedWeightsError: `network` is of a task that has no table.
    """
    heads = {head: _layers(state, head) for head in ("hm", "wh", "hps", "dep", "hm_t")}
    if heads["hm_t"]:
        raise UnsupportedWeightsError(
            f"these weights are {network} for extreme points: no table for that task"
        )
    task = "pose" if heads["hps"] else "box3d" if heads["dep"] else "box2d"
    if task == "box3d" and not heads["wh"]:
        raise UnsupportedWeightsError(
            f"these weights are {network} for 3-D boxes without sizes in the image (its option "
            "--not_reg_bbox): detections of this package have such sizes, and so must the weights"
        )
    keys: Overrides = {
        "HEAD_CHANNELS": heads["hm"][0].shape[0] if len(heads["hm"]) > 1 else 0,
        "REGRESSION_INIT": REGRESSION_INIT.get((backbone.network, backbone.upsample), "normal"),
    }
    if not _layers(state, "reg"):  # --not_reg_offset
        keys["OFFSET"] = False
    if heads["wh"] and heads["wh"][-1].shape[0] > 2:  # a width and a height per class
        keys["BOX2D.CLASS_SPECIFIC_SIZE"] = True
    if task != "box2d":
        keys["TASKS"] = ["box2d", task]
    if task == "pose":
        keys["POSE.NUM_JOINTS"] = heads["hps"][-1].shape[0] // 2
        keys["POSE.JOINT_HEATMAP"] = bool(_layers(state, "hm_hp"))
        keys["POSE.JOINT_OFFSET"] = bool(_layers(state, "hp_offset"))
    keys = {f"MODEL.POINTS_CENTERNET.{key}": value for key, value in keys.items()}
    return task, {CLASSES: heads["hm"][-1].shape[0]} | keys


def _layers(state: State, head: str) -> list[Tensor]:
    """Weights of a head's convolutions, first to last, of stack 0 in an hourglass; [] for none."""
    forms = (
        (f"{head}.0.0.conv.weight", f"{head}.0.1.weight"),
        (f"{head}.0.weight", f"{head}.2.weight"),
        (f"{head}.weight",),
    )
    return [state[name] for name in next((form for form in forms if form[-1] in state), ())]


def corner_heads(state: State) -> Overrides:
    """Config keys of the modules and heads of a corner detector."""
    heatmap = next(k for k in ("tl_heats.0.1.weight", "tl_heats.0.1.conv.weight") if k in state)
    cascade = "tl_cnvs.0.look_conv1.conv.weight" in state
    is_triplet = "ct_heats.0.1.weight" in state
    return {
        "MODEL.META_ARCHITECTURE": "TripletCenterNet" if is_triplet else "CornerNet",
        CLASSES: state[heatmap].shape[0],
        "MODEL.CORNERNET.HEAD_CHANNELS": state["tl_heats.0.0.conv.weight"].shape[0],
        "MODEL.CORNERNET.POOL_CHANNELS": state["tl_cnvs.0.p1_conv1.conv.weight"].shape[0],
        "MODEL.CORNERNET.POOLING": "cascade" if cascade else "corner",
    }


def same_names(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Index of each of our names that is among theirs -> its index there.

    Case, blanks and what stands for them do not matter ("Traffic_light", "traffic light").
    """
    plain, known = (
        [re.sub(r"[\s_-]", "", name).casefold() for name in names] for names in (ours, theirs)
    )
    return {index: known.index(name) for index, name in enumerate(plain) if name in known}


def last_layers(names: Collection[str], branches: Collection[str]) -> list[str]:
    """The tensors of a model's last layer of some branches of its head."""
    pattern = rf"(head\.(?:.+\.)?(?:{'|'.join(branches)}))\.(\d+)\.(?:weight|bias)"
    found = [match for name in names if (match := re.fullmatch(pattern, name))]
    last = {match[1]: match[2] for match in sorted(found, key=lambda match: int(match[2]))}
    return [match[0] for match in found if last[match[1]] == match[2]]


def middle_of_cells(model: State, given: State) -> State:
    """Tensors of a model's offset for weights of points that were trained without.

    A last layer of zeros with a bias of 0.5 gives the middle of each cell. What is before it is the
    size's, so that a further training can learn from it.
    """
    names = [name for name in model if re.match(r"head\.stacks\.\d+\.offset\.", name)]
    sizes = {name: name.replace(".offset.", ".size.") for name in names}
    if any(name in given for name in names) or not any(like in given for like in sizes.values()):
        return {}
    last = last_layers(model, ["offset"])
    return {
        name: torch.full_like(model[name], 0.5 * name.endswith("bias"))
        if name in last
        else given[like]
        for name, like in sizes.items()
        if name in last or like in given
    }


def taken_by_name(
    start: Tensor, given: Tensor, rows: Mapping[int, int], ours: int, theirs: int
) -> Tensor | None:
    """A last layer with the channels of the classes (or joints) that its weights know.

    Where a name is new the bias is that of the model's own `start` and the weights are 0: random
    ones would, on features that are trained, be confident from the first step on. `rows` is that of
    `same_names`, of `ours` and `theirs` so many; None where they have not equally many channels for
    each.
    """
    if len(start) % ours or len(given) % theirs:
        return None
    start = torch.zeros_like(start) if start.ndim > 1 else start.clone()
    new, old = start.unflatten(0, (ours, -1)), given.unflatten(0, (theirs, -1))
    if new.shape[1:] != old.shape[1:]:
        return None
    new[list(rows)] = old[list(rows.values())].to(new)
    return new.flatten(0, 1)
