"""The point task `box3d`: painted boxes come back, losses as published, cameras, bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from box3d_maps import NARROW, PROJECTION, Painted, Thing, detector, truth
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances
from small_detector import objects_input as training_input

from centernet_d2.losses.heatmap_focal import heatmap_focal_loss
from centernet_d2.losses.orientation import orientation_loss
from centernet_d2.modeling.rules import CenterLearning
from centernet_d2.targets.orientation import orientation_bins

TASKS = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"])
BLOCK = "MODEL.POINTS_CENTERNET.BOX3D."
LOSSES = {"loss_depth", "loss_dimensions", "loss_orientation"}
BOX_LOSSES = {"loss_heatmap", "loss_offset", "loss_size"}
KITTI = (375, 1242)
FIXED = {"resolution": "fixed", "fixed_size": (384, 1280), "fixed_fit": "width"}
UNSCALED = {**FIXED, "fixed_fit": "none"}

# Near and far, left and right, towards and away from the camera, every class.
THINGS = [
    Thing((-4.5, 1.7, 14.0), (1.5, 1.6, 3.9), rotation_y=-1.57),
    Thing((6.0, 1.9, 31.5), (1.4, 1.7, 4.4), rotation_y=2.9, size=(41.0, 22.5)),
    Thing((1.25, 1.6, 8.0), (1.75, 0.6, 0.9), rotation_y=0.4, label=0, size=(50.0, 150.0)),
    Thing((-2.0, 2.1, 52.0), (1.8, 0.5, 1.8), rotation_y=-3.1, label=2, size=(14.0, 19.0)),
]


def entry(size=KITTI, projection=PROJECTION, **keys):
    return {"image": torch.zeros(3, *size, dtype=torch.uint8), "projection": projection, **keys}


@torch.no_grad()
def painted(things, projections, protocol=FIXED, **options) -> Painted:
    model = detector(Painted, protocol, **options).eval()
    model.things, model.projections = things, projections
    return model


@torch.no_grad()
def found_in(model, *entries) -> list[Instances]:
    return [found["instances"] for found in model(list(entries))]


def rows_of(things, projection=PROJECTION) -> torch.Tensor:
    """What `pred_boxes3d` must be."""
    return torch.tensor(
        [[*t.location, *t.dimensions, t.rotation_y, t.seen(projection)[3]] for t in things]
    )


def assert_same_boxes(found: torch.Tensor, expected: torch.Tensor, tolerance=2e-3):
    """Metres and radians; angles may differ by whole turns."""
    assert found.shape == expected.shape
    torch.testing.assert_close(found[:, :6], expected[:, :6], atol=tolerance, rtol=1e-4)
    turns = (found[:, 6:] - expected[:, 6:]) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-4, rtol=0)
    assert (found[:, 6:].abs() <= math.pi + 1e-6).all()


# ---- from maps to the camera frame ----


@pytest.mark.parametrize("projection", [PROJECTION, NARROW])
@pytest.mark.parametrize("protocol", [FIXED, UNSCALED, {}, {"canvas": "fit"}])
@pytest.mark.parametrize("size", [KITTI, (370, 1224)])
@pytest.mark.parametrize("flip", [False, True])
def test_painted_boxes_come_back(projection, protocol, size, flip):
    model = painted([THINGS], [projection], {**protocol, "flip": flip})
    (found,) = found_in(model, entry(size, projection))
    assert len(found) == len(THINGS)
    assert found.pred_classes.tolist() == [thing.label for thing in THINGS]
    assert_same_boxes(found.pred_boxes3d.tensor, rows_of(THINGS, projection))
    expected = torch.tensor([thing.box(projection) for thing in THINGS])
    torch.testing.assert_close(found.pred_boxes.tensor, expected, atol=2e-3, rtol=1e-4)


def test_painted_boxes_come_back_through_the_output_frame():
    """The image was halved by the caller: boxes in the original frame, and its projection."""
    half = [[v / 2 for v in row] for row in PROJECTION[:2]] + [PROJECTION[2]]
    model = painted([THINGS[:2]], [half], {})
    small = entry((188, 621), None, height=376, width=1242)
    for camera in ({"projection": PROJECTION}, {"image_projection": half}):
        (found,) = found_in(model, small | camera)
        assert_same_boxes(found.pred_boxes3d.tensor, rows_of(THINGS[:2], half))
        assert found.image_size == (376, 1242)
        expected = torch.tensor([thing.box(half) for thing in THINGS[:2]])
        torch.testing.assert_close(found.pred_boxes.tensor, 2 * expected, atol=4e-3, rtol=1e-4)


def test_a_batch_gives_what_single_images_give():
    """Here images of two sizes share a canvas."""
    sizes, projections = [KITTI, (370, 1224)], [PROJECTION, NARROW]
    things = [THINGS, [THINGS[2], THINGS[0]]]
    entries = [entry(*pair) for pair in zip(sizes, projections, strict=True)]
    together = found_in(painted(things, projections), *entries)
    for index, found in enumerate(together):
        assert_same_boxes(found.pred_boxes3d.tensor, rows_of(things[index], projections[index]))
        single = painted(things[index : index + 1], projections[index : index + 1])
        (alone,) = found_in(single, entries[index])
        torch.testing.assert_close(alone.pred_boxes3d.tensor, found.pred_boxes3d.tensor)


@torch.no_grad()
def test_a_frame_that_shows_part_of_an_image_is_said_once(caplog):
    tiny = {**FIXED, "fixed_size": (96, 320)}
    kittis = [entry(size) for size in (KITTI, (370, 1224), (376, 1241), (374, 1238))]
    high = [entry((720, 1280)), entry((1080, 1920))]
    detector(protocol=tiny).eval()(kittis)
    detector(protocol={**tiny, "fixed_fit": "whole"}).eval()(high)
    assert not [message for message in caplog.messages if "FIXED" in message]
    for fit, share, cure in (("width", 47, "[192, 320]"), ("none", 97, "[736, 1280]")):
        model = detector(protocol={**tiny, "fixed_fit": fit}).eval()
        model(kittis[:1] if fit == "width" else [])
        for _ in range(2):
            model(high)
        found = [message for message in caplog.messages if f"TEST.FIXED_FIT '{fit}'" in message]
        assert len(found) == 1
        assert f"[96, 320] does not show {share}% of an image of 1280 x 720" in found[0]
        assert f"TEST.FIXED_SIZE {cure} (height, width) shows all of it" in found[0]


@torch.no_grad()
def test_images_that_run_apart_keep_their_own_cameras():
    """A random network; the second image has another canvas than the first and the third."""
    torch.manual_seed(0)
    model = detector(top_k=20).eval()
    for name, parameter in model.head.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.decoding = replace(model.decoding, score_threshold=0.0)
    entries = []
    for index, (size, projection) in enumerate(
        [((60, 90), PROJECTION), ((40, 120), NARROW), ((60, 90), NARROW)]
    ):
        image = training_input(near([]), index)["image"]
        image = torch.nn.functional.pad(image, (0, 60))[:, : size[0], : size[1]]
        entries.append({"image": image, "projection": projection})
    together = found_in(model, *entries)
    for found, one in zip(together, entries, strict=True):
        (alone,) = found_in(model, one)
        assert len(found) == 20
        torch.testing.assert_close(
            found.pred_boxes3d.tensor, alone.pred_boxes3d.tensor, atol=1e-3, rtol=1e-3
        )
    (wrong,) = found_in(model, entries[2] | {"projection": PROJECTION})
    assert (wrong.pred_boxes3d.location - together[2].pred_boxes3d.location).abs().max() > 0.01


def test_the_published_batch_takes_the_first_projection_for_all():
    projections, things = [PROJECTION, NARROW], [THINGS, THINGS]
    model = painted(things, projections, calibration="first")
    first, second = found_in(model, entry(), entry(projection=NARROW))
    assert_same_boxes(first.pred_boxes3d.tensor, rows_of(THINGS))
    wrong = (second.pred_boxes3d.location - rows_of(THINGS, NARROW)[:, :3]).norm(dim=1)
    assert (wrong > 0.3).all()
    same_camera = painted(things, projections)
    _, expected = found_in(same_camera, entry(), entry(projection=PROJECTION))
    torch.testing.assert_close(second.pred_boxes3d.tensor, expected.pred_boxes3d.tensor)


def test_without_a_projection_the_default_one_is_taken(caplog):
    """Twice the size of KITTI's images: the published camera with twice the pixels."""
    default = [
        [707.0493, 0, 604.0814, 45.75831],
        [0, 707.0493, 180.5066, -0.3454157],
        [0, 0, 1, 0.004981016],
    ]
    double = [[2 * v for v in row] for row in default[:2]] + [default[2]]
    (found,) = found_in(painted([THINGS], [double]), entry((750, 2484), None))
    assert_same_boxes(found.pred_boxes3d.tensor, rows_of(THINGS, double))
    assert "without a projection" in caplog.text


