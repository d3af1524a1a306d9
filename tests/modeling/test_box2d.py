"""The point task `box2d`: what its choices learn."""

from __future__ import annotations

import pytest
import torch

from centernet_d2.modeling.point_tasks.box2d import LOG_UNIT, Box2D
from centernet_d2.structures.predictions import CenterPredictions
from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule

BOXES = [[2.2, 3.1, 9.7, 12.4], [5.0, 4.5, 13.5, 11], [8.3, 1.2, 14.9, 14.6], [1.0, 10, 4, 14]]
CLASSES = [0, 1, 1, 2]


def loss_of_counted_maps(task: Box2D, channels: int = 2) -> float:
    """Of maps whose cells say 0 to 10 in turn, for BOXES on a map of 16 x 16."""
    centers = center_targets(
        *(torch.tensor(BOXES), torch.tensor(CLASSES), torch.zeros(4, dtype=torch.int64)),
        **{"num_images": 1, "num_classes": 3, "map_size": (16, 16), "gaussian": GaussianRule()},
    )
    size = (torch.arange(channels * 256) % 11).float().view(1, channels, 16, 16)
    maps = CenterPredictions(centers.heatmap, None, {"size": size.requires_grad_()})
    loss = task.losses(maps, task.targets([], None, centers), centers)["loss_size"]
    loss.backward()
    assert task.dense_size == ((size.grad.abs().sum(1) > 0).sum() > 4)
    return loss.item()


def test_dense_sizes_are_the_published_loss():
    """Recorded once with the published `draw_dense_reg`, `--dense_wh`, heatmap in float64.

    As it runs, with a heatmap in float32, it gives 4.512657: of 33 among 56 cells the rounded
    Gaussian is higher than itself, and their size stays 0.
    """
    assert loss_of_counted_maps(Box2D(size_weight=1, dense_size=True)) == pytest.approx(4.4087753)


@pytest.mark.parametrize("form", ["cells", "log"])
@pytest.mark.parametrize("by_class", [False, True])
def test_dense_sizes_cell_by_cell(form, by_class):
    options = {"size_form": form, "class_specific_size": by_class, "size_weight": 1}
    objects = []
    for (x1, y1, x2, y2), kind in zip(BOXES, CLASSES, strict=True):
        size = torch.tensor([x2 - x1, y2 - y1])
        radius = int(GaussianRule().radius(size[None]))
        objects.append((int((x1 + x2) / 2), int((y1 + y2) / 2), radius, size, kind))
    total = weights = 0.0
    for y in range(16):
        for x in range(16):
            best, told = 0.0, None
            for cx, cy, radius, size, kind in objects:
                value = 0.0
                if max(abs(x - cx), abs(y - cy)) <= radius:
                    sigma = (2 * radius + 1) / 6
                    squared = torch.tensor((x - cx) ** 2 + (y - cy) ** 2)
                    value = torch.exp(-squared / (2 * sigma**2)).item()
                if value > 0 and value >= best:
                    best, told = value, (size, kind)
            for axis in range(2 * (told is not None)):
                channel = axis + 2 * told[1] * by_class
                said = (channel * 256 + y * 16 + x) % 11
                wanted = (told[0] / LOG_UNIT).log() if form == "log" else told[0]
                total += best * abs(said - wanted[axis].item())
                weights += best
    found = loss_of_counted_maps(Box2D(dense_size=True, **options), 6 if by_class else 2)
    assert found == pytest.approx(total / (weights + 1e-4), rel=1e-5)
    assert loss_of_counted_maps(Box2D(**options), 6 if by_class else 2) != found
