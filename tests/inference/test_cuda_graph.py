"""Recorded graphs, by stand-ins for a GPU: what they cannot show is that CUDA records the same.

`Played` keeps the operators of a call and runs them again on the same memory, as a graph does, and
refuses those that ask a device. `FakeTensorMode` has tensors of CUDA without values, on which the
code for CUDA runs, but for its kernels.
"""

from __future__ import annotations

import copy
import threading
from contextlib import nullcontext

import pytest
import torch
from export.small import DETECTORS, detector, pictures
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from centernet_d2.inference import cuda_graph
from centernet_d2.inference.cuda_graph import graphed, with_graphs
from centernet_d2.inference.runtime import entry_of
from centernet_d2.modeling.fast_inference import make_fast
from centernet_d2.modeling.meta_arch.points_centernet import PointsCenterNet
from centernet_d2.structures.nested import tensors_of
from centernet_d2.structures.padded_images import PaddedImages

ASK = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)


def tensors_in(*values):
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


class Played(TorchDispatchMode):
    """Records operators, and runs them again."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        assert function not in ASK
        result = function(*arguments, **(named or {}))
        self.calls.append((function, arguments, named or {}, result))
        return result

    def again(self):
        for function, arguments, named, result in self.calls:
            given = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(arguments, named)}
            pairs = zip(tensors_in(result), tensors_in(function(*arguments, **named)), strict=True)
            for old, new in pairs:
                if old.untyped_storage().data_ptr() not in given:  # neither a view nor in place
                    old.copy_(new)


class Recorder:
    def __init__(self):
        self.sizes = []

    def turn(self):
        return nullcontext()

    def record(self, function, images):
        self.sizes.append(tuple(images.tensor.shape))
        with Played() as played:
            found = function(images)
        return found, played.again


def both(name: str):
    model = detector(name)
    recorder = Recorder()
    return model, with_graphs(copy.deepcopy(model), recorder), recorder


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        fields, others = (each.pop("instances").get_fields() for each in (one, other))
        assert [*fields] == [*others]
        assert one.keys() == other.keys()
        for field, value in fields.items():
            assert type(value) is type(others[field])
            assert torch.equal(*(getattr(v, "tensor", v) for v in (value, others[field])))


@torch.no_grad()
@pytest.mark.parametrize("name", ["boxes", "linear", "pose", "boxes in space", "triplet"])
def test_a_graph_played_again_finds_what_the_detector_finds(name):
    model, played, recorder = both(name)
    entries = [entry_of(image) for image in pictures(3)]
    small, wide = (entry_of(pictures()[0][:height]) for height in (40, 70))
    batches = [entries[:1], entries[1:2], [small], [wide], entries[2:], entries, entries[::-1]]
    expected = [model(batch) for batch in batches]
    found = [played(batch) for batch in batches]  # none may change when the next is computed
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert len(recorder.sizes) == len(set(recorder.sizes)) >= 2
    with torch.inference_mode():  # in whose tensors nothing is recorded
        assert_same(played(entries[:1]), model(entries[:1]))


@torch.no_grad()
def test_more_sizes_than_are_kept_are_computed_without(monkeypatch):
    told = []
    monkeypatch.setattr(cuda_graph, "MOST", 1)
    monkeypatch.setattr(cuda_graph, "tell_once", told.append)
    model, played, recorder = both("boxes")
    entries = [entry_of(image) for image in pictures(3)]
    for batch in (entries[:1], entries[:2], entries, entries[1:2]):
        assert_same(played(batch), model(batch))
    assert len(recorder.sizes) == 1
    assert len(told) == 2
    assert told[0].startswith("runtime 'cuda-graph' has recorded 1 sizes")


@torch.no_grad()
def test_threads_and_detectors_do_not_meet():
    detectors = [both("boxes"), both("boxes")]
    images = [entry_of(image) for image in pictures(4)]
    expected = [detectors[0][0]([entry])[0] for entry in images]
    found = {}

    @torch.no_grad()
    def work(number: int):
        for place, entry in enumerate(images):
            found[number, place] = detectors[number % 2][1]([entry])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        assert_same([found[number, place][0] for place in range(4)], copy.deepcopy(expected))


class Copies(TorchDispatchMode):
    """Tells of what goes from one device to another."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        devices = {each.device.type for each in tensors_in(arguments, result) if each.dim()}
        self.found += [function] if len(devices) > 1 else []
        return result


@torch.no_grad()
@pytest.mark.parametrize("name", DETECTORS)
def test_nothing_that_is_recorded_waits_for_the_device_or_copies_to_it(name):
    model = with_graphs(detector(name), None)
    flip = model.protocol.flip
    function = model.predict.function
    with FakeTensorMode(allow_non_fake_inputs=True), Copies() as copies:
        for module in model.modules():
            for kind in (module._parameters, module._buffers):
                kind |= {
                    name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cuda")
                    for name, t in kind.items()
                    if t is not None
                }
        images = PaddedImages(
            torch.empty(2 if flip else 1, 3, 159, 127, device="cuda"),
            image_sizes=(),
            scale=torch.empty(1, device="cuda"),
            shift=torch.empty(1, 2, device="cuda"),
            flipped=flip,
            inputs={"projection": torch.empty(1, 3, 4, device="cuda")},
        )
        if model.protocol.canvas != "odd":
            images = PaddedImages(**{**vars(images), "tensor": images.tensor[..., :128, :96]})
        found = function(images)
        assert copies.found == []
        assert {tensor.device.type for tensor in tensors_of(found)} == {"cuda"}
        assert isinstance(found, dict) == isinstance(model, PointsCenterNet)
        torch.empty(2, 3, device="cuda").new_tensor([1.0])
        assert len(copies.found) == 1  # it would have been seen


def test_what_cannot_be_recorded_says_so():
    _, played, _ = both("boxes")
    refused = RuntimeError("operation not permitted when stream is capturing")
    played.predict.recorder.record = lambda *given: (_ for _ in ()).throw(refused)
    with pytest.raises(RuntimeError, match=r"cannot record this detector, .* folded \(operation"):
        played([entry_of(pictures()[0])])


def test_without_cuda_a_sentence_says_so():
    with pytest.raises(ValueError, match=r"records what a CUDA GPU does: set MODEL.DEVICE"):
        graphed(detector("boxes"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@torch.no_grad()
@pytest.mark.parametrize("name", DETECTORS)
def test_recorded_by_cuda(name):
    model = make_fast(detector(name).to("cuda"))
    recorded = graphed(copy.deepcopy(model))
    entries = [entry_of(image) for image in pictures(4)]
    small = entry_of(pictures()[0][:70])
    streams = [torch.cuda.Stream() for _ in range(2)]
    for batch in (entries[:1], [small], entries, entries[3:], [small], entries[1:2]):
        expected = model(batch)
        torch.cuda.synchronize()
        for stream in streams:
            with torch.cuda.stream(stream):
                assert_same(recorded(batch), copy.deepcopy(expected))
