import pytest
import torch

from benchmarks import BenchmarkOptions
from benchmarks.published_form import (
    PublishedForm,
    TorchvisionDeformConv,
    _model_and_batch,
    _network,
    published_form,
)
from centernet_d2.benchmark.detector import build
from centernet_d2.layers.deform_conv import DeformConv2d

SMALL_DLA = [
    *("MODEL.BACKBONE.NAME", "build_centernet_dla_backbone"),
    *("MODEL.HEATMAP.IN_FEATURES", ["dla_up"]),
    *("MODEL.DLA.CHANNELS", [8, 8, 16, 24, 32, 48], "MODEL.HEATMAP.NUM_CLASSES", 5),
]


@pytest.fixture
def options(config_root):
    path = str(config_root / "Shapes" / "points_tiny.yaml")
    return BenchmarkOptions(configs=[path], overrides=SMALL_DLA, size=(64, 96), rounds=2, warm_up=1)


@torch.no_grad()
def test_both_forms_compute_the_same(options):
    model, batch = _model_and_batch(options.configs[0], options)
    assert any(m.conv_offset_mask.weight.any() for m in model.modules() if type(m) is DeformConv2d)
    published = PublishedForm(model)
    assert sum(isinstance(m, TorchvisionDeformConv) for m in published.modules()) == 16
    (expected,), (found,) = published(batch), _network(model, batch)
    assert batch.shape == (1, 3, 64, 96)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)


def test_the_published_form_evaluates_the_heads_of_all_stacks(options, config_root):
    path = str(config_root / "Shapes" / "hourglass_tiny.yaml")
    model, _ = build(path, BenchmarkOptions(overrides=["MODEL.HEATMAP.NUM_CLASSES", "5"]))
    batch = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert len(PublishedForm(model)(batch)) == 2
        assert len(_network(model, batch)) == 1


@pytest.mark.slow
def test_rows(options):
    rows = published_form(options)
    assert [(row["what"], row["alternative"]) for row in rows] == [
        *(("forward", name) for name in ("published", "published, folded", "ours", "bfloat16")),
        *(("training step", name) for name in ("published", "ours")),
    ]
    assert {row["image"] for row in rows} == {"64x96"}
    assert {row["speed_up"] for row in rows if row["alternative"] == row["reference"]} == {1}
