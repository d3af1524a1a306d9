from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st

from centernet_d2.structures.boxes3d import (
    Boxes3D,
    alpha_to_rotation_y,
    project_points,
    rescaled_projection,
    unproject,
    wrap_angle,
)
from centernet_d2.structures.cameras import checked_projection

# The published default: the camera of a KITTI tracking sequence.
PROJECTION = torch.tensor(
    [
        [707.0493, 0, 604.0814, 45.75831],
        [0, 707.0493, 180.5066, -0.3454157],
        [0, 0, 1, 0.004981016],
    ],
    dtype=torch.float64,
)
OTHER = torch.tensor(
    [[500.0, 3, 320, -20], [-2, 450, 240, 5], [0.01, 0, 1, 0.1]], dtype=torch.float64
)


def random_boxes(count: int, dtype=torch.float64) -> Boxes3D:
    generator = torch.Generator().manual_seed(count)
    numbers = torch.rand(count, 8, generator=generator, dtype=dtype)
    low = torch.tensor([-20, 1, 5, 1, 1, 2, -math.pi, -math.pi], dtype=dtype)
    high = torch.tensor([20, 2, 60, 2, 2, 5, math.pi, math.pi], dtype=dtype)
    return Boxes3D(low + numbers * (high - low))


def points_in_front(count: int) -> torch.Tensor:
    return random_boxes(count).location


# ---- a detectron2 field ----


def test_a_field_of_instances():
    boxes = random_boxes(5, torch.float32)
    found = Instances((375, 1242), pred_boxes3d=boxes, scores=torch.arange(5.0))
    mask = found.scores > 2.5
    assert torch.equal(found[mask].pred_boxes3d.tensor, boxes.tensor[3:])
    assert torch.equal(found[1].pred_boxes3d.tensor, boxes.tensor[1:2])
    assert torch.equal(found[1:3].pred_boxes3d.tensor, boxes.tensor[1:3])
    assert torch.equal(found[torch.tensor([4, 0])].pred_boxes3d.tensor, boxes.tensor[[4, 0]])
    both = Instances.cat([found, found[:2]])
    assert isinstance(both.pred_boxes3d, Boxes3D)
    assert len(both.pred_boxes3d) == len(both) == 7
    moved = found.to("meta")
    assert moved.pred_boxes3d.device == torch.device("meta")
    assert found.pred_boxes3d.to(torch.float64).tensor.dtype == torch.float64
    assert "Boxes3D(tensor(" in repr(found.pred_boxes3d)


def test_lives_through_detectron2s_postprocessing():
    """Which scales, clips and drops in the image plane: a box that is partly outside stays."""
    boxes = random_boxes(3, torch.float32)
    found = Instances((100, 200), pred_boxes3d=boxes)
    found.pred_boxes = Boxes(
        torch.tensor([[-30.0, 10, 40, 130], [20, 20, 60, 60], [210, 10, 250, 90]])
    )
    found.scores = torch.tensor([0.9, 0.8, 0.7])
    result = detector_postprocess(found, 200, 400)
    assert torch.equal(result.pred_boxes3d.tensor, boxes.tensor[:2])  # the third shows nothing
    assert result.pred_boxes.tensor[0].tolist() == [0, 20, 80, 200]


def test_parts_and_copies():
    boxes = random_boxes(4)
    again = Boxes3D.from_parts(boxes.location, boxes.dimensions, boxes.rotation_y, boxes.alpha)
    assert torch.equal(again.tensor, boxes.tensor)
    assert torch.equal(boxes.depth, boxes.tensor[:, 2])
    copy = boxes.clone()
    copy.tensor.zero_()
    assert boxes.tensor.abs().sum() > 0
    assert torch.equal(torch.stack(list(boxes)), boxes.tensor)


def test_no_boxes_at_all():
    for empty in (Boxes3D(torch.zeros(0, 8)), Boxes3D([]), Boxes3D.cat([])):
        assert len(empty) == 0
        assert empty.tensor.shape == (0, 8)
        assert empty.corners().shape == (0, 8, 3)
        assert empty.birds_eye().shape == (0, 4, 2)
    assert len(Boxes3D.cat([Boxes3D([]), random_boxes(2, torch.float32)])) == 2


@pytest.mark.parametrize("shape", [(8,), (2, 7), (1, 2, 8)])
def test_a_wrong_shape_is_told(shape):
    with pytest.raises(ValueError, match=r"not \(N, 8\): x, y, z, height"):
        Boxes3D(torch.zeros(shape))


def test_whole_numbers_become_floating_point():
    assert Boxes3D(torch.ones(1, 8, dtype=torch.int64)).tensor.dtype == torch.float32


# ---- corners ----


