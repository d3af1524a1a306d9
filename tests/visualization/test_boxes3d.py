from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from centernet_d2.structures.box3d_records import NO_BOX3D
from centernet_d2.structures.boxes3d import Boxes3D, project_points
from centernet_d2.visualization.birds_eye import BirdsEyeFrame, above_of, beside, birds_eye_view
from centernet_d2.visualization.boxes3d import (
    detections3d_views,
    draw_boxes3d,
    draw_objects3d,
    readable,
)
from centernet_d2.visualization.canvas import class_color

PROJECTION = np.array([[700.0, 0, 600, 40], [0, 700.0, 180, 0.2], [0, 0, 1, 0.003]])
RED = (0, 0, 255)


def blank(size=(375, 1242), value=128) -> np.ndarray:
    return np.full((*size, 3), value, dtype=np.uint8)


def boxes(*rows) -> Boxes3D:
    return Boxes3D(torch.tensor(rows, dtype=torch.float32).reshape(-1, 8))


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


CAR = (1.0, 1.6, 12.0, 1.5, 1.7, 4.0, 0.5, 0.4)


@pytest.mark.parametrize("background", [0, 255])
def test_edges_run_between_the_projected_corners(background):
    image = blank(value=background)
    picture = draw_boxes3d(image, boxes(CAR), PROJECTION, [RED])
    points, _ = project_points(boxes(CAR).corners()[0].double(), torch.from_numpy(PROJECTION))
    points = points.numpy()
    for first, second in ((0, 1), (1, 2), (4, 5), (3, 7), (0, 5), (1, 4)):
        column, row = np.round(points[first] * 0.4 + points[second] * 0.6).astype(int)
        around = picture[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3).astype(int)
        assert np.abs(around - RED).sum(axis=1).min() < 120, (first, second)
    low, high = points.min(axis=0) - 5, points.max(axis=0) + 5
    different = changed(image, picture)
    different[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])] = False
    assert not different.any()
    assert (image == background).all()


def test_the_front_is_crossed():
    """Of a car that drives away and one that comes closer, the crosses lie at other depths."""

    def cross_center(heading):
        row = (0.0, 1.6, 12.0, 1.5, 1.7, 4.0, heading, heading)
        picture = draw_boxes3d(blank(value=0), boxes(row), PROJECTION, [RED])
        corners = boxes(row).corners()[0]
        front, _ = project_points(corners[[0, 5]].mean(0).double(), torch.from_numpy(PROJECTION))
        column, line = front.round().int().tolist()
        return picture[line - 1 : line + 2, column - 1 : column + 2, 2].max(), corners[0, 2]

    (away, far), (closer, near) = cross_center(-math.pi / 2), cross_center(math.pi / 2)
    assert min(away, closer) > 150
    assert far > 13 > 11 > near


def test_a_box_beside_the_camera_shows_its_visible_part():
    beside = (2.0, 1.6, 1.0, 1.5, 1.7, 4.0, -math.pi / 2, 0.0)  # its rear is behind the camera
    image = blank()
    picture = draw_boxes3d(image, boxes(beside), PROJECTION, [RED])
    assert changed(image, picture)[:, 700:].any()
    assert not changed(image, picture)[:, :600].any()


def test_what_is_behind_the_camera_or_no_box_is_not_drawn():
    image = blank()
    behind = (0.0, 1.6, -10.0, 1.5, 1.7, 4.0, 0.0, 0.0)
    nothing = (0.0,) * 8
    broken = (math.nan, 1.6, 10.0, 1.5, 1.7, 4.0, 0.0, 0.0)
    rows = boxes(behind, nothing, broken)
    np.testing.assert_array_equal(draw_boxes3d(image, rows, PROJECTION, [RED] * 3), image)
    assert draw_boxes3d(image, boxes(), PROJECTION, []).shape == image.shape
    assert birds_eye_view([(rows, [RED] * 3, True)]).shape == (384, 384, 3)


def test_the_nearest_box_is_on_top():
    near = (0.0, 1.6, 8.0, 1.5, 1.7, 4.0, 0.0, 0.0)
    far = (0.0, 1.6, 8.01, 1.5, 1.7, 4.0, 0.0, 0.0)
    blue = (255, 0, 0)
    for rows, colors in (((near, far), (RED, blue)), ((far, near), (blue, RED))):
        picture = draw_boxes3d(blank(value=0), boxes(*rows), PROJECTION, colors).astype(int)
        assert picture[..., 2].sum() > 3 * picture[..., 0].sum()


def test_birds_eye_frame_is_published():
    frame = BirdsEyeFrame()
    points = np.array([[0.0, 0.0], [-32.0, 64.0], [16.0, 32.0]])
    np.testing.assert_allclose(frame.pixels(points), [[192, 384], [0, 0], [288, 192]])


