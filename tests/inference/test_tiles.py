"""Tiles with a detector that sees everything: what is bright, in the class of its blue channel."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

import centernet_d2.modeling.point_tasks.pose  # noqa: F401 (registers pred_keypoints)
from centernet_d2.inference.tiles import merge_tiles, plan_tiles, predict_in_tiles


def see(images: list[np.ndarray]) -> list[dict[str, Instances]]:
    """Boxes of the bright areas as far as they are in the image, with a joint in the middle."""
    results = []
    for image in images:
        _, labels, stats, _ = cv2.connectedComponentsWithStats((image[..., 1] > 0).astype(np.uint8))
        boxes = stats[1:, :4].astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        found = Instances(image.shape[:2])
        found.pred_boxes = Boxes(torch.from_numpy(boxes))
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        found.scores = torch.from_numpy(0.3 + areas / 1e5)
        blue = [image[..., 0][labels == k].max() for k in range(1, len(stats))]
        found.pred_classes = torch.tensor(blue, dtype=torch.int64)
        middle = torch.from_numpy((boxes[:, :2] + boxes[:, 2:]) / 2)
        found.pred_keypoints = torch.cat([middle, torch.ones(len(middle), 1)], 1)[:, None]
        results.append({"instances": found})
    return results


def picture(side: int, count: int, largest: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright boxes that do not touch, (N, 5) left, top, right, bottom, class."""
    random, image, truth = np.random.RandomState(seed), np.zeros((side, side, 3), np.uint8), []
    while len(truth) < count:
        width, height = random.randint(8, largest, size=2)
        left, top = random.randint(0, side - largest, size=2)
        area = image[max(0, top - 2) : top + height + 2, max(0, left - 2) : left + width + 2]
        if not area.any():
            kind = len(truth) % 3
            image[top : top + height, left : left + width] = (kind, 200, 200)
            truth.append((left, top, left + width, top + height, kind))
    return image, np.array(truth, dtype=np.float32)


def rows(found: Instances) -> np.ndarray:
    columns = found.pred_boxes.tensor, found.pred_classes[:, None].float()
    return torch.cat(columns, dim=1).numpy()


def ordered(table: np.ndarray) -> np.ndarray:
    return table[np.lexsort(table.T)]


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "count"),
    [((100, 100), 100, 25, 1), ((60, 99), 100, 25, 1), ((101, 100), 100, 25, 2),
     ((100, 350), 100, 20, 5), ((1000, 700), 256, 64, 5 * 4), ((300, 300), 100, 0, 9)],
)  # fmt: skip
def test_tiles_cover_a_picture_and_overlap(size, tile, overlap, count):
    windows = plan_tiles(size, tile, overlap)
    seen = np.zeros(size, int)
    for left, top, right, bottom in windows:
        assert (right - left, bottom - top) == (min(tile, size[1]), min(tile, size[0]))
        seen[top:bottom, left:right] += 1
    assert (len(windows), seen.min()) == (count, 1)
    for axis in (0, 1):
        ends = sorted({(w[axis], w[axis + 2]) for w in windows})
        assert all(a[1] - b[0] >= overlap for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize("overlap", [-1, 100, 101])
def test_overlap_that_leaves_nothing(overlap):
    with pytest.raises(ValueError, match=f"tiles of 100 pixels cannot overlap by {overlap}"):
        plan_tiles((300, 300), 100, overlap)


def test_a_picture_of_one_tile_is_given_to_the_detector_as_it_is():
    given, result = [], {"instances": Instances((90, 120))}
    image = np.zeros((90, 120, 3), np.uint8)
    how = {"tile": 120, "overlap": 30, "whole": True}
    found = predict_in_tiles(lambda images: given.extend(images) or [result], image, **how)
    assert len(found.get_fields()) == 0
    assert [part.shape for part in given] == [image.shape]


def test_every_object_of_a_large_picture_is_found_once():
    """400 objects of up to 60 pixels on 4000: all, whole and once, as from the whole picture."""
    image, truth = picture(4000, 400, 60)
    found = predict_in_tiles(see, image, tile=512, overlap=64)
    np.testing.assert_array_equal(ordered(rows(found)), ordered(truth))
    assert found.image_size == (4000, 4000)
    middle = (found.pred_boxes.tensor[:, :2] + found.pred_boxes.tensor[:, 2:]) / 2
    torch.testing.assert_close(found.pred_keypoints[:, 0, :2], middle)  # joints move along
    assert (found.pred_keypoints[:, 0, 2] == 1).all()


def test_objects_larger_than_the_overlap_want_the_whole_picture():
    image, truth = picture(1000, 9, 250)
    parts = predict_in_tiles(see, image, tile=256, overlap=64)
    assert len(parts) > len(truth)
    found = predict_in_tiles(see, image, tile=256, overlap=64, whole=True)
    np.testing.assert_array_equal(ordered(rows(found)), ordered(truth))


def test_neighbours_of_one_tile_are_left_alone_and_classes_do_not_meet():
    """Two boxes of one class overlap by 0.8 in each of two tiles; a third is of another class."""
    tile = Instances((100, 100))
    tile.pred_boxes = Boxes(torch.tensor([[50.0, 20, 70, 40], [52, 20, 72, 40], [50, 20, 70, 40]]))
    tile.scores, tile.pred_classes = torch.tensor([0.9, 0.8, 0.5]), torch.tensor([0, 0, 1])
    other = Instances((100, 100), **tile.get_fields())
    other.pred_boxes = Boxes(tile.pred_boxes.tensor - torch.tensor([40.0, 0, 40, 0]))
    other.scores = tile.scores + torch.tensor([-0.01, 0.01, 0.01])
    windows = [(0, 0, 100, 100), (40, 0, 140, 100)]
    found = merge_tiles([tile, other], windows, (100, 140))
    expected = [[50, 20, 70, 40, 0], [52, 20, 72, 40, 0], [50, 20, 70, 40, 1]]
    assert ordered(rows(found)).tolist() == ordered(np.array(expected)).tolist()
    assert sorted(found.scores.tolist()) == pytest.approx([0.51, 0.8, 0.9])
    none = tile[tile.scores > 1]
    assert len(merge_tiles([none, none], windows, (100, 140))) == 0


def test_what_belongs_to_the_whole_picture_is_refused():
    found = Instances((9, 9), pred_boxes3d=torch.zeros(0, 7))
    with pytest.raises(ValueError, match="'pred_boxes3d' is of a whole picture"):
        merge_tiles([found, found], [(0, 0, 9, 9), (5, 0, 14, 9)], (9, 14))


def test_supervisions_slicer_gives_parts_where_ours_gives_objects():
    """Why it is not used: it keeps what a tile's border cuts, and no joints."""
    sv = pytest.importorskip("supervision")
    image, truth = picture(1000, 60, 60)
    callback = lambda tile: sv.Detections.from_detectron2(see([tile])[0])  # noqa: E731
    slicer = sv.InferenceSlicer(callback, slice_wh=256, overlap_wh=64)
    theirs = {tuple(box) for box in slicer(image).xyxy.tolist()}
    assert theirs > {tuple(box) for box in truth[:, :4].tolist()}
    ours = predict_in_tiles(see, image, tile=256, overlap=64)
    np.testing.assert_array_equal(ordered(rows(ours)), ordered(truth))
