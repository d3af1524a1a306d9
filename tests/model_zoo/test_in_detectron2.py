"""detectron2's own model zoo, once it knows the names of this package."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import detectron2.model_zoo as zoo
import pytest
import torch
from detectron2.model_zoo import model_zoo as their_module
from published_networks import points_shapes, recorded

from centernet_d2 import model_zoo
from centernet_d2.model_zoo import in_detectron2

RESNET18 = "COCO-Detection/points_resnet18_dcn_140e"
RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x"
ORIGINAL = {name: getattr(zoo, name) for name in in_detectron2.FUNCTIONS}


@pytest.fixture(autouse=True)
def _added(monkeypatch):
    """Added for one test, and taken back."""
    for module in (zoo, their_module):
        for name, function in ORIGINAL.items():
            monkeypatch.setattr(module, name, function)
    in_detectron2.add_to_detectron2.cache_clear()
    model_zoo.add_to_detectron2()
    model_zoo.add_to_detectron2()  # again: harmless
    yield
    in_detectron2.add_to_detectron2.cache_clear()


def test_both_modules_have_functions_of_the_same_form():
    for name, original in ORIGINAL.items():
        function = getattr(zoo, name)
        assert function is getattr(their_module, name)
        assert function.__wrapped__ is original
        assert inspect.signature(function) == inspect.signature(original)
        assert (function.__name__, function.__doc__) == (name, original.__doc__)


def test_our_names():
    name = "COCO-Detection/points_dla34_140e.yaml"
    assert zoo.get_config_file(name) == model_zoo.get_config_file(name)
    assert zoo.get_checkpoint_url(name) == "published:COCO-Detection/points_dla34_140e"
    assert zoo.get_checkpoint_url(name.removesuffix(".yaml")) == zoo.get_checkpoint_url(name)
    assert zoo.get_config(name) == model_zoo.get_config(name)
    assert zoo.get_config(name).MODEL.WEIGHTS == "timm:dla34.in1k"
    trained = zoo.get_config(name, trained=True)
    assert trained == model_zoo.get_config(name, trained=True)
    assert trained.MODEL.WEIGHTS == "published:COCO-Detection/points_dla34_140e"
    assert trained.TEST.PROTOCOL == "published"


def test_lazy_config():
    lazy = zoo.get_config("lazy/points_tiny.py")
    assert zoo.get_config_file("lazy/points_tiny.py").endswith("configs/lazy/points_tiny.py")
    assert lazy == model_zoo.get_config("lazy/points_tiny.py")
    with pytest.raises(RuntimeError, match=r"Pretrained model for lazy/points_tiny\.py is not av"):
        zoo.get_config("lazy/points_tiny.py", True)


def test_models(cache):
    ours = zoo.get("lazy/points_tiny.py", device="cpu")
    assert type(ours).__name__ == "PointsCenterNet"
    assert ours.training
    state = recorded(points_shapes("resdcn_18"))
    place = cache / "weights" / "points_resnet18_dcn_140e.pth"
    place.parent.mkdir(parents=True)
    torch.save({"epoch": 140, "state_dict": state}, place)
    model = zoo.get(f"{RESNET18}.yaml", trained=True, device="cpu")
    assert torch.equal(model.backbone.conv1.weight, state["conv1.weight"])


def test_their_names_give_what_they_gave():
    for their_name in their_module._ModelZooUrls.CONFIG_PATH_TO_URL_SUFFIX:
        assert zoo.get_checkpoint_url(f"{their_name}.yaml").startswith(
            "https://dl.fbaipublicfiles.com"
        )
    for path in (f"{RETINANET}.yaml", "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ.py"):
        assert zoo.get_config_file(path) == ORIGINAL["get_config_file"](path)
        assert "detectron2/model_zoo" in zoo.get_config_file(path)
        assert zoo.get_checkpoint_url(path) == ORIGINAL["get_checkpoint_url"](path)
    for trained in (False, True):
        cfg = zoo.get_config(f"{RETINANET}.yaml", trained)
        assert cfg == ORIGINAL["get_config"](f"{RETINANET}.yaml", trained)
        assert "HEATMAP" not in cfg.MODEL
    folder = Path(zoo.get_config_file(f"{RETINANET}.yaml")).parents[1]
    assert not [name for name in model_zoo.config_names() if (folder / name).exists()]
    for name in ("common/data/coco.py", "common/train.py"):  # parts of lazy configs, there and here
        assert zoo.get_config_file(name) == str(folder / name)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: zoo.get_config("COCO-Detection/nothing.yaml"),
            "nothing.yaml not available in",
        ),
        (
            lambda: zoo.get_config_file("points_dla34_140e"),
            "^points_dla34_140e not available in",
        ),
        (lambda: zoo.get("nothing.py"), "nothing.py not available in Model Zoo!"),
        (
            lambda: zoo.get_checkpoint_url("nothing"),
            "Pretrained model for nothing is not av",
        ),
        (lambda: zoo.get("Shapes/points_tiny.yaml", True), "Pretrained model for Shapes/points"),
        (
            lambda: zoo.get_checkpoint_url("Shapes/points_tiny.yaml"),
            "Pretrained model for Shapes",
        ),
    ],
)
def test_unknown_names_give_their_error(call, said):
    with pytest.raises(RuntimeError, match=said):
        call()


@pytest.mark.slow
def test_nothing_is_added_by_the_import_alone():
    program = (
        "import centernet_d2; from detectron2 import model_zoo; "
        f"model_zoo.get_config_file('{RESNET18}.yaml')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "not available in Model Zoo" in done.stderr
