"""A compiler takes networks, targets and losses whole: no graph ends within."""

from __future__ import annotations

import functools
import shutil
from dataclasses import asdict

import pytest
import torch
from detectron2.structures import Keypoints
from export.small import detector
from modeling.test_backbones import BUILD
from small_detector import boxes_input, small_detector

from centernet_d2.modeling import compiled as module
from centernet_d2.modeling.point_tasks.box2d import Box2D
from centernet_d2.structures.boxes3d import Boxes3D
from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.corners import corner_targets
from centernet_d2.targets.gaussian import GaussianRule

DETECTORS = ("boxes", "several sizes", "squares", "pose", "boxes in space", "corners", "triplet")


@pytest.fixture(autouse=True)
def whole(monkeypatch):
    """Compiled functions are one graph, else an error; without C++."""
    options = {"fullgraph": True, "backend": "eager"}
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, **options))
    module.compiled.cache_clear()
    torch._dynamo.reset()


def objects(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    corner, sides = 64 * torch.rand(2, count, 2, generator=random)
    return torch.cat([corner, corner + 8 + 20 * sides], dim=1), torch.zeros(count).long()


def pictures(*counts: int) -> list[dict]:
    """With so many objects each, of which everything is known."""
    entries = []
    for seed, count in enumerate(counts):
        entry = boxes_input(*map(torch.Tensor.tolist, objects(count, seed)), seed, size=128)
        joints = 128 * torch.rand(count, 3, 3)
        entry["instances"].gt_keypoints = Keypoints(joints)
        entry["instances"].gt_boxes3d = Boxes3D(torch.rand(count, 8) + 1)
        entries.append(entry)
    return entries


@pytest.mark.parametrize("name", BUILD)
@torch.no_grad()
def test_a_backbone_is_one_graph(name):
    backbone = BUILD[name]().eval()
    images = torch.randn(1, 3, *2 * [2 * backbone.size_divisibility])
    found, expected = torch.compile(backbone)(images), backbone(images)
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["boxes", "corners", "triplet"])
@torch.no_grad()
def test_a_detectors_maps_are_one_graph(name):
    model = detector(name).train()
    images = model.training_images(pictures(1, 2))
    model.compiles = True
    found, expected = model.maybe_compiled("predict", images), model.predict(images)
    torch.testing.assert_close(*[[asdict(stack) for stack in each] for each in (found, expected)])


@pytest.mark.parametrize("name", DETECTORS)
def test_losses_are_one_graph_whatever_the_number_of_objects(name):
    model = detector(name).train()
    for counts in ([3, 2], [4, 7], [0, 0], [1, 0], [0, 5]):
        entries = pictures(*counts)
        images = model.training_images(entries)
        instances = [model.checked_objects(entry) for entry in entries]
        maps = model.predict(images)
        losses = []
        for model.compiles in (True, False):
            losses.append(model.losses(maps, images, instances))
        assert losses[0].keys() == losses[1].keys()
        for key, expected in losses[1].items():
            assert losses[0][key].item() == pytest.approx(expected.item(), rel=1e-5), key


@pytest.mark.parametrize("make", [center_targets, corner_targets])
def test_targets_are_one_graph(make):
    options = {"num_images": 2, "num_classes": 3, "map_size": (32, 32), "gaussian": GaussianRule()}
    if make is corner_targets:
        options |= {"frame_size": (128, 128), "center_sigma_divisor": 5.0}
    for count in (5, 7, 0, 1):
        boxes, classes = objects(count, seed=count)
        rows = (boxes / 4, classes, torch.arange(count) * 2 // max(count, 1))
        found, expected = (f(*rows, **options) for f in (module.compiled(make), make))
        torch.testing.assert_close(asdict(found), asdict(expected))


def test_in_evaluation_nothing_is_compiled():
    model = small_detector([Box2D()], 2).eval()
    module.compile_training(model)
    torch.compile = None  # the fixture puts it back
    model.maybe_compiled("predict", model.training_images(pictures(1)))
    with pytest.raises(TypeError):
        model.train().maybe_compiled("predict", model.training_images(pictures(1)))


def test_what_compiling_needs_is_said_at_the_start(monkeypatch, tmp_path):
    model = small_detector([Box2D()], 2)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"no g\+\+ on the PATH.*or set SOLVER.COMPILE to False"):
        module.compile_training(model)
    monkeypatch.setenv("CXX", "clang++-99")
    with pytest.raises(ValueError, match=r"no clang\+\+-99 on the PATH.*take folded"):
        module.check_compiler("cpu", "take folded")
    with pytest.raises(ValueError, match="META_ARCHITECTURE Linear is none of"):
        module.compile_training(torch.nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize(
    "name",
    [
        "pose",
        # The losses agree; which of two almost equal cells a pool takes may explain it.
        pytest.param(
            "triplet", marks=pytest.mark.xfail(reason="a gradient differs by 1.4 %, unexplained")
        ),
    ],
)
def test_compiled_code_gives_the_same_losses_and_gradients(name, monkeypatch):
    monkeypatch.undo()
    model, batch, found = detector(name).train(), pictures(2, 3), []
    for model.compiles in (False, True):
        model.zero_grad()
        losses = model(batch)
        sum(losses.values()).backward()
        gradients = [each.grad for each in model.parameters()]
        found.append((losses, [torch.zeros(()) if g is None else g for g in gradients]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    for one, other in zip(found[1][1], found[0][1], strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-5
