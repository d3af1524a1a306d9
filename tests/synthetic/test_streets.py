"""The generated street scenes: shares and geometry."""

from __future__ import annotations

import itertools
import logging
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from centernet_d2.data.datasets.kitti import load_kitti_records
from centernet_d2.data.datasets.kitti_labels import read_labels, read_projection
from centernet_d2.data.fields.boxes3d import Boxes3DField
from centernet_d2.structures.boxes3d import Boxes3D, project_points
from centernet_d2.synthetic.files import ensure_split, make_scenes
from centernet_d2.synthetic.registration import STREET_SPLIT
from centernet_d2.synthetic.settings import SplitSettings, StreetSettings
from centernet_d2.synthetic.street_pictures import render_street
from centernet_d2.synthetic.streets import CAMERA_HEIGHT, COVER, Solid, level_of, occlusion_of, see

SMALL = SplitSettings(images=6, seed=5, scenes=StreetSettings())
# KITTI's own limits, of the labels: height in pixels, occlusion, truncation.
LIMITS = ((40, 0, 0.15), (25, 1, 0.3), (25, 2, 0.5))
FROZEN = {  # what the generator made of SMALL when its version was 1
    "count": 48,
    "first": ["Cyclist", -5.491408, CAMERA_HEIGHT, 6.988429, -1.597115],
    "last": ["Pedestrian", -18.848244, CAMERA_HEIGHT, 36.945384, -0.941697],
}


@pytest.fixture(scope="session")
def split(tmp_path_factory) -> Path:
    """A split of this test run, a part of the real one in size."""
    folder = tmp_path_factory.mktemp("shapes3d") / "val"
    ensure_split(SplitSettings(60, 20190418, StreetSettings()), str(folder))
    return folder


@pytest.fixture(scope="session")
def labels(split) -> dict:
    """Frame -> its label rows."""
    return {f.stem: read_labels(str(f)) for f in sorted((split / "training/label_2").iterdir())}


@pytest.fixture(scope="session")
def objects(labels) -> list:
    return [item for rows in labels.values() for item in rows if item.type != "Misc"]


def level(item) -> int:
    height = item.box[3] - item.box[1]
    for index, (least, occluded, truncated) in enumerate(LIMITS):
        if height >= least and item.occluded <= occluded and item.truncated <= truncated:
            return index
    return 3


def test_labels_and_cameras_fit(split, caplog):
    records = load_kitti_records(str(split), STREET_SPLIT)
    Boxes3DField().check_records(records, "streets")
    assert len(records) == 60
    assert {(record["width"], record["height"]) for record in records} == {(1242, 375)}
    assert {record["projection"][0][0] for record in records} == {721.5377}
    assert {entry["category_id"] for r in records for entry in r["annotations"]} == {0, 1, 2}
    assert all(entry["location"][2] > 0 for r in records for entry in r["annotations"])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_at_least_30_percent_moderate_and_hard(objects):
    shares = np.bincount([level(item) for item in objects], minlength=4) / len(objects)
    assert shares[1] >= 0.3
    assert shares[2] >= 0.3
    assert shares[0] >= 0.3
    assert shares[3] < 0.02
    for kind in ("Car", "Pedestrian", "Cyclist"):
        of_kind = np.bincount([level(o) for o in objects if o.type == kind], minlength=4)
        assert (of_kind[1:3] >= 0.25 * of_kind.sum()).all()


def test_occlusion_and_truncation_both_make_objects_hard(objects):
    hard = [item for item in objects if level(item) == 2]
    covered = np.mean([item.occluded == 2 for item in hard])
    assert 0.25 < covered < 0.75


def test_depths_headings_and_classes(objects, labels):
    depths = np.array([item.location[2] for item in objects])
    assert 5 <= depths.min() < 6.5
    assert 38 < depths.max() <= 40
    assert 12 < np.median(depths) < 25
    headings = np.histogram([o.rotation_y for o in objects], bins=4, range=(-math.pi, math.pi))[0]
    assert headings.min() > 0.15 * len(objects)
    kinds = [item.type for item in objects]
    assert kinds.count("Car") / len(kinds) == pytest.approx(0.5, abs=0.05)
    assert kinds.count("Pedestrian") / len(kinds) == pytest.approx(0.25, abs=0.05)
    counts = [sum(item.type != "Misc" for item in rows) for rows in labels.values()]
    assert min(counts) >= 2
    assert 6.5 < np.mean(counts) < 7.5


def test_labels_tell_one_story(labels, split):
    """Boxes stand on the ground, and their projection is the 2-D box and the truncation."""
    for name, rows in labels.items():
        image = cv2.imread(str(split / "training" / "image_2" / f"{name}.png"))
        projection = read_projection(str(split / "training" / "calib" / f"{name}.txt"))
        limit = np.array([image.shape[1] - 1, image.shape[0] - 1])
        for item in rows:
            assert item.location[1] == pytest.approx(CAMERA_HEIGHT, abs=0.01)
            x, _, z = item.location
            angle = item.rotation_y - math.atan2(x, z) - item.alpha
            assert abs(math.remainder(angle, 2 * math.pi)) < 0.02
            row = torch.tensor([[*item.location, *item.dimensions, item.rotation_y, item.alpha]])
            points, _ = project_points(
                Boxes3D(row.double()).corners()[0], torch.from_numpy(projection)
            )
            low, high = points.numpy().min(axis=0), points.numpy().max(axis=0)
            box = np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])
            # Numbers have two decimals: at 5 m, 1 cm is 1.4 pixels.
            tolerance = 0.3 + 15 / z
            np.testing.assert_allclose(box, item.box, atol=tolerance)
            share = 1 - np.prod(box[2:] - box[:2]) / np.prod(high - low)
            assert share == pytest.approx(item.truncated, abs=0.03)


