"""Records with a camera -> network input: pixels, boxes and projected 3-D boxes move together."""

from __future__ import annotations

import copy
import math

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data.transforms import AugmentationList, ResizeScale, RotationTransform
from detectron2.structures import BoxMode
from fvcore.transforms.transform import HFlipTransform, NoOpTransform

from centernet_d2.config import add_centernet_config
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.fields.base import build_fields
from centernet_d2.data.fields.boxes3d import Boxes3DField
from centernet_d2.data.fields.boxes3d_transforms import (
    FitTransform,
    RandomHalfJitter,
    affine_matrix,
)
from centernet_d2.data.mapper import DetectionMapper, build_augmentations
from centernet_d2.data.transforms import CenterAffineTransform
from centernet_d2.structures.boxes3d import Boxes3D, project_points

FOCAL = 700.0
PROJECTION = [[FOCAL, 0, 300.0, 45.0], [0, FOCAL, 100.0, 0.2], [0, 0, 1, 0.003]]
WIDTH, HEIGHT = 620, 190
# Two boxes before the camera: x, y, z, height, width, length, rotation_y, alpha.
SOLIDS = [
    [-2.0, 1.6, 14.0, 1.5, 1.7, 4.0, 0.4, 0.54],
    [2.5, 1.6, 20.0, 1.8, 0.8, 0.9, -2.0, -2.12],
]


def config(*overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    plain = ["INPUT.FORMAT", "BGR", "INPUT.TRAIN_SIZE", [96, 320], "INPUT.FLIP_PROBABILITY", 0.0]
    plain += ["INPUT.COLOR_JITTER", 0.0, "INPUT.PCA_LIGHTING", 0.0]
    plain += ["MODEL.META_ARCHITECTURE", "PointsCenterNet"]
    plain += ["MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"]]
    cfg.merge_from_list([*plain, "INPUT.BOX3D.JITTER_PROBABILITY", 0.0, *overrides])
    return cfg


def augmentations_of(cfg):
    return build_augmentations(cfg, build_fields(cfg))


def mapped(record, augmentations):
    mapper = DetectionMapper(is_train=True, fields=[Boxes3DField()], augmentations=augmentations)
    return mapper(record)


def outlines():
    boxes = Boxes3D(torch.tensor(SOLIDS, dtype=torch.float64))
    points, _ = project_points(boxes.corners(), torch.tensor(PROJECTION).double())
    return points.numpy()


@pytest.fixture
def record(tmp_path):
    """A gray picture in which each box's outline is filled with its own brightness."""
    image = np.full((HEIGHT, WIDTH, 3), 40, dtype=np.uint8)
    annotations = []
    for solid, points, value in zip(SOLIDS, outlines(), (220, 160), strict=True):
        hull = cv2.convexHull(points.astype(np.float32))
        cv2.fillConvexPoly(image, np.round(hull * 16).astype(np.int32), (value,) * 3, shift=4)
        annotations.append(
            {
                "bbox": [*points.min(axis=0), *points.max(axis=0)],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": len(annotations) + 1,
                "location": solid[:3],
                "dimensions": solid[3:6],
                "rotation_y": solid[6],
                "alpha": solid[7],
                "truncated": 0.0,
                "occluded": 0,
            }
        )
    box = [500.0, 60.0, 600.0, 110.0]
    ignored = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": -1, "ignored": True}
    path = tmp_path / "000003.png"
    cv2.imwrite(str(path), image)
    return {
        "file_name": str(path),
        "image_id": "000003",
        "height": HEIGHT,
        "width": WIDTH,
        "as_stored": True,
        "projection": PROJECTION,
        "annotations": [*annotations, ignored],
    }


def test_training_output(record):
    before = copy.deepcopy(record)
    sample = DetectionMapper(config(), is_train=True)(record)
    assert record == before
    assert sample["image"].shape == (3, 96, 320)
    assert sample["image"].dtype == torch.uint8
    assert (sample["height"], sample["width"]) == (HEIGHT, WIDTH)
    assert sample["projection"].dtype == torch.float32
    np.testing.assert_allclose(sample["projection"], PROJECTION)
    instances = sample["instances"]
    assert instances.image_size == (96, 320)
    assert instances.gt_classes.tolist() == [1, 2, -1]
    assert instances.gt_ignored.tolist() == [False, False, True]
    assert instances.gt_3d_supervised.tolist() == [True, True, False]
    np.testing.assert_allclose(instances.gt_boxes3d.tensor[:2], SOLIDS, rtol=1e-6)
    assert not instances.gt_boxes3d.tensor[2].any()
    assert "annotations" not in sample