def test_low_scores_take_their_3d_boxes_along():
    model = painted([THINGS], [PROJECTION])
    model.decoding = replace(
        model.decoding, score_threshold=0.97
    )  # scores are 0.982, 0.977, 0.971, 0.963
    (found,) = found_in(model, entry())
    assert_same_boxes(found.pred_boxes3d.tensor, rows_of(THINGS[:3]))


def test_no_images_and_no_detections():
    model = painted([[], THINGS[:1]], [PROJECTION, PROJECTION])
    assert model([]) == []
    nothing, something = found_in(model, entry(), entry())
    assert (len(nothing), len(something)) == (0, 1)
    assert nothing.pred_boxes3d.tensor.shape == (0, 8)


# ---- sizes as points ----


@pytest.mark.parametrize(
    ("protocol", "added"), [(FIXED, (0.0, 1.2)), (UNSCALED, (-19.0, -4.5)), ({}, (-3.0, -5.0))]
)
def test_sizes_as_points_are_the_published_ones(protocol, added):
    """The way back to the image as for a point: x = 3.88125 u, y = 3.88125 v + 1.2 on KITTI.

    The last canvas is 384 x 1248, with the image at (3, 5).
    """
    (exact,), (found,) = (
        found_in(painted([THINGS], [PROJECTION], protocol, as_point=switch), entry())
        for switch in (False, True)
    )
    size = torch.tensor([thing.size for thing in THINGS]) + torch.tensor(added)
    center = torch.tensor([thing.seen(PROJECTION)[:2] for thing in THINGS])
    expected = torch.cat([center - size / 2, center + size / 2], dim=1)
    torch.testing.assert_close(found.pred_boxes.tensor, expected, atol=2e-3, rtol=1e-4)
    assert (found.pred_boxes.tensor - exact.pred_boxes.tensor).abs().max() > 0.5
    assert torch.equal(found.pred_boxes3d.tensor, exact.pred_boxes3d.tensor)


