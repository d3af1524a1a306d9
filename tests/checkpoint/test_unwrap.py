"""Every form in which programs keep the same weights gives the same weights."""

from __future__ import annotations

import argparse
import pickle

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from hypothesis import given, settings
from hypothesis import strategies as st
from published_networks import points_shapes, recorded
from torch import nn

from centernet_d2.checkpoint.detect_source import UnknownWeightsError
from centernet_d2.checkpoint.files import WeightFileError, file_kind, read_tensors
from centernet_d2.checkpoint.matching_config import COMMON, config_node
from centernet_d2.checkpoint.published import convert, converted_file, detectron2_form
from centernet_d2.checkpoint.rename import RenameError
from centernet_d2.checkpoint.unwrap import UnwrapError, unwrap
from centernet_d2.engine.checkpointer import Checkpointer

STATE = {
    "backbone.stem.0.weight": torch.arange(6.0).reshape(2, 3),
    "backbone.stem.0.num_batches_tracked": torch.tensor(4),
    "head.stacks.0.heatmap.0.bias": torch.tensor([1.0, -2.0]),
}


def prefixed(prefix: str, state=STATE) -> dict:
    return {prefix + name: value for name, value in state.items()}


LIGHTNING = {"pytorch-lightning_version": "2.1", "hyper_parameters": {"lr": 0.1}, "epoch": 3}
FORMS = {
    "plain": STATE,
    "detectron2": {"model": STATE, "iteration": 9},
    "own names in state_dict": {"state_dict": STATE, "epoch": 3},
    "DataParallel": {"state_dict": prefixed("module.")},
    "DataParallel twice": {"model": prefixed("module.module.")},
    "compiled": {"model": prefixed("_orig_mod.")},
    "compiled, then distributed": prefixed("module._orig_mod."),
    "compiled inside": {"model": {n.replace("stem.", "stem._orig_mod."): STATE[n] for n in STATE}},
    "Lightning": {"state_dict": prefixed("model."), **LIGHTNING},
    "Lightning, compiled": {"state_dict": prefixed("model._orig_mod."), **LIGHTNING},
    "Lightning with more": {
        "state_dict": {**prefixed("model."), "criterion.weight": torch.ones(3)},
        **LIGHTNING,
    },
    "averaged model": {"n_averaged": torch.tensor(7), **prefixed("module.")},
    "average alone": {"model_ema": prefixed("module."), "args": argparse.Namespace(lr=0.1)},
    "averages inside": prefixed("ema.module."),
    "averages beside": {
        "initted": torch.tensor(1),
        **prefixed("ema_model."),
        **{f"online_model.{name}": value for name, value in STATE.items()},
    },
    "both": {"model": STATE, "ema": prefixed("module.", {n: v * 0 for n, v in STATE.items()})},
    "nested": {"checkpoint": 1, "model": {"state_dict": STATE, "step": 3}},
    "arrays": {"model": {name: value.numpy() for name, value in STATE.items()}},
    "parameters": {"model": {n: nn.Parameter(v, v.is_floating_point()) for n, v in STATE.items()}},
    "module's own value": {"model": {**STATE, "head._extra_state": {"scale": 3}}},
}


def same(found, expected=STATE) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[n], expected[n]) for n in found
    )


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_hold_the_same(tmp_path, form):
    torch.save(FORMS[form], tmp_path / "weights.pth")
    content = read_tensors(tmp_path / "weights.pth")
    assert same(unwrap(content).state)
    assert same(detectron2_form(content, "weights.pth", STATE)["model"])


def test_what_is_not_used_is_told(caplog):
    detectron2_form(FORMS["both"], "both.pth")
    detectron2_form(FORMS["Lightning with more"], "more.pth")
    assert (
        "'both.pth': The weights are those of 'model'; their moving average in 'ema'" in caplog.text
    )
    assert "'more.pth': 1 tensors beside the network are not used: criterion.weight" in caplog.text


def test_what_stands_beside_the_weights_stays():
    content = {"state_dict": prefixed("module."), "class_names": ["a"], "trainer": {"iteration": 3}}
    form = detectron2_form(content, "own.pth")
    assert {name: form[name] for name in form if name != "model"} == {
        "class_names": ["a"],
        "trainer": {"iteration": 3},
    }


