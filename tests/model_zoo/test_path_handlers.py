"""Names of weights, as detectron2's PathManager and configs take them."""

from __future__ import annotations

import http.server
import re
import socket
import time
from functools import partial

import pytest
import torch
import torchvision
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from local_server import served
from published_networks import mmdetection_shapes, recorded

from centernet_d2 import Predictor, model_zoo
from centernet_d2.checkpoint import imagenet
from centernet_d2.checkpoint.files import read_tensors
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.saved_names import saved_names
from centernet_d2.engine.setup import setup
from centernet_d2.engine.trainer import Trainer
from centernet_d2.model_zoo import path_handlers


@pytest.fixture
def published(tmp_path):
    file = tmp_path / "served" / "centernet_resnet18.pth"
    file.parent.mkdir()
    state = recorded(mmdetection_shapes("centernet_resnet18"))
    torch.save({"meta": {"CLASSES": ("person",)}, "state_dict": state}, file)
    return file


@pytest.fixture
def no_sources(monkeypatch):
    """Every fetch of ImageNet weights is an error."""

    def refuse(source):
        raise AssertionError(f"{source.name} was fetched")

    monkeypatch.setattr(path_handlers, "fetched_file", refuse)


def test_file_through_the_path_manager(published, monkeypatch):
    name = f"published:{published}"
    assert PathManager.isfile(name)
    assert PathManager.exists(name)
    local = PathManager.get_local_path(name)
    assert local.endswith(".pth")
    with PathManager.open(name, "rb") as stream:
        assert torch.load(stream, weights_only=True)["class_names"][0] == "person"
    with pytest.raises(OSError, match="can only be read"):
        PathManager.open(name, "wb")
    monkeypatch.chdir(published.parent)
    assert PathManager.get_local_path("published:centernet_resnet18.pth") == local
    model_zoo.path_handlers.register()  # again: harmless
    assert PathManager.get_local_path(name) == local


def test_address(published, cache):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = partial(Quiet, directory=str(published.parent))
    with served(handler) as address:
        name = f"published:{address}/centernet_resnet18.pth"
        cfg = model_zoo.get_config("points_resnet18_conv_mmdetection_140e")
        cfg.MODEL.DEVICE = "cpu"
        model = build_model(cfg)
        DetectionCheckpointer(model).load(name)
        asked = f"{name}?id=7"  # main's own checkpointer drops what follows "?"
        Checkpointer(model, mismatch="fail").load(asked)
        assert saved_names(asked).class_names[0] == "person"
        cfg.MODEL.HEATMAP.NUM_CLASSES = 0  # the weights say it, once they are here
        cfg.DATASETS.TRAIN, cfg.DATASETS.TEST, cfg.MODEL.WEIGHTS = (), (), f"{name}?id=8"
        assert list(saved_names(cfg.MODEL.WEIGHTS).class_names) == []
        assert Predictor(cfg).class_names[0] == "person"
    theirs = read_tensors(published)["state_dict"]["backbone.layer1.0.conv1.weight"]
    assert torch.equal(model.backbone.layer1[0].conv1.weight, theirs)
    assert PathManager.isfile(name)  # from the cache: the server is gone
    assert len(list((cache / "downloads").iterdir())) == 3


def test_unknown_name_lists_near_ones():
    name = "published:COCO-Detection/points_dla34_14e"
    with pytest.raises(FileNotFoundError, match=r"no such file.*nearest: .*points_dla34_140e"):
        PathManager.get_local_path(name)
    assert not PathManager.isfile(name)
    assert list(saved_names(name).class_names) == []


def test_mismatched_file_is_an_error_for_detectron2_too(tmp_path):
    (tmp_path / "page.pth").write_bytes(b"<!doctype html>")
    cfg = model_zoo.get_config("points_resnet18_dcn_140e")
    cfg.MODEL.DEVICE = "cpu"
    with pytest.raises(ValueError, match=r"page\.pth.*web page"):
        DetectionCheckpointer(build_model(cfg)).load(f"published:{tmp_path / 'page.pth'}")


def test_torchvision_trunk(monkeypatch, cache, tmp_path):
    torch.manual_seed(0)
    trunk = torchvision.models.resnet18(weights=None).state_dict()
    asked = []
    torch.save(trunk, tmp_path / "their.pth")
    give = lambda source: asked.append(source.name) or tmp_path / "their.pth"  # noqa: E731
    monkeypatch.setattr(path_handlers, "fetched_file", give)
    cfg = model_zoo.get_config("points_resnet18_dcn_140e")
    cfg.MODEL.DEVICE = "cpu"
    for _ in range(2):
        model = build_model(cfg)
        DetectionCheckpointer(model).load("torchvision:resnet18")
        assert torch.equal(model.backbone.conv1.weight, trunk["conv1.weight"])
    assert asked == ["torchvision:resnet18"]  # once, then from the cache
    assert len(list((cache / "converted").iterdir())) == 1