def test_the_height_of_kitti_boxes_read_from_the_published_formula():
    """A box of 15 x 10 cells: 58.21875 x 38.8125 pixels, and 40.0125 pixels high as published."""
    thing = Thing(THINGS[0].location, (1.5, 1.6, 3.9), 0.0, size=(15 * 3.88125, 10 * 3.88125))
    (found,) = found_in(painted([[thing]], [PROJECTION], as_point=True), entry())
    left, top, right, bottom = found.pred_boxes.tensor[0].tolist()
    assert right - left == pytest.approx(58.21875, abs=1e-3)
    assert bottom - top == pytest.approx(40.0125, abs=1e-3)


# ---- as a field of Instances ----


def test_detections_live_through_what_instances_do():
    found, other = found_in(
        painted([THINGS, THINGS[1:]], [PROJECTION, NARROW]), entry(), entry(projection=NARROW)
    )
    rows = found.pred_boxes3d.tensor
    assert torch.equal(found[found.scores < 0.98].pred_boxes3d.tensor, rows[1:])
    assert torch.equal(found[torch.tensor([2, 0])].pred_boxes3d.tensor, rows[[2, 0]])
    assert torch.equal(found[1:3].pred_boxes3d.tensor, rows[1:3])
    assert torch.equal(found[1].pred_boxes3d.tensor, rows[1:2])
    both = Instances.cat([found, other])
    assert torch.equal(both.pred_boxes3d.tensor, torch.cat([rows, other.pred_boxes3d.tensor]))
    assert found.to("meta").pred_boxes3d.device.type == "meta"
    assert torch.equal(found.to("cpu").pred_boxes3d.tensor, rows)


