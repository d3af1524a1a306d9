"""Boxes -> targets as perfect maps -> decoding -> the same boxes and classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from detectron2.structures import Boxes, Instances
from small_detector import small_detector

from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.point_tasks.box2d import Box2D
from centernet_d2.modeling.rules import CenterLearning
from centernet_d2.structures.predictions import CenterPredictions


def detector(class_specific_size: bool = False, resolution: str = "keep_res") -> PointsCenterNet:
    protocol = {"resolution": resolution, "fixed_size": (256, 256)}
    return small_detector([Box2D(class_specific_size=class_specific_size)], 4, protocol=protocol)


def perfect_maps(model: PointsCenterNet, images, instances) -> CenterPredictions:
    """What a network without error would give for these objects."""
    height, width = (side // 4 for side in images.tensor.shape[-2:])
    targets = model.targets(images, instances, (height, width))
    at = (targets.peaks.image, slice(None), targets.peaks.y, targets.peaks.x)
    offset = torch.zeros(len(images), 2, height, width)
    offset[at] = targets.offset
    size = torch.zeros(
        len(images), *model.head.stacks[0]["size"].last_layer.weight.shape[:1], height, width
    )
    if size.shape[1] == 2:
        size[at] = targets.size
    else:
        for row, class_index in enumerate(targets.classes.tolist()):
            peak = (targets.peaks.image[row], targets.peaks.y[row], targets.peaks.x[row])
            size[peak[0], 2 * class_index : 2 * class_index + 2, peak[1], peak[2]] = targets.size[
                row
            ]
    return CenterPredictions(torch.logit(targets.heatmap, eps=1e-6), offset, {"size": size})


def instances_of(size, objects) -> Instances:
    table = torch.tensor(objects, dtype=torch.float32)
    return Instances(size, gt_boxes=Boxes(table[:, 1:]), gt_classes=table[:, 0].long())


def found_rows(found: Instances) -> list[list[float]]:
    rows = torch.cat([found.pred_classes[:, None], found.pred_boxes.tensor], dim=1)
    return sorted(rows.tolist())


# Odd sizes, boxes on the borders, neighbours of one class on cells next but one.
CASES = [
    ((64, 64), [(0, 10, 12, 30, 40), (1, 20, 20, 60, 50)]),
    ((97, 131), [(2, 0, 0, 33, 21), (3, 90, 70, 131, 97)]),
    ((33, 501), [(0, 3, 3, 11, 11), (0, 11, 3, 19, 11), (1, 400, 2, 500, 30)]),
    ((5, 7), [(1, 1, 1, 6, 4)]),
]


@pytest.mark.parametrize(("size", "objects"), CASES)
@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
@pytest.mark.parametrize("class_specific_size", [False, True])
def test_same_boxes_and_classes(size, objects, resolution, class_specific_size):
    model = detector(class_specific_size, resolution)
    canvas = model.protocol.canvas_of(size, model.divisor)
    images = model.inference_images([torch.zeros(3, *size)], canvas)
    truth = instances_of(size, objects)
    found = model.finalize(model.propose([perfect_maps(model, images, [truth])], images))
    # Published targets end at the last cell, so where no border is left (fixed resolution) so does
    # a box.
    map_size = (canvas[0] // 4, canvas[1] // 4)
    last_cell = torch.tensor([[[map_size[1] - 1.0, map_size[0] - 1.0]]])
    limit_x, limit_y = images.map_to_image(last_cell, map_size)[0, 0].tolist()
    expected = sorted(
        [c, x1, y1, min(x2, limit_x), min(y2, limit_y)] for c, x1, y1, x2, y2 in objects
    )
    rows = found_rows(found[0])
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(("size", "objects"), CASES)
def test_logarithms_of_boxes_that_reach_the_end_of_the_map(size, objects):
    protocol = {"resolution": "fixed", "fixed_size": (256, 256)}
    learning = CenterLearning(border="map")
    model = small_detector([Box2D(size_form="log")], 4, protocol=protocol, learning=learning)
    images = model.inference_images([torch.zeros(3, *size)], (256, 256))
    maps = perfect_maps(model, images, [instances_of(size, objects)])
    logarithms = (maps.regressions["size"] / 8).log()  # 0 of a side of 8 cells
    maps = replace(maps, regressions={"size": logarithms})
    rows = found_rows(model.finalize(model.propose([maps], images))[0])
    assert len(rows) == len(objects)
    for row, wanted in zip(rows, sorted(map(list, objects)), strict=True):
        assert row == pytest.approx(wanted, abs=2e-3)


def test_two_classes_on_one_cell_need_class_specific_sizes():
    size, objects = (70, 75), [(0, 20, 20, 40, 40), (2, 22, 20, 38, 40)]
    model = detector(class_specific_size=True)
    images = model.inference_images([torch.zeros(3, *size)], (96, 96))
    maps = perfect_maps(model, images, [instances_of(size, objects)])
    found = model.finalize(model.propose([maps], images))
    assert found_rows(found[0]) == [list(map(float, row)) for row in objects]


def test_rows_of_a_batch_do_not_mix():
    model = detector()
    sizes = [(64, 64), (50, 60)]
    images = model.inference_images([torch.zeros(3, *size) for size in sizes], (96, 96))
    truths = [
        Instances(
            sizes[0], gt_boxes=Boxes(torch.tensor([[8.0, 8, 40, 40]])), gt_classes=torch.tensor([1])
        ),
        Instances(sizes[1], gt_boxes=Boxes(torch.zeros(0, 4)), gt_classes=torch.zeros(0).long()),
    ]
    found = model.finalize(model.propose([perfect_maps(model, images, truths)], images))
    assert found_rows(found[0]) == [[1, 8, 8, 40, 40]]
    assert len(found[1]) == 0
    assert found[1].has("pred_boxes")
