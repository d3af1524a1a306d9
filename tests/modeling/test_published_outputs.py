"""The detectors against numbers that the published networks gave (tests/fixtures/README.md).

The published state dict goes through the converter that users' files go through.
"""

import pytest
import torch
from detectron2.modeling import build_model
from published_networks import (
    HEADS,
    POINTS,
    corner_differences,
    corner_shapes,
    differences,
    points_shapes,
    recorded,
)

from centernet_d2.checkpoint.matching_config import COMMON, config_node
from centernet_d2.checkpoint.published import Converted, convert

# Published counts; less 513,000 (base.fc) and 41,728 (outer projections) for the DLAs.
PARAMETERS = {
    ("res_18", "box2d"): 15_820_372,
    ("res_50", "box2d"): 34_443_348,
    ("resdcn_18", "box2d"): 14_437_349,
    ("resdcn_101", "box2d"): 49_673_189,
    ("dla_34", "box2d"): 20_188_892 - 513_000 - 41_728,
    ("dlav0_34", "box2d"): 18_474_476 - 513_000 - 41_728,
    ("hourglass", "box2d"): 191_284_008,
    ("dla_34", "pose"): 20_070_618,  # 20,625,346 published
    ("hourglass", "pose"): 194_811_124,
    ("dla_34", "box3d"): 20_060_595,
}
KEYS = {
    ("res_18", "box2d"): 150,
    ("res_50", "box2d"): 348,
    ("resdcn_18", "box2d"): 177,
    ("resdcn_101", "box2d"): 681,
    ("dla_34", "box2d"): 400,
    ("dlav0_34", "box2d"): 326,
    ("hourglass", "box2d"): 984,
    ("dla_34", "pose"): 412,
    ("hourglass", "pose"): 1008,
    ("dla_34", "box3d"): 412,
}
STACKS = {"hourglass": 2}
DROPPED = {"dla_34": 14, "dlav0_34": 14}


def detector(converted: Converted) -> torch.nn.Module:
    """The model that the converter says the weights belong to, filled with them."""
    cfg = config_node(COMMON | converted.found.model | {"MODEL.DEVICE": "cpu"})
    model = build_model(cfg)
    model.load_state_dict(converted.state_dict, strict=True)
    return model


def published_file(architecture: str, task: str = "box2d") -> dict:
    return {"epoch": 140, "state_dict": recorded(points_shapes(architecture, task))}


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] if case[0] == "hourglass" else [])
        for case in PARAMETERS
    ],
)
def test_outputs_are_those_of_the_published_network(architecture, task):
    converted = convert(published_file(architecture, task))
    assert len(converted.renamed.dropped) == DROPPED.get(architecture, 0)
    model = detector(converted)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[architecture, task]
    found = differences(architecture, model, task)
    assert len(found) == len(HEADS[task]) * STACKS.get(architecture, 1)
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize(
    ("network", "key", "dimension"),
    [
        ("res_18/box2d", "layer3.1.conv2.weight", 0),
        ("res_18/box2d", "bn1.bias", 0),
        ("res_18/box2d", "deconv_layers.6.weight", 2),
        ("resdcn_18/box2d", "deconv_layers.6.conv_offset_mask.weight", 0),  # dy and dx, taps, mask
        ("resdcn_18/box2d", "deconv_layers.12.weight", 3),
        ("resdcn_18/box2d", "reg.2.bias", 0),
        ("dla_34/box2d", "base.level3.tree2.root.conv.weight", 1),  # order of the concatenation
        ("dla_34/box2d", "base.level5.project.0.weight", 1),
        ("dla_34/box2d", "dla_up.ida_2.up_3.weight", 0),
        ("dla_34/box2d", "ida_up.up_2.weight", 3),
        ("dlav0_34/box2d", "dla_up.ida_1.node_2.0.weight", 1),
        ("dla_34/pose", "hps.2.bias", 0),  # x and y of the joints
        ("dla_34/pose", "hm_hp.2.weight", 0),
        ("dla_34/pose", "hp_offset.0.bias", 0),
    ],
)
def test_permuting_one_weight_shows(network, key, dimension):
    architecture, task = network.split("/")
    published = published_file(architecture, task)
    state = published["state_dict"]
    state[key] = state[key].roll(1, dims=dimension)
    found = differences(architecture, detector(convert(published)), task)
    assert max(found.values()) > 1e-3, found


def test_dead_parameters_are_dropped_with_a_reason():
    dropped = convert(published_file("dla_34")).renamed.dropped
    assert {key.rsplit(".", 2)[0] for key in dropped} == {
        "base",  # base.fc
        "base.level3.project",
        "base.level4.project",
    }
    assert all(len(reason) > 40 for reason in dropped.values())


def test_fixture_file_is_small_and_complete():
    assert POINTS.stat().st_size < 100_000
    for network, count in KEYS.items():
        assert len(points_shapes(*network)) == count


CORNER_NETWORKS = {  # published name -> (class here, maps, parameters)
    "CornerNet": ("CornerNet", 6, 201_035_212),
    "CenterNet-52": ("TripletCenterNet", 8, 104_844_152),
    "CenterNet-104": ("TripletCenterNet", 8, 210_062_960),
}


@pytest.mark.slow
@pytest.mark.parametrize("network", CORNER_NETWORKS)
def test_outputs_are_those_of_the_published_corner_network(network):
    name, maps, parameters = CORNER_NETWORKS[network]
    published = {f"module.{key}": value for key, value in recorded(corner_shapes(network)).items()}
    converted = convert(published)
    assert not converted.renamed.dropped
    assert not converted.renamed.kept
    model = detector(converted)
    assert type(model).__name__ == name
    assert sum(p.numel() for p in model.parameters()) == parameters
    found = corner_differences(network, model)
    assert len(found) == maps
    assert max(found.values()) < 1e-5, found
    if network == "CenterNet-52":  # the pools of one branch of the cascade exchanged
        module = model.head.stacks[-1]["top_left"]["pooling"]
        module.pools[0], module.pools[1] = module.pools[1], module.pools[0]
        assert corner_differences(network, model)["CenterNet-52/tl_heats"] > 1e-2
