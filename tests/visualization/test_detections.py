from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from centernet_d2.visualization import canvas
from centernet_d2.visualization.canvas import (
    MISSED,
    RIGHT,
    VERDICTS,
    class_color,
    class_name,
    image_grid,
    side_by_side,
)
from centernet_d2.visualization.detections import draw_boxes, draw_detections
from centernet_d2.visualization.results import draw_truth, enlarged

SIZES = [(120, 160), (480, 640), (1500, 2000)]


def blank(size=(480, 640), value=128) -> np.ndarray:
    return np.full((*size, 3), value, dtype=np.uint8)


def detections(boxes, scores, classes) -> Instances:
    return Instances(
        (480, 640),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("background", [0, 255])
def test_outline_stands_at_the_box_and_nowhere_else(size, background):
    image = blank(size, background)
    height, width = size
    box = [width * 0.25, height * 0.3, width * 0.75, height * 0.9]
    picture = draw_boxes(image, [box], [0], [""])
    left, top, right, bottom = (round(v) for v in box)
    color = np.array(class_color(0))
    middle_y, middle_x = (top + bottom) // 2, (left + right) // 2
    for y, x in ((middle_y, left), (middle_y, right), (top, middle_x), (bottom, middle_x)):
        np.testing.assert_array_equal(picture[y, x], color)
    different = changed(image, picture)
    rim = max(8, width // 50)
    different[top - rim : bottom + rim, left - rim : right + rim] = False
    assert not different.any()
    inner = changed(image, picture)[top + rim : bottom - rim, left + rim : right - rim]
    assert inner.size
    assert not inner.any()


def test_line_grows_with_the_image():
    shares = []
    for height, width in SIZES:
        picture = draw_boxes(blank((height, width)), [[width / 4, 0, width, height]], [0], [""])
        row = picture[height // 2] == np.array(class_color(0))
        shares.append(row.all(axis=1)[: width // 2].sum())
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize("background", [0, 255])
def test_caption_has_contrast_on_any_background(background):
    image = blank(value=background)
    for index in range(24):
        picture = draw_boxes(image, [[100, 100, 300, 300]], [index], ["person 0.87"])
        plate = picture[82:98, 100:190].reshape(-1, 3).astype(int) @ [114, 587, 299] // 1000
        assert plate.max() - plate.min() > 90


def test_captions_fit_small_boxes_on_a_large_picture():
    image, boxes = blank((3000, 4000)), [[400, 900, 500, 1000], [2000, 2000, 2100, 2100]]
    small, large = (
        changed(image, draw_boxes(image, each, [0] * len(each), ["cell 0.99"] * len(each)))
        for each in (boxes, [[400, 900, 3400, 2900]])
    )
    rows = [np.flatnonzero(part[:1000, 450]) for part in (small, large)]
    assert 900 - rows[0].min() < 30  # the plate above a box of 100 pixels
    assert 900 - rows[1].min() > 60


def test_boxes_and_captions_outside_do_no_harm():
    image = blank((100, 100))
    boxes = [[-50, -50, 20, 20], [90, 90, 1e9, 1e9], [-9e9, 40, 9e9, 60], [200, 200, 300, 300]]
    picture = draw_boxes(image, boxes, range(4), ["a rather long caption for it"] * 4)
    assert picture.shape == image.shape
    assert changed(image, picture).any()


def test_threshold_and_order():
    box = [[100, 100, 300, 300]] * 3
    image = blank()
    best = draw_detections(image, detections(box[:1], [0.9], [1]))
    drawn = draw_detections(image, detections(box, [0.9, 0.29, 0.3], [1, 0, 2]))
    np.testing.assert_array_equal(drawn[200, 100], best[200, 100])  # the best is on top
    only = draw_detections(image, detections(box, [0.9, 0.29, 0.3], [1, 0, 2]), threshold=0.95)
    np.testing.assert_array_equal(only, image)
    assert (image == 128).all()  # not edited


def test_no_detections_and_transposed_views():
    image = np.zeros((3, 30, 40), dtype=np.uint8).transpose(1, 2, 0)  # not contiguous
    picture = draw_detections(image, detections([], [], []))
    np.testing.assert_array_equal(picture, image)


@pytest.mark.parametrize("size", SIZES)
def test_corners_and_center_are_marked_when_told(size):
    image = blank(size)
    height, width = size
    box = [[width * 0.25, height * 0.3, width * 0.75, height * 0.9]]
    found = detections(box, [0.9], [2])
    plain = draw_detections(image, found)
    np.testing.assert_array_equal(plain, draw_detections(image, found, keypoints=True))
    found.corner_scores = torch.tensor([[0.8, 1.0]])
    found.pred_centers = torch.tensor([[width * 0.55, height * 0.5]])
    np.testing.assert_array_equal(plain, draw_detections(image, found))
    marked = draw_detections(image, found, keypoints=True)
    different = changed(plain, marked)
    reach = canvas.line_thickness(image) + 4
    points = [*np.array(box).reshape(2, 2), found.pred_centers[0].numpy()]
    for x, y in (point.round().astype(int) for point in points):
        around = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
        assert different[around].sum() > 20
        assert tuple(marked[y, x].tolist()) == class_color(2)
        different[around] = False
    assert not different.any()
    del found._fields["pred_centers"]
    corners_only = changed(plain, draw_detections(image, found, keypoints=True))
    assert corners_only.any()
    x, y = points[2].round().astype(int)
    assert not corners_only[y - reach : y + reach + 1, x - reach : x + reach + 1].any()


def test_marks_follow_the_threshold_and_may_lie_outside():
    image = blank()
    found = detections([[-9e9, -50, 9e9, 700], [100, 100, 200, 200]], [0.9, 0.2], [0, 1])
    found.corner_scores = torch.ones(2, 2)
    found.pred_centers = torch.tensor([[1e12, 20.0], [150.0, 150.0]])
    marked = draw_detections(image, found, keypoints=True)
    np.testing.assert_array_equal(marked[90:210, 90:210], image[90:210, 90:210])
    empty = draw_detections(image, found[:0], keypoints=True)
    np.testing.assert_array_equal(empty, image)


def test_boxes_and_centers_are_enlarged():
    found, factor = detections([[20, 10, 70, 50]], [0.9], [2]), 6
    found.pred_centers = torch.tensor([[41.0, 33.0]])
    image = blank((60 * factor, 80 * factor))
    picture = draw_detections(image, enlarged(found, factor), keypoints=True)
    assert tuple(picture[33 * factor, 41 * factor].tolist()) == class_color(2)
    assert found.pred_centers.tolist() == [[41.0, 33.0]]  # not edited


def test_a_verdict_gives_the_colors_and_what_is_missed_is_dashed():
    truth = Instances((480, 640))
    truth.gt_boxes = Boxes(torch.tensor([[100.0, 100, 300, 300], [400, 100, 600, 300]]))
    truth.gt_classes = torch.tensor([0, 0])
    truth.verdict = torch.tensor([RIGHT, MISSED])
    picture = draw_truth(blank(), truth)
    right, missed = (picture[250:300, x : x + 1].reshape(-1, 3).tolist() for x in (100, 400))
    assert right[:-5] == [[*VERDICTS[RIGHT]]] * 45
    assert [*VERDICTS[MISSED]] in missed
    assert [128, 128, 128] in missed  # between two dashes


def test_ground_truth_is_drawn():
    truth = Instances((480, 640))
    truth.gt_boxes = Boxes(torch.tensor([[100.0, 100, 300, 300]]))
    truth.gt_classes = torch.tensor([3])
    picture = draw_truth(blank(), truth, ["a", "b", "c", "d"])
    np.testing.assert_array_equal(picture[200, 100], class_color(3))


def test_colors_differ():
    colors = [class_color(k) for k in range(80)]
    assert len(set(colors)) == 80
    nearest = min(
        np.abs(np.subtract(class_color(a), class_color(b))).sum()
        for a in range(12)
        for b in range(a)
    )
    assert nearest > 40


def test_class_without_a_name():
    assert class_name(["a", "b"], 1) == "b"
    assert class_name(["a", "b"], 2) == "class 2"


def test_grid_and_titles():
    left, right = blank((50, 60), 0), blank((50, 60), 255)
    pair = side_by_side([left, right], ["ground truth", "detections"])
    assert pair.shape[1] == 60 + 4 + 60
    assert pair.shape[0] > 50
    assert (pair[-1, :60] == 0).all()
    assert (pair[-1, 64:] == 255).all()
    grid = image_grid([pair, left, right], columns=2)
    assert grid.shape == (2 * pair.shape[0] + 4, 2 * pair.shape[1] + 4, 3)
    np.testing.assert_array_equal(grid[: pair.shape[0], : pair.shape[1]], pair)
