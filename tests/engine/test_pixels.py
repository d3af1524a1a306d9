"""What weights were trained to see decides what the network sees: mean, deviation, channels."""

from __future__ import annotations

import cv2
import pytest
import torch
import torchvision
from detectron2.config import get_cfg
from detectron2.modeling import build_model

from centernet_d2 import add_centernet_config
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.saved_names import follow_pixels
from centernet_d2.engine.setup import load_config, setup

RGB = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])  # torchvision's normalisation
BGR_MEAN, BGR_STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
TIMM = ["MODEL.BACKBONE.NAME", "build_centernet_timm_backbone", "MODEL.HEATMAP.IN_FEATURES"]
TIMM += [["timm"], "MODEL.TIMM.NAME"]
DECONV = ["MODEL.BACKBONE.NAME", "build_centernet_resnet_deconv_backbone"]
DECONV += ["MODEL.HEATMAP.IN_FEATURES", ["deconv"]]
DLA = [
    "MODEL.BACKBONE.NAME",
    "build_centernet_dla_backbone",
    "MODEL.HEATMAP.IN_FEATURES",
    ["dla_up"],
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))


def fresh(*overrides):
    """A config that says nothing of pixels."""
    small = ["MODEL.META_ARCHITECTURE", "PointsCenterNet", "MODEL.HEATMAP.NUM_CLASSES", 2]
    small += ["MODEL.DEVICE", "cpu"]
    return load_config("", [*small, "DATASETS.TRAIN", (), "DATASETS.TEST", (), *overrides])


def library_features(source, network, images):
    """The last map of a network of torchvision or timm."""
    if source.startswith("torchvision"):
        nodes = {"layer4": "map"}
        extractor = torchvision.models.feature_extraction.create_feature_extractor(network, nodes)
        return extractor(images)["map"]
    if "dla" in source:
        images = network.level1(network.level0(network.base_layer(images)))
        return network.level5(network.level4(network.level3(network.level2(images))))
    return network.forward_intermediates(images)[1][-1]


def our_features(model, images):
    found = []
    backbone = model.backbone
    last = getattr(backbone, "layer4", None) or getattr(backbone, "trunk", backbone)
    if hasattr(backbone, "base"):
        return backbone.base(images)[-1]
    last.register_forward_hook(lambda module, given, output: found.append(output))
    backbone(images)
    return found[0] if torch.is_tensor(found[0]) else found[0][-1]


@pytest.mark.parametrize(
    ("source", "backbone", "own"),
    [
        ("torchvision:resnet18", DECONV, RGB),
        ("timm:resnet18", [*TIMM, "resnet18"], RGB),
        ("timm:dla34", DLA, RGB),
        ("timm:efficientnet_lite0", [*TIMM, "efficientnet_lite0"], RGB),
        ("timm:tf_efficientnet_lite0", [*TIMM, "tf_efficientnet_lite0"], torch.full((2, 3), 0.5)),
        ("timm:mobilenetv2_100", [*TIMM, "mobilenetv2_100"], RGB),
        ("timm:convnext_atto", [*TIMM, "convnext_atto"], RGB),
    ],
)
@torch.no_grad()
def test_features_of_a_photo_are_those_of_the_source(test_data, tmp_path, source, backbone, own):
    """The library is fed R, G, B by its own statistics, the detector what `cv2.imread` gives."""
    timm, (library, name) = pytest.importorskip("timm"), source.split(":")
    torch.manual_seed(0)
    network = (torchvision.models.get_model if library != "timm" else timm.create_model)(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, file)
    cfg = setup(fresh(*backbone, "MODEL.WEIGHTS", f"{source}@{file}"))
    model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS)
    photo = cv2.imread(str(sorted((test_data / "coco_mini").rglob("*.jpg"))[0]))[:128, :160].copy()
    bgr = torch.from_numpy(photo).permute(2, 0, 1)
    images = model.eval().double().training_images([{"image": bgr.double()}]).tensor
    rgb = (bgr.flip(0)[None].double() / 255 - own[0].view(3, 1, 1)) / own[1].view(3, 1, 1)
    theirs = library_features(source, network.eval().double(), rgb)
    torch.testing.assert_close(our_features(model, images), theirs, rtol=1e-5, atol=1e-5)


def test_statistics_follow_unless_they_are_set_by_hand(tmp_path):
    cfg = setup(fresh("MODEL.WEIGHTS", "torchvision:resnet18"))
    assert pytest.approx(BGR_MEAN) == cfg.MODEL.PIXEL_MEAN
    assert pytest.approx(BGR_STD) == cfg.MODEL.PIXEL_STD
    lite = setup(fresh("MODEL.WEIGHTS", "efficientnet-lite:0"))
    assert (lite.MODEL.PIXEL_MEAN, lite.MODEL.PIXEL_STD) == ([127.5] * 3, [127.5] * 3)
    # A saved config says them itself, and starts the same network.
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = setup(load_config(tmp_path / "config.yaml"))
    assert again.MODEL.PIXEL_STD == cfg.MODEL.PIXEL_STD
    # detectron2's way: what is not its default was set by hand.
    theirs = get_cfg()
    add_centernet_config(theirs)
    theirs.MODEL.WEIGHTS, theirs.DATASETS.TRAIN, theirs.DATASETS.TEST = "timm:dla34", (), ()
    theirs.MODEL.HEATMAP.NUM_CLASSES = 1
    assert pytest.approx(BGR_STD) == setup(theirs.clone()).MODEL.PIXEL_STD
    theirs.MODEL.PIXEL_STD = [50.0, 50.0, 50.0]
    assert setup(theirs).MODEL.PIXEL_STD == [50.0] * 3


def test_two_networks_of_the_same_shapes_are_not_mixed():
    with pytest.raises(ValueError, match=r"are of tf_efficientnet_lite0, which pads .* make them"):
        setup(fresh(*TIMM, "efficientnet_lite0", "MODEL.WEIGHTS", "efficientnet-lite:0"))
    setup(fresh(*TIMM, "resnet18.a1_in1k", "MODEL.WEIGHTS", "timm:resnet18"))


@pytest.mark.parametrize(
    ("overrides", "turned", "told"),
    [
        (["COCO-Detection/points_resnet18_dcn_140e"], False, ""),
        (["PascalVOC-Detection/points_resnet18_dcn_384"], False, ""),
        (["COCO-Detection/points_resnet18_dcn_mmdetection_140e"], True, ""),
        (
            ["", *DECONV, "DATASETS.TRAIN", ("mine",), "MODEL.PIXEL_STD", [50.0] * 3],
            False,
            "are set by hand, but 'torchvision:re",
        ),
    ],
)
def test_published_trainings_start_as_published(tmp_path, caplog, overrides, turned, told):
    """Theirs feed B, G, R images to R, G, B weights; only mmdetection's did not."""
    network = torchvision.models.resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    weights = f"torchvision:resnet18@{tmp_path / 'resnet18.pth'}"
    small = ["MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "PointsCenterNet"]
    cfg = load_config(overrides[0], [*small, "MODEL.WEIGHTS", weights, *overrides[1:]])
    before = (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    follow_pixels(cfg)
    assert before == (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    assert told in caplog.text
    assert ("set by hand" in caplog.text) == bool(told)
    model = build_model(cfg)
    Checkpointer(model).load(weights)
    stem = network.conv1.weight
    assert model.backbone.conv1.weight.equal(stem.flip(1) if turned else stem)
