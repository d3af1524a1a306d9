"""Skeletons: what a flip exchanges, and what is refused."""

from __future__ import annotations

import pytest
from detectron2.data.datasets.builtin_meta import (
    COCO_PERSON_KEYPOINT_FLIP_MAP,
    COCO_PERSON_KEYPOINT_NAMES,
)

from centernet_d2.structures.skeleton import (
    COCO_JOINTS,
    COCO_SIGMAS,
    DEFAULT_SIGMA,
    SIDE_COLORS,
    Skeleton,
    default_sigmas,
    derive_flip_map,
)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["nose", "left_eye", "right_eye"], [("left_eye", "right_eye")]),
        (["right_hand", "left_hand"], [("left_hand", "right_hand")]),
        (["leftEye", "rightEye"], [("leftEye", "rightEye")]),
        (["eye-L", "eye-R", "tail"], [("eye-L", "eye-R")]),
        (["LEye", "REye"], [("LEye", "REye")]),
        (["l_hip", "r_hip"], [("l_hip", "r_hip")]),
        (["L1", "R1", "L2", "R2"], [("L1", "R1"), ("L2", "R2")]),
        (["lefteye", "righteye"], [("lefteye", "righteye")]),
        (["front left paw", "front right paw"], [("front left paw", "front right paw")]),
        (
            ["left_front_paw", "right_front_paw", "left_back_paw", "right_back_paw"],
            [("left_front_paw", "right_front_paw"), ("left_back_paw", "right_back_paw")],
        ),
    ],
)
def test_pairs_follow_from_left_and_right_in_the_names(names, pairs):
    assert derive_flip_map(names) == tuple(pairs)


@pytest.mark.parametrize(
    "names",
    [
        ["head", "tail"],  # nothing says a side
        ["p0", "p1", "p2"],
        ["left_eye", "right_eye", "left_hand"],  # one of a side has no partner
        ["L1", "L2", "L3"],  # vertebrae
        ["bright", "dark"],
        ["left_eye", "eye_left", "right_eye", "eye_right", "left-eye"],  # one name twice
    ],
)
def test_nothing_is_concluded_from_other_names(names):
    assert derive_flip_map(names) is None


def test_cocos_joints_give_cocos_pairs():
    assert tuple(COCO_PERSON_KEYPOINT_NAMES) == COCO_JOINTS
    assert derive_flip_map(COCO_JOINTS) == COCO_PERSON_KEYPOINT_FLIP_MAP


def test_flip_indices_and_sides():
    skeleton = Skeleton(("nose", "left_eye", "right_eye"), flip_map=(("left_eye", "right_eye"),))
    assert skeleton.flip_indices() == [0, 2, 1]
    assert skeleton.sides() == [0, 1, 2]
    assert Skeleton(("head", "tail"), flip_map=()).flip_indices() == [0, 1]


def test_unknown_pairs_are_an_error_with_its_cures_when_they_are_needed():
    skeleton = Skeleton(("p0", "p1"), source="file 'a.json'")
    with pytest.raises(ValueError, match="flipped") as error:
        skeleton.flip_indices()
    for part in ("file 'a.json'", "['p0', 'p1']", "keypoint_flip_map", "do without flips"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ()}, "'keypoint_names' must hold"),
        ({"names": ("a", "a")}, "'keypoint_names' must hold"),
        ({"flip_map": (("a", "c"),)}, r"'keypoint_flip_map' names the joints \['c'\]"),
        ({"flip_map": (("a", "a"),)}, "'keypoint_flip_map' has a joint in two pairs"),
        ({"edges": (("a", "x"),)}, r"'edges' names the joints \['x'\]"),
        ({"oks_sigmas": (0.1,)}, "'keypoint_oks_sigmas' must be 2 positive numbers"),
        ({"oks_sigmas": (0.1, 0.0)}, "'keypoint_oks_sigmas' must be 2 positive numbers"),
    ],
)
def test_contradictions_are_named(fields, message):
    with pytest.raises(ValueError, match=f"^here: {message}"):
        Skeleton(**{"names": ("a", "b"), "source": "here", **fields})


def test_sigmas():
    assert default_sigmas(COCO_JOINTS) == COCO_SIGMAS
    assert default_sigmas(COCO_JOINTS[:5]) == (DEFAULT_SIGMA,) * 5
    assert Skeleton(("a", "b")).oks_sigmas == (DEFAULT_SIGMA, DEFAULT_SIGMA)
    assert Skeleton(("a",), oks_sigmas=(0.2,)).oks_sigmas == (0.2,)


def test_17_joints_of_something_else_have_no_persons_sigmas():
    """The names decide: AP-10K's animals have 17 joints too."""
    animal = (
        "left_eye",
        "right_eye",
        "nose",
        "neck",
        "root_of_tail",
        *(f"p{k}" for k in range(12)),
    )
    assert len(animal) == len(COCO_JOINTS)
    assert Skeleton(animal).oks_sigmas == (DEFAULT_SIGMA,) * 17
    turned = Skeleton(COCO_JOINTS[::-1]).oks_sigmas
    assert turned == COCO_SIGMAS[::-1]


def test_metadata_and_back():
    skeleton = Skeleton(
        ("nose", "left_eye", "right_eye"),
        flip_map=(("left_eye", "right_eye"),),
        edges=(("nose", "left_eye"), ("left_eye", "right_eye")),
        oks_sigmas=(0.1, 0.2, 0.3),
        source="metadata of dataset 'eyes'",
    )
    metadata = skeleton.metadata()
    assert Skeleton.from_metadata(metadata, "eyes") == skeleton
    colors = [color for _, _, color in metadata["keypoint_connection_rules"]]
    assert colors == [SIDE_COLORS[1], SIDE_COLORS[0]]  # a side's, and the middle's between sides


def test_metadata_without_pairs_takes_them_from_the_names():
    metadata = {"keypoint_names": ["left_eye", "right_eye"]}
    assert Skeleton.from_metadata(metadata, "eyes").flip_indices() == [1, 0]


def test_an_empty_flip_map_says_that_nothing_changes():
    metadata = {"keypoint_names": ["left_eye", "right_eye"], "keypoint_flip_map": []}
    assert Skeleton.from_metadata(metadata, "eyes").flip_indices() == [0, 1]


def test_metadata_without_joints():
    assert Skeleton.from_metadata({"thing_classes": ["cat"]}, "cats") is None
