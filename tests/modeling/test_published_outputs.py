"""The networks against numbers that the published networks gave (tests/fixtures/README.md)."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from centernet_d2.checkpoint.points_repository import BOX2D_BRANCHES, TABLES
from centernet_d2.checkpoint.rename import RenameError, rename_state_dict
from centernet_d2.modeling.backbone import DLA, Hourglass, ResNetDeconv
from centernet_d2.modeling.heads.branches import BranchHead

FIXTURE = Path(__file__).parents[1] / "fixtures" / "points_networks.npz"
HEADS = {"hm": 80, "wh": 2, "reg": 2}
# How each backbone is built, and the width of the heads' hidden layer.
BUILD = {
    "res_18": (lambda: ResNetDeconv(depth=18, upsample="plain"), 64),
    "res_50": (lambda: ResNetDeconv(depth=50, upsample="plain"), 64),
    "resdcn_18": (lambda: ResNetDeconv(depth=18, upsample="deform"), 64),
    "resdcn_101": (lambda: ResNetDeconv(depth=101, upsample="deform"), 64),
    "dla_34": (lambda: DLA(upsample="deform"), 256),
    "dlav0_34": (lambda: DLA(upsample="plain"), 256),
    "hourglass": (Hourglass, 256),
}
# Published counts; less 513,000 (base.fc) and 41,728 (outer projections) for the DLAs.
PARAMETERS = {
    "res_18": 15_820_372,
    "res_50": 34_443_348,
    "resdcn_18": 14_437_349,
    "resdcn_101": 49_673_189,
    "dla_34": 20_188_892 - 513_000 - 41_728,
    "dlav0_34": 18_474_476 - 513_000 - 41_728,
    "hourglass": 191_284_008,
}
KEYS = {
    "res_18": 150,
    "res_50": 348,
    "resdcn_18": 177,
    "resdcn_101": 681,
    "dla_34": 400,
    "dlav0_34": 326,
    "hourglass": 984,
}
DROPPED = {"dla_34": 14, "dlav0_34": 14}


class Network(nn.Module):
    """A backbone and heads under the names that the detector gives them."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        build_backbone, hidden = BUILD[architecture]
        self.backbone = build_backbone()
        channels = {BOX2D_BRANCHES[head]: channels for head, channels in HEADS.items()}
        self.head = BranchHead(
            in_channels=[spec.channels for spec in self.backbone.output_shape().values()],
            heatmaps={"heatmap": channels.pop("heatmap")},
            regressions=channels,
            hidden_channels=hidden,
        )

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        return self.head(list(self.backbone(images).values()))


def published_keys(architecture: str) -> dict[str, tuple[int, ...]]:
    with np.load(FIXTURE) as fixture:
        entries = [str(entry).split(" ", 1) for entry in fixture[f"{architecture}/box2d/keys"]]
    return {key: tuple(int(n) for n in shape.strip("()").split(",") if n) for key, shape in entries}


def recorded_weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The recipe of tests/fixtures/README.md."""
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
    return torch.from_numpy(z.astype(np.float32).astype(np.float64))


def recorded_state_dict(architecture: str) -> dict[str, torch.Tensor]:
    return {key: recorded_weight(key, shape) for key, shape in published_keys(architecture).items()}


def build(architecture: str, published: dict[str, torch.Tensor]) -> Network:
    network = Network(architecture).double().train()
    table = TABLES[architecture.split("_")[0], "box2d"]
    renamed = rename_state_dict(published, table, network.state_dict())
    assert len(renamed.dropped) == DROPPED.get(architecture, 0)
    assert not renamed.kept
    network.load_state_dict(renamed.state_dict, strict=True)
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def largest_differences(architecture: str, network: Network) -> dict[str, float]:
    images = torch.from_numpy(np.random.RandomState(7).standard_normal((2, 3, 256, 256)))
    outputs = network(images.contiguous(memory_format=torch.channels_last))
    differences = {}
    with np.load(FIXTURE) as fixture:
        stacks = {key.split("/")[2] for key in fixture.files if key.startswith(architecture + "/")}
        assert len(stacks) == len(outputs) + 1  # and "keys"
        for stack, maps in enumerate(outputs):
            for head, channels in HEADS.items():
                name = f"{architecture}/box2d/stack{stack}/{head}"
                sampled = maps[BOX2D_BRANCHES[head]][:, :: max(1, channels // 16), ::4, ::4]
                values = sampled.numpy().reshape(-1)[:: int(fixture[name + "/step"])]
                assert values.shape == fixture[name].shape
                assert values.size >= 100
                differences[f"stack{stack}/{head}"] = float(np.abs(values - fixture[name]).max())
    return differences


@pytest.mark.parametrize("architecture", BUILD)
def test_outputs_are_those_of_the_published_network(architecture):
    network = build(architecture, recorded_state_dict(architecture))
    differences = largest_differences(architecture, network)
    assert max(differences.values()) < 1e-5, differences


@pytest.mark.parametrize("architecture", BUILD)
def test_parameter_count_is_the_published_one(architecture):
    with torch.device("meta"):
        network = Network(architecture)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[architecture]


@pytest.mark.parametrize(
    ("architecture", "key", "dimension"),
    [
        ("res_18", "layer3.1.conv2.weight", 0),
        ("res_18", "bn1.bias", 0),
        ("res_18", "deconv_layers.6.weight", 2),
        ("resdcn_18", "deconv_layers.6.conv_offset_mask.weight", 0),  # dy and dx, taps, mask
        ("resdcn_18", "deconv_layers.12.weight", 3),
        ("resdcn_18", "reg.2.bias", 0),
        ("dla_34", "base.level3.tree2.root.conv.weight", 1),  # order of the concatenation
        ("dla_34", "base.level5.project.0.weight", 1),
        ("dla_34", "dla_up.ida_2.up_3.weight", 0),
        ("dla_34", "ida_up.up_2.weight", 3),
        ("dlav0_34", "dla_up.ida_1.node_2.0.weight", 1),
    ],
)
def test_permuting_one_weight_shows(architecture, key, dimension):
    published = recorded_state_dict(architecture)
    published[key] = published[key].roll(1, dims=dimension)
    differences = largest_differences(architecture, build(architecture, published))
    assert max(differences.values()) > 1e-3, differences


def test_plain_network_refuses_the_deformable_checkpoint():
    with pytest.raises(RenameError, match="unexpected") as caught:
        build("res_18", recorded_state_dict("resdcn_18"))
    assert any("conv_offset_mask" in key for keys in caught.value.problems.values() for key in keys)


def test_dead_parameters_are_dropped_with_a_reason():
    published = recorded_state_dict("dla_34")
    with torch.device("meta"):
        target = Network("dla_34").state_dict()
    dropped = rename_state_dict(published, TABLES["dla", "box2d"], target).dropped
    assert {key.rsplit(".", 2)[0] for key in dropped} == {
        "base",  # base.fc
        "base.level3.project",
        "base.level4.project",
    }
    assert all(len(reason) > 40 for reason in dropped.values())


def test_fixture_file_is_small_and_complete():
    assert FIXTURE.stat().st_size < 100_000
    for architecture, count in KEYS.items():
        assert len(published_keys(architecture)) == count
