"""The plain build of a corner detector computes what ours does, by torch's own operators."""

from __future__ import annotations

import pytest
import torch

from benchmarks import BenchmarkOptions
from benchmarks.corner_form import CummaxPool, corner_form, plain_build
from centernet_d2.benchmark.detector import build, random_inputs

CLASSES = ["MODEL.HEATMAP.NUM_CLASSES", "5"]


@pytest.fixture(params=["cornernet_tiny", "triplet_tiny"])
def options(request, config_root):
    path = str(config_root / "Shapes" / f"{request.param}.yaml")
    return BenchmarkOptions([path], CLASSES, size=(64, 64), rounds=1, warm_up=0)


@torch.no_grad()
def test_both_builds_detect_the_same(options):
    model, size = build(options.configs[0], options)
    plain, seen = plain_build(model), []
    assert any(isinstance(module, CummaxPool) for module in plain.modules())
    find = plain.best_keypoints
    plain.best_keypoints = lambda maps: seen.append(maps) or find(maps)
    inputs = random_inputs(1, size)
    (expected,), (found,) = model(inputs), plain(inputs)
    assert len(seen) in (2, 3)  # corners, and centers: the plain peaks are used
    expected, found = expected["instances"], found["instances"]
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=1e-4)


def test_rows(options, config_root):
    rows = corner_form(options)
    assert [row["alternative"] for row in rows] == ["plain", "ours", "bfloat16"]
    assert rows[0]["speed_up"] == 1
    other = str(config_root / "Shapes" / "points_tiny.yaml")
    assert corner_form(BenchmarkOptions([other], CLASSES, size=(64, 64))) == []
