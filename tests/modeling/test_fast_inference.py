import copy

import pytest
import torch
from detectron2.modeling import build_model

from centernet_d2.layers.blocks import PredictionBranch
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.modeling.fast_inference import make_fast

IMAGES = [
    {"image": torch.randint(0, 256, (3, 60, 90), dtype=torch.uint8)},
    {"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)},
]
BACKBONES = {
    "hourglass": [
        *("MODEL.BACKBONE.NAME", "build_centernet_hourglass_backbone"),
        *("MODEL.HOURGLASS.CHANNELS", [16, 24, 32], "MODEL.HOURGLASS.BLOCKS", [1, 1, 1]),
        *("MODEL.HEATMAP.IN_FEATURES", ["stack1", "stack2"]),
    ],
    "dla": [
        *("MODEL.BACKBONE.NAME", "build_centernet_dla_backbone"),
        *("MODEL.DLA.CHANNELS", [8, 8, 16, 24, 32, 48]),
        *("MODEL.HEATMAP.IN_FEATURES", ["dla_up"]),
    ],
}


def detector(tiny_config, name):
    torch.manual_seed(0)
    model = build_model(tiny_config(*BACKBONES[name]))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, DeformConv2d):
                torch.nn.init.normal_(module.conv_offset_mask.weight, std=0.02)
            if isinstance(module, PredictionBranch):  # scores that differ clearly
                torch.nn.init.normal_(module.last_layer.weight, std=0.5)
        model.train()
        for _ in range(6):  # running statistics of such images
            model.backbone(torch.randn(2, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.05)])
@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_nearly_the_same_detections(tiny_config, name, dtype, tolerance):
    model = detector(tiny_config, name)
    fast = make_fast(copy.deepcopy(model), dtype=dtype)
    assert {str(p.dtype) for p in fast.backbone.parameters()} == {f"torch.{dtype}"}
    # Maps, and not all 100 detections: two neighbouring cells that differ in the last digit may
    # swap which of them is the peak.
    batch = model.inference_images([IMAGES[1]["image"]], (96, 96))
    (expected,), (found,) = model.predict(batch), fast.predict(batch)
    assert found.heatmap.dtype == torch.float32
    assert (found.heatmap - expected.heatmap).std() < 0.05 * expected.heatmap.std()
    for before, after in (
        (expected.heatmap, found.heatmap),
        (expected.offset, found.offset),
        (expected.regressions["size"], found.regressions["size"]),
    ):
        assert dtype != "float32" or (after - before).abs().max() < 1e-4 * before.abs().max()
    best_before, best_after = model(IMAGES)[0]["instances"][:5], fast(IMAGES)[0]["instances"][:5]
    torch.testing.assert_close(best_after.scores, best_before.scores, atol=tolerance, rtol=0)


@torch.no_grad()
def test_a_fast_model_can_be_copied(tiny_config):
    fast = make_fast(detector(tiny_config, "hourglass"), dtype="bfloat16")
    first, second = fast(IMAGES)[0]["instances"], copy.deepcopy(fast)(IMAGES)[0]["instances"]
    assert torch.equal(first.scores, second.scores)


def test_only_the_last_stack_is_evaluated_in_inference(tiny_config):
    model = detector(tiny_config, "hourglass")
    batch = model.inference_images([IMAGES[1]["image"]], (96, 96))
    (last,) = model.predict(batch)
    model.head.train()
    assert len(model.head(model.features(batch))) == 2
    assert torch.equal(model.head(model.features(batch))[1]["heatmap"], last.heatmap)


def test_errors(tiny_config):
    model = build_model(tiny_config())
    with pytest.raises(ValueError, match="eval mode"):
        make_fast(model.train())
    with pytest.raises(ValueError, match=r"dtype must be one of .* got 'int8'"):
        make_fast(model.eval(), dtype="int8")
