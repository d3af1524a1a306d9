"""A compiler takes networks, targets and losses whole: no graph ends within."""

from __future__ import annotations

import functools
import shutil
from dataclasses import asdict

import pytest
import torch
from detectron2.structures import Keypoints
from export.small import config, detector
from export.small import pictures as random_pictures
from modeling.test_backbones import BUILD
from small_detector import boxes_input, small_detector
from torch._dynamo.testing import CompileCounter

from centernet_d2.inference import runtime
from centernet_d2.layers.corner_modules import ORDERS, CascadeCornerPooling, CenterPooling
from centernet_d2.layers.directional_pool import DIRECTIONS, DirectionalPool
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


def pictures(*counts: int, size: int = 128) -> list[dict]:
    """With so many objects each, of which everything is known."""
    entries = []
    for seed, count in enumerate(counts):
        entry = boxes_input(*map(torch.Tensor.tolist, objects(count, seed)), seed, size=size)
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


@pytest.mark.parametrize(
    "name", ["boxes", "linear", pytest.param("triplet", marks=pytest.mark.slow)]
)
def test_pictures_of_any_size_share_a_graph(name, monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    monkeypatch.setattr(runtime, "check_compiler", lambda *_: None)
    model = detector(name)
    detect = runtime.Runtimes(model, {}, config(name)).detector("compile")
    # torch has other convolutions, and so a graph, for one picture's map of at most 20,480 numbers.
    sizes = [(200, 264), (230, 300), (297, 210), (250, 270), (210, 333), (290, 250)]
    for size in sizes:
        entries = [runtime.entry_of(image) for image in random_pictures(1, *size)]
        found, expected = (f(entries)[0]["instances"].scores for f in (detect, model))
        torch.testing.assert_close(found, expected)
    assert counter.frame_count == 1


def test_crops_of_any_size_share_graphs(monkeypatch):
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    model = detector("boxes").train()
    model.compiles = True
    for size in (128, 160, 192, 96, 256):
        model(pictures(3, 2, size=size))
    assert counter.frame_count == 4  # network and losses, at one size and at any


CORNER_MODULES = {
    **{direction: functools.partial(DirectionalPool, direction) for direction in DIRECTIONS},
    "center": functools.partial(CenterPooling, 2, 2, pool_channels=2, norm=""),
    **{
        order: functools.partial(CascadeCornerPooling, 2, 2, pool_channels=2, norm="", order=order)
        for order in ORDERS
    },
}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize("name", CORNER_MODULES)
def test_of_equal_values_compiled_pools_choose_the_same(name, monkeypatch):
    """All numbers are whole, so float32 is exact and many maxima are shared."""
    monkeypatch.undo()
    random = torch.Generator().manual_seed(0)
    maps = torch.randint(4, (2, 2, 13, 18), generator=random).float().requires_grad_()
    weights = torch.randint(-2, 3, (2, 2, 13, 18), generator=random)
    module_ = CORNER_MODULES[name]()
    for parameter in module_.parameters():
        parameter.data = torch.randint(-1, 2, parameter.shape, generator=random).float()
    inputs = [maps, *module_.parameters()]
    found = []
    for function in (module_, torch.compile(module_)):
        pooled = function(maps)
        found.append([pooled, *torch.autograd.grad((pooled * weights).sum(), inputs)])
    assert found[0][1].any()
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize("name", ["pose", "triplet"])
def test_compiled_code_gives_the_same_losses_and_gradients(name, monkeypatch):
    """In float64: in float32 a pool takes another of two almost equal cells for the last bit.

    Weights that change by 6e-8 of themselves move gradients of the triplet by up to 3 % in a layer.
    """
    monkeypatch.undo()
    model, batch, found = detector(name).double().train(), pictures(2, 3), []
    for model.compiles in (False, True):
        model.zero_grad()
        losses = model(batch)
        sum(losses.values()).backward()
        gradients = [each.grad for each in model.parameters()]
        found.append((losses, [torch.zeros(()) if g is None else g for g in gradients]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-9, atol=1e-12)
    for one, other in zip(found[1][1], found[0][1], strict=True):
        assert (one - other).norm() <= 1e-9 * other.norm() + 1e-12