def test_from_above_a_filled_box_lies_where_it_stands():
    row = (10.0, 1.6, 30.0, 1.5, 2.0, 6.0, 0.0, 0.0)  # its length along x
    empty = birds_eye_view([])
    picture = birds_eye_view([(boxes(row), [RED], True)])
    different = changed(empty, picture)
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    np.testing.assert_allclose([columns[0], columns[-1]], [6 * 39, 6 * 45], atol=3)
    np.testing.assert_allclose([rows[0], rows[-1]], [384 - 6 * 31, 384 - 6 * 29], atol=3)
    assert tuple(picture[384 - 6 * 30 + 4, 6 * 40]) == RED
    thick = different.sum(axis=0)
    assert (picture[384 - 180, 6 * 45 - 1] < 60).all()  # the front edge, at +x, is black and thick
    assert thick.max() >= 12


def test_objects_with_ignored_regions(monkeypatch):
    instances = Instances(
        (375, 1242),
        gt_boxes=Boxes(torch.tensor([[500.0, 150, 700, 300], [20, 20, 60, 60]])),
        gt_classes=torch.tensor([1, -1]),
        gt_boxes3d=boxes(CAR, (0.0,) * 8),
        gt_ignored=torch.tensor([False, True]),
    )
    image = blank()
    picture = draw_objects3d(image, instances, PROJECTION, ["Pedestrian", "Car"])
    assert picture.shape == (375, 1242 + 4 + 375, 3)
    assert tuple(picture[40, 20]) == (150, 150, 150)
    color = class_color(1)
    assert (picture[:, :1242] == color).all(axis=2).sum() > 300
    assert (picture[:, 1246:] == color).all(axis=2).sum() > 100
    assert len(instances) == 2
    assert (image == 128).all()


def test_an_object_without_a_3d_box_is_one_in_the_image():
    instances = Instances(
        (375, 1242),
        gt_boxes=Boxes(torch.tensor([[300.0, 100, 400, 200]])),
        gt_classes=torch.tensor([1]),
        gt_boxes3d=boxes(NO_BOX3D.tolist()),
    )
    picture = draw_objects3d(blank(), instances, PROJECTION)
    assert tuple(picture[150, 300]) == tuple(picture[200, 350]) == tuple(class_color(1))
    assert not (picture[:, 1246:] == class_color(1)).all(axis=2).any()  # from above


def test_detections_follow_the_threshold():
    instances = Instances(
        (375, 1242),
        pred_boxes=Boxes(torch.tensor([[500.0, 150, 700, 300], [-500, 150, 7000, 300]])),
        scores=torch.tensor([0.31, 0.29]),
        pred_classes=torch.tensor([1, 0]),
        pred_boxes3d=boxes(CAR, (-3.0, *CAR[1:])),
    )
    image = blank()
    picture = beside(*detections3d_views(image, instances, PROJECTION, ["Pedestrian", "Car"]))
    assert (picture == class_color(1)).all(axis=2).any()
    assert not (picture == class_color(0)).all(axis=2).any()
    both = beside(
        *detections3d_views(image, instances, PROJECTION, threshold=0.1, truth=boxes(CAR))
    )
    assert (both == class_color(0)).all(axis=2).any()
    assert (both[:, 1246:] == (40, 30, 220)).all(axis=2).sum() > 20  # ground truth, from above
    none = beside(*detections3d_views(image, instances, PROJECTION, threshold=0.9))
    np.testing.assert_array_equal(none[:, :1242], image)


def test_small_images_are_enlarged_with_what_lies_on_them():
    image = blank((96, 320), 0)
    cv2.rectangle(image, (10, 20), (19, 29), (255, 255, 255), cv2.FILLED)
    small = np.array([[180.0, 0, 150, 10], [0, 180.0, 45, 0.1], [0, 0, 1, 0]])
    large, projection, found = readable(image, small, Boxes(torch.tensor([[10.0, 20, 19, 29]])))
    assert large.shape == (384, 1280, 3)
    np.testing.assert_allclose(found.tensor, [[41.5, 81.5, 77.5, 117.5]])
    bright = np.argwhere(large[..., 0] > 127)
    np.testing.assert_allclose(bright.mean(axis=0), [99.5, 59.5])  # rows and columns
    np.testing.assert_allclose(projection[0], [720, 0, 601.5, 40])
    same = readable(blank(), PROJECTION, Boxes(torch.zeros(0, 4)))
    assert same[0].shape == (375, 1242, 3)
    np.testing.assert_array_equal(same[1], PROJECTION)


def test_the_view_from_above_is_as_high_as_the_picture():
    for height in (200, 375, 720):
        image = blank((height, 500))
        picture = beside(image, above_of(image, [(boxes(CAR), [RED], False)], PROJECTION))
        assert picture.shape == (height, 500 + 4 + height, 3)