def test_detectron2_s_postprocessing_keeps_boxes_partly_outside():
    """It clips 2-D boxes, drops what is left without area, and scales nothing of a 3-D box."""
    things = [Thing((-11.2, 1.7, 14.0), (1.5, 1.6, 3.9), 0.3, size=(120.0, 50.0)), *THINGS]
    (found,) = found_in(painted([things], [PROJECTION]), entry())
    assert found.pred_boxes.tensor[0, 0] < -20
    found.pred_boxes.tensor[4] = torch.tensor([-90.0, 5, -10, 30])  # nothing of it is left
    rows = found.pred_boxes3d.tensor.clone()
    result = detector_postprocess(found, 750, 1242)
    assert len(result) == 4
    assert torch.equal(result.pred_boxes3d.tensor, rows[:4])
    assert result.pred_boxes.tensor[0, 0] == 0
    assert result.image_size == (750, 1242)


# ---- losses ----

SIZE = (64, 96)
CAMERA = [[80.0, 0.0, 48.0, 1.0], [0.0, 80.0, 30.0, 0.0], [0.0, 0.0, 1.0, 0.005]]
NEAR = [
    Thing((-2.0, 1.0, 10.0), (1.5, 1.6, 3.9), rotation_y=0.4, size=(20, 12)),
    Thing((2.5, 1.2, 8.0), (1.75, 0.6, 0.9), rotation_y=-2.0, label=0, size=(10, 24)),
    Thing((0.5, 2.5, 12.0), (1.8, 0.5, 1.8), rotation_y=3.0, label=2, size=(9, 14)),
]


def near(things=NEAR, **fields) -> Instances:
    return truth(SIZE, things, CAMERA, **fields)


def losses_of(*instances: Instances, seed=0, **options):
    torch.manual_seed(seed)
    model = detector(**options).train()
    inputs = [training_input(one, index) for index, one in enumerate(instances)]
    return model(inputs)


def test_losses_are_named_finite_and_reach_every_parameter(tiny_config):
    model = build_model(tiny_config(*TASKS))
    losses = model([training_input(near()), training_input(near([]), seed=1)])
    assert set(losses) == BOX_LOSSES | LOSSES
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("normalizer", "empty"), [("max_objects", 1.386294), ("objects", 0.0)])
def test_nothing_to_see_trains(count, normalizer, empty):
    model = detector(normalizer=normalizer).train()
    losses = model([training_input(near([]), seed) for seed in range(count)])
    assert losses["loss_depth"] == losses["loss_dimensions"] == 0
    assert losses["loss_orientation"].item() == pytest.approx(empty, abs=1e-6)
    assert losses["loss_heatmap"] > 0
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("normalizer", ["max_objects", "objects"])
def test_losses_are_the_published_sums(normalizer):
    supervised = [True, False, True]
    batch = [near(gt_3d_supervised=supervised), near(NEAR[1:2])]
    weights = {"depth_weight": 2.0, "dimensions_weight": 3.0, "orientation_weight": 5.0}
    model = detector(normalizer=normalizer, **weights).train()
    images = model.training_images([training_input(one, seed) for seed, one in enumerate(batch)])
    (predictions,) = model.predict(images)
    losses = model.losses([predictions], images, batch)
    maps = predictions.regressions
    depth, dimensions, outputs, angles, learned = 0.0, 0.0, [], [], 0
    rows = [*((0, thing, use) for thing, use in zip(NEAR, supervised, strict=True))]
    for image, thing, use in [*rows, (1, NEAR[1], True)]:
        u, v, _, angle = thing.seen(CAMERA)
        at = (image, slice(None), int(v / 4), int(u / 4))
        outputs.append(maps["orientation"][at])
        angles.append(math.atan2(math.sin(angle), math.cos(angle)))
        if not use:
            continue
        learned += 1
        metres = 1 / (1 / (1 + math.exp(-maps["depth"][at].item())) + 1e-6) - 1
        depth += abs(metres - thing.location[2])
        read = maps["dimensions"][at].tolist()
        dimensions += sum(abs(a - b) for a, b in zip(read, thing.dimensions, strict=True))
    assert learned == 3
    slots = 50 * 2
    divisors = (slots, 3 * slots) if normalizer == "max_objects" else (learned, learned)
    assert losses["loss_depth"].item() == pytest.approx(2 * depth / divisors[0], rel=1e-4)
    assert losses["loss_dimensions"].item() == pytest.approx(3 * dimensions / divisors[1], rel=1e-4)
    expected = orientation_loss(
        torch.stack(outputs),
        *orientation_bins(torch.tensor(angles)),
        num_images=2,
        normalizer=normalizer,
    )
    torch.testing.assert_close(losses["loss_orientation"], 5 * expected, atol=5e-5, rtol=1e-5)


