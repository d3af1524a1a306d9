"""Decoding of 3-D boxes: the published numbers, and the published steps one detection at a time."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.decoding.boxes3d import (
    angle_from_output,
    boxes_from_outputs,
    depth_from_output,
)

# The camera that the published code takes where none is given.
CAMERA = [
    [707.0493, 0.0, 604.0814, 45.75831],
    [0.0, 707.0493, 180.5066, -0.3454157],
    [0.0, 0.0, 1.0, 0.004981016],
]
OTHER = [[500.0, 0.0, 320.0, -7.5], [0.0, 480.0, 100.0, 3.25], [0.0, 0.0, 1.0, 0.25]]


def output_of(alpha: float, second: bool) -> list[float]:
    """Eight values whose chosen bin says `alpha`."""
    first_residual, second_residual = alpha + math.pi / 2, alpha - math.pi / 2
    logits = (-1.0, 1.0) if second else (1.0, -1.0)
    row = [0.0, logits[0], math.sin(first_residual), math.cos(first_residual)]
    return [*row, 0.0, logits[1], math.sin(second_residual), math.cos(second_residual)]


def test_golden_numbers():
    boxes = boxes_from_outputs(
        torch.tensor([[761.5, 225.5]]),
        torch.tensor([8.41]),
        torch.tensor([[1.5, 1.6, 3.9]]),
        torch.tensor([output_of(-0.2, second=False)]),
        torch.tensor(CAMERA),
    )
    assert boxes.location[0].tolist() == pytest.approx([1.81195, 1.28693, 8.40502], abs=6e-6)
    assert boxes.rotation_y.item() == pytest.approx(0.019069, abs=1e-6)
    assert boxes.alpha.item() == pytest.approx(-0.2, abs=1e-6)
    assert boxes.dimensions[0].tolist() == pytest.approx([1.5, 1.6, 3.9])


def published_row(center, depth, dimensions, orientation, camera):
    """x, y, z, height, width, length, rotation_y and alpha of one detection."""
    u, v = center
    z = depth - camera[2][3]
    x = (u * depth - camera[0][3] - camera[0][2] * z) / camera[0][0]
    y = (v * depth - camera[1][3] - camera[1][2] * z) / camera[1][1] + dimensions[0] / 2
    if orientation[1] > orientation[5]:
        alpha = math.atan2(orientation[2], orientation[3]) - math.pi / 2
    else:
        alpha = math.atan2(orientation[6], orientation[7]) + math.pi / 2
    rotation_y = alpha + math.atan2(u - camera[0][2], camera[0][0])
    if rotation_y > math.pi:
        rotation_y -= 2 * math.pi
    if rotation_y < -math.pi:
        rotation_y += 2 * math.pi
    if alpha > math.pi:  # published angles are not wrapped
        alpha -= 2 * math.pi
    if alpha < -math.pi:
        alpha += 2 * math.pi
    return [x, y, z, *dimensions, rotation_y, alpha]


@pytest.mark.parametrize("camera", [CAMERA, OTHER])
def test_equals_the_published_steps_one_detection_at_a_time(camera):
    generator = torch.Generator().manual_seed(0)
    count = 200
    centers = torch.rand(count, 2, generator=generator) * torch.tensor([1400.0, 450.0]) - 60
    depth = torch.rand(count, generator=generator) * 60
    dimensions = torch.rand(count, 3, generator=generator) * 4 + 0.5
    orientation = torch.randn(count, 8, generator=generator)
    boxes = boxes_from_outputs(
        *(rows.double() for rows in (centers, depth, dimensions, orientation)),
        torch.tensor(camera, dtype=torch.float64),
    )
    rows = (centers, depth, dimensions, orientation)
    expected = [published_row(*(part[i].tolist() for part in rows), camera) for i in range(count)]
    expected = torch.tensor(expected, dtype=torch.float64)
    assert (orientation[:, 1] > orientation[:, 5]).float().mean().item() == pytest.approx(
        0.5, abs=0.2
    )
    torch.testing.assert_close(boxes.tensor, expected, atol=1e-9, rtol=1e-9)
    single = boxes_from_outputs(*rows, torch.tensor(camera))
    torch.testing.assert_close(single.tensor.double(), expected, atol=2e-4, rtol=1e-5)


def test_each_row_by_its_own_projection():
    rows = (
        torch.tensor([[700.0, 200.0], [300.0, 90.0]]),
        torch.tensor([20.0, 7.0]),
        torch.tensor([[1.5, 1.6, 3.9], [1.7, 0.6, 0.9]]),
        torch.tensor([output_of(1.0, True), output_of(-1.0, False)]),
    )
    cameras = torch.tensor([CAMERA, OTHER])
    together = boxes_from_outputs(*rows, cameras)
    for index in range(2):
        alone = boxes_from_outputs(*(part[index : index + 1] for part in rows), cameras[index])
        swapped = boxes_from_outputs(
            *(part[index : index + 1] for part in rows), cameras[1 - index]
        )
        torch.testing.assert_close(together.tensor[index], alone.tensor[0])
        assert (together.location[index] - swapped.location[0]).abs().max() > 1


def test_depth():
    assert depth_from_output(torch.zeros(1)).item() == pytest.approx(1, abs=5e-6)  # metres
    for value in (-6.0, -3.25, 1.5):
        sigmoid = 1 / (1 + math.exp(-value))
        found = depth_from_output(torch.tensor([value], dtype=torch.float64)).item()
        assert found == pytest.approx(1 / (sigmoid + 1e-6) - 1, rel=1e-12)
    far, near = depth_from_output(torch.tensor([-200.0, 200.0])).tolist()
    assert far == pytest.approx(999_999, rel=1e-4)  # never infinite
    assert abs(near) < 2e-6


@pytest.mark.parametrize(
    ("first", "second", "alpha"), [(0.5, 0.5, 0.3), (0.6, 0.5, -0.3), (-2.0, -1.0, 0.3)]
)
def test_the_second_bin_wins_ties(first, second, alpha):
    output = torch.tensor(output_of(-0.3, second=False)[:4] + output_of(0.3, second=True)[4:])
    # The logits of not being held are not looked at, whatever they say.
    output[0], output[4], output[1], output[5] = 50.0, -50.0, first, second
    assert angle_from_output(output).item() == pytest.approx(alpha, abs=1e-6)


def test_angles_of_maps_of_any_shape():
    outputs = torch.randn(2, 3, 5, 8)
    found = angle_from_output(outputs)
    assert found.shape == (2, 3, 5)
    assert torch.equal(found[1, 2], angle_from_output(outputs[1, 2]))
    assert ((found >= -math.pi) & (found < math.pi)).all()


def test_no_detections():
    boxes = boxes_from_outputs(
        torch.zeros(0, 2),
        torch.zeros(0),
        torch.zeros(0, 3),
        torch.zeros(0, 8),
        torch.zeros(0, 3, 4),
    )
    assert len(boxes) == 0
    assert boxes.tensor.shape == (0, 8)
