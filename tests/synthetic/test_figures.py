"""The generated stick figures: shares, joints on their limbs, left and right."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from centernet_d2.data.datasets.skeletons import skeleton_of
from centernet_d2.synthetic.figures import SKELETON, draw_figure
from centernet_d2.synthetic.files import make_scenes
from centernet_d2.synthetic.pictures import annotate
from centernet_d2.synthetic.registration import IMAGE_FOLDER
from centernet_d2.synthetic.settings import FigureSettings, SplitSettings

VAL = "shapes_pose_val"
SMALL = SplitSettings(images=12, seed=5, scenes=FigureSettings())
NAMES = SKELETON.names
FROZEN = {  # what the generator made of SMALL when its version was 1
    "count": 23,
    "first": [55.2, 64.58, 2, 58.28, 75.8, 2],
    "last": [101.57, 109.49, 2],
}


@pytest.fixture(scope="module")
def joints(content) -> np.ndarray:
    """(N, J, 3), as in the file."""
    rows = [record["keypoints"] for record in content["annotations"]]
    return np.array(rows, dtype=float).reshape(len(rows), len(NAMES), 3)


def column(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, NAMES.index(name)]


def test_number_of_images_and_of_figures(content):
    assert len(content["images"]) >= 300
    owners = [record["image_id"] - 1 for record in content["annotations"]]
    counts = np.bincount(owners, minlength=len(content["images"]))
    assert 0.04 < np.mean(counts == 0) < 0.08
    assert np.mean(counts >= 2) > 0.6
    assert counts.max() == 4


def test_category_and_metadata_say_the_same(content):
    (category,) = content["categories"]
    assert category["keypoints"] == list(NAMES)
    assert category["keypoint_oks_sigmas"] == [0.05] * len(NAMES)
    skeleton = skeleton_of("shapes_pose_train")
    assert skeleton.oks_sigmas == (0.05,) * len(NAMES)
    assert skeleton.metadata() == SKELETON.metadata()  # sides have the colours of drawn joints
    metadata = MetadataCatalog.get("shapes_pose_val")
    assert [[a, b] for a, b in metadata.keypoint_flip_map] == category["keypoint_flip_map"]
    names = [[NAMES[a - 1], NAMES[b - 1]] for a, b in category["skeleton"]]
    assert names == [[a, b] for a, b, _ in metadata.keypoint_connection_rules]


def test_area_is_half_the_box_and_visibility(content, joints):
    for record in content["annotations"]:
        width, height = record["bbox"][2:]
        assert record["area"] == pytest.approx(width * height / 2, abs=0.1)
    flags = joints[..., 2]
    assert 0.005 < np.mean(flags == 0) < 0.05
    assert 0.04 < np.mean(flags == 1) < 0.15
    assert not joints[flags == 0].any()
    labelled = (flags > 0).sum(axis=1)
    assert [record["num_keypoints"] for record in content["annotations"]] == labelled.tolist()
    assert (flags == 2).sum(axis=1).min() >= 6
    assert 0.05 < np.mean((flags == 0).any(axis=1)) < 0.2  # cut by the border


def test_figures_are_varied(joints):
    """Hands are anywhere around the body, figures lean, sizes differ by a factor of two."""
    whole = joints[(joints[..., 2] > 0).all(axis=1)]
    spine = column(whole, "neck")[:, :2] - column(whole, "pelvis")[:, :2]
    length = np.linalg.norm(spine, axis=1)
    lean = np.degrees(np.arctan2(spine[:, 0], -spine[:, 1]))
    assert lean.min() < -25
    assert lean.max() > 25
    hands = (column(whole, "left_hand") - column(whole, "neck"))[:, :2] / length[:, None]
    angles = np.degrees(np.arctan2(hands[:, 1], hands[:, 0]))
    assert (np.histogram(angles, bins=8, range=(-180, 180))[0] > 0.02 * len(angles)).all()
    assert np.percentile(length, 95) > 2 * np.percentile(length, 5)


def test_left_and_right_follow_from_front_and_back(content, joints):
    """As with people: facing the viewer, the left hand is on the right of the picture."""
    front = np.array([record["front"] for record in content["annotations"]])
    assert front.mean() == pytest.approx(0.5, abs=0.05)
    both = (column(joints, "left_knee")[:, 2] > 0) & (column(joints, "right_knee")[:, 2] > 0)
    # In the figure's own frame, which may lean.
    spine = (column(joints, "neck") - column(joints, "pelvis"))[:, :2]
    across = (column(joints, "left_knee") - column(joints, "right_knee"))[:, :2]
    left_is_right = spine[:, 0] * across[:, 1] - spine[:, 1] * across[:, 0] > 0
    agree = (left_is_right == front)[both]
    assert agree.mean() > 0.97  # knees may cross


def test_front_and_back_look_different(val, content):
    """The shirt of a figure in front is of another colour than its head's rim."""
    differences = {True: [], False: []}
    for record in content["annotations"]:
        rows = np.array(record["keypoints"]).reshape(-1, 3)
        neck, pelvis = rows[NAMES.index("neck")], rows[NAMES.index("pelvis")]
        knee = rows[NAMES.index("left_knee")]
        if min(neck[2], pelvis[2], knee[2]) < 2 or record["bbox"][3] < 50:
            continue
        path = val / IMAGE_FOLDER / f"{record['image_id'] - 1:06d}.png"
        image = cv2.imread(str(path)).astype(float)
        x, y = np.round((neck[:2] + pelvis[:2]) / 2).astype(int)
        column_, row = np.round(knee[:2]).astype(int)
        difference = np.linalg.norm(image[y, x] - image[row, column_])
        differences[record["front"]].append(difference)
    assert len(differences[True]) > 50
    assert np.median(differences[True]) > 80
    assert np.median(differences[False]) < 30


