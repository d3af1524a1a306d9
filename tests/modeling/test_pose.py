"""The point task `pose`: losses as published, joints through every view and back, bad input."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances, Keypoints
from pose_maps import FLIP, JOINTS, Rendering, flipped_image, perfect_maps, persons, pose_detector
from small_detector import objects_input as training_input

from centernet_d2.decoding.joints import SnappingRule
from centernet_d2.losses.heatmap_focal import heatmap_focal_loss
from centernet_d2.modeling.point_tasks.pose import Pose, PoseWeights
from centernet_d2.structures.predictions import CenterPredictions
from centernet_d2.targets.centers import center_targets
from centernet_d2.targets.gaussian import GaussianRule
from centernet_d2.targets.joints import joint_targets

POSE = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])
FIVE = ("MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS", JOINTS)
SIZE = 64
LOSSES = {"loss_joint_displacement", "loss_joint_heatmap", "loss_joint_offset"}
BOX_LOSSES = {"loss_heatmap", "loss_offset", "loss_size"}

# Two persons: joints inside, on and outside the box, one covered, one not labelled.
BOXES = [[4.0, 6, 40, 50], [30, 10, 60, 62]]
PLACES = [
    [(20, 10.5), (10, 20, 1), (33.25, 21), None, (39, 49)],
    [(45, 12), (62, 30), (31, 28.75), (40, 60), (55, 61, 1)],
]


def two_persons(**arguments):
    return persons((SIZE, SIZE), BOXES, PLACES, **arguments)


def nobody():
    return persons((SIZE, SIZE), [], [])


# ---- losses ----


def test_losses_are_named_finite_and_reach_every_parameter(tiny_config):
    model = build_model(tiny_config(*POSE, *FIVE))
    losses = model([training_input(two_persons()), training_input(nobody(), seed=1)])
    assert set(losses) == BOX_LOSSES | LOSSES
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("truth", [nobody(), persons((SIZE, SIZE), BOXES, [[None] * JOINTS] * 2)])
def test_nobody_and_persons_without_a_visible_joint_train(truth):
    model = pose_detector().train()
    losses = model([training_input(truth)])
    assert losses["loss_joint_displacement"] == losses["loss_joint_offset"] == 0
    assert losses["loss_joint_heatmap"] > 0
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_losses_are_the_published_sums():
    model = pose_detector()
    images = model.training_images([training_input(two_persons())])
    (predictions,) = model.train().predict(images)
    centers = model.targets(images, [two_persons()], (16, 16))
    task = model.tasks[1]
    targets = task.targets([two_persons()], images, centers)
    losses = task.losses(predictions, targets, centers)
    maps = predictions.regressions
    total, offset_total, count = 0.0, 0.0, 0
    for person, places in enumerate(PLACES):
        y, x = centers.peaks.y[person].item(), centers.peaks.x[person].item()
        for joint, place in enumerate(places):
            if place is None:
                continue
            u, v = place[0] / 4, place[1] / 4
            regressed = maps["joint_displacement"][0, 2 * joint : 2 * joint + 2, y, x]
            total += (regressed - torch.tensor([u - x, v - y])).abs().sum()
            there = maps["joint_offset"][0, :, int(v), int(u)]
            offset_total += (there - torch.tensor([u % 1, v % 1])).abs().sum()
            count += 2
    assert count == 18
    torch.testing.assert_close(losses["loss_joint_displacement"], total / (count + 1e-4))
    torch.testing.assert_close(losses["loss_joint_offset"], offset_total / (count + 1e-4))
    expected = heatmap_focal_loss(maps["joint_heatmap"], targets.heatmap)
    torch.testing.assert_close(losses["loss_joint_heatmap"], expected)
    assert (targets.heatmap == 1).sum() == 9


def test_dense_displacements_are_the_published_loss():
    """Recorded once with the published `draw_dense_reg`, --dense_hp; two share a center's cell."""
    boxes = torch.tensor([[2.2, 3.1, 9.7, 12.4], [6.4, 4.5, 14.5, 11], [8.3, 1.2, 12.9, 14.6]])
    nothing = torch.zeros(3, dtype=torch.int64)
    options = {"num_images": 1, "num_classes": 1, "map_size": (16, 16), "gaussian": GaussianRule()}
    centers = center_targets(boxes, nothing, nothing, **options)
    points = [[4.5, 5.25, 8, 11.5], [10.25, 6.5, 13.75, 3], [9.5, 2.5, 1.25, 14]]
    points, labelled = torch.tensor(points).view(3, 2, 2), torch.ones(3, 2, dtype=torch.bool)
    maps = (torch.arange(1024) % 11).float().view(1, 4, 16, 16)
    maps = CenterPredictions(centers.heatmap, None, {"joint_displacement": maps})
    task = Pose(num_joints=2, joint_heatmap=False, dense_displacement=True)
    found = []
    for known in (labelled, labelled & (torch.arange(3) < 2)[:, None]):
        targets = joint_targets(points, known, centers, dense=True)
        found.append(task.losses(maps, targets, centers)["loss_joint_displacement"].item())
    assert found[0] == pytest.approx(6.2146630, rel=1e-6)
    assert abs(found[1] - found[0]) > 1e-3  # then the second person has the cells of the third


