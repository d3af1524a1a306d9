"""Checkpoints: whole or not at all, tensors only, and a report instead of a guess."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from torch import nn

from centernet_d2.engine.checkpointer import (
    Checkpointer,
    CheckpointMismatchError,
)
from centernet_d2.engine.saved_names import saved_names


def network(classes: int = 3, width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, classes))


class State:
    """Something checkpointable."""

    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_round_trip(tmp_path):
    model = network()
    saver = Checkpointer(model, str(tmp_path), class_names=["a", "b", "c"], trainer=State(5))
    saver.save("first", iteration=9)
    other, state = network(), State()
    assert not equal(model, other)
    loader = Checkpointer(other, str(tmp_path), trainer=state)
    extras = loader.resume_or_load("", resume=True)
    assert equal(model, other)
    assert state.value == 5
    assert extras["class_names"] == ["a", "b", "c"]
    assert extras["iteration"] == 9
    assert list(saved_names(str(tmp_path / "first.pth")).class_names) == ["a", "b", "c"]


def test_weights_only_are_not_resumed_from(tmp_path):
    saver = Checkpointer(network(), str(tmp_path), trainer=State(5))
    saver.save("first")
    saver.save("best", weights_only=True)
    assert saver.get_checkpoint_file().endswith("first.pth")
    assert "trainer" not in torch.load(tmp_path / "best.pth", weights_only=True)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("write")])
def test_full_disk_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, error):
    model = network()
    saver = Checkpointer(model, str(tmp_path), trainer=State(5))
    saver.save("model_0000001")
    good = (tmp_path / "model_0000001.pth").read_bytes()

    def half_a_file(data, stream):
        stream.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", half_a_file)
    for name in ("model_0000001", "model_0000002"):  # over the old file, and beside it
        with pytest.raises(OSError, match=rf"{name}\.pth.*model_0000001\.pth"):
            saver.save(name)
    monkeypatch.undo()

    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]
    assert (tmp_path / "model_0000001.pth").read_bytes() == good
    other = network()
    Checkpointer(other, str(tmp_path), trainer=State()).resume_or_load("", resume=True)
    assert equal(model, other)


def test_file_appears_at_once(tmp_path, monkeypatch):
    """A job killed before the file is complete leaves the old one."""
    saver = Checkpointer(network(), str(tmp_path))
    saver.save("model")
    good = (tmp_path / "model.pth").read_bytes()

    def killed(source, target):
        assert os.path.dirname(source) == str(tmp_path)  # a rename, not a copy from another disk
        assert torch.load(source, weights_only=True)["iteration"] == 3  # whole before it is named
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        saver.save("model", iteration=3)
    assert (tmp_path / "model.pth").read_bytes() == good


def test_report_in_short_lines(tmp_path, caplog):
    caplog.set_level("INFO")
    Checkpointer(network(classes=3), str(tmp_path)).save("three")
    model = network(classes=7)
    before = model[2].weight.clone()
    Checkpointer(model, str(tmp_path)).load(str(tmp_path / "three.pth"))
    assert "4 of the model's 6 tensors loaded" in caplog.text
    assert "2.weight (3, 16) -> (7, 16)" in caplog.text
    assert "You might want to double check" not in caplog.text  # not detectron2's wall of text
    assert torch.equal(model[2].weight, before)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite_are_refused_before_the_model_is_touched(tmp_path, value):
    state = nn.BatchNorm1d(4).state_dict() | {"unread": torch.tensor([value])}
    model, file = nn.BatchNorm1d(4), str(tmp_path / "bad.pth")
    torch.save({"model": state}, file)
    Checkpointer(model).load(file)  # what the model does not take may be anything
    state["weight"][:] = 7
    state["running_var"][1:3] = value
    torch.save({"model": {name: tensor.half() for name, tensor in state.items()}}, file)
    told = (
        r"bad\.pth' holds NaN or infinity in 1 of 5 tensors, first in running_var \(2 of 4 values"
    )
    with pytest.raises(ValueError, match=told):
        Checkpointer(model).load(file)
    assert model.weight.tolist() == [1.0] * 4


def test_fail_option_leaves_the_model_alone(tmp_path):
    Checkpointer(network(classes=3), str(tmp_path)).save("three")
    model = network(classes=7)
    before = [value.clone() for value in model.state_dict().values()]
    with pytest.raises(CheckpointMismatchError, match=r"three\.pth(.|\n)*CHECKPOINT_MISMATCH"):
        Checkpointer(model, mismatch="fail").load(str(tmp_path / "three.pth"))
    assert all(torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True))


@pytest.mark.parametrize("mismatch", ["fail", "report"])
def test_another_architecture_always_fails(tmp_path, mismatch):
    Checkpointer(network(width=16), str(tmp_path)).save("narrow")
    with pytest.raises(CheckpointMismatchError, match="weights of another model: only 1%"):
        Checkpointer(network(width=64), mismatch=mismatch).load(str(tmp_path / "narrow.pth"))


def test_backbone_weights_may_fill_a_part(tmp_path):
    torch.save({"model": network()[:2].state_dict()}, tmp_path / "backbone.pth")
    model = network()
    Checkpointer(model).load(str(tmp_path / "backbone.pth"))
    assert torch.equal(model[1].weight, torch.load(tmp_path / "backbone.pth")["model"]["1.weight"])


def test_failed_load_can_be_followed_by_another(tmp_path):
    saver = Checkpointer(network(), str(tmp_path))
    saver.save("good")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*MODEL\.WEIGHTS"):
        saver.load(str(tmp_path / "nowhere.pth"))
    saver.load(str(tmp_path / "good.pth"))
    saver.load("")


@pytest.mark.parametrize("mismatch", ["fail", "report"])
def test_weights_of_another_code_base_say_what_they_look_like(tmp_path, mismatch):
    state = {"roi_heads.box_head.fc1.weight": torch.ones(4, 4)}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "other.pth")
    looks = r"other\.pth' holds .*only 0% fits.* They look like a two-stage detector of detectron2"
    with pytest.raises(CheckpointMismatchError, match=looks):
        Checkpointer(network(), mismatch=mismatch).load(str(tmp_path / "other.pth"))


def test_matching_heuristics_see_the_names_of_the_file(tmp_path):
    """A torchvision file for detectron2's own ResNets is left to detectron2's matching."""
    model = nn.ModuleDict({"backbone": nn.ModuleDict({"stem": nn.ModuleDict()})})
    model["backbone"]["stem"]["conv1"] = nn.Conv2d(3, 4, 7)
    weight = torch.randn(4, 3, 7, 7)
    torch.save({"conv1.weight": weight, "layer4.0.conv1.weight": weight}, tmp_path / "r18.pth")
    Checkpointer(model).load(f"{tmp_path / 'r18.pth'}?matching_heuristics=True")
    assert torch.equal(model["backbone"]["stem"]["conv1"].weight, weight)


def test_a_pickle_of_detectron2s_zoo_is_matched_and_reported(tmp_path, caplog):
    """Arrays under names that end a parameter's; what fits is told, and nothing is an error."""
    caplog.set_level("INFO")
    model = nn.ModuleDict({"bottom_up": network(), "head": nn.Linear(2, 2)})
    trunk = {name: value.numpy() for name, value in network().state_dict().items()}
    zoo = {"model": trunk, "__author__": "torchvision", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(zoo, 2))
    Checkpointer(model).load(str(tmp_path / "R-50.pkl"))
    assert "6 of the model's 8 tensors loaded" in caplog.text
    assert torch.equal(model["bottom_up"][1].weight, torch.from_numpy(trunk["1.weight"]))
    with pytest.raises(CheckpointMismatchError, match=r"R-50\.pkl.*another model: only 0% fits"):
        Checkpointer(nn.ModuleDict({"other": nn.Conv2d(1, 1, 1)})).load(str(tmp_path / "R-50.pkl"))
