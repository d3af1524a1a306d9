"""Joints of a COCO JSON: skeleton, records equal to detectron2's, and every surprise named."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from centernet_d2 import setup
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.coco_file import read_coco_json
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.datasets.skeletons import skeleton_of
from centernet_d2.data.loader import load_training_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.evaluation import build_evaluator
from centernet_d2.structures.skeleton import COCO_JOINTS, COCO_SIGMAS, DEFAULT_SIGMA, Skeleton

from .coco_files import coco_content, write_dataset

NAMES = ["nose", "left_eye", "right_eye"]


def pose_content(**category) -> dict:
    """Of the two categories, "first" (id 3) has joints."""
    content = coco_content()
    content["categories"][1] |= {"keypoints": NAMES, "skeleton": [[1, 2], [1, 3]], **category}
    content["annotations"][0]["keypoints"] = [5, 6, 2, 7.25, 8, 1, 0, 0, 0]
    content["annotations"][2]["keypoints"] = [0] * 9
    return content


def load(tmp_path, content) -> list[dict]:
    path, root = write_dataset(tmp_path, content)
    return load_coco_records(str(path), str(root))


def register(tmp_path, content) -> str:
    path, root = write_dataset(tmp_path, content)
    return register_from_files(f"coco:{path}:{root}")


def test_records_have_detectron2s_half_pixel(tmp_path):
    records = load(tmp_path, pose_content())
    joints = [record["annotations"][0].get("keypoints") for record in records]
    assert joints[0] == [5.5, 6.5, 2, 7.75, 8.5, 1, 0.5, 0.5, 0]
    assert joints[1] is None  # of a category without joints
    assert joints[2] == [0.5, 0.5, 0] * 3
    assert load(tmp_path, pose_content()) == records  # shifted once, however often


def test_person_that_lacks_keypoints_counts_as_unlabelled(tmp_path):
    content = pose_content()
    del content["annotations"][0]["keypoints"]
    content["annotations"][2]["keypoints"] = []
    records = load(tmp_path, content)
    assert records[0]["annotations"][0]["keypoints"] == [0.5, 0.5, 0] * 3
    assert records[2]["annotations"][0]["keypoints"] == [0.5, 0.5, 0] * 3


def test_the_category_brings_the_metadata(tmp_path):
    metadata = MetadataCatalog.get(register(tmp_path, pose_content()))
    assert metadata.thing_classes == ["first", "second"]
    assert metadata.keypoint_names == NAMES
    assert metadata.keypoint_flip_map == [("left_eye", "right_eye")]
    assert metadata.keypoint_oks_sigmas == [DEFAULT_SIGMA] * 3
    rules = [(a, b) for a, b, _ in metadata.keypoint_connection_rules]
    assert rules == [("nose", "left_eye"), ("nose", "right_eye")]


def test_flip_map_and_sigmas_may_stand_in_the_category(tmp_path):
    content = pose_content(keypoint_flip_map=[], keypoint_oks_sigmas=[0.1, 0.2, 0.3])
    skeleton = skeleton_of(register(tmp_path, content))
    assert skeleton.flip_indices() == [0, 1, 2]
    assert skeleton.oks_sigmas == (0.1, 0.2, 0.3)


def test_joints_without_sides_leave_the_flip_map_open(tmp_path):
    name = register(tmp_path, pose_content(keypoints=["p0", "p1", "p2"]))
    assert MetadataCatalog.get(name).get("keypoint_flip_map") is None
    assert skeleton_of(name).flip_map is None


def test_a_dataset_of_boxes_has_no_joints(tmp_path):
    name = register(tmp_path, coco_content())
    assert MetadataCatalog.get(name).get("keypoint_names") is None
    assert "keypoints" not in DatasetCatalog.get(name)[0]["annotations"][0]


@pytest.mark.parametrize("labelled", [0, 1])
def test_keypoints_without_names_are_left_and_told(tmp_path, caplog, labelled):
    """Of the only category with joints, or beside one that names them."""
    content = pose_content()
    if labelled:
        content["annotations"][1]["keypoints"] = [5, 6, 2, 7, 8, 2]
    else:
        del content["categories"][1]["keypoints"]
    assert "keypoints" not in load(tmp_path, content)[labelled]["annotations"][0]
    (message,) = caplog.messages
    assert "1 of 3 annotations label joints in 'keypoints', but their category does" in message
    assert f": category id {(3, 7)[labelled]} in annotation id {100 + labelled} of" in message


@pytest.mark.parametrize("nothing", [[0] * 9, [], None, 0])
def test_zeros_in_a_category_without_names_are_nothing_to_tell(tmp_path, caplog, nothing):
    content = pose_content()
    content["annotations"][1]["keypoints"] = nothing
    with caplog.at_level(logging.WARNING):
        load(tmp_path, content)
    assert not caplog.records


def test_limbs_of_unknown_joints_are_left_out_and_told(tmp_path, caplog):
    """As in CrowdPose's files, whose 14 joints come with limbs of COCO's 17."""
    skeleton = skeleton_of(register(tmp_path, pose_content(skeleton=[[1, 2], [2, 4], [0, 1]])))
    assert skeleton.edges == (("nose", "left_eye"),)
    assert "2 of 3 limbs" in caplog.text


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (
            [5, 6, 2] * 2,
            r"'0.png'\) has 'keypoints' .*wrong number of joints; .* 3 joints",
        ),
        ([5, 6] * 3, "wrong number of joints"),
        ([5, 6, 0.9] * 3, r"visibility and must be 0.*Scores have no place"),
        ([5, 6, 3] * 3, "visibility"),
        ([5, 6, None] * 3, "visibility"),
        ([5, None, 2] * 3, "labelled joint at NaN"),
        (["5", "6", "2"] * 3, r"'keypoints' \[.5., .6., .2.*must be numbers.*without quotes"),
        ([10**400, 6, 2] * 3, "has 'keypoints' .* beyond 1e12"),
        ([1e300, 6, 2] * 3, "has 'keypoints' .* beyond 1e12"),
        (5, "has 'keypoints' 5: it must be a list, x"),
        ("nose", "'keypoints' \"nose\": it must be a list"),
        ({"nose": [5, 6, 2]}, "it must be a list"),
    ],
)
def test_broken_joints_name_file_annotation_and_cure(tmp_path, joints, message):
    content = pose_content()
    content["annotations"][0]["keypoints"] = joints
    path, root = write_dataset(tmp_path, content)
    with pytest.raises(DatasetError, match=message) as error:
        load_coco_records(str(path), str(root))
    assert str(path) in str(error.value)
    assert "annotation id 100 of image id 10" in str(error.value)


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ({"keypoints": ["a", "a", "b"]}, "name of each joint once"),
        ({"keypoints": 5}, "list of the joints' names, it is 5"),
        ({"keypoints": "nose"}, "list of the joints' names, it is 'nose'"),
        ({"keypoint_flip_map": 5}, "must be pairs of names"),
        ({"skeleton": 5}, "must be pairs of names"),
        ({"keypoint_flip_map": [["nose", "mouth"]]}, r"\['mouth'\]"),
        ({"keypoint_flip_map": [["nose"]]}, "category 'first'"),
        ({"keypoint_oks_sigmas": [0.1]}, "3 positive numbers"),
    ],
)
def test_broken_skeletons_name_file_and_category(tmp_path, category, message):
    path, root = write_dataset(tmp_path, pose_content(**category))
    with pytest.raises(DatasetError, match=message) as error:
        register_from_files(f"coco:{path}:{root}")
    assert f"'{path}': category 'first'" in str(error.value)


def test_two_categories_share_one_skeleton(tmp_path):
    content = pose_content()
    content["categories"][0]["keypoints"] = NAMES
    path, _ = write_dataset(tmp_path, content)
    assert read_coco_json(str(path)).pose_categories == (7, 3)


@pytest.mark.parametrize("giving", [0, 1])
def test_what_one_category_leaves_out_another_gives(tmp_path, giving):
    """Category 0 of the file is "second"; either may be the one that knows."""
    content = coco_content()
    for category in content["categories"]:
        category |= {"keypoints": NAMES, "skeleton": []}
    known = {"keypoint_flip_map": [], "keypoint_oks_sigmas": [0.1, 0.2, 0.3], "skeleton": [[1, 2]]}
    content["categories"][giving] |= known
    skeleton = skeleton_of(register(tmp_path, content))
    assert skeleton.flip_map == ()
    assert skeleton.oks_sigmas == (0.1, 0.2, 0.3)
    assert skeleton.edges == (("nose", "left_eye"),)


@pytest.mark.parametrize(
    ("key", "first", "second"),
    [
        ("keypoint_flip_map", [], [["left_eye", "right_eye"]]),
        ("keypoint_oks_sigmas", [0.1, 0.1, 0.1], [0.1, 0.1, 0.2]),
        ("skeleton", [[1, 2]], [[1, 3]]),
        ("keypoints", ["hub", "rim"], NAMES),
    ],
)
def test_two_categories_that_differ_in_a_field_are_named_with_it(tmp_path, key, first, second):
    content = coco_content()
    for category, value in zip(content["categories"], (first, second), strict=True):
        category |= {"keypoints": NAMES, key: value}
    path, _ = write_dataset(tmp_path, content)
    with pytest.raises(DatasetError, match=f"'second' and 'first' have different '{key}'") as error:
        read_coco_json(str(path))
    assert str(path) in str(error.value)


def test_the_order_of_limbs_and_pairs_is_no_difference(tmp_path):
    content = coco_content()
    pairs = [["left_eye", "right_eye"]], [["right_eye", "left_eye"]]
    limbs = [[1, 2], [1, 3]], [[3, 1], [1, 2]]
    for category, pair, limb in zip(content["categories"], pairs, limbs, strict=True):
        category |= {"keypoints": NAMES, "skeleton": limb, "keypoint_flip_map": pair}
    path, _ = write_dataset(tmp_path, content)
    assert read_coco_json(str(path)).skeleton.flip_map == (("left_eye", "right_eye"),)


def test_joints_far_from_their_object_are_told(tmp_path, caplog):
    content = pose_content()
    content["annotations"][0]["keypoints"] = [35, 25, 2, 36, 26, 2, 60, 8, 2]
    load(tmp_path, content)
    assert "1 of 3 annotations have labelled joints outside their image (1 of 3" in caplog.text
    assert "more than half a box outside the box of their object (3 of 3" in caplog.text
    assert "annotation id 100 of image id 10" in caplog.text


def test_joints_a_little_outside_the_box_are_nothing_to_tell(tmp_path, caplog):
    content = pose_content()  # the box is [4, 5, 10, 12.5]
    content["annotations"][0]["keypoints"] = [0, 0, 2, 18, 22, 2, 9, 9, 2]
    with caplog.at_level(logging.WARNING):
        load(tmp_path, content)
    assert not caplog.records


@pytest.mark.data
def test_real_metadata(test_data):
    folder = test_data / "coco_mini"
    name = register_from_files(
        f"coco:{folder / 'annotations' / 'person_keypoints_val2017.json'}:{folder / 'val2017'}"
    )
    skeleton, builtin = skeleton_of(name), skeleton_of("keypoints_coco_2017_val")
    assert skeleton.names == builtin.names == COCO_JOINTS
    assert skeleton.flip_map == builtin.flip_map
    assert skeleton.oks_sigmas == COCO_SIGMAS
    assert len(skeleton.edges) == 19


@pytest.mark.parametrize(("stated", "wrong"), [(2, 0), (None, 0), (0, 1), (3, 1), ("2", 1)])
def test_labelled_joints_are_counted_whatever_the_file_says(tmp_path, caplog, stated, wrong):
    content = pose_content()
    content["annotations"][0]["num_keypoints"] = stated
    load(tmp_path, content)
    assert (f"{wrong} of 3 annotations have a 'num_keypoints'" in caplog.text) is (wrong > 0)
    assert (f"{stated!r} beside 2 in annotation id 100" in caplog.text) is (wrong > 0)


def test_joints_that_the_metadata_names(tmp_path):
    content = pose_content()
    del content["categories"][1]["keypoints"]
    path, _ = write_dataset(tmp_path, content)
    skeleton = Skeleton(tuple(NAMES), None, (), (), "metadata")
    found = read_coco_json(str(path), skeleton=skeleton)
    assert found.pose_categories == (3,)
    assert found.joints[0].tolist() == [[5, 6, 2], [7.25, 8, 1], [0, 0, 0]]
    assert read_coco_json(str(path)).joints is None


@pytest.mark.parametrize("task", ["box2d", "pose"])
@pytest.mark.parametrize("annotations", ["none", "none kept", "no key"])
def test_a_file_without_objects_trains_on_nothing_and_is_scored(
    tmp_path, tiny_config, annotations, task
):
    content = pose_content()
    content["annotations"] = content["annotations"][: annotations == "none kept"]
    for annotation in content["annotations"]:
        annotation["bbox"][2] = 0
    if annotations == "no key":
        del content["annotations"]
    path, root = write_dataset(tmp_path, content)
    found = read_coco_json(str(path))
    assert (found.joints.shape, found.pose_categories) == ((0, 3, 3), (3,))
    cfg = tiny_config("DATASETS.TRAIN", (f"coco:{path}:{root}",), "MODEL.HEATMAP.NUM_CLASSES", 0)
    cfg.merge_from_list(["MODEL.POINTS_CENTERNET.TASKS", list(dict.fromkeys(["box2d", task]))])
    cfg.DATASETS.TEST = cfg.DATASETS.TRAIN
    (name,) = setup(cfg).DATASETS.TEST
    with pytest.raises(ValueError, match=r"3 images of .* no object to learn from"):
        load_training_dicts(cfg)
    mapper = DetectionMapper(cfg, is_train=True)
    outputs = ("pred_boxes", "pred_keypoints")[: 1 + (task == "pose")]
    evaluator = build_evaluator(cfg, name, str(tmp_path / "out"), outputs=outputs)
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        sample = mapper(record)
        assert len(record["annotations"]) == len(sample["instances"]) == 0
        assert sample["instances"].has("gt_keypoints") is (task == "pose")
        found = Instances((30, 40), pred_boxes=Boxes([]), scores=torch.zeros(0))
        found.pred_classes, found.pred_keypoints = torch.zeros(0).long(), torch.zeros(0, 3, 3)
        evaluator.process([record], [{"instances": found}])
    scores = evaluator.evaluate()
    assert list(scores) == ["bbox", "keypoints"][: len(outputs)]
    expected = None if annotations == "no key" else pytest.approx(np.nan, nan_ok=True)
    assert [each.get("AP") for each in scores.values()] == [expected] * len(outputs)
