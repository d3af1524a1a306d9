"""Ignored objects against a loop over annotations that follows the published steps."""

from __future__ import annotations

import math

import pytest
import torch

from centernet_d2.losses.heatmap_focal import heatmap_focal_loss
from centernet_d2.modeling.rules import CenterLearning
from centernet_d2.structures.predictions import CenterPredictions
from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule

HEIGHT, WIDTH, CLASSES, IMAGES = 30, 40, 3, 2
SCENE = {"num_images": IMAGES, "num_classes": CLASSES, "map_size": (HEIGHT, WIDTH)}


def random_objects(seed: int, count: int = 30):
    """Boxes on and off the map, each of some class or of all (-1, ignored), a third ignored."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * 50 - 8
    corners[:, 1] = corners[:, 0] + torch.rand(count, 2, generator=generator) * 16
    ignored = torch.rand(count, generator=generator) < 1 / 3
    classes = torch.randint(0, CLASSES, (count,), generator=generator)
    everywhere = ignored & (torch.rand(count, generator=generator) < 0.5)
    classes = torch.where(everywhere, -1, classes)
    image = torch.randint(0, IMAGES, (count,), generator=generator)
    return corners.flatten(1), classes, image, ignored


def published_radius(height: float, width: float) -> int:
    """Of the rule that all published weights were trained with, in its closed form."""
    both, area = height + width, height * width
    return max(0, int((-1.4 * both + math.sqrt(1.96 * both**2 + 3.36 * area)) / 2))


def draw(channel: torch.Tensor, x: int, y: int, radius: int) -> None:
    sigma = (2 * radius + 1) / 6
    for row in range(max(y - radius, 0), min(y + radius + 1, HEIGHT)):
        for column in range(max(x - radius, 0), min(x + radius + 1, WIDTH)):
            squared = (column - x) ** 2 + (row - y) ** 2
            value = math.exp(-squared / (2 * sigma**2))
            channel[row, column] = max(channel[row, column].item(), value)


def published_heatmap(boxes, classes, image, ignored, *, region: str, round_up: bool):
    """Annotation by annotation: the true objects, then the ignored ones, so that positives stay."""
    heatmap = torch.zeros(IMAGES, CLASSES, HEIGHT, WIDTH)
    true_rows = [row for row in range(len(boxes)) if not ignored[row]]
    ignored_rows = [row for row in range(len(boxes)) if ignored[row]]
    positives = []
    for row in true_rows + ignored_rows:
        left, top, right, bottom = boxes[row].tolist()
        left, right = (min(max(v, 0), WIDTH - 1) for v in (left, right))
        top, bottom = (min(max(v, 0), HEIGHT - 1) for v in (top, bottom))
        height, width = bottom - top, right - left
        if height <= 0 or width <= 0:
            continue
        x, y = int((left + right) / 2), int((top + bottom) / 2)
        size = (math.ceil(height), math.ceil(width)) if round_up else (height, width)
        of_class = classes[row].item()
        for channel in range(CLASSES) if of_class == -1 else [of_class]:
            drawn = heatmap[image[row], channel]
            if not ignored[row]:
                draw(drawn, x, y, published_radius(*size))
                positives.append((image[row].item(), channel, y, x))
            elif region == "box":
                drawn[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = 0.9999
            else:
                draw(drawn, x, y, published_radius(*size))
                drawn[y, x] = 0.9999
    for place in positives:
        heatmap[place] = 1
    return heatmap, positives


def rule(round_up: bool = True) -> dict:
    return {"gaussian": GaussianRule(round_up=round_up), **SCENE}


@pytest.mark.parametrize("region", ["center", "box"])
@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_a_loop_over_annotations(region, round_up, seed):
    boxes, classes, image, ignored = random_objects(seed)
    expected, positives = published_heatmap(
        boxes, classes, image, ignored, region=region, round_up=round_up
    )
    targets = center_targets(
        boxes, classes, image, ignored=ignored, ignored_region=region, **rule(round_up)
    )
    torch.testing.assert_close(targets.heatmap, expected, atol=2e-6, rtol=0)
    assert (targets.heatmap == 1).sum() == len(set(positives)) > 8
    assert ((expected - 0.9999).abs() < 1e-6).sum() > 5
    # And the other choices give other maps.
    other = center_targets(boxes, classes, image, ignored=ignored, **rule(not round_up)).heatmap
    assert (other - expected).abs().max() > 0.01


def test_ignored_objects_are_no_targets():
    boxes, classes, image, ignored = random_objects(seed=3)
    regression_mask = torch.arange(len(boxes)) % 4 > 0
    with_them = center_targets(
        boxes, classes, image, ignored=ignored, regression_mask=regression_mask, **rule()
    )
    found = torch.nonzero(~ignored).flatten()
    without = center_targets(
        boxes[found], classes[found], image[found], regression_mask=regression_mask[found], **rule()
    )
    # Rows are those of all objects given, so that a task finds its own fields by them.
    assert with_them.kept.tolist() == found[without.kept].tolist()
    assert len(with_them.kept) < len(found)
    assert not ignored[with_them.kept].any()
    assert torch.equal(with_them.regression_mask, regression_mask[with_them.kept])
    for name in ("classes", "offset", "size", "radius", "regression_mask"):
        assert torch.equal(getattr(with_them, name), getattr(without, name))
    assert torch.equal(with_them.peaks.x, without.peaks.x)


# An ignored object with its center on cell (20, 10) of class 1, and one that is to be found.
BOXES = torch.tensor([[14.0, 5, 27, 16], [2.0, 20, 8, 28]])
ROWS = {"classes": torch.tensor([1, 2]), "image": torch.tensor([0, 0])}
IGNORED = torch.tensor([True, False])


def heatmap_of(boxes=BOXES, ignored=IGNORED, classes=ROWS["classes"], **options):
    rows = {"classes": classes, "image": ROWS["image"]}
    return center_targets(boxes, ignored=ignored, **rows, **options, **rule()).heatmap


@pytest.mark.parametrize(("region", "cells"), [("center", 7 * 7), ("box", 14 * 12)])
def test_squared_differences_leave_ignored_objects_out(region, cells):
    """Mean over the other cells, one of which is 0.5 off."""
    targets = center_targets(BOXES, **ROWS, ignored=IGNORED, ignored_region=region, **rule())
    kept = {key: rows[1:] for key, rows in ROWS.items()}
    changed = targets.heatmap != center_targets(BOXES[1:], **kept, **rule()).heatmap
    losses = []
    for value in (0, 1):
        heatmap = torch.where(changed, value, targets.heatmap)
        heatmap[1, 0, 3, 4] = 0.5
        found = CenterPredictions(heatmap, None, regressions={})
        losses.append(CenterLearning(heatmap_loss="mse").losses(found, targets)["loss_heatmap"])
    assert changed.sum() == cells
    assert losses[0] == losses[1] == pytest.approx(0.25 / (changed.numel() - cells))


@pytest.mark.parametrize("region", ["center", "box"])
def test_what_is_predicted_at_an_ignored_object_does_not_matter(region):
    heatmap = heatmap_of(ignored_region=region)
    logits = torch.full_like(heatmap, -2.0).double()

    def loss_with(value, row=10, column=20, channel=1):
        changed = logits.clone()
        changed[0, channel, row, column] = value
        return heatmap_focal_loss(changed, heatmap).item()

    plain = heatmap_focal_loss(logits, heatmap).item()
    assert plain > 0.1
    for value in (-20.0, 0.0, 20.0):
        assert abs(loss_with(value) - plain) < 1e-6
        # A corner of the box counts, unless all of the box is ignored; other classes always do.
        assert (abs(loss_with(value, 6, 15) - plain) < 1e-6) == (region == "box")
    assert abs(loss_with(20.0, channel=0) - plain) > 1


@pytest.mark.parametrize("region", ["center", "box"])
def test_class_minus_one_is_ignored_in_all_classes(region):
    heatmap = heatmap_of(classes=torch.tensor([-1, 2]), ignored_region=region)
    assert heatmap[0, :, 10, 20].tolist() == pytest.approx([0.9999] * CLASSES)
    assert not heatmap[1].any()
    one = heatmap_of(ignored_region=region)
    assert torch.equal(one[0, 1], heatmap[0, 1])
    assert not one[0, 0].any()


@pytest.mark.parametrize("region", ["center", "box"])
@pytest.mark.parametrize("classes", [(1, 1), (-1, 1)])
def test_positives_on_or_beside_an_ignored_center_stay(region, classes):
    boxes = torch.tensor([[14.0, 5, 27, 16], [18.0, 8, 23, 13]])
    heatmap = heatmap_of(boxes, classes=torch.tensor(classes), ignored_region=region)
    assert heatmap[0, 1, 10, 20] == 1
    assert (heatmap == 1).sum() == 1
    beside = boxes + torch.tensor([[0.0], [1.0]])
    heatmap = heatmap_of(beside, classes=torch.tensor(classes), ignored_region=region)
    assert heatmap[0, 1, 11, 21] == 1
    assert heatmap[0, 1, 10, 20].item() == pytest.approx(0.9999)


def test_only_ignored_objects():
    heatmap = heatmap_of(ignored=torch.tensor([True, True]))
    targets = center_targets(BOXES, **ROWS, ignored=torch.tensor([True, True]), **rule())
    assert len(targets.peaks) == 0
    assert targets.size.shape == (0, 2)
    assert heatmap.max().item() == pytest.approx(0.9999)
    assert heatmap_focal_loss(torch.zeros_like(heatmap), heatmap).isfinite()


def test_ignored_objects_off_the_map_change_nothing():
    away = torch.tensor([[-30.0, 5, -3, 16], [2.0, 20, 8, 28]])
    assert torch.equal(heatmap_of(away), heatmap_of(away, ignored=None, classes=ROWS["classes"]))


def test_an_unknown_region_is_named():
    with pytest.raises(ValueError, match=r"region must be one of 'center', 'box', got 'circle'"):
        heatmap_of(ignored_region="circle")