def test_torchvision_file_is_checked(monkeypatch, tmp_path):
    """Through this package's download: tensors only, and the digits in the file's name."""
    asked = {}

    def give(url, folder, *, name, sha256, by_hand):
        asked.update(url=url, name=name, sha256=sha256, by_hand=by_hand)
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / name)
        return tmp_path / name

    monkeypatch.setattr(path_handlers, "download", give)
    file = path_handlers.fetched_file(imagenet.Source.named("torchvision:resnet18"))
    assert "fc.weight" in read_tensors(file)
    assert asked["url"] == f"https://download.pytorch.org/models/{asked['name']}"
    assert asked["by_hand"] == "torchvision:resnet18@<file>"
    assert asked["name"] == f"resnet18-{asked['sha256']}.pth"


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("dla34.in1k", "backbone.base.base_layer.0.weight"),
        ("convnext_atto", "backbone.trunk.stages_0.blocks.0.conv_dw.weight"),
        ("tf_efficientnet_lite0", "backbone.trunk.blocks.0.0.conv_pw.weight"),
        ("mobilenetv2_100.ra_in1k", "backbone.trunk.conv_stem.weight"),
    ],
)
def test_timms_own_weights(monkeypatch, cache, tmp_path, name, tensor):
    """As its library fetches them: from the Hub, by the repository that it names."""
    timm = pytest.importorskip("timm")
    whole, asked = timm.create_model(name.partition(".")[0]).state_dict(), []
    torch.save(whole, tmp_path / "model.pth")
    monkeypatch.setattr(
        path_handlers, "hub_file", lambda *given: asked.append(given) or tmp_path / "model.pth"
    )
    content = read_tensors(PathManager.get_local_path(f"timm:{name}"))
    theirs = tensor.removeprefix("backbone.").replace("base.base_", "base_")
    theirs = theirs.removeprefix("trunk.").replace("stages_", "stages.")
    assert content["model"][tensor].equal(whole[theirs])
    assert not [key for key in content["model"] if re.search(r"(classifier|head|\bfc)\.", key)]
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    assert asked == [(f"timm:{name}", repository, "model.safetensors")]
    assert [file.name for file in (cache / "converted").iterdir()] == [
        f"timm-{name}-v{path_handlers.VERSION}.pth"
    ]


def test_unknown_source():
    with pytest.raises(ValueError, match="known are 'torchvision:resnet'"):
        PathManager.get_local_path("torchvision:vgg16")


def test_nothing_is_fetched_to_build_or_to_find_classes(no_sources, tiny_config):
    cfg = tiny_config("MODEL.WEIGHTS", "torchvision:resnet18")
    build_model(cfg)
    assert list(saved_names("torchvision:resnet18").class_names) == []
    setup(cfg)


def test_nothing_is_fetched_for_a_resumed_run(no_sources, tiny_config, tmp_path, monkeypatch):
    cfg = tiny_config("OUTPUT_DIR", str(tmp_path), "MODEL.WEIGHTS", "torchvision:resnet18")
    trainer = Trainer.__new__(Trainer)
    trainer.cfg, trainer.class_names, trainer.average = cfg, [], None
    trainer._holds_run = False
    model = build_model(cfg)
    trainer.checkpointer = Trainer.build_checkpointer(trainer, cfg, model)
    trainer.checkpointer.checkpointables.clear()
    trainer.checkpointer.model_info = None
    trainer.checkpointer.save("model_0000001")
    monkeypatch.setattr(Trainer, "iter", 1, raising=False)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    with pytest.raises(AssertionError, match="torchvision:resnet18 was fetched"):
        trainer.resume_or_load(resume=False)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("torchvision:resnet18", r"Could not download https.*torchvision:resnet18@<file>"),
        ("timm:dla34", r"'timm:dla34' could not be fetched \(.*copy the file here"),
        ("hub:me/mine", r"'hub:me/mine' could not be fetched \(.*copy the file here"),
        ("published:https://example.com/x.pth", r"Could not download https.*published:<file>"),
        ("http://example.com/x.pth", r"'http://example\.com/x\.pth' could not be .* Copy the file"),
    ],
)
def test_without_a_network_it_fails_at_once(monkeypatch, tmp_path, cache, name, told):
    def unknown(*given, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waits and tries again"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(OSError, match=told):
        path_handlers.local_file(name)