@pytest.mark.parametrize("changed", [0, 2])
def test_depth_and_dimensions_are_learned_only_where_they_are_supervised(changed):
    """In a shifted or scaled image the labels are not what the pixels show."""
    supervised = [True, True, False]
    plain = losses_of(near(gt_3d_supervised=supervised))
    moved = list(NEAR)
    moved[changed] = Thing(
        NEAR[changed].location, (9.0, 9.0, 9.0), NEAR[changed].rotation_y, NEAR[changed].label
    )
    moved = near(moved, boxes=[t.box(CAMERA) for t in NEAR], gt_3d_supervised=supervised)
    moved.gt_boxes3d.tensor[:, 2] += torch.tensor([float(row == changed) * 5 for row in range(3)])
    moved.gt_boxes3d.tensor[:, 7] = near().gt_boxes3d.alpha
    found = losses_of(moved)
    for name in ("loss_depth", "loss_dimensions"):
        assert (found[name] == plain[name]) == (changed == 2)
    for name in BOX_LOSSES | {"loss_orientation"}:
        assert found[name] == plain[name]


def test_the_observation_angle_is_learned_in_every_image():
    plain = losses_of(near(gt_3d_supervised=[False] * 3))
    assert plain["loss_depth"] == plain["loss_dimensions"] == 0
    turned = near(gt_3d_supervised=[False] * 3)
    turned.gt_boxes3d.tensor[:, 7] += 0.5
    assert losses_of(turned)["loss_orientation"] != plain["loss_orientation"]
    again = near(gt_3d_supervised=[False] * 3)
    again.gt_boxes3d.tensor[:, 6] += 0.5  # the rotation itself is not
    assert losses_of(again)["loss_orientation"] == plain["loss_orientation"]


def test_an_unknown_observation_angle_is_not_learned():
    """As if its object had none: the two others' angles alone count, its box does."""
    unknown, turned = near(), near()
    unknown.gt_boxes3d.tensor[1, 7] = turned.gt_boxes3d.tensor[1, 7] = -10.0
    turned.gt_boxes3d.tensor[1, 6] += 1
    plain, found = losses_of(near()), losses_of(unknown)
    assert losses_of(turned) == found
    for name in LOSSES | BOX_LOSSES:
        assert (found[name] == plain[name]) == (name != "loss_orientation")
    nobody = near()
    nobody.gt_boxes3d.tensor[:, 7] = -10.0
    assert losses_of(nobody)["loss_orientation"].item() == pytest.approx(2 * math.log(2), abs=1e-6)


@torch.no_grad()
def test_autocast_changes_little():
    exact = losses_of(near())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = losses_of(near())
    for name in LOSSES:
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], exact[name], atol=0, rtol=0.05)


