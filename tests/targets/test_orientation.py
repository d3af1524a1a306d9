"""Bins of observation angles: borders, residuals, and the way back through the decoding."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.decoding.boxes3d import angle_from_output
from centernet_d2.targets.orientation import orientation_bins

PI = math.pi
STEP = 1e-4
# Angle -> (in the bin around -pi/2, in the bin around pi/2), both sides of each border.
MEMBERS = {
    -PI: (True, True),
    -5 * PI / 6 - STEP: (True, True),
    -5 * PI / 6 + STEP: (True, False),
    -PI / 2: (True, False),
    -PI / 6 - STEP: (True, False),
    -PI / 6 + STEP: (True, True),
    0.0: (True, True),
    PI / 6 - STEP: (True, True),
    PI / 6 + STEP: (False, True),
    PI / 2: (False, True),
    5 * PI / 6 - STEP: (False, True),
    5 * PI / 6 + STEP: (True, True),
    PI: (True, True),
}


@pytest.mark.parametrize(("alpha", "members"), MEMBERS.items())
def test_bins_at_their_borders(alpha, members):
    bins, _ = orientation_bins(torch.tensor([alpha]))
    assert tuple(bins[0].tolist()) == members


def published_bins(alpha: float):
    rotbin, rotres = [False, False], [0.0, 0.0]
    if alpha < PI / 6 or alpha > 5 * PI / 6:
        rotbin[0], rotres[0] = True, alpha + PI / 2
    if alpha > -PI / 6 or alpha < -5 * PI / 6:
        rotbin[1], rotres[1] = True, alpha - PI / 2
    return rotbin, rotres


def test_equals_the_published_steps_one_angle_at_a_time():
    alpha = torch.rand(500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha = (2 * alpha - 1) * PI
    bins, residual = orientation_bins(alpha)
    seen = set()
    for row, angle in enumerate(alpha.tolist()):
        rotbin, rotres = published_bins(angle)
        assert bins[row].tolist() == rotbin
        for member, ours, theirs in zip(rotbin, residual[row].tolist(), rotres, strict=True):
            if member:
                assert ours == pytest.approx(theirs, abs=1e-12)
        seen.add(tuple(rotbin))
    assert seen == {(True, False), (False, True), (True, True)}


def output_of(alpha: torch.Tensor, chosen: int) -> torch.Tensor:
    """What a network without error gives (P, 8), `chosen` the bin whose logit is the higher one."""
    _, residual = orientation_bins(alpha)
    rows = []
    for angles in residual.tolist():
        row = []
        for which, angle in enumerate(angles):
            # Neither normalised nor the same length in both bins, and the first logits say nothing.
            length, held = 1.7 + which, 1.0 if which == chosen else -1.0
            row += [9.0 - 18 * (which == chosen), held]
            row += [length * math.sin(angle), length * math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("chosen", [0, 1])
def test_angles_come_back_from_each_bin_that_holds_them(chosen):
    alpha = torch.linspace(-PI, PI, 721)
    bins, _ = orientation_bins(alpha)
    held = bins[:, chosen]
    assert held.sum() > 480  # two thirds of the turn
    found = angle_from_output(output_of(alpha, chosen))[held]
    assert (found >= -PI).all()
    assert (found < PI).all()
    turns = (found - alpha[held]) / (2 * PI)
    torch.testing.assert_close(turns, turns.round(), atol=1e-6, rtol=0)
    inside = alpha[held].abs() < PI - 1e-3
    torch.testing.assert_close(found[inside], alpha[held][inside], atol=1e-5, rtol=0)


def test_an_angle_that_published_code_leaves_unwrapped():
    """-3.0 lies in both bins; published decoding of the second one gives 3.2832."""
    alpha = torch.tensor([-3.0])
    bins, residual = orientation_bins(alpha)
    assert bins.tolist() == [[True, True]]
    output = output_of(alpha, chosen=1)
    published = math.atan2(output[0, 6], output[0, 7]) + PI / 2
    assert published == pytest.approx(3.2832, abs=5e-5)
    assert angle_from_output(output).item() == pytest.approx(published - 2 * PI, abs=1e-5)
    assert angle_from_output(output).item() == pytest.approx(-3.0, abs=1e-5)
    assert residual[0, 1].item() == pytest.approx(-3 - PI / 2, abs=1e-6)


def test_no_angles():
    bins, residual = orientation_bins(torch.zeros(0))
    assert bins.shape == residual.shape == (0, 2)
    assert bins.dtype == torch.bool
    assert angle_from_output(torch.zeros(0, 8)).shape == (0,)