def test_joints_lie_on_what_is_drawn_and_the_box_is_tight():
    """Each joint is the middle of something opaque, at pixel index x - 0.5 of its place x."""
    random = np.random.RandomState(0)
    for _ in range(40):
        figure = draw_figure(80.0, True, 0.5, random).moved(64, 64)
        body = figure.layer
        x, y = (figure.joints - (body.left, body.top)).T
        assert (body.alpha[np.floor(y).astype(int), np.floor(x).astype(int)] > 0.5).all()
        rows, columns = np.nonzero(body.alpha > 0.05)
        drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        box = np.array(body.box) - [body.left, body.top] * 2
        np.testing.assert_allclose(drawn, box, atol=1.2)


def test_head_is_a_disk_around_its_joint():
    figure = draw_figure(90.0, True, 0.3, np.random.RandomState(1))
    marks = figure.marks
    head = figure.joints[NAMES.index("head")]
    rows, columns = np.mgrid[: marks.alpha.shape[0], : marks.alpha.shape[1]]
    # Pixel k reaches from k to k + 1: its middle is at k + 0.5.
    points = np.stack([columns + 0.5 + marks.left, rows + 0.5 + marks.top], axis=-1)
    near = np.linalg.norm(points - head, axis=-1) < 10
    weights = marks.alpha * near
    middle = (points * weights[..., None]).sum(axis=(0, 1)) / weights.sum()
    np.testing.assert_allclose(middle, head, atol=0.1)


def test_covered_joints_are_under_something(content):
    """Redrawn from the scene: every joint with flag 1 is under a later layer, none with 2 is."""
    checked = 0
    for scene, _ in make_scenes(SMALL):
        for number, item in enumerate(scene.objects):
            if item.role != "object":
                continue
            later = [thing for thing in scene.objects[number + 1 :] if thing.role != "part"]
            rows = np.array(item.extra["keypoints"]).reshape(-1, 3)
            for x, y, flag in rows[rows[:, 2] > 0]:
                column_, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
                covered = any(opaque(thing.layer, column_, row) for thing in later)
                assert covered == (flag == 1)
                checked += flag == 1
    assert checked > 5


def opaque(layer, column_: int, row: int) -> bool:
    x, y = column_ - layer.left, row - layer.top
    inside = 0 <= x < layer.alpha.shape[1] and 0 <= y < layer.alpha.shape[0]
    return bool(inside and layer.alpha[y, x] > 0.5)


def test_other_shapes_are_not_annotated():
    roles = [item.role for scene, _ in make_scenes(SMALL) for item in scene.objects]
    assert roles.count("distractor") > 5
    assert roles.count("occluder") > 3
    count = sum(len(annotate(scene, 128)) for scene, _ in make_scenes(SMALL))
    assert count == roles.count("object")


def test_frozen_scenes():
    """The same seed means the same figures in every release with this generator version."""
    annotations = [record for scene, _ in make_scenes(SMALL) for record in annotate(scene, 128)]
    assert FigureSettings.version == 1
    assert len(annotations) == FROZEN["count"]
    assert annotations[0]["keypoints"][:6] == pytest.approx(FROZEN["first"], abs=0.02)
    assert annotations[-1]["keypoints"][-3:] == pytest.approx(FROZEN["last"], abs=0.02)
