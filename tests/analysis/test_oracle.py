"""What a detector says that is told part of the truth."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Instances

from centernet_d2.analysis.oracle import Oracle, flipped, true_centers

from .conftest import BOXES, CLASSES, entry_with_objects

BOTH = ("CornerNet", "TripletCenterNet")
ALL = {
    "CornerNet": ("heatmaps", "offsets"),
    "TripletCenterNet": ("heatmaps", "offsets", "centers"),
}
# An untrained detector's best corners hardly form boxes around its best centers.
MANY = ("MODEL.HEATMAP.TOP_K", 300, "MODEL.CORNERNET.MAX_PAIRS", 2000)


def detect(model, *entries) -> list[Instances]:
    with torch.no_grad():
        return [result["instances"] for result in model(list(entries))]


def by_class(found: Instances) -> Instances:
    return found[torch.argsort(found.pred_classes, stable=True)]


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("canvas", ["odd", "strict", "fit"])
def test_told_everything_it_finds_the_objects_and_nothing_else(built, architecture, canvas):
    model = built(architecture, "TEST.CANVAS", canvas)
    found = by_class(detect(Oracle(model, ALL[architecture]), entry_with_objects())[0])
    assert found.pred_classes.tolist() == CLASSES
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor(BOXES), atol=1e-3, rtol=0)
    assert found.scores.tolist() == pytest.approx([1.0] * 3)
    if architecture == "TripletCenterNet":
        centers = torch.tensor(BOXES).view(3, 2, 2).mean(1)
        torch.testing.assert_close(found.pred_centers, centers, atol=1e-3, rtol=0)


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize(("convention", "shift"), [("pixel", 0.0), ("edge", 1.0)])
def test_in_the_flip_image_corners_change_roles(built, architecture, convention, shift):
    """Both views tell of the same boxes, those of the flipped image as far to the right as the
    convention has them; the second of a kind is lowered by soft-NMS."""
    model = built(architecture, "TEST.FLIP", True, "MODEL.CORNERNET.FLIP_CONVENTION", convention)
    boxes = [[5.3, 8.9, 40.2, 30.7], [50.5, 20.25, 70.75, 56.5]]
    entry = entry_with_objects(boxes, [0, 4], (63, 95))  # fills its canvas
    found = detect(Oracle(model, ALL[architecture]), entry)[0]
    assert sorted(found.pred_classes.tolist()) == [0, 0, 4, 4]
    for box, index in zip(boxes, (0, 4), strict=True):
        views = found[found.pred_classes == index].pred_boxes.tensor
        views = views[torch.argsort(views[:, 0])]
        torch.testing.assert_close(views[0], torch.tensor(box), atol=1e-3, rtol=0)
        torch.testing.assert_close(
            views[1] - views[0], torch.tensor([shift, 0, shift, 0]), atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("architecture", BOTH)
def test_heatmaps_alone_leave_the_offsets_predicted(built, architecture):
    told = [name for name in ALL[architecture] if name != "offsets"]
    model = built(architecture)
    entry = entry_with_objects()
    found = by_class(detect(Oracle(model, told), entry)[0])
    assert found.pred_classes.tolist() == CLASSES
    images = model.inference_images([entry["image"]], (95, 95))
    with torch.no_grad():
        last = model.predict(images)[-1]
    expected = []
    for box in torch.tensor(BOXES):
        corners = []
        for point, maps in zip(box.view(2, 2), (last.top_left, last.bottom_right), strict=True):
            cell = ((point + images.shift[0]) * 24 / 95).floor()
            offset = maps.offset[0, :, int(cell[1]), int(cell[0])]
            corners.append((cell + offset) * 95 / 24 - images.shift[0])
        expected.append(torch.cat(corners))
    limit = torch.tensor([90.0, 70.0, 90.0, 70.0])
    expected = torch.minimum(torch.stack(expected).clamp(min=0), limit)
    torch.testing.assert_close(found.pred_boxes.tensor, expected, atol=1e-3, rtol=0)
    assert (expected - torch.tensor(BOXES)).abs().max() > 0.1


def test_offsets_alone_change_the_offsets_of_true_corners_only(built):
    model, entry = built("CornerNet"), entry_with_objects()
    images = model.inference_images([entry["image"]], (95, 95))
    with torch.no_grad():
        last = model.predict(images)[-1]
    told = Oracle(model, ["offsets"])._tell(last, images, entry["instances"])
    for name, columns in (("top_left", slice(0, 2)), ("bottom_right", slice(2, 4))):
        before, after = getattr(last, name), getattr(told, name)
        assert torch.equal(before.heatmap, after.heatmap)
        assert torch.equal(before.embedding, after.embedding)
        points = (torch.tensor(BOXES)[:, columns] + images.shift[0]) * 24 / 95
        x, y = points.long().unbind(1)
        changed = (before.offset != after.offset)[0].any(0)
        assert set(map(tuple, changed.nonzero().tolist())) == set(
            zip(y.tolist(), x.tolist(), strict=True)
        )
        torch.testing.assert_close(after.offset[0, :, y, x].T, points - points.floor())


@pytest.mark.parametrize("architecture", BOTH)
def test_told_nothing_it_is_the_detector(built, architecture):
    model, entry = built(architecture, "TEST.FLIP", True, *MANY), entry_with_objects()
    expected = detect(model, entry)[0]
    assert len(expected)
    for told in ([], ALL[architecture], []):
        found = detect(Oracle(model, told), entry)[0]
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(found.scores, expected.scores)
    assert "propose" not in vars(model)


def test_predicted_centers_still_decide_about_true_corners(built):
    keys = (*MANY, "MODEL.TRIPLET_CENTERNET.REGION_PARTS", [1, 1])
    model = built("TripletCenterNet", *keys)
    entry = entry_with_objects()
    everything = detect(Oracle(model, ["heatmaps", "offsets", "centers"]), entry)[0]
    corners_only = detect(Oracle(model, ["heatmaps", "offsets"]), entry)[0]
    assert len(everything) == 3
    assert 0 < len(corners_only) <= 3
    assert (corners_only.scores < 1).all()  # a predicted center's score is in the mean


def test_true_centers_keep_pairs_around_objects(built):
    model, entry = built("TripletCenterNet", *MANY), entry_with_objects()
    found = detect(Oracle(model, ["centers"]), entry)[0]
    assert len(found)
    centers = torch.tensor(BOXES).view(3, 2, 2).mean(1)
    own = centers[[CLASSES.index(k) for k in found.pred_classes.tolist()]]
    torch.testing.assert_close(found.pred_centers, own)
    without = entry_with_objects([], [])
    assert len(detect(Oracle(model, ["centers"]), without)[0]) == 0


@pytest.mark.parametrize("architecture", BOTH)
def test_no_objects_and_batches_and_scales(built, architecture):
    model = built(architecture, "TEST.SCALES", [0.6, 1.0], "MODEL.CORNERNET.MERGE_BOXES", "never")
    oracle = Oracle(model, ALL[architecture])
    entries = [entry_with_objects([], []), entry_with_objects(), entry_with_objects(size=(90, 99))]
    together = detect(oracle, *entries)
    assert len(together[0]) == 0
    assert detect(oracle) == []
    for entry, found in zip(entries, together, strict=True):
        torch.testing.assert_close(found.scores, detect(oracle, entry)[0].scores)
        best = by_class(found[found.scores > 0.99])
        boxes = entry["instances"].gt_boxes.tensor
        torch.testing.assert_close(best.pred_boxes.tensor, boxes, atol=1e-3, rtol=0)


def test_truth_in_the_flip_image(built):
    entry = entry_with_objects()
    images = built("CornerNet", "TEST.FLIP", True).inference_images([entry["image"]], (95, 95))
    turned = flipped(entry["instances"], images)
    both = images.tensor[:, 0]
    for box, other in zip(torch.tensor(BOXES), turned.gt_boxes.tensor, strict=True):
        # The network pixels of an object, seen from the other side.
        left, right = ((box[[0, 2]] + images.shift[0, 0]).round().long()).tolist()
        low, high = ((other[[0, 2]] + images.shift[0, 0]).round().long()).tolist()
        assert (right - left, 94 - right) == (high - low, low)
        torch.testing.assert_close(both[1, :, low : high + 1], both[0, :, left : right + 1].flip(1))
        assert other[[1, 3]].tolist() == box[[1, 3]].tolist()


def test_centers_are_found_with_score_one():
    found = true_centers(entry_with_objects()["instances"])
    assert found.pred_centers[0].tolist() == pytest.approx([22.75, 19.8])
    assert found.scores.tolist() == [1.0] * 3
    assert found.pred_classes.tolist() == CLASSES


def test_what_cannot_be_substituted_is_named(built, tiny_config):
    from detectron2.modeling import build_model

    with pytest.raises(ValueError, match=r"cannot be told sizes; it predicts heatmaps, offsets$"):
        Oracle(built("CornerNet"), ["sizes"])
    with pytest.raises(ValueError, match="cannot be told centers"):
        Oracle(built("CornerNet"), ["heatmaps", "centers"])
    with pytest.raises(ValueError, match=r"told heatmaps; it predicts heatmap, offset, size$"):
        Oracle(build_model(tiny_config()), ["heatmaps"])
    entry = entry_with_objects()
    del entry["instances"]
    with pytest.raises(ValueError, match=r"image\.png: no 'instances'"):
        Oracle(built("CornerNet"), ["heatmaps"])([entry])