def test_corners_in_the_published_order():
    """Height 2, width 4, length 6 at (10, 1, 20), not turned, and a quarter turn further."""
    straight = [10, 1, 20, 2, 4, 6, 0, 0]
    turned = [10, 1, 20, 2, 4, 6, math.pi / 2, 0]
    corners = Boxes3D(torch.tensor([straight, turned], dtype=torch.float64)).corners()
    bottom = [[13, 1, 22], [13, 1, 18], [7, 1, 18], [7, 1, 22]]
    expected = bottom + [[x, y - 2, z] for x, y, z in bottom]
    assert corners[0].tolist() == expected
    # The heading, +x before, now is -z.
    bottom = torch.tensor([[12.0, 1, 17], [8, 1, 17], [8, 1, 23], [12, 1, 23]]).double()
    assert torch.allclose(corners[1, :4], bottom)
    assert torch.allclose(corners[1, 4:], bottom - torch.tensor([0, 2, 0.0]))


def test_birds_eye_is_the_bottom_face():
    boxes = random_boxes(6)
    assert torch.equal(boxes.birds_eye(), boxes.corners()[:, :4][..., [0, 2]])
    assert torch.allclose(boxes.birds_eye().mean(dim=1), boxes.location[:, [0, 2]])


# ---- projection ----


def test_the_published_location():
    """Golden numbers: location and rotation of a decoded detection."""
    center = torch.tensor([[761.5, 225.5]], dtype=torch.float64)
    location = unproject(center, torch.tensor([8.41], dtype=torch.float64), PROJECTION)
    location[:, 1] += 1.5 / 2
    expected = torch.tensor([[1.81195, 1.28693, 8.40502]], dtype=torch.float64)
    assert torch.allclose(location, expected, atol=5e-6)
    alpha = torch.tensor([-0.2], dtype=torch.float64)
    assert alpha_to_rotation_y(alpha, center[:, 0], PROJECTION).item() == pytest.approx(
        0.019069, abs=5e-7
    )


def test_unproject_is_the_published_formula():
    pixels, depth = torch.rand(50, 2).double() * 1000, torch.rand(50).double() * 60 + 1
    z = depth - PROJECTION[2, 3]
    x = (pixels[:, 0] * depth - PROJECTION[0, 3] - PROJECTION[0, 2] * z) / PROJECTION[0, 0]
    y = (pixels[:, 1] * depth - PROJECTION[1, 3] - PROJECTION[1, 2] * z) / PROJECTION[1, 1]
    found = unproject(pixels, depth, PROJECTION)
    assert torch.allclose(found, torch.stack([x, y, z], dim=1), atol=1e-10)
    single = unproject(pixels.float(), depth.float(), PROJECTION.float())
    assert torch.allclose(single.double(), found, atol=1e-3)


@pytest.mark.parametrize("projection", [PROJECTION, OTHER])
def test_projecting_and_back(projection):
    points = points_in_front(40)
    pixels, depth = project_points(points, projection)
    assert torch.allclose(unproject(pixels, depth, projection), points)


def test_each_point_has_its_own_projection():
    """And each box's corners that of its image: mixing calibrations is the published mistake."""
    points = points_in_front(2)
    projections = torch.stack([PROJECTION, OTHER])
    pixels, depth = project_points(points, projections)
    for row in range(2):
        alone, alone_depth = project_points(points[row], projections[row])
        assert torch.allclose(pixels[row], alone)
        assert torch.allclose(depth[row], alone_depth)
    assert torch.allclose(unproject(pixels, depth, projections), points)
    corners = random_boxes(2).corners()
    pixels, _ = project_points(corners, projections)
    assert pixels.shape == (2, 8, 2)
    assert torch.allclose(pixels[1], project_points(corners[1], OTHER)[0])


def test_behind_the_camera_the_depth_says_so():
    _, depth = project_points(torch.tensor([[1.0, 1, -5]]), PROJECTION.float())
    assert depth.item() < 0


def test_projection_into_a_warped_image():
    """Projecting by the new matrix is projecting by the old one and warping the pixels."""
    warp = torch.tensor([[0.5, 0.1, 7], [-0.2, 0.4, -3]], dtype=torch.float64)
    points = points_in_front(20)
    pixels, depth = project_points(points, PROJECTION)
    moved, same_depth = project_points(points, rescaled_projection(PROJECTION, warp))
    assert torch.allclose(moved, pixels @ warp[:, :2].T + warp[:, 2])
    assert torch.equal(same_depth, depth)
    both = rescaled_projection(torch.stack([PROJECTION, OTHER]), warp.numpy())
    assert torch.allclose(both[1], rescaled_projection(OTHER, warp))
    one_each = rescaled_projection(PROJECTION, torch.stack([warp, 2 * warp]))
    assert one_each.shape == (2, 3, 4)
    assert torch.allclose(one_each[0], both[0])


