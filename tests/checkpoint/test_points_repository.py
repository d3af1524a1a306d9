import numpy as np
import pytest
import torch

from centernet_d2.checkpoint.imagenet import IMAGENET_TABLES
from centernet_d2.checkpoint.points_repository import TABLES
from centernet_d2.checkpoint.rename import Keep, RenameError, rename_state_dict
from centernet_d2.layers.blocks import PredictionBranch
from centernet_d2.modeling.backbone import ResNetDeconv

BRANCHES = {"heatmap": 80, "size": 2, "offset": 2}


def model_state(upsample, depth=18, hidden=64):
    backbone = ResNetDeconv(depth=depth, upsample=upsample)
    width = backbone.out_channels
    state = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    for name, channels in BRANCHES.items():
        branch = PredictionBranch(width, hidden, channels).state_dict()
        state |= {f"head.stacks.0.{name}.{key}": value for key, value in branch.items()}
    return state


def published(state):
    """The state of a model under the published names, written out by hand."""
    short = {"heatmap": "hm", "size": "wh", "offset": "reg"}
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        renamed[".".join([short[parts[3]], *parts[4:]] if parts[0] == "head" else parts[1:])] = (
            value
        )
    return renamed


@pytest.mark.parametrize(("family", "upsample"), [("res", "plain"), ("resdcn", "deform")])
def test_box2d_networks_round_trip(family, upsample):
    state = model_state(upsample)
    source = published(state)
    assert {"conv1.weight", "layer4.1.bn2.running_var", "hm.0.weight", "reg.2.bias"} <= set(source)
    renamed = rename_state_dict(source, TABLES[family, "box2d"], state)
    assert renamed.state_dict.keys() == state.keys()
    assert all(renamed.state_dict[key] is state[key] for key in state)
    assert not renamed.dropped
    assert not renamed.kept


def test_head_without_hidden_layer():
    state = model_state("deform", hidden=0)
    source = {
        (key.replace(".0.", ".") if key.startswith(("hm", "wh", "reg")) else key): value
        for key, value in published(state).items()
    }
    assert "hm.weight" in source
    renamed = rename_state_dict(source, TABLES["resdcn", "box2d"], state)
    assert renamed.state_dict["head.stacks.0.heatmap.0.weight"] is source["hm.weight"]


def test_files_without_batch_counters():
    state = model_state("plain")
    source = {k: v for k, v in published(state).items() if not k.endswith("num_batches_tracked")}
    renamed = rename_state_dict(source, TABLES["res", "box2d"], state)
    assert len(renamed.kept) == 23
    assert all(key.endswith("num_batches_tracked") for key in renamed.kept)


def test_other_number_of_classes_is_an_error():
    source = published(model_state("deform"))
    source["hm.2.bias"] = torch.zeros(20)
    with pytest.raises(RenameError, match=r"hm.2.bias -> .*heatmap.2.bias \(20,\), model \(80,\)"):
        rename_state_dict(source, TABLES["resdcn", "box2d"], model_state("deform"))


def test_other_task_is_an_error():
    source = published(model_state("deform")) | {"hps.0.weight": torch.zeros(64, 64, 3, 3)}
    with pytest.raises(RenameError, match=r"known to no rule \(1\): hps.0.weight"):
        rename_state_dict(source, TABLES["resdcn", "box2d"], model_state("deform"))


def test_every_drop_and_keep_has_a_reason():
    for table in {*TABLES.values(), *IMAGENET_TABLES.values()}:
        reasons = [rule.reason for rule in (*table.rules, *table.kept) if hasattr(rule, "reason")]
        assert all(len(reason) > 10 for reason in reasons)
        assert all(isinstance(rule, Keep) for rule in table.kept)
        assert np.unique([rule.pattern for rule in table.rules]).size == len(table.rules)
