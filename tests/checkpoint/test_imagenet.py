import sys

import pytest
import torch

from centernet_d2.checkpoint.imagenet import (
    IMAGENET_DLA,
    IMAGENET_RESNET,
    IMAGENET_TIMM,
    Source,
    imagenet_table,
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


def test_missing_timm_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # what an import of it then meets
    with pytest.raises(ImportError, match="pip install timm"):
        fetched_file(Source.named("timm:dla34.in1k"))
