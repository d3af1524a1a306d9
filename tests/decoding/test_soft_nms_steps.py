"""Soft-NMS in steps against the rounds of all classes at once."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.decoding.soft_nms import SoftNmsRule, soft_nms
from centernet_d2.decoding.soft_nms_rounds import NOTHING
from centernet_d2.decoding.soft_nms_steps import soft_nms_steps

from .test_soft_nms import METHODS, random_rows

IMAGES, BOXES = 3, 70


def batch():
    table = torch.from_numpy(random_rows(IMAGES * BOXES, seed=1)).view(IMAGES, BOXES, 7)
    classes = torch.arange(BOXES).expand(IMAGES, -1) % 3
    scores = table[..., 4].clone()
    scores[0, 5:] = NOTHING  # so that the first image has fewer boxes than are wanted
    return table[..., :4].contiguous(), scores, classes


@pytest.mark.parametrize("unrolled", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("extent", ["inclusive", "continuous"])
@pytest.mark.parametrize("merge_exponent", [None, 10.0])
def test_equals_rounds(merge_exponent, method, extent, unrolled):
    boxes, scores, classes = batch()
    corners = torch.stack([scores.abs(), scores.abs().sqrt()], dim=-1)
    rule = SoftNmsRule(method, threshold=0.3, extent=extent)
    more = {} if merge_exponent is None else {"merge_exponent": merge_exponent}
    merging = None if merge_exponent is None else (corners, merge_exponent)
    best, rows, merged = soft_nms_steps(
        *(boxes, scores, classes), rule=rule, limit=30, unrolled=unrolled, merging=merging
    )
    assert best.shape == rows.shape == (IMAGES, 30)
    for image in range(IMAGES):
        there = scores[image] > NOTHING
        given = (boxes[image][there], scores[image][there], classes[image][there])
        merging = more and {**more, "corner_scores": corners[image][there]}
        expected = soft_nms(*given, rule=rule, limit=30, **merging)
        count = len(expected.rows)
        assert count == (best[image] > NOTHING).sum()
        torch.testing.assert_close(best[image][:count], expected.scores, rtol=1e-5, atol=1e-7)
        assert torch.equal(rows[image][:count], expected.rows)
        torch.testing.assert_close(merged[image][:count], expected.boxes, rtol=1e-5, atol=1e-4)


def test_the_published_loop_is_refused():
    with pytest.raises(ValueError, match="MODE 'reference' repeats"):
        soft_nms_steps(*batch(), rule=SoftNmsRule(mode="reference"), limit=3)
