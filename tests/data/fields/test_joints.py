"""Joints through the mapper: a dot painted on a pixel is found where the joint is said to be."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.structures import BoxMode, Keypoints

from centernet_d2.config import add_centernet_config
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.fields.joints import JointsField, is_flipped, move_points
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.data.transforms import PixelFlipTransform, RandomCenterCrop

from ..coco_files import write_dataset

NAMES = ["nose", "left_hand", "right_hand"]
FLIP = [0, 2, 1]
SIZE = (160, 120)  # width, height
SPREAD = 3.0  # of a painted dot, pixels
DOTS = [(70, 50), (100, 41), (52, 88)]  # pixel indices of the joints


def config(*overrides, num_joints=3, flip_indices=(0, 2, 1)):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.INPUT.FORMAT = "BGR"
    cfg.MODEL.META_ARCHITECTURE = "PointsCenterNet"
    cfg.MODEL.POINTS_CENTERNET.TASKS = ["box2d", "pose"]
    block = {"NUM_JOINTS": num_joints, "FLIP_INDICES": list(flip_indices)}
    cfg.MODEL.POINTS_CENTERNET.POSE = CfgNode(block)
    plain = ("INPUT.COLOR_JITTER", 0.0, "INPUT.PCA_LIGHTING", 0.0)
    cfg.merge_from_list([*("INPUT.TRAIN_SIZE", [96, 128]), *plain, *overrides])
    return cfg


def dot(x: float, y: float) -> np.ndarray:
    """A black picture with a soft white dot whose middle is on pixel (x, y)."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    value = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SPREAD**2))
    return np.repeat(np.round(255 * value).astype(np.uint8)[..., None], 3, axis=2)


def find_dot(image: torch.Tensor) -> tuple[np.ndarray, bool]:
    """Middle (x, y) of the dot, and whether all of it is in the picture."""
    pixels = image.numpy()[0].astype(np.float64)
    border = max(pixels[0].max(), pixels[-1].max(), pixels[:, 0].max(), pixels[:, -1].max())
    if border > 0 or pixels.sum() < 500:
        return np.zeros(2), False
    rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    return np.array([(pixels * columns).sum(), (pixels * rows).sum()]) / pixels.sum(), True


@pytest.fixture
def records(tmp_path):
    """One record per dot: the same joints in each, read from a COCO JSON."""
    keypoints = [number for x, y in DOTS for number in (x, y, 2)]
    content = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": SIZE[0], "height": SIZE[1]}
            for k in range(len(DOTS))
        ],
        "annotations": [
            {"id": k + 1, "image_id": k, "category_id": 1, "bbox": [30, 20, 100, 90]}
            | {"keypoints": keypoints}
            for k in range(len(DOTS))
        ],
        "categories": [{"id": 1, "name": "figure", "keypoints": NAMES}],
    }
    path, root = write_dataset(tmp_path, content)
    for k, (x, y) in enumerate(DOTS):
        cv2.imwrite(str(root / f"{k}.png"), dot(x, y))
    return load_coco_records(str(path), str(root))


def compare(mapper, records, seeds) -> dict:
    """Check each dot against its joint under many seeds; returns how often what was seen."""
    seen = {"compared": 0, "flipped": 0, "outside": 0}
    for seed in range(seeds):
        for painted, record in enumerate(records):
            np.random.seed(seed)
            sample = mapper(record)
            joints = sample["instances"].gt_keypoints.tensor.numpy()
            if not len(joints):
                continue
            (left, top), whole = find_dot(sample["image"])
            flipped = seed in mapper.flipped
            joint = joints[0, FLIP[painted] if flipped else painted]
            if whole:
                assert joint[2] == 2
                np.testing.assert_allclose(joint[:2], (left, top), rtol=0, atol=0.06)
                seen["compared"] += 1
                seen["flipped"] += flipped
            elif joint[2] == 0:
                assert joint.tolist() == [0, 0, 0]
                seen["outside"] += 1
    return seen


