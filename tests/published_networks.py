"""Published networks for tests: their key lists, and weights that anybody can make again."""

from __future__ import annotations

import ast
import zlib
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).parent / "fixtures"
POINTS = FIXTURES / "points_networks.npz"
CORNERS = FIXTURES / "corner_networks.npz"
MMDETECTION = FIXTURES / "mmdetection_networks.txt"

BOXES = {"wh": ("size", 2), "reg": ("offset", 2)}
JOINTS = {
    "hps": ("joint_displacement", 34),
    "hm_hp": ("joint_heatmap", 17),
    "hp_offset": ("joint_offset", 2),
}
HEADS = {
    "box2d": {"hm": ("heatmap", 80), **BOXES},
    "box3d": {
        **{"hm": ("heatmap", 3), "dep": ("depth", 1), "rot": ("orientation", 8)},
        **{"dim": ("dimensions", 3), **BOXES},
    },
    "pose": {"hm": ("heatmap", 1), **BOXES, **JOINTS},
}


def points_shapes(architecture: str, task: str = "box2d") -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a network of the points repository, e.g. "resdcn_18"."""
    with np.load(POINTS) as fixture:
        entries = [str(entry).split(" ", 1) for entry in fixture[f"{architecture}/{task}/keys"]]
    return {key: ast.literal_eval(shape) for key, shape in entries}


def corner_shapes(network: str) -> dict[str, tuple[int, ...]]:
    """The same of "CornerNet", "CenterNet-52" or "CenterNet-104"."""
    with np.load(CORNERS) as fixture:
        entries = [str(entry).split(" ", 1) for entry in fixture[f"{network}/keys"]]
    return {key: ast.literal_eval(shape) for key, shape in entries}


def mmdetection_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The same of a network of mmdetection, e.g. "centernet_resnet18"."""
    rows = [line.rstrip("\n").split(" ", 2) for line in MMDETECTION.open() if line[0] != "#"]
    return {key: ast.literal_eval(shape) for network, key, shape in rows if network == name}


def on_meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Tensors of these shapes without content."""
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def recorded(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights by the recipe of tests/fixtures/README.md, float32 as a published file has them."""
    return {key: recorded_weight(key, shape) for key, shape in shapes.items()}


def recorded_weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("conv_offset_mask.weight"):
        z = 0.3 * z / np.sqrt(np.prod(shape[1:]))
    elif len(shape) == 4:
        z = z * np.sqrt(2 / np.prod(shape[1:]))
    elif key.endswith("running_var"):
        z = np.ones(shape)
    elif key.endswith("running_mean"):
        z = np.zeros(shape)
    else:
        z = 0.1 * z + key.endswith("weight")
    return torch.from_numpy(z.astype(np.float32))


@torch.no_grad()
def differences(architecture: str, model: torch.nn.Module, task: str = "box2d") -> dict[str, float]:
    """Largest difference of each output of a detector from the recorded one, in float64."""
    model = model.double().train()
    images = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 3, 256, 256)))
    features = model.backbone(images.contiguous(memory_format=torch.channels_last))
    found = {}
    with np.load(POINTS) as fixture:
        for stack, maps in enumerate(model.head(list(features.values()))):
            for head, (branch, channels) in HEADS[task].items():
                name = f"{architecture}/{task}/stack{stack}/{head}"
                assert maps[branch].shape[1] == channels
                sampled = maps[branch][:, :: max(1, channels // 16), ::4, ::4].reshape(-1)
                values = sampled[:: int(fixture[name + "/step"])].numpy()
                assert values.shape == fixture[name].shape
                assert values.size >= 100
                found[name] = float(np.abs(values - fixture[name]).max())
    return found


KEYPOINTS = {"tl": "top_left", "br": "bottom_right", "ct": "center"}
KEYPOINT_MAPS = {"heats": "heatmap", "tags": "embedding", "regrs": "offset"}


@torch.no_grad()
def corner_differences(network: str, model: torch.nn.Module) -> dict[str, float]:
    """`differences` of a corner detector; only its last stack was recorded."""
    model = model.double().train()
    images = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 3, 255, 255)))
    features = model.backbone(images.contiguous(memory_format=torch.channels_last))
    last = model.head(list(features.values()))[-1]
    found = {}
    with np.load(CORNERS) as fixture:
        names = [n for n in fixture.files if n.startswith(f"{network}/") and n + "/step" in fixture]
        for name in names:
            keypoint, branch = name.rpartition("/")[2].split("_")
            maps = getattr(getattr(last, KEYPOINTS[keypoint]), KEYPOINT_MAPS[branch])
            sampled = maps[:, :: max(1, maps.shape[1] // 16), ::4, ::4].reshape(-1)
            values = sampled[:: int(fixture[name + "/step"])].numpy()
            assert values.shape == fixture[name].shape
            assert values.size >= 100
            found[name] = float(np.abs(values - fixture[name]).max())
    return found