def test_prefixes_that_are_part_of_the_models_names_stay():
    own = prefixed("model.")
    assert same(unwrap({"model": own}, own).state, own)
    assert same(unwrap({"model": prefixed("module.", own)}, own).state, own)
    assert same(unwrap({"model": own}, STATE).state)
    assert same(unwrap({"modular.weight": torch.ones(1)}).state, {"modular.weight": torch.ones(1)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the checkpoint holds no state dict"),
        ({"state_dict": {}}, "holds no state dict: state_dict are no tensors"),
        ({"epoch": 3, "optimizer": {}}, "epoch, optimizer are no tensors"),
        ({"model": {"a": torch.ones(1), "b": [1]}}, "entry 'model' holds no state dict: b are no"),
        ({"model": {"a": np.array(["x"])}}, "array 'a' is of <U1"),
        ({3: torch.ones(1)}, "3 are no tensors"),
        ({"x._orig_mod.a": torch.ones(1), "x.a": torch.ones(1)}, "two of its tensors are 'x.a'"),
    ],
)
def test_files_without_named_tensors(content, message):
    with pytest.raises(UnwrapError, match=rf"'bad\.pth': .*{message}"):
        detectron2_form(content, "bad.pth")


# ------------------------------------------------------------------------------- kinds of files
def test_pickled_arrays_are_read_and_nothing_else(tmp_path):
    """As detectron2's zoo has them, of either Python and numpy."""
    arrays = {name: value.numpy() for name, value in STATE.items()}
    for protocol in (2, 4, 5):
        file = tmp_path / f"{protocol}.pkl"
        zoo = {"model": arrays, "__author__": "zoo", "matching_heuristics": True}
        file.write_bytes(pickle.dumps(zoo, protocol))
        assert file_kind(file) == "pickle"
        form = detectron2_form(read_tensors(file), str(file))
        assert same(form["model"])
        assert form["matching_heuristics"]
    caffe = {"blobs": {"conv1_w": arrays["backbone.stem.0.weight"], "conv1_w_momentum": arrays}}
    (tmp_path / "caffe.pkl").write_bytes(pickle.dumps(caffe, 2))
    read = read_tensors(tmp_path / "caffe.pkl")
    assert read["model"].keys() == {"conv1_w"}
    assert (read["__author__"], read["matching_heuristics"]) == ("Caffe2", True)


def test_safetensors_with_names_in_their_metadata(tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch")
    file = tmp_path / "weights.safetensors"
    metadata = {"format": "pt", "class_names": '["a", "b"]'}
    safetensors.save_file(prefixed("module."), file, metadata)
    assert file_kind(file) == "safetensors"
    form = detectron2_form(read_tensors(file), str(file))
    assert same(form["model"])
    assert (form["class_names"], form["format"]) == (["a", "b"], "pt")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(WeightFileError, match=r"weights\.safetensors.*may be damaged or cut off"):
        read_tensors(file)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"'.*weights\.safetensors' .*pip install safetensors"):
        read_tensors(file)