def test_solids_stand_apart():
    for scene, _ in make_scenes(SMALL):
        for index, one in enumerate(scene):
            for other in scene[:index]:
                apart = np.subtract(one.location, other.location)
                assert np.hypot(apart[0], apart[2]) >= one.radius + other.radius


def colored_scene(*solids):
    return render_street(list(solids), np.random.RandomState(3))


def test_pictures_show_solids_where_labels_say():
    solid = Solid("Car", (2.0, CAMERA_HEIGHT, 15.0), (1.6, 1.8, 4.2), 0.7)
    empty, drawn = colored_scene(), colored_scene(solid)
    (label,) = drawn[1]
    different = (empty[0] != drawn[0]).any(axis=2)
    left, top, right, _ = label.box
    rows, columns = np.flatnonzero(different.any(axis=1)), np.flatnonzero(different.any(axis=0))
    assert rows[0] == pytest.approx(top, abs=1)
    assert columns[0] <= left + 1  # the shadow reaches farther
    assert columns[-1] >= right - 1
    assert (label.type, label.truncated, label.occluded) == ("Car", 0, 0)


def test_what_is_hidden_is_labelled_so():
    behind = Solid("Pedestrian", (0.0, CAMERA_HEIGHT, 20.0), (1.7, 0.8, 0.8), 0.3)
    before = Solid(COVER, (0.35, CAMERA_HEIGHT, 10.0), (1.6, 0.5, 0.5), 0.0)
    labels = {label.type: label for label in colored_scene(behind, before)[1]}
    assert set(labels) == {"Pedestrian", "Misc"}
    assert labels["Misc"].occluded == 0
    assert labels["Pedestrian"].occluded in (1, 2)
    covering = Solid(COVER, (0.0, CAMERA_HEIGHT, 10.0), (2.6, 2.0, 2.0), 0.0)
    assert [label.type for label in colored_scene(behind, covering)[1]] == ["Misc"]
    assert [label.type for label in colored_scene(covering, behind)[1]] == ["Misc"]


def test_every_face_has_its_colour():
    def seen_from(heading):
        solid = Solid("Pedestrian", (0.0, CAMERA_HEIGHT, 10.0), (1.8, 0.7, 0.7), heading)
        image, (label,) = colored_scene(solid)
        left, top, right, bottom = (round(value) for value in label.box)
        inside = (slice(top + 15, bottom - 15), slice(left + 15, right - 15))
        return image[inside].reshape(-1, 3).astype(float).mean(axis=0)

    colors = [seen_from(heading) for heading in (math.pi / 2, -math.pi / 2, 0, math.pi)]
    distances = [np.abs(a - b).max() for a, b in itertools.combinations(colors, 2)]
    assert min(distances) > 50
    assert min(np.ptp(color) for color in colors) > 60  # and none is gray


def test_a_solid_beside_the_camera_is_not_seen():
    assert see(Solid("Car", (3.0, CAMERA_HEIGHT, 1.0), (1.5, 1.7, 4.0), 0.0)) is None
    assert see(Solid("Car", (90.0, CAMERA_HEIGHT, 9.0), (1.5, 1.7, 4.0), 0.0)) is None


def test_levels_and_occlusions_are_kittis():
    seen = {
        0: [(40, 0, 0)],
        1: [(39, 0, 0), (90, 0.1, 0), (90, 0, 0.2)],
        2: [(30, 0.5, 0), (30, 0, 0.31)],
        3: [(24, 0, 0), (90, 0.8, 0), (90, 0, 0.51)],
    }
    assert {k: {level_of(*row) for row in rows} for k, rows in seen.items()} == {
        k: {k} for k in seen
    }
    shares = (0, 0.09, 0.1, 0.34, 0.35, 0.64, 0.65, 1)
    assert [occlusion_of(share) for share in shares] == [0, 0, 1, 1, 2, 2, 3, 3]


def summary(split=SMALL):
    return [
        [[solid.kind, *np.round([*solid.location, solid.rotation_y], 6)] for solid in scene]
        for scene, _ in make_scenes(split)
    ]


def test_the_scenes_are_frozen():
    """Fails when numpy's streams differ, or the generator changed: then raise its version."""
    scenes = summary()
    assert (StreetSettings.version, sum(map(len, scenes))) == (1, FROZEN["count"])
    assert scenes[0][0][0] == FROZEN["first"][0]
    np.testing.assert_allclose(scenes[0][0][1:], FROZEN["first"][1:], atol=1e-5)
    assert scenes[-1][-1][0] == FROZEN["last"][0]
    np.testing.assert_allclose(scenes[-1][-1][1:], FROZEN["last"][1:], atol=1e-5)
