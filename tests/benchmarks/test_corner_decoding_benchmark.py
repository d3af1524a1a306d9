"""The benchmark of corner decoding compares two ways to the same answer."""

from __future__ import annotations

import pytest
import torch

from benchmarks import BenchmarkOptions, corner_decoding
from centernet_d2.decoding.corner_pairs import pair_corners
from centernet_d2.structures.predictions import KeypointMaps


@pytest.fixture(autouse=True)
def _small_maps(monkeypatch):
    monkeypatch.setattr(corner_decoding, "SIDE", 20)
    monkeypatch.setattr(corner_decoding, "CLASSES", 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_alternatives_find_the_same(layout):
    maps = corner_decoding.random_maps(torch.device("cpu"), layout)
    raw = [KeypointMaps(m.heatmap.sigmoid(), m.offset, m.embedding) for m in maps]
    for of_one in raw:
        found = corner_decoding.find_keypoints(of_one, 100)
        plain = corner_decoding.plain_keypoints(of_one, 100)
        assert all(
            first is second is None or torch.equal(first, second)
            for first, second in zip(vars(found).values(), vars(plain).values(), strict=True)
        )
    found, plain = (
        pair_corners(find(raw[0], 100), find(raw[1], 100))
        for find in (corner_decoding.find_keypoints, corner_decoding.plain_keypoints)
    )
    assert (found.scores > -1).sum() > 100
    assert torch.equal(found.scores, plain.scores)


def test_measures_each_step_in_both_memory_formats():
    rows = corner_decoding.corner_decoding(BenchmarkOptions(rounds=2, warm_up=1))
    subjects = [(row["step"], row["memory"], row["alternative"]) for row in rows]
    assert len(set(subjects)) == 4 * 2 * 2
    assert {row["speed_up"] for row in rows[::2]} == {1}
    assert all(row["lowest_ms"] > 0 for row in rows)