@pytest.mark.parametrize(
    ("resolution", "scale", "top", "back"),
    [
        ("fixed", 1.0305958, -1.236715, [[0, 1.2], [388.125, 389.325]]),
        ("keep_res", 1.0, 4.5, [[-19, -4.5], [381, 395.5]]),
    ],
)
def test_published_frame_of_a_kitti_image(resolution, scale, top, back):
    """1242 x 375 on 1280 x 384: x' = 1.0305958 x, y' = 1.0305958 y - 1.236715."""
    jitter = RandomHalfJitter((384, 1280), resolution, probability=0)
    transform = jitter.get_transform(np.zeros((375, 1242, 3), dtype=np.uint8))
    left = 0 if resolution == "fixed" else 19
    np.testing.assert_allclose(
        affine_matrix(transform), [[scale, 0, left], [0, scale, top]], atol=1e-6
    )
    found = transform.inverse().apply_coords(np.array([[0.0, 0.0], [400.0, 400.0]]))
    np.testing.assert_allclose(found, back, atol=1e-6)


def test_pixels_boxes_and_projections_move_together(record):
    """Through shifts and scales, projected corners span the 2-D box and lie on the filled hull."""
    mapper = DetectionMapper(
        config("INPUT.BOX3D.JITTER_PROBABILITY", 1.0, "INPUT.TRAIN_SIZE", [190, 620]), is_train=True
    )
    np.random.seed(1)
    compared = 0
    for _ in range(30):
        sample = mapper(record)
        instances = sample["instances"]
        assert not instances.gt_3d_supervised.any()
        for row in np.flatnonzero(~instances.gt_ignored.numpy()):
            solid = instances.gt_boxes3d[int(row)]
            points, _ = project_points(solid.corners(), sample["image_projection"])
            low, high = points[0].min(dim=0).values, points[0].max(dim=0).values
            box = torch.cat([low, high])
            np.testing.assert_allclose(box, instances.gt_boxes.tensor[row], atol=2e-2)
            column, line = ((low + high) / 2).round().int().tolist()
            if 0 <= column < 620 and 0 <= line < 190:
                value = 220 if instances.gt_classes[row] == 1 else 160
                assert sample["image"][0, line, column] == pytest.approx(value, abs=2)
                compared += 1
    assert compared > 30


def test_half_of_the_images_are_jittered_within_published_limits():
    jitter = RandomHalfJitter((384, 1280))
    image = np.zeros((375, 1242, 3), dtype=np.uint8)
    np.random.seed(0)
    transforms = [jitter.get_transform(image) for _ in range(400)]
    moved = [t for t in transforms if not isinstance(t, FitTransform)]
    assert 160 < len(moved) < 240
    plain = affine_matrix(jitter_free().get_transform(image))
    for transform in transforms:
        if isinstance(transform, FitTransform):
            np.testing.assert_array_equal(affine_matrix(transform), plain)
    extents = np.array([1280 / (t.scale * 1242) for t in moved])  # of the shown width
    assert extents.min() == pytest.approx(0.6)
    assert extents.max() == pytest.approx(1.4)
    assert 0.25 < extents.std() < 0.4
    centers = np.array([t.inverse().apply_coords(np.array([[640.0, 192.0]]))[0] for t in moved])
    shifts = (centers - (621, 187.5)) / (1242, 375)  # of width and height, each for itself
    np.testing.assert_allclose(np.abs(shifts).max(axis=0), 0.2, atol=1e-9)
    np.testing.assert_allclose(shifts.std(axis=0), 0.097, atol=0.012)


def jitter_free():
    return RandomHalfJitter((384, 1280), probability=0)


def test_equal_seeds_give_equal_samples(record):
    mapper = DetectionMapper(config("INPUT.BOX3D.JITTER_PROBABILITY", 1.0), is_train=True)
    samples = []
    for seed in (4, 4, 5):
        np.random.seed(seed)
        samples.append(mapper(record))
    assert torch.equal(samples[0]["image"], samples[1]["image"])
    assert not torch.equal(samples[0]["image_projection"], samples[2]["image_projection"])


def test_evaluation_leaves_the_image_as_it_is(record):
    sample = DetectionMapper(config("INPUT.FLIP_PROBABILITY", 0.5), is_train=False)(record)
    assert sample["image"].shape == (3, HEIGHT, WIDTH)
    assert "instances" not in sample
    assert torch.equal(sample["projection"], sample["image_projection"])
    del record["projection"]
    assert "projection" not in DetectionMapper(config(), is_train=False)(record)


def test_what_lies_outside_the_frame_is_left_out(record):
    far = {**record["annotations"][0], "bbox": [0.0, 0.0, 20.0, 20.0]}
    record["annotations"].append(far)
    shift = FitTransform(1.0, (-50, 0), (HEIGHT, WIDTH), (HEIGHT, WIDTH))
    instances = mapped(record, [shift])["instances"]
    assert len(instances) == 3
    assert instances.gt_3d_supervised.tolist() == [True, True, False]


def test_no_annotations(record):
    record["annotations"] = []
    instances = DetectionMapper(config(), is_train=True)(record)["instances"]
    assert len(instances) == 0
    assert instances.gt_boxes3d.tensor.shape == (0, 8)
    assert instances.gt_ignored.dtype == instances.gt_3d_supervised.dtype == torch.bool


