import re
import sys

import pytest
import torch
import torchvision

from centernet_d2.checkpoint.imagenet import (
    IMAGENET_DLA,
    IMAGENET_RESNET,
    IMAGENET_TIMM,
    Source,
    imagenet_table,
    trunk_in_file,
    trunk_of,
)
from centernet_d2.checkpoint.rename import rename_state_dict
from centernet_d2.model_zoo.path_handlers import fetched_file
from centernet_d2.modeling.backbone import DLA, TimmBackbone
from centernet_d2.modeling.heads.branches import BranchHead


def model_state(backbone):
    """The names and shapes of a detector with this backbone."""
    (spec,) = backbone.output_shape().values()
    head = BranchHead(
        in_channels=[spec.channels],
        heatmaps={"heatmap": 80},
        regressions={"size": 2},
        hidden_channels=64,
    )
    state = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    return state | {f"head.{key}": value for key, value in head.state_dict().items()}


@torch.no_grad()
def test_timm_dla34_gives_the_maps_of_timm():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("dla34", pretrained=False).double().train()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # or errors in their order would not show
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.5, 0.5)
    ours = DLA().double().train()
    target = model_state(ours)
    renamed = rename_state_dict(theirs.state_dict(), imagenet_table("timm:dla34.in1k"), target)
    assert renamed.dropped.keys() == {"fc.weight", "fc.bias"}
    own = ("backbone.dla_up", "backbone.ida_up", "head")
    assert renamed.kept.keys() == {key for key in target if key.startswith(own)}
    trunk = {key.removeprefix("backbone."): value for key, value in renamed.state_dict.items()}
    ours.load_state_dict(ours.state_dict() | trunk)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    features = theirs.base_layer(images)
    for level, found in enumerate(ours.base(images)):
        features = getattr(theirs, f"level{level}")(features)
        torch.testing.assert_close(found, features)
    assert found.shape == (2, 512, 2, 3)


def test_any_timm_model():
    timm = pytest.importorskip("timm")
    source = timm.create_model("mobilenetv3_small_050", features_only=True).state_dict()
    target = model_state(TimmBackbone(name="mobilenetv3_small_050"))
    renamed = rename_state_dict(source, imagenet_table("timm:mobilenetv3_small_050"), target)
    assert len(renamed.state_dict) == len(source)
    assert all(key.startswith(("backbone.decoder.", "head.")) for key in renamed.kept)


def test_table_of_each_source():
    assert imagenet_table("torchvision:resnet101") is IMAGENET_RESNET
    assert imagenet_table("timm:dla34") is IMAGENET_DLA
    assert imagenet_table("timm:dla34.in1k") is IMAGENET_DLA
    assert imagenet_table("timm:resnet18.a1_in1k") is IMAGENET_TIMM
    assert imagenet_table("timm:dla34x") is IMAGENET_TIMM
    for source in ("torchvision:vgg16", "resnet18", "torchvision:resnet20"):
        with pytest.raises(ValueError, match="known are 'torchvision:resnet' with 18"):
            imagenet_table(source)


def saved_forms(state):
    """The same weights as programs save them: ending, content, function that writes them."""
    from safetensors.torch import save_file

    wrapped = {f"module.{name}": value for name, value in state.items()}
    inside = {f"module.backbone.{name}": value for name, value in state.items()}
    inside["module.neck.weight"] = torch.ones(3)
    no_counters = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    return [
        ("pth", state, torch.save),
        ("pth", {"state_dict": wrapped, "epoch": 3}, torch.save),
        ("bin", {"model_ema": wrapped, "optimizer": {}}, torch.save),
        ("pth", {"model": inside}, torch.save),
        ("safetensors", no_counters, save_file),
    ]


NETWORKS = (
    *("torchvision:resnet50", "timm:dla34", "timm:convnext_atto", "timm:efficientnet_lite0"),
    *("timm:mobilenetv3_small_050.lamb_in1k", "timm:resnet18"),
)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("torchvision:resnet18", form) for form in range(5)),
        *((n, i % 5) for i, n in enumerate(NETWORKS)),
    ],
)
def test_any_file_of_the_network(tmp_path, name, form):
    timm = pytest.importorskip("timm")
    source = Source.named(name)
    create = torchvision.models.get_model if name.startswith("torchv") else timm.create_model
    network = create(source.model.partition(".")[0], num_classes=10)  # fine-tuned by somebody
    ending, content, write = saved_forms(network.state_dict())[form]
    write(content, tmp_path / f"weights.{ending}")
    found = trunk_in_file(source, tmp_path / f"weights.{ending}")
    whole = {key.replace("_", "."): value for key, value in network.state_dict().items()}
    assert all(value.equal(whole[key.replace("_", ".")]) for key, value in found.items())
    assert found.keys() == trunk_of(source).keys()


def test_names_of_the_networks_authors(tmp_path):
    """As timm translates them: ConvNeXt in its first publication."""
    timm = pytest.importorskip("timm")
    state = timm.create_model("convnext_atto", conv_mlp=False).state_dict()
    theirs = {}
    for name, value in state.items():
        name = name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
        name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = re.sub(r"stages\.(\d)\.blocks\.", r"stages.\1.", name)
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        theirs[name.replace("head.fc.", "head.")] = value
    torch.save({"model": theirs}, tmp_path / "convnext.pth")
    source = Source.named("timm:convnext_atto")
    found = trunk_in_file(source, tmp_path / "convnext.pth")
    assert found["stages_2.blocks.1.conv_dw.weight"].equal(
        state["stages.2.blocks.1.conv_dw.weight"]
    )


@pytest.mark.parametrize(
    ("name", "other", "told"),
    [
        (
            "torchvision:resnet18",
            "resnet34",
            r"of the 120 .* trunk 120 fit.*, and 96 more are of a larger one; the "
            r"nearest network is resnet34, of which 216 of 216 fit",
        ),
        (
            "timm:convnext_atto",
            "convnext_pico",
            r"of the \d+ .* trunk \d+ fit.*nearest network is "
            r"convnext_pico, of which 124 of 124 fit",
        ),
        (
            "timm:resnet50",
            "mobilenetv2_100",
            r"of the 318 .* trunk 0 fit.*nearest network is mobilenetv2",
        ),
    ],
)
def test_another_network_is_named(tmp_path, name, other, told):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model(other).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.pth' is no file of {name}: {told}"):
        trunk_in_file(Source.named(name), tmp_path / "other.pth")


def test_files_and_packages_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"timm:dla34@nowhere\.pth': there is no such file"):
        Source.named("timm:dla34@nowhere.pth").local_file()
    with pytest.raises(FileNotFoundError, match="`pip install efficientnet_lite4_pytorch_model`"):
        Source.named("efficientnet-lite:4").local_file()
    assert Source.named("efficientnet-lite:1@a.pth") == ("timm", "tf_efficientnet_lite1", "a.pth")
    with pytest.raises(ValueError, match=r"timm cannot build 'resnt18': Unknown model"):
        trunk_of(Source.named("timm:resnt18"))
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.pth' is empty"):
        trunk_in_file(Source.named("timm:resnet18"), tmp_path / "a.pth")


def test_missing_timm_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # what an import of it then meets
    with pytest.raises(ImportError, match="pip install timm"):
        fetched_file(Source.named("timm:dla34.in1k"))
