"""Detectors of 3-D boxes for tests, and maps painted by hand from boxes in the camera frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from small_detector import small_detector

from centernet_d2.decoding.peaks import PeakSearch
from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.point_tasks.box2d import Box2D
from centernet_d2.modeling.point_tasks.box3d import Box3D
from centernet_d2.modeling.rules import CenterDecoding
from centernet_d2.structures.boxes3d import Boxes3D
from centernet_d2.structures.predictions import CenterPredictions

CLASSES = 3
PROJECTION = [
    [721.5377, 0.0, 609.5593, 44.85728],
    [0.0, 721.5377, 172.854, 0.2163791],
    [0.0, 0.0, 1.0, 0.002745884],
]
NARROW = [[540.0, 0.0, 580.0, -30.0], [0.0, 540.0, 200.0, 1.5], [0.0, 0.0, 1.0, 0.5]]


@dataclass(frozen=True)
class Thing:
    """A box in the camera frame, and how large it is in the image."""

    location: tuple[float, float, float]  # middle of the bottom
    dimensions: tuple[float, float, float]  # height, width, length
    rotation_y: float
    label: int = 1
    size: tuple[float, float] = (60.0, 40.0)  # width and height of the 2-D box, pixels

    def seen(self, projection) -> tuple[float, float, float, float]:
        """Column and row of its middle, the depth by which was divided, and its observed angle."""
        x, y, z = self.location
        middle = (x, y - self.dimensions[0] / 2, z, 1.0)
        u, v, depth = (sum(a * b for a, b in zip(row, middle, strict=True)) for row in projection)
        u, v = u / depth, v / depth
        angle = self.rotation_y - math.atan2(u - projection[0][2], projection[0][0])
        return u, v, depth, angle

    def box(self, projection) -> list[float]:
        """x1, y1, x2, y2 in the image."""
        u, v, _, _ = self.seen(projection)
        width, height = self.size
        return [u - width / 2, v - height / 2, u + width / 2, v + height / 2]


def detector(
    cls=PointsCenterNet, protocol=None, as_point=False, learning=None, top_k=100, **box3d
) -> Any:
    """A small detector of 2-D and 3-D boxes."""
    return small_detector(
        [Box2D(size_as_point=as_point), Box3D(**box3d)],
        CLASSES,
        cls,
        std=50.0,
        learning=learning,
        decoding=CenterDecoding(PeakSearch(top_k=top_k), score_threshold=0.3),
        protocol=protocol,
    )


def truth(size, things, projection=PROJECTION, boxes=None, **fields) -> Instances:
    """Ground truth of one image, in its frame."""
    boxes = [thing.box(projection) for thing in things] if boxes is None else boxes
    rows = [
        [*thing.location, *thing.dimensions, thing.rotation_y, thing.seen(projection)[3]]
        for thing in things
    ]
    return Instances(
        size,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        gt_classes=torch.tensor([thing.label for thing in things], dtype=torch.int64),
        gt_boxes3d=Boxes3D(torch.tensor(rows, dtype=torch.float32).view(-1, 8)),
        **{name: torch.tensor(value, dtype=torch.bool) for name, value in fields.items()},
    )


def placement(image_size, canvas, resolution: str) -> tuple[float, float, float]:
    """Scale and shift (x, y) from the image to the canvas, by the published formulas."""
    (height, width), (canvas_height, canvas_width) = image_size, canvas
    if resolution == "keep_res":  # integer halves
        return 1.0, canvas_width // 2 - width // 2, canvas_height // 2 - height // 2
    scale = canvas_width / width if resolution == "width" else 1.0
    return scale, canvas_width / 2 - scale * width / 2, canvas_height / 2 - scale * height / 2


def painted_maps(image_sizes, canvas, resolution, things, projections) -> CenterPredictions:
    """Maps of these things, value by value; their scores fall in the order given."""
    height, width = canvas[0] // 4, canvas[1] // 4
    count = len(image_sizes)
    heatmap = torch.full((count, CLASSES, height, width), -12.0)
    channels = {"offset": 2, "size": 2, "depth": 1, "dimensions": 3, "orientation": 8}
    # What no peak shows must not be read.
    maps = {name: torch.randn(count, number, height, width) for name, number in channels.items()}
    for index, (size, of_image) in enumerate(zip(image_sizes, things, strict=True)):
        scale, right, down = placement(size, canvas, resolution)
        for order, thing in enumerate(of_image):
            u, v, depth, angle = thing.seen(projections[index])
            x, y = (scale * u + right) / 4, (scale * v + down) / 4
            at = (index, slice(None), int(y), int(x))
            heatmap[index, thing.label, int(y), int(x)] = 4.0 - 0.25 * order
            share = 1 / (depth + 1) - 1e-6
            first, second = angle + math.pi / 2, angle - math.pi / 2
            maps["offset"][at] = torch.tensor([x - int(x), y - int(y)])
            maps["size"][at] = torch.tensor([scale * side / 4 for side in thing.size])
            maps["depth"][at] = math.log(share / (1 - share))
            maps["dimensions"][at] = torch.tensor(thing.dimensions)
            maps["orientation"][at] = torch.tensor(
                [
                    *(0.0, 1.0 - order, math.sin(first), math.cos(first)),
                    *(3.0, 0.5, 2 * math.sin(second), 2 * math.cos(second)),
                ]
            )
    return CenterPredictions(heatmap, maps.pop("offset"), maps)


class Painted(PointsCenterNet):
    """A detector that sees what it is told: `things` and `projections`, one entry per image."""

    things: list[list[Thing]]
    projections: list

    def predict(self, images):
        resolution = self.protocol.resolution
        resolution = self.protocol.fixed_fit if resolution == "fixed" else resolution
        canvas = tuple(images.tensor.shape[-2:])
        maps = painted_maps(images.image_sizes, canvas, resolution, self.things, self.projections)
        if not images.flipped:
            return [maps]
        other = {name: torch.randn_like(values) for name, values in maps.regressions.items()}
        other["size"] = maps.regressions["size"].flip(3)
        return [
            CenterPredictions(
                torch.cat([maps.heatmap, maps.heatmap.flip(3)]),
                torch.cat([maps.offset, torch.randn_like(maps.offset)]),
                {name: torch.cat([maps.regressions[name], other[name]]) for name in other},
            )
        ]