class Spy(DetectionMapper):
    """Notes by the pixels, not by the mapper's own account, under which seeds it flips."""

    flipped: frozenset = frozenset()

    def watch(self, records, seeds):
        """Map a picture that is bright on its left half, for each seed."""
        record = copy.deepcopy(records[0])
        width, height = SIZE
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        picture[:, : width // 2] = 100
        picture[:, width // 2 :] = 200
        cv2.imwrite(record["file_name"], picture)
        found = set()
        for seed in range(seeds):
            np.random.seed(seed)
            pixels = self(record)["image"].numpy()[0]
            order = [np.nonzero(pixels == level)[1].mean() for level in (100, 200)]
            if order[0] > order[1]:
                found.add(seed)
        cv2.imwrite(record["file_name"], dot(*DOTS[0]))
        self.flipped = frozenset(found)


@pytest.mark.parametrize("convention", ["pixel", "edge"])
@pytest.mark.parametrize("rotation", [0.0, 25.0])
@pytest.mark.parametrize("mode", ["random_crop", "shift_scale"])
def test_a_painted_dot_is_where_its_joint_is(records, convention, rotation, mode):
    overrides = ["INPUT.FLIP_CONVENTION", convention, "INPUT.CENTER_CROP.ROTATION", rotation]
    overrides += ["INPUT.CENTER_CROP.MODE", mode, "INPUT.CENTER_CROP.SHIFT", 0.05]
    overrides += ["INPUT.CENTER_CROP.BORDER", 64]
    mapper = Spy(config(*overrides), is_train=True)
    mapper.watch(records, seeds=25)
    seen = compare(mapper, records, seeds=25)
    assert seen["compared"] > 25
    assert 0.2 < seen["flipped"] / seen["compared"] < 0.8
    assert seen["outside"] > 0 or mode == "shift_scale"


@pytest.mark.parametrize(
    "augmentation",
    [
        T.RandomFlip(prob=1.0),
        T.Resize((90, 240)),
        T.RandomCrop("absolute", (110, 150)),
        T.RandomRotation([20, 21], expand=False),
    ],
    ids=lambda augmentation: type(augmentation).__name__,
)
def test_detectron2s_own_augmentations_too(records, augmentation):
    """They count from the edge of the first pixel, this package from its middle."""
    mapper = Spy(
        is_train=True,
        augmentations=[augmentation],
        fields=[JointsField(num_joints=3, flip_indices=FLIP)],
    )
    mapper.watch(records, seeds=5)
    assert compare(mapper, records, seeds=5)["compared"] >= 10


def test_without_augmentation_joints_are_those_of_the_file(records):
    mapper = DetectionMapper(is_train=True, fields=[JointsField(num_joints=3)])
    instances = mapper(records[0])["instances"]
    assert isinstance(instances.gt_keypoints, Keypoints)
    assert instances.gt_keypoints.tensor.dtype == torch.float32
    assert instances.gt_keypoints.tensor[0].tolist() == [[x, y, 2] for x, y in DOTS]
    assert instances.gt_without_joints.tolist() == [False]


def test_published_flip_by_hand(records):
    cfg = config("INPUT.FLIP_PROBABILITY", 1.0, "INPUT.CENTER_CROP.MODE", "none")
    cfg.INPUT.TRAIN_SIZE = [SIZE[1], SIZE[0]]
    (joints,) = DetectionMapper(cfg, is_train=True)(records[0])["instances"].gt_keypoints.tensor
    flipped = [[SIZE[0] - 1 - x, y, 2] for x, y in DOTS]
    assert joints.tolist() == [flipped[k] for k in FLIP]


def annotation(joints, box=(10, 10, 60, 60), **more):
    mode = BoxMode.XYWH_ABS
    return {"bbox": list(box), "bbox_mode": mode, "category_id": 0, "keypoints": joints, **more}


def mapped(records, annotations, **options):
    record = {**records[0], "annotations": annotations}
    options = {"fields": [JointsField(num_joints=3)], **options}
    return DetectionMapper(is_train=True, **options)(record)["instances"]


@pytest.mark.parametrize(
    ("joints", "expected"),
    [
        ([0.5, 0.5, 1, 159.5, 119.5, 2, 160.6, 5, 2], [[0, 0, 1], [159, 119, 2], [0, 0, 0]]),
        ([0.4, 5, 2, 5, 0.4, 2, 5, 5, 2], [[0, 0, 0], [0, 0, 0], [4.5, 4.5, 2]]),
        # Outside the box: kept.
        ([100.5, 100.5, 2, 5.5, 5.5, 1, 0, 0, 0], [[100, 100, 2], [5, 5, 1], [0, 0, 0]]),
        (np.array([[1.5, 2.5, 2]] * 3), [[1, 2, 2]] * 3),
    ],
)
def test_visibility_and_the_border(records, joints, expected):
    """0.5 is the middle of the first pixel in a record; the last pixel's middle is inside."""
    instances = mapped(records, [annotation(joints)])
    assert instances.gt_keypoints.tensor[0].tolist() == expected


def test_who_has_no_joints_is_told_from_who_lost_them(records):
    """Unlabelled by the annotator; labelled, but all outside the crop; of a class without."""
    unlabelled = annotation([0.5, 0.5, 0] * 3)
    gone = annotation([150.5, 100.5, 2] * 3, box=(10, 10, 149, 109))
    thing = {k: v for k, v in annotation([]).items() if k != "keypoints"}
    crop = T.CropTransform(0, 0, 100, 90)
    instances = mapped(records, [unlabelled, gone, thing], augmentations=[crop])
    assert not instances.gt_keypoints.tensor.any()
    assert instances.gt_without_joints.tolist() == [True, False, False]


def test_rows_of_joints_belong_to_rows_of_boxes(records):
    left_out = annotation([9.5, 9.5, 2] * 3, box=(5, 5, 0, 10))
    crowd = annotation([8.5, 8.5, 2] * 3, iscrowd=1)
    kept = annotation([7.5, 7.5, 2] * 3)
    instances = mapped(records, [left_out, crowd, kept], crowd_as_objects=False)
    assert len(instances) == 1
    assert instances.gt_keypoints.tensor[0, 0].tolist() == [7, 7, 2]


@pytest.mark.parametrize("annotations", [[], None])
def test_no_persons_at_all(records, annotations):
    record = {key: value for key, value in records[0].items() if key != "annotations"}
    if annotations is not None:
        record["annotations"] = annotations
    instances = DetectionMapper(config(), is_train=True)(record)["instances"]
    assert instances.gt_keypoints.tensor.shape == (0, 3, 3)
    assert instances.gt_without_joints.shape == (0,)
    assert instances.gt_without_joints.dtype == torch.bool


def test_without_the_task_there_are_no_joints(records):
    cfg = config()
    cfg.MODEL.POINTS_CENTERNET.TASKS = ["box2d"]
    assert not DetectionMapper(cfg, is_train=True)(records[0])["instances"].has("gt_keypoints")


def test_record_is_not_edited(records):
    before = copy.deepcopy(records[0])
    DetectionMapper(config(), is_train=True)(records[0])
    assert records[0] == before


@pytest.mark.parametrize("count", [2, 4])
def test_wrong_number_of_joints_names_image_and_numbers(records, count):
    with pytest.raises(DatasetError, match=rf"has {3 * count} numbers, 3 joints take 9") as error:
        mapped(records, [annotation([1.5, 1.5, 2] * 3), annotation([1.5, 1.5, 2] * count)])
    assert records[0]["file_name"] in str(error.value)
    assert "annotation 1" in str(error.value)
    assert "NUM_JOINTS" in str(error.value)


def test_labelled_joint_at_nan_is_named_and_an_unlabelled_one_is_none(records):
    with pytest.raises(DatasetError, match=r"annotation 0 has a labelled joint at NaN"):
        mapped(records, [annotation([np.nan, 1.5, 2] + [1.5, 1.5, 2] * 2)])
    instances = mapped(records, [annotation([np.nan, 1.5, 0] + [1.5, 1.5, 2] * 2)])
    assert instances.gt_keypoints.tensor[0, 0].tolist() == [0, 0, 0]


def test_missing_flip_map_is_said_before_training_with_the_datasets_joints():
    name = "joints_test_dataset"
    MetadataCatalog.get(name).set(keypoint_names=["p0", "p1", "p2"])
    cfg = config(flip_indices=())
    cfg.DATASETS.TRAIN = (name,)
    with pytest.raises(ValueError, match="keypoint_flip_map") as error:
        DetectionMapper(cfg, is_train=True)
    MetadataCatalog.pop(name)
    for part in (name, "['p0', 'p1', 'p2']", "INPUT.FLIP_PROBABILITY 0.0"):
        assert part in str(error.value)
    cfg.INPUT.FLIP_PROBABILITY = 0.0
    DetectionMapper(cfg, is_train=True)  # needed by flips only
    DetectionMapper(cfg, is_train=False)


def test_a_flip_that_the_mapper_did_not_know_of_is_named(records):
    with pytest.raises(DatasetError, match=r"was flipped.*0 flip indices for 3 joints"):
        mapped(records, [annotation([1.5, 1.5, 2] * 3)], augmentations=[PixelFlipTransform(160)])


def test_number_of_joints_that_nobody_has_set_is_named():
    with pytest.raises(ValueError, match=r"POSE.NUM_JOINTS is 0: call centernet_d2.setup"):
        DetectionMapper(config(num_joints=0, flip_indices=()), is_train=True)


@pytest.mark.parametrize("indices", [[0, 1], [0, 1, 1], [1, 2, 0], [0, 1, 3]])
def test_wrong_flip_indices_are_named(indices):
    with pytest.raises(ValueError, match=r"POSE.FLIP_INDICES must name for each of 3 joints"):
        DetectionMapper(config(flip_indices=indices), is_train=True)


def test_flips_are_seen_whatever_makes_them():
    crop = RandomCenterCrop((96, 128), rotation=90.0).get_transform(np.zeros((50, 50, 3)))
    assert not is_flipped(T.TransformList([crop]))
    flip, upside_down = T.HFlipTransform(100), T.VFlipTransform(100)
    assert is_flipped(T.TransformList([crop, flip]))
    assert is_flipped(T.TransformList([upside_down]))
    assert not is_flipped(T.TransformList([flip, T.TransformList([upside_down])]))


def test_half_pixels_by_hand():
    point = np.array([[3.0, 5.0]])
    assert move_points(T.HFlipTransform(10), point).tolist() == [[6, 5]]
    assert move_points(PixelFlipTransform(10), point).tolist() == [[6, 5]]
    # Twice the size: the middle of pixel 3 is between pixels 6 and 7.
    assert move_points(T.ResizeTransform(10, 10, 20, 20), point).tolist() == [[6.5, 10.5]]