@pytest.mark.parametrize("regress_unlabelled", [False, True])
def test_unlabelled_persons_are_positives_whose_box_is_not_learned(regress_unlabelled):
    """As COCO's crowds: their center counts in the heatmap, their offset and size do not."""
    model = pose_detector(regress_unlabelled=regress_unlabelled)
    mixed = persons((SIZE, SIZE), BOXES, [PLACES[0], [None] * JOINTS])
    images = model.training_images([training_input(mixed)])
    centers = model.targets(images, [mixed], (16, 16))
    assert (centers.heatmap == 1).sum() == 2
    assert centers.regression_mask.tolist() == [True, regress_unlabelled]
    losses = model.train()([training_input(mixed)])
    alone = model([training_input(persons((SIZE, SIZE), BOXES[:1], PLACES[:1]))])
    for name in ("loss_size", "loss_offset"):
        assert (losses[name] == alone[name]) == (not regress_unlabelled)
    assert losses["loss_heatmap"] != alone["loss_heatmap"]


def test_a_person_whose_joints_left_the_crop_keeps_its_box():
    left = persons((SIZE, SIZE), BOXES, [PLACES[0], [None] * JOINTS], without=[False, False])
    model = pose_detector()
    images = model.training_images([training_input(left)])
    assert model.targets(images, [left], (16, 16)).regression_mask.tolist() == [True, True]


def test_who_has_no_joints_is_guessed_where_nobody_says():
    truth = persons(
        (SIZE, SIZE), [*BOXES, BOXES[0]], [PLACES[0], *[[None] * JOINTS] * 2], [0, 0, 1]
    )
    truth.remove("gt_without_joints")
    assert Pose(num_joints=JOINTS).regression_mask([truth]).tolist() == [True, False, False]
    assert Pose(num_joints=JOINTS, classes=[0]).regression_mask([truth]).tolist() == [
        True,
        False,
        True,
    ]


def test_weights_are_choices():
    weights = {"weights": PoseWeights(displacement=2.0, heatmap=3.0, offset=5.0)}
    found = []
    for arguments in ({}, weights):
        torch.manual_seed(0)
        found.append(pose_detector(**arguments).train()([training_input(two_persons())]))
    plain, weighted = found
    for name, factor in zip(sorted(LOSSES), (2, 3, 5), strict=True):
        torch.testing.assert_close(weighted[name], factor * plain[name])


@pytest.mark.parametrize(
    ("switches", "branches", "losses"),
    [
        ({"joint_heatmap": False}, {"joint_displacement"}, {"loss_joint_displacement"}),
        (
            {"joint_offset": False},
            {"joint_displacement", "joint_heatmap"},
            LOSSES - {"loss_joint_offset"},
        ),
    ],
)
def test_rows_of_the_paper_are_switches(switches, branches, losses):
    model = pose_detector(**switches)
    heads = set(model.head.stacks[0]) - {"heatmap", "offset", "size"}
    assert heads == branches
    assert set(model.train()([training_input(two_persons())])) == BOX_LOSSES | losses
    with torch.no_grad():
        (found,) = model.eval()([{"image": torch.zeros(3, 50, 70)}])
    assert found["instances"].pred_keypoints.shape[1:] == (JOINTS, 3)


# ---- to the output frame and back ----


def places_of(instances: Instances) -> torch.Tensor:
    """Where detectron2 would have these joints: half a pixel further."""
    return instances.gt_keypoints.tensor[..., :2] + 0.5


SMALL_FAR = ([[300, 40, 340, 120]], [[(320, 44), (303, 60), (338, 61), (310, 118), (331, 117)]])