def test_a_projection_is_divided_so_that_depth_is_in_metres():
    checked = checked_projection(PROJECTION, "here")
    assert np.array_equal(checked, PROJECTION.numpy())  # of KITTI not a bit changes
    np.testing.assert_allclose(checked_projection(4 * PROJECTION, "here"), checked)


def test_a_projection_with_a_rotation_is_refused():
    for entry in (0, 1):
        angle = torch.tensor(0.02)
        rotation = torch.eye(4, dtype=torch.float64)
        rotation[entry, entry] = rotation[2, 2] = angle.cos()
        rotation[2, entry], rotation[entry, 2] = angle.sin(), -angle.sin()
        turned = PROJECTION @ rotation
        with pytest.raises(ValueError, match=r"here begins row 3 with .*fold no rotation in"):
            checked_projection(turned, "here")
    nearly = PROJECTION.clone()
    nearly[2, 0] = 1e-9
    checked_projection(nearly, "here")


# ---- angles ----


@given(st.floats(-1e3, 1e3), st.sampled_from([torch.float32, torch.float64]))
def test_wrapped_angles_are_the_same_direction(angle, dtype):
    angle = torch.tensor([angle], dtype=dtype)
    wrapped = wrap_angle(angle)
    assert -math.pi <= wrapped.item() < math.pi or wrapped.item() == -torch.tensor(
        math.pi, dtype=dtype
    )
    if -math.pi <= angle.item() < math.pi:
        assert torch.equal(wrapped, angle)
    error = (wrapped - angle).double()
    assert abs(math.remainder(error.item(), 2 * math.pi)) < (
        1e-3 if dtype == torch.float32 else 1e-9
    )


def test_half_a_turn_is_the_lower_end():
    for dtype in (torch.float32, torch.float64):
        half = torch.tensor([math.pi, -math.pi, 3 * math.pi, math.pi - 1e-3], dtype=dtype)
        assert torch.allclose(wrap_angle(half)[:3], half[1], atol=1e-5)
        assert wrap_angle(half)[3] == half[3]


def as_seen(rotation_y, u, projection):
    """Undo `alpha_to_rotation_y`."""
    return wrap_angle(rotation_y - alpha_to_rotation_y(torch.zeros_like(u), u, projection))


def test_alpha_and_rotation_are_one_thing_seen_twice():
    u = torch.linspace(0, 1242, 100, dtype=torch.float64)
    rotation = torch.linspace(-math.pi, math.pi - 1e-6, 100, dtype=torch.float64)
    alpha = as_seen(rotation, u, PROJECTION)
    assert torch.allclose(alpha_to_rotation_y(alpha, u, PROJECTION), rotation, atol=1e-9)
    assert alpha.min() >= -math.pi
    assert alpha.max() < math.pi
    # In the middle of the image both are the same; to the right of it the car seems turned left.
    middle = as_seen(rotation[:1], PROJECTION[0, 2:3], PROJECTION)
    assert torch.allclose(middle, rotation[:1])
    right = as_seen(torch.tensor([0.0]), torch.tensor([1000.0]), PROJECTION.float())
    assert right.item() < 0


@pytest.mark.data
def test_real_labels_agree_with_their_calibration(test_data):
    """alpha of a label is its rotation_y less the angle of the ray to its location.

    The rays of the labels start at the laser scanner, 0.27 m behind the camera, so a near object
    to the side differs by up to 0.03.
    """
    from centernet_d2.data.datasets.kitti_labels import read_labels, read_projection

    folder = test_data / "kitti" / "training"
    compared = 0
    for path in sorted((folder / "label_2").glob("*.txt")):
        projection = torch.as_tensor(read_projection(str(folder / "calib" / path.name)))
        objects = [o for o in read_labels(str(path)) if o.type != "DontCare"]
        rows = [(*o.location, *o.dimensions, o.rotation_y, o.alpha) for o in objects]
        boxes = Boxes3D(torch.tensor(rows, dtype=torch.float64))
        centered = torch.cat([projection[:, :3], torch.zeros(3, 1).double()], dim=1)
        from_scanner = boxes.location + torch.tensor([0, 0, 0.27]).double()
        pixels, _ = project_points(from_scanner, centered)
        alpha = as_seen(boxes.rotation_y, pixels[:, 0], centered)
        assert (
            wrap_angle(alpha - boxes.alpha).abs() < 0.016
        ).all()  # three numbers of two decimals
        # The projected box of a car is what was drawn around it, where that is all in view.
        for box, item in zip(boxes.corners(), objects, strict=True):
            pixels, depth = project_points(box, projection)
            if item.type != "Car" or item.truncated > 0 or item.occluded or (depth < 1).any():
                continue
            outline = torch.cat([pixels.amin(dim=0), pixels.amax(dim=0)])
            assert (outline - torch.tensor(item.box)).abs().max() < 12
            compared += 1
    assert compared > 15