def test_programs_are_named(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "program.pt")
    with pytest.raises(WeightFileError, match=r"program\.pt' is a TorchScript program"):
        read_tensors(tmp_path / "program.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(WeightFileError, match=r"could run code.*asks for torch.nn.modules.linear"):
        read_tensors(tmp_path / "module.pt")


# ------------------------------------------------------------------------------ published weights
@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    return recorded(points_shapes("resdcn_18"))


@pytest.mark.parametrize("form", ["model", "weights.bin", "pickle", "safetensors", "half"])
def test_published_weights_in_any_form_are_recognised(tmp_path, resnet, form):
    expected = detectron2_form({"state_dict": resnet}, "published.pth")["model"]
    file = tmp_path / "weights.pth"
    if form == "pickle":
        file.write_bytes(pickle.dumps({k: v.numpy() for k, v in resnet.items()}))
    elif form == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(resnet, file)
    elif form == "half":
        expected = {k: v.half() if v.is_floating_point() else v for k, v in expected.items()}
        halves = {k: v.half() if v.is_floating_point() else v for k, v in resnet.items()}
        torch.save({"state_dict": halves}, file)
    else:
        state = prefixed("module.model.", resnet)
        torch.save({"model": state} if form == "model" else state, file)
    content = read_tensors(converted_file(file))
    assert same(content["model"], expected)
    assert content["guessed"] == ["class_names"]


def test_own_names_through_the_prefix_published(tmp_path):
    torch.save({"state_dict": prefixed("module.")}, tmp_path / "own.pth")
    assert same(read_tensors(converted_file(tmp_path / "own.pth"))["model"])
    torch.save({"model": STATE}, tmp_path / "plain.pth")
    assert converted_file(tmp_path / "plain.pth") == tmp_path / "plain.pth"


def test_points_weights_without_an_offset(resnet, tmp_path, caplog):
    """Published --not_reg_offset: no branch; an asked-for one starts in the middle of cells."""
    state = {name: value for name, value in resnet.items() if not name.startswith("reg.")}
    torch.save({"state_dict": state}, tmp_path / "without.pth")
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    outputs, offset = [], "MODEL.POINTS_CENTERNET.OFFSET"
    with caplog.at_level("INFO"):
        for weights, changed in ((resnet, {}), (state, {}), (state, {offset: True})):
            converted = convert(weights)
            keys = COMMON | converted.found.model | changed | {"MODEL.DEVICE": "cpu"}
            model = build_model(config_node(keys))
            if changed:
                Checkpointer(model, mismatch="fail").load(str(tmp_path / "without.pth"))
            else:
                model.load_state_dict(converted.state_dict, strict=True)
            outputs.append(model.eval().head(list(model.backbone(images).values()))[0])
    for name in ("heatmap", "size"):
        assert torch.equal(outputs[0][name], outputs[1][name])
        assert torch.equal(outputs[0][name], outputs[2][name])
    assert "offset" not in outputs[1]
    assert (outputs[2]["offset"] == 0.5).all()
    assert "was trained without offsets" in caplog.text
    outputs[2]["offset"].sum().backward()  # and a further training can learn them
    assert model.head.stacks[0]["offset"][2].weight.grad.abs().max() > 0


# ------------------------------------------------------------------------------------------- fuzz
WRAPS = st.lists(
    st.sampled_from(["module.", "_orig_mod.", "model.", "net.", "detector."]), max_size=3
)
BOXES = st.lists(
    st.sampled_from(["model", "state_dict", "weights", "ema", "model_ema"]), max_size=2
)
CHANGES = st.sampled_from(["none", "drop", "rename", "misshape", "text", "double", "list", "empty"])


@settings(max_examples=15, derandomize=True, deadline=None)
@given(wraps=WRAPS, boxes=BOXES, change=CHANGES, place=st.integers(-20, 99))
def test_wrapped_renamed_and_cut_checkpoints(resnet, wraps, boxes, change, place):
    """Either the weights as they were, or an error of ours that names the file."""
    state = prefixed("".join(wraps), resnet)
    name = list(state)[place]
    value = state[name]
    changed = {
        "none": {},
        "drop": {},
        "rename": {f"{name}.x": value},
        "misshape": {name: torch.ones(3, 1, 7)},
        "text": {name: "weights"},
        "double": {f"_orig_mod.{name}": value},
        "list": {name: [1.0, 2.0]},
        "empty": {},
    }[change]
    if change in ("drop", "rename"):
        del state[name]
    content = {} if change == "empty" else state | changed
    for box in boxes:
        content = {box: content, "epoch": 3}
    expected = detectron2_form(resnet, "plain.pth")["model"]
    found, message = {}, ""
    try:
        found = detectron2_form(content, "fuzzed.pth")["model"]
    except (UnwrapError, RenameError, UnknownWeightsError) as error:
        message = str(error)
    if message:
        assert "fuzzed.pth" in message
        assert change != "none"
    elif change == "none":
        assert same(found, expected)
    else:  # a tensor more or less is never a published network; it keeps its own names
        assert found.keys() != expected.keys() or same(found, expected)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(share=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255))))
@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle", "safetensors"])
def test_damaged_files(tmp_path_factory, kind, share, flips):
    file = tmp_path_factory.mktemp("fuzz") / "damaged.pth"
    if kind == "pickle":
        file.write_bytes(pickle.dumps({"model": {n: v.numpy() for n, v in STATE.items()}}))
    elif kind == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(STATE, file)
    else:
        torch.save({"model": STATE}, file, _use_new_zipfile_serialization=kind == "torch")
    data = bytearray(file.read_bytes())
    for where, bits in flips:
        data[int(where * (len(data) - 1))] ^= bits
    file.write_bytes(data[: int(share * len(data))])
    found, message = {}, ""
    try:
        found = detectron2_form(read_tensors(file), str(file))["model"]
    except (WeightFileError, UnwrapError, UnknownWeightsError) as error:
        message = str(error)
    assert "damaged.pth" in message or all(isinstance(v, torch.Tensor) for v in found.values())
