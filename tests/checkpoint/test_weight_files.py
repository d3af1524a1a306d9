"""What is read as weights, and what is refused by its name."""

from __future__ import annotations

import os
import pickle
import sys

import numpy as np
import pytest
import torch

from centernet_d2.checkpoint.files import WeightFileError, file_kind, read_tensors, write_weights
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.saved_names import saved_names

NEW_AND_OLD = pytest.mark.parametrize("new_format", [True, False])


def save(file, content, new_format=True):
    torch.save(content, file, _use_new_zipfile_serialization=new_format)


@NEW_AND_OLD
def test_both_formats_and_any_ending(tmp_path, new_format):
    content = {"epoch": 3, "state_dict": {"a": torch.arange(6.0), "n": torch.tensor(4)}}
    for name in ("weights.pth", "weights.pkl", "weights.tar"):
        save(tmp_path / name, content, new_format)
        assert file_kind(tmp_path / name) == "torch"
        loaded = read_tensors(tmp_path / name)
        assert loaded["epoch"] == 3
        assert torch.equal(loaded["state_dict"]["a"], torch.arange(6.0))


@NEW_AND_OLD
def test_numbers_of_numpy_are_harmless(tmp_path, new_format):
    """Optimizers and schedules keep them; files name numpy's module as of either major version."""
    file = tmp_path / "weights.pth"
    state = {"a": torch.ones(2)}
    values = {"lr": np.float64(0.5), "step": np.int64(7), "table": np.arange(3.0)}
    save(file, {"state_dict": state, "optimizer": values}, new_format)
    assert read_tensors(file)["optimizer"]["lr"] == 0.5
    if not new_format:  # the pickle is not compressed or checked there
        old = file.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        file.write_bytes(old)
        assert read_tensors(file)["optimizer"]["step"] == 7


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


LOADERS = (read_tensors, Checkpointer(torch.nn.Linear(1, 1)).load)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl", "weights.pyth"])
def test_code_is_not_run(tmp_path, form, name):
    marker, file = tmp_path / "code ran", tmp_path / name
    content = {"model": {"a": torch.ones(2)}, "optimizer": Hostile(marker)}
    if form == "pickle":
        file.write_bytes(pickle.dumps({"model": Hostile(marker)}))
    else:
        save(file, content, form == "zip")
    kind = "plain Python pickle" if form == "pickle" else "holds Python objects"
    for load in LOADERS:
        with pytest.raises(WeightFileError, match=rf"{name}.*{kind}.*could run code.*it asks for"):
            load(str(file))
    assert saved_names(str(file)).class_names == ()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "web page"),
        (b"\n\n  <HTML><head>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "Git LFS pointer"),
        (b"", "is empty"),
        (b"\x00\x01\x02 noise", "no file that torch saved"),
        (b"PK\x03\x04 and nothing more", "damaged or cut off"),
    ],
)
def test_what_is_no_weight_file_is_named(tmp_path, content, message):
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    for load in LOADERS:
        with pytest.raises(WeightFileError, match=rf"weights\.pth.*{message}"):
            load(str(file))


@pytest.mark.parametrize("name", ["model.onnx", "model.xml", "model.pt2"])
def test_an_exported_file_is_no_weights(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"PK\x03\x04 whatever")
    for load in LOADERS:
        with pytest.raises(WeightFileError, match=rf"{name}' is a file of `centernet-d2 export`"):
            load(str(file))


@NEW_AND_OLD
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_cut_off_file(tmp_path, new_format, share):
    file = tmp_path / "weights.pth"
    save(file, {"state_dict": {str(i): torch.randn(1000) for i in range(20)}}, new_format)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(WeightFileError, match=r"weights\.pth.*damaged"):
        read_tensors(file)


def test_something_else_that_torch_saved(tmp_path):
    save(tmp_path / "list.pth", [torch.ones(2)])
    with pytest.raises(WeightFileError, match="holds a list"):
        read_tensors(tmp_path / "list.pth")


def test_safetensors_come_back_bit_for_bit(tmp_path, monkeypatch):
    """Also tensors that share memory or have it in another order, and what stands beside them."""
    pytest.importorskip("safetensors")
    base = torch.randn(4, 6)
    state = {
        **{"base": base, "alias": base, "part": base[1:, ::2], "turned": base.t()},
        **{"last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)},
        **{"half": torch.randn(3).bfloat16(), "count": torch.tensor(7), "none": torch.empty(0, 2)},
        **{"flags": torch.tensor([True, False]), "nan": torch.tensor([float("nan"), 1.0])},
    }
    names = {"class_names": ["a", "1", "ü"], "joint_names": [], "joint_flip_map": None}
    block = {"version": "0.1.0", "config": "A: 1\n", "protocol": "", "training": {"best": 1.5}}
    beside = {**names, "joint_edges": [["a", "b"]], "guessed": [], "centernet_d2": block}
    write_weights(tmp_path / "a.safetensors", {"model": state, **beside})
    loaded = read_tensors(tmp_path / "a.safetensors")
    found = loaded.pop("state_dict")
    assert loaded == {"format": "pt", **beside}
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].nan_to_num(), tensor.nan_to_num()), name
    assert base.equal(state["alias"])
    for module in ("safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"A file of safetensors .*pip install safetensors"):
        write_weights(tmp_path / "b.safetensors", {"model": state})
    with pytest.raises(ValueError, match=r"'b\.bin' must end in \.pth, which .* or in \.safet"):
        write_weights("b.bin", {"model": state})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
