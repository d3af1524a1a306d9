"""The generated shapes: their shares and their boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.synthetic.files import make_scenes
from centernet_d2.synthetic.layers import draw_shape
from centernet_d2.synthetic.pictures import annotate
from centernet_d2.synthetic.registration import ANNOTATION_FILE, IMAGE_FOLDER
from centernet_d2.synthetic.settings import SPLITS, ShapeSettings, SplitSettings

COVERED_BELOW = 0.95  # an object whose visible share is below this counts as partly covered
VAL = "shapes_val"
SMALL = SplitSettings(images=24, seed=5)
FROZEN = {  # what the generator made of SMALL when its version was 1
    "count": 73,
    "kinds": ("square", "ring"),
    "first": [18.874, 51.629, 12.685, 14.888],
    "last": [28.713, 18.549, 56.204, 62.145],
}


@pytest.fixture(scope="module")
def objects(content) -> list[dict]:
    return [record for record in content["annotations"] if not record["iscrowd"]]


def test_number_and_size_of_images(content, val):
    assert len(content["images"]) >= 300
    for record in content["images"][:5]:
        image = cv2.imread(str(val / IMAGE_FOLDER / record["file_name"]))
        assert image.shape == (record["height"], record["width"], 3)
        assert min(image.shape[:2]) >= 128


def test_five_classes_equally_frequent_with_two_look_alike_pairs(content, objects):
    names = [record["name"] for record in content["categories"]]
    assert len(names) >= 5
    assert {"disk", "ring", "square", "diamond"} <= set(names)
    counts = np.bincount([record["category_id"] for record in objects])[1:]
    assert len(counts) == len(names)
    assert counts.min() / counts.max() > 0.9


@pytest.mark.parametrize("measure", [np.max, np.min, lambda sides, axis: np.sqrt(sides.prod(axis))])
def test_a_third_of_the_objects_in_each_size_range(content, objects, measure):
    side = content["images"][0]["width"]
    sizes = measure(np.array([record["bbox"][2:] for record in objects]), axis=1) / side
    shares = np.bincount(np.digitize(sizes, [1 / 8, 1 / 4])) / len(sizes)
    np.testing.assert_allclose(shares, [1 / 3] * 3, atol=0.02)
    assert 8 <= sizes.min() * side < 9


def test_a_quarter_of_the_objects_is_partly_covered(objects):
    visible = np.array([record["visible"] for record in objects])
    assert np.mean(visible < COVERED_BELOW) == pytest.approx(0.25, abs=0.02)
    assert visible.min() >= 0.62  # what is left can be recognised
    assert np.mean(visible > 0.98) > 0.7


def test_a_tenth_of_the_images_is_empty(content):
    used = {record["image_id"] for record in content["annotations"]}
    assert 1 - len(used) / len(content["images"]) == pytest.approx(0.1, abs=0.01)


def test_some_crowd_regions(content):
    crowds = [record for record in content["annotations"] if record["iscrowd"]]
    assert 5 <= len(crowds) <= 0.1 * len(content["images"])
    assert min(min(record["bbox"][2:]) for record in crowds) > 20


def test_background_has_texture_and_colours_say_nothing_about_the_class(content, objects, val):
    colors: dict[int, list] = {}
    spread = []
    for record in objects[:600]:
        path = val / IMAGE_FOLDER / f"{record['image_id'] - 1:06d}.png"
        image = cv2.imread(str(path)).astype(np.float32)
        spread.append(image[:6].std(axis=(0, 1)).mean())
        x, y, width, height = record["bbox"]
        at = 0.12 if record["category_id"] == 2 else 0.5  # a ring is empty in the middle
        row, column = int(y + height * 0.5), int(x + width * at)
        colors.setdefault(record["category_id"], []).append(image[row, column])
    assert np.median(spread) > 5
    means = np.array([np.mean(values, axis=0) for values in colors.values()])
    within = np.mean([np.std(values, axis=0) for values in colors.values()])
    assert within > 50
    # Means of about 120 draws each scatter by within / sqrt(120).
    assert means.std(axis=0).max() < 2.5 * within / np.sqrt(120)


@pytest.mark.parametrize("kind", ShapeSettings().classes)
@pytest.mark.parametrize("size", [(8.3, 9.9), (23.4, 21.0), (60.0, 51.5)])
def test_boxes_are_tight(kind, size):
    layer = draw_shape(kind, 0.1, size, (50.3, 40.8))
    np.testing.assert_allclose(layer.box[2] - layer.box[0], size[0])
    np.testing.assert_allclose(layer.box[3] - layer.box[1], size[1])
    canvas = np.zeros((100, 110), dtype=np.float32)
    height, width = layer.alpha.shape
    canvas[layer.top : layer.top + height, layer.left : layer.left + width] = layer.alpha
    rows, columns = np.flatnonzero(canvas.max(axis=1)), np.flatnonzero(canvas.max(axis=0))
    found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    outer = [*np.floor(layer.box[:2]), *np.ceil(layer.box[2:])]
    np.testing.assert_allclose(found, outer, atol=1)  # tips may be too thin for a sample
    covered = canvas.sum() / (size[0] * size[1])
    expected = {"disk": 0.785, "ring": 0.547, "square": 0.83, "diamond": 0.52, "triangle": 0.5}
    assert covered == pytest.approx(expected[kind], abs=0.09)


def test_look_alikes_differ_at_the_smallest_size():
    for first, second in (("disk", "ring"), ("square", "diamond")):
        masks = [draw_shape(k, 0.0, (8.2, 8.2), (10.5, 10.5)).alpha for k in (first, second)]
        assert np.abs(masks[0] - masks[1]).sum() > 8


def test_the_scenes_are_frozen():
    """Fails when a numpy's streams differ, or the generator changed: then raise its version."""
    scenes = [annotate(scene, 128) for scene, _ in make_scenes(SMALL)]
    first, last = scenes[0][0], scenes[-1][-1]
    assert (ShapeSettings.version, sum(map(len, scenes))) == (1, FROZEN["count"])
    assert (first["kind"], last["kind"]) == FROZEN["kinds"]
    np.testing.assert_allclose(first["bbox"], FROZEN["first"], atol=2e-3)
    np.testing.assert_allclose(last["bbox"], FROZEN["last"], atol=2e-3)


def test_records(val):
    records = load_coco_records(str(val / ANNOTATION_FILE), str(val / IMAGE_FOLDER))
    boxes = np.array([entry["bbox"] for record in records for entry in record["annotations"]])
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 128 + 1e-3
    assert len(records) == SPLITS["shapes_val"].images
    kinds = {a["category_id"] for record in records for a in record["annotations"]}
    assert kinds == set(range(5))