# ---- ignored objects ----


@pytest.mark.parametrize("label", [-1, 0, 1])
def test_ignored_objects_change_the_heatmap_alone(label):
    """Their 3-D boxes are KITTI's place holders."""
    far = Thing((-1000.0, -1000, -1000), (-1.0, -1, -1), -10.0, label)
    with_one = near(
        [far, *NEAR],
        boxes=[[60.0, 40, 90, 60], *(t.box(CAMERA) for t in NEAR)],
        gt_ignored=[True, False, False, False],
        gt_3d_supervised=[True] * 4,
    )
    with_one.gt_boxes3d.tensor[0, 7] = -10.0
    plain, found = losses_of(near()), losses_of(with_one)
    for name in LOSSES | BOX_LOSSES:
        assert (found[name] == plain[name]) == (name != "loss_heatmap")


def test_what_is_seen_at_an_ignored_object_does_not_count():
    ignored = near(gt_ignored=[True, False, False])
    model = detector()
    images = model.training_images([training_input(ignored)])
    u, v, _, _ = NEAR[0].seen(CAMERA)
    y, x = int(v / 4), int(u / 4)
    losses = {}
    for one, instances in (("ignored", ignored), ("absent", near(NEAR[1:]))):
        target = model.targets(images, [instances], (SIZE[0] // 4, SIZE[1] // 4)).heatmap
        assert target[0, 1, y, x].item() == pytest.approx({"ignored": 0.9999, "absent": 0.0}[one])
        values = []
        for seen in (-10.0, 10.0):
            logits = torch.full_like(target, -3.0)
            logits[0, 1, y, x] = seen
            values.append(heatmap_focal_loss(logits, target).item())
        losses[one] = values
    assert losses["ignored"][0] == pytest.approx(losses["ignored"][1], abs=1e-6)
    assert losses["absent"][1] > losses["absent"][0] + 1


def test_the_ignored_region_is_a_choice():
    ignored = near(gt_ignored=[True, False, False])
    counts = []
    for region in ("center", "box"):
        model = detector(learning=CenterLearning(ignored_region=region))
        images = model.training_images([training_input(ignored)])
        heatmap = model.targets(images, [ignored], (16, 24)).heatmap
        counts.append(((heatmap - 0.9999).abs() < 1e-6).sum().item())
    left, top, right, bottom = (int(side / 4) for side in NEAR[0].box(CAMERA))
    assert counts == [1, (right - left + 1) * (bottom - top + 1)]


@pytest.mark.parametrize(
    ("label", "ignored", "wrong"),
    [(-1, False, True), (3, False, True), (3, True, True), (-2, True, True), (-1, True, False)],
)
def test_classes_are_checked(label, ignored, wrong):
    things = [Thing(NEAR[0].location, NEAR[0].dimensions, 0.0, label), NEAR[1]]
    instances = near(things, gt_ignored=[ignored, False])
    if not wrong:
        assert losses_of(instances)["loss_heatmap"].isfinite()
        return
    with pytest.raises(ValueError, match=rf"image_0.png: class {label} is not in 0\.\.2"):
        losses_of(instances)


# ---- together ----


def picture(things) -> torch.Tensor:
    """Dark, with a bright rectangle for each thing, shaded by its depth."""
    image = torch.zeros(3, *SIZE, dtype=torch.uint8)
    for thing in things:
        left, top, right, bottom = (int(side) for side in thing.box(CAMERA))
        image[thing.label, top:bottom, left:right] = int(250 - 8 * thing.location[2])
    return image


@pytest.mark.parametrize("normalizer", ["max_objects", "objects"])
def test_a_few_steps_lower_all_three_losses(normalizer):
    torch.manual_seed(0)
    model = detector(normalizer=normalizer).train()
    inputs = [{"image": picture(NEAR), "instances": near()}]
    # What "max_objects" cannot go under: log 2 in both bins of each empty one.
    floor = 2 * math.log(2) * 47 / 50 if normalizer == "max_objects" else 0.0
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    history = []
    for _ in range(60):
        losses = model(inputs)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    first, last = history[0], history[-1]
    for name in LOSSES:
        least = floor if name == "loss_orientation" else 0.0
        assert last[name] - least < 0.5 * (first[name] - least)
        assert last[name] >= least


def test_settings_reach_the_task(tiny_config):
    weights = (f"{BLOCK}DEPTH_WEIGHT", 2.0, f"{BLOCK}DIMENSIONS_WEIGHT", 3.0)
    choices = (f"{BLOCK}ORIENTATION_WEIGHT", 5.0, f"{BLOCK}NORMALIZER", "objects")
    region = ("MODEL.POINTS_CENTERNET.IGNORED_REGION", "box")
    model = build_model(
        tiny_config(
            *(*TASKS, *weights, *choices, *region, f"{BLOCK}CALIBRATION", "first"),
            *("MODEL.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT", True),
            *("MODEL.HEATMAP.RADIUS_ROUND_UP", False),
            *("MODEL.POINTS_CENTERNET.REGRESSION_NORMALIZER", "max_objects"),
        )
    )
    boxes, task = model.tasks
    assert (task.depth_weight, task.dimensions_weight, task.orientation_weight) == (2, 3, 5)
    assert (task.normalizer, task.calibration, boxes.size_as_point) == ("objects", "first", True)
    assert (model.learning.ignored_region, model.learning.gaussian.round_up) == ("box", False)
    sizes = [model([training_input(near(NEAR[:n]))])["loss_size"].item() for n in (1, 3)]
    assert 0 < sizes[0] < sizes[1]  # the divisor does not grow with the objects


def test_3d_boxes_without_2d_ones_are_refused(tiny_config):
    """Evaluators, NMS and files take `pred_boxes`."""
    with pytest.raises(ValueError, match=r"Box3D needs .*\['size'\].*'box2d' has 'size'"):
        build_model(tiny_config("MODEL.POINTS_CENTERNET.TASKS", ["box3d"]))


# ---- bad input ----


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("TEST.SCALES", [0.5, 1.0]), r"TEST\.SCALES is \[0\.5, 1\.0\].*\[1\.0\] alone"),
        (("TEST.SCALES", [2.0]), r"TEST\.SCALES is \[2\.0\]"),
        ((f"{BLOCK}CALIBRATION", "mean"), "CALIBRATION is 'mean'; .* 'each', 'first'"),
        ((f"{BLOCK}NORMALIZER", "elements"), "NORMALIZER is .* 'max_objects', 'objects'"),
        ((f"{BLOCK}ORIENTATION_LOSS", "l2"), "ORIENTATION_LOSS is .* 'smooth_l1', 'l1'"),
        ((f"{BLOCK}DEFAULT_PROJECTION", [[1.0, 0.0], [0.0, 1.0]]), "DEFAULT_PROJECTION .*3 x 4"),
        ((f"{BLOCK}DEFAULT_SIZE", [0, 0]), r"DEFAULT_SIZE is \[0, 0\]; it must be \[height,"),
        ((f"{BLOCK}DEFAULT_SIZE", [375]), r"DEFAULT_SIZE is \[375\]"),
        (("MODEL.POINTS_CENTERNET.IGNORED_REGION", "circle"), "IGNORED_REGION .*'circle'"),
    ],
)
def test_wrong_config_values_are_named(tiny_config, overrides, message):
    with pytest.raises(ValueError, match=message):
        build_model(tiny_config(*TASKS, *overrides))


def test_a_batch_without_cameras_is_named():
    model = painted([THINGS], [PROJECTION])
    images = model.inference_images([torch.zeros(3, *KITTI)], (384, 1280))
    with pytest.raises(ValueError, match=r"PaddedImages\.inputs has no 'projection\'"):
        model.propose(model.predict(images), images)


def test_a_bad_projection_names_the_image():
    model = painted([THINGS], [PROJECTION])
    with pytest.raises(ValueError, match=r"000007.png: .*3 x 4"):
        found_in(model, entry(projection=PROJECTION[:2], file_name="000007.png"))