def test_another_camera_needs_its_records_only(record):
    """A skewed camera with another size and COCO's box form."""
    record["projection"] = [[500.0, 1.0, 310, 0], [0, 510.0, 95, 0], [0, 0, 1, 0]]
    entry = record["annotations"][0]
    left, top, right, bottom = entry["bbox"]
    entry.update(bbox=[left, top, right - left, bottom - top], bbox_mode=BoxMode.XYWH_ABS)
    del record["as_stored"], record["height"], record["width"]
    del entry["alpha"], entry["truncated"], entry["occluded"]
    sample = DetectionMapper(config(), is_train=True)(record)
    alpha = sample["instances"].gt_boxes3d.alpha[0].item()
    assert alpha == pytest.approx(SOLIDS[0][6] - math.atan2(SOLIDS[0][0], SOLIDS[0][2]))
    scale = 320 / WIDTH
    np.testing.assert_allclose(
        sample["instances"].gt_boxes.tensor[0, [0, 2]], [scale * left, scale * right], rtol=1e-5
    )
    np.testing.assert_allclose(sample["image_projection"][0, :3], np.array([500, 1, 310]) * scale)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dimensions": [1.5, 4]}, r"annotation 0 has 'dimensions' \[1.5, 4\]; it must be 3"),
        ({"rotation_y": None}, r"annotation 0 has 'rotation_y' None; it must be 1"),
        ({"location": ["a", 1, 2]}, r"annotation 0 has 'location'"),
        ({"alpha": math.nan}, r"annotation 0 has 'alpha' nan"),
        ({"alpha": "left"}, r"annotation 0 has 'alpha' 'left'; it must be 1 finite number"),
        ({"bbox": [0, 0, math.inf, 5]}, r"annotation 0 has 'bbox'"),
    ],
)
def test_bad_annotations_are_named(record, changes, message):
    record["annotations"][0].update(changes)
    with pytest.raises(ValueError, match=rf"000003.png': {message}"):
        DetectionMapper(config(), is_train=True)(record)


def test_bad_projections_are_named(record):
    del record["projection"]
    with pytest.raises(DatasetError, match=r"000003.png': its record has no 'projection'. Add"):
        DetectionMapper(config(), is_train=True)(record)
    record["projection"] = np.eye(2)
    for is_train in (True, False):
        with pytest.raises(ValueError, match=r"000003.png': 'projection' must be 3 x 4"):
            DetectionMapper(config(), is_train=is_train)(record)


def test_an_image_of_another_size_is_refused(record):
    record["width"] = 600
    with pytest.raises(DatasetError, match=r"\(620, 190\).*record says \(600, 190\)"):
        DetectionMapper(config(), is_train=True)(record)


@pytest.mark.parametrize(
    ("key", "value", "step"),
    [
        ("INPUT.FLIP_PROBABILITY", 0.5, HFlipTransform(WIDTH)),
        ("INPUT.CENTER_CROP.ROTATION", 5.0, RotationTransform(HEIGHT, WIDTH, 2.0)),
    ],
)
def test_flips_and_turns_are_refused(record, key, value, step):
    with pytest.raises(ValueError, match=rf"{key} is {value}: .*set it to 0"):
        DetectionMapper(config(key, value), is_train=True)
    DetectionMapper(config(key, value), is_train=False)
    with pytest.raises(ValueError, match=r"flips, turns or shears the image"):
        mapped(record, [step])


def test_shifts_and_scales_of_ones_own_teach_no_depth(record):
    """Boxes and projection follow, but objects do not seem as far as they are."""
    resize = ResizeScale(0.5, 0.5, HEIGHT, WIDTH)
    shift = CenterAffineTransform(1.0, (-5, 0), (HEIGHT, WIDTH), (HEIGHT, WIDTH))
    fit = augmentations_of(config("INPUT.COLOR_JITTER", 0.4))
    for augmentations, teaches in (
        ([], True),
        (fit, True),
        ([*fit, NoOpTransform()], True),
        ([AugmentationList([resize]), *fit], False),
        ([shift], False),
    ):
        sample = mapped(record, augmentations)
        instances = sample["instances"]
        assert instances.gt_3d_supervised.tolist() == [teaches, teaches, False]
        points, _ = project_points(instances.gt_boxes3d[0].corners(), sample["image_projection"])
        np.testing.assert_allclose(
            points[0].amin(dim=0), instances.gt_boxes.tensor[0, :2], atol=2e-2
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": "keep"},
        {"probability": 1.5},
        {"scale": 1.0},
        {"shift": -0.1},
        {"output_size": (384,)},
    ],
)
def test_bad_values_are_named(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        RandomHalfJitter(**{"output_size": (384, 1280), **wrong})


def test_colours_are_jittered_only_when_told():
    assert len(augmentations_of(config())) == 1
    assert len(augmentations_of(config("INPUT.COLOR_JITTER", 0.4))) == 2


def test_the_point_task_chooses_the_fields():
    assert [type(field) for field in build_fields(config())] == [Boxes3DField]
    assert not build_fields(config("MODEL.POINTS_CENTERNET.TASKS", ["box2d"]))
    assert not build_fields(config("MODEL.META_ARCHITECTURE", "CornerNet"))