@pytest.mark.parametrize(("size", "where"), [((64, 64), (BOXES, PLACES)), ((133, 501), SMALL_FAR)])
@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("snapping", ["published", "paper", "none"])
@torch.no_grad()
def test_joints_come_back_where_they_were(size, where, resolution, flip, snapping):
    truth = persons(size, *where)
    model = pose_detector(
        cls=Rendering,
        protocol={"resolution": resolution, "fixed_size": (256, 256), "flip": flip},
        snapping=SnappingRule(snapping),
    ).eval()
    model.truth = [truth]
    height, width = 2 * size[0], 3 * size[1]
    entry = {"image": torch.zeros(3, *size, dtype=torch.uint8), "height": height, "width": width}
    found = model([entry])[0]["instances"]
    assert len(found) == len(truth)
    order = found.pred_boxes.tensor[:, 0].argsort()
    expected = places_of(truth) * torch.tensor([3.0, 2.0])
    labelled = truth.gt_keypoints.tensor[..., 2] > 0
    difference = (found.pred_keypoints[order][..., :2] - expected)[labelled].abs().max()
    assert difference < 0.01
    scores = found.pred_keypoints[order][..., 2][labelled]
    assert (scores > 0.9).all()


@torch.no_grad()
def test_five_scales_give_each_person_once_with_its_own_joints():
    truth = persons((96, 128), BOXES, PLACES)
    model = pose_detector(
        cls=Rendering,
        protocol={
            "flip": True,
            "scales": (0.5, 0.75, 1.0, 1.25, 1.5),
            "soft_nms": {"method": "hard", "threshold": 0.6},
            "detections_per_image": None,
        },
    ).eval()
    model.truth = [truth]
    found = model([{"image": torch.zeros(3, 96, 128, dtype=torch.uint8)}])[0]["instances"]
    best = found[found.scores > 0.9]
    assert len(best) == 2
    order = best.pred_boxes.tensor[:, 0].argsort()
    labelled = truth.gt_keypoints.tensor[..., 2] > 0
    difference = (best.pred_keypoints[order][..., :2] - places_of(truth))[labelled]
    assert difference.abs().max() < 0.01


def test_both_views_are_averaged_with_left_and_right_exchanged():
    task = Pose(num_joints=JOINTS, flip_indices=FLIP)
    for name, channels in (("joint_heatmap", JOINTS), ("joint_displacement", 2 * JOINTS)):
        own = torch.randn(2, channels, 3, 4)
        turned = task.unflip(name, flipped_image(name, own).flip(3))
        torch.testing.assert_close(turned, own)
        assert not torch.equal(flipped_image(name, own).flip(3), own)
    assert task.unflip("joint_offset", torch.zeros(2, 2, 3, 4)) is None


def test_flip_decodes_the_mean_of_both_views():
    model = pose_detector(protocol={"flip": True})
    truth = persons((64, 64), BOXES, PLACES)
    images = model.inference_images([torch.zeros(3, 64, 64)], (96, 96))
    maps = perfect_maps(model, images, [truth])
    shifted = maps.regressions["joint_displacement"].clone()
    shifted[1:, 0::2] += 2  # the flipped image sees all joints 2 cells further right
    maps.regressions["joint_displacement"] = shifted
    united = model.decoded_maps(maps, flipped=True).regressions["joint_displacement"]
    own = shifted[:1]
    torch.testing.assert_close(united[:, 0::2], own[:, 0::2] - 1)
    torch.testing.assert_close(united[:, 1::2], own[:, 1::2])
    assert own.any()


# ---- several classes, some of them with joints ----


@torch.no_grad()
def test_only_classes_with_joints_get_them():
    classes, boxes = [2, 0, 1], [*BOXES, [8.0, 40, 30, 62]]
    places = [PLACES[0], PLACES[1], [None] * JOINTS]
    truth = persons((SIZE, SIZE), boxes, places, classes, without=[False] * 3)
    model = pose_detector(3, cls=Rendering, classes=[0, 2])
    model.truth = [truth]
    found = model.eval()([{"image": torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)}])[0]["instances"]
    assert sorted(found.pred_classes.tolist()) == [0, 1, 2]
    with_joints = found.pred_keypoints[found.pred_classes != 1]
    assert (with_joints[..., 2] > 0).all()
    assert not found.pred_keypoints[found.pred_classes == 1].any()
    assert model.targets(
        model.inference_images([torch.zeros(3, SIZE, SIZE)], (96, 96)), [truth], (24, 24)
    ).regression_mask.all()


def test_zeros_of_a_class_without_joints_do_not_exclude_its_boxes():
    """Some files have zero-filled keypoints in every annotation."""
    truth = persons((SIZE, SIZE), BOXES, [[None] * JOINTS] * 2, [0, 1], without=[True, True])
    assert Pose(num_joints=JOINTS, classes=[0]).regression_mask([truth]).tolist() == [False, True]
    truth.remove("gt_without_joints")
    assert Pose(num_joints=JOINTS, classes=[0]).regression_mask([truth]).tolist() == [False, True]


def test_labelled_joints_of_a_class_without_joints_are_not_learned():
    model = pose_detector(2, classes=[0])
    truth = persons((SIZE, SIZE), BOXES, PLACES, [0, 1])
    images = model.training_images([training_input(truth)])
    centers = model.targets(images, [truth], (16, 16))
    targets = model.tasks[1].targets([truth], images, centers)
    assert set(targets.owner.tolist()) == {0}
    assert (targets.heatmap == 1).sum() == 4


def test_objects_of_other_classes_do_not_touch_the_joint_losses():
    model = pose_detector(2, classes=[0]).train()
    alone = persons((SIZE, SIZE), BOXES[:1], PLACES[:1])
    both = persons((SIZE, SIZE), BOXES, [PLACES[0], [None] * JOINTS], [0, 1], without=[False] * 2)
    first, second = model([training_input(alone)]), model([training_input(both)])
    assert all(first[name] == second[name] for name in LOSSES)
    assert all(first[name] != second[name] for name in BOX_LOSSES)


def test_composition_from_a_config(tiny_config):
    cfg = tiny_config(*POSE, *FIVE, "MODEL.POINTS_CENTERNET.POSE.CLASSES", [1, 3])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for name, parameter in model.head.named_parameters():
        if name.endswith("weight"):  # maps that are far from constant: peaks of every class
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        found = model([{"image": torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)}])
    found = found[0]["instances"]
    has = torch.isin(found.pred_classes, torch.tensor([1, 3]))
    assert has.any()
    assert not has.all()
    assert ((found.pred_keypoints[..., 2] > 0).all(1) == has).all()


def test_soft_nms_at_one_scale_carries_joints(tiny_config):
    cfg = tiny_config(*POSE, *FIVE, "MODEL.POINTS_CENTERNET.BOX2D.NMS", "gaussian")
    truth = persons((50, 50), [[0, 0, 20, 20], [1, 1, 21, 21], [30, 30, 40, 40]], [PLACES[0]] * 3)
    found = Instances(
        (50, 50),
        pred_boxes=truth.gt_boxes,
        scores=torch.tensor([0.9, 0.8, 0.7]),
        pred_classes=torch.zeros(3, dtype=torch.int64),
        pred_keypoints=torch.arange(3.0).view(3, 1, 1).expand(3, JOINTS, 3),
    )
    (kept,) = build_model(cfg).finalize([found])
    assert kept.pred_keypoints[:, 0, 0].tolist() == [0, 2, 1]
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.2], abs=0.01)


# ---- bad input ----


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (None, "image_0.png: .*'gt_keypoints'.*centernet_d2.setup"),
        (torch.zeros(2, 4, 3), r"image_0.png: .*\(objects, 4, 3\).*\(objects, 5, 3\).*NUM_JOINTS"),
    ],
)
def test_wrong_ground_truth_names_the_image(keypoints, message):
    truth = two_persons()
    truth.remove("gt_keypoints")
    if keypoints is not None:
        truth.gt_keypoints = Keypoints(keypoints)
    with pytest.raises(ValueError, match=message):
        pose_detector().train()([training_input(truth)])


def test_a_flip_without_a_flip_map_is_named():
    model = pose_detector(flip_indices=(), protocol={"flip": True}).eval()
    with torch.no_grad(), pytest.raises(ValueError, match=r"TEST\.FLIP .*FLIP_INDICES is empty"):
        model([{"image": torch.zeros(3, 32, 32)}])
    assert pose_detector(flip_indices=()).eval()([{"image": torch.zeros(3, 32, 32)}])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (POSE, "NUM_JOINTS is 0; set it, or call"),
        ((*POSE, *FIVE, "MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES", [0, 1, 2]), "FLIP_INDICES"),
        ((*POSE, *FIVE, "MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES", [1, 2, 0, 3, 4]), "FLIP_INDI"),
        ((*POSE, *FIVE, "MODEL.POINTS_CENTERNET.POSE.SNAPPING", "nearest"), "SNAPPING.*'paper'"),
        (("MODEL.POINTS_CENTERNET.TASKS", ["pose"], *FIVE), r"Pose needs .*'size'.*TASKS .'box2d'"),
    ],
)
def test_wrong_config_values_are_named(tiny_config, overrides, message):
    with pytest.raises(ValueError, match=message):
        build_model(tiny_config(*overrides))


@pytest.mark.parametrize("switch", [("SNAPPING", "none"), ("JOINT_HEATMAP", False)])
def test_joints_need_boxes_also_where_they_do_not_snap(tiny_config, switch):
    """NMS, evaluators and the files of detections take boxes."""
    key, value = switch
    cfg = tiny_config(
        *("MODEL.POINTS_CENTERNET.TASKS", ["pose"], *FIVE),
        *(f"MODEL.POINTS_CENTERNET.POSE.{key}", value),
    )
    with pytest.raises(ValueError, match=r"Pose needs .*'size'.*TASKS .'box2d'"):
        build_model(cfg)
