"""The generated dataset: its shares, its boxes, its determinism, and how it gets onto the disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet_d2.data.datasets import shapes
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.datasets.shapes import files, painters
from centernet_d2.data.datasets.shapes.render import annotate, render
from centernet_d2.data.datasets.shapes.scenes import COVERED_BELOW, SceneSettings
from centernet_d2.data.datasets.shapes.split import SplitSettings, make_scenes

SMALL = SplitSettings(images=24, seed=5)
FROZEN = {  # what the generator made of SMALL when its version was 1
    "count": 73,
    "kinds": ("square", "ring"),
    "first": [18.874, 51.629, 12.685, 14.888],
    "last": [28.713, 18.549, 56.204, 62.145],
}


@pytest.fixture(scope="session")
def val(tmp_path_factory) -> Path:
    """The real shapes_val, in a folder of this test run."""
    folder = tmp_path_factory.mktemp("shapes") / "val"
    files.ensure_split(shapes.SPLITS["shapes_val"], str(folder))
    return folder


@pytest.fixture(scope="session")
def content(val) -> dict:
    return json.loads((val / files.ANNOTATION_FILE).read_text())


@pytest.fixture(scope="session")
def objects(content) -> list[dict]:
    return [record for record in content["annotations"] if not record["iscrowd"]]


def test_number_and_size_of_images(content, val):
    assert len(content["images"]) >= 300
    for record in content["images"][:5]:
        image = cv2.imread(str(val / files.IMAGE_FOLDER / record["file_name"]))
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
    shares = [
        np.mean(sizes < 1 / 8),
        np.mean((sizes >= 1 / 8) & (sizes <= 1 / 4)),
        np.mean(sizes > 1 / 4),
    ]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    assert 8 <= sizes.min() * side < 9


def test_a_quarter_of_the_objects_is_partly_covered(objects):
    visible = np.array([record["visible"] for record in objects])
    assert np.mean(visible < COVERED_BELOW) == pytest.approx(0.25, abs=0.02)
    assert visible.min() >= 0.62  # what is left can be recognised
    assert np.mean(visible > 0.98) > 0.7


def test_a_tenth_of_the_images_is_empty(content):
    used = {record["image_id"] for record in content["annotations"]}
    assert 1 - len(used) / len(content["images"]) == pytest.approx(0.1, abs=0.01)


def test_some_crowd_regions(content, objects):
    crowds = [record for record in content["annotations"] if record["iscrowd"]]
    assert 5 <= len(crowds) <= 0.1 * len(content["images"])
    assert min(min(record["bbox"][2:]) for record in crowds) > 20


def test_background_has_texture_and_colours_say_nothing_about_the_class(content, objects, val):
    colors: dict[int, list] = {}
    spread = []
    for record in objects[:600]:
        path = val / files.IMAGE_FOLDER / f"{record['image_id'] - 1:06d}.png"
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


@pytest.mark.parametrize("kind", SceneSettings().classes)
@pytest.mark.parametrize("size", [(8.3, 9.9), (23.4, 21.0), (60.0, 51.5)])
def test_boxes_are_tight(kind, size):
    layer = painters.draw_layer(kind, 0.1, size, (50.3, 40.8))
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
        masks = [
            painters.draw_layer(k, 0.0, (8.2, 8.2), (10.5, 10.5)).alpha for k in (first, second)
        ]
        assert np.abs(masks[0] - masks[1]).sum() > 8


def test_boxes_lie_inside_the_image(content):
    boxes = np.array([record["bbox"] for record in content["annotations"]])
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 128 + 1e-3


def test_equal_seeds_give_equal_pictures_and_annotations(val):
    def digest(seed, count=6):
        total = hashlib.sha256()
        for _, (scene, random) in zip(
            range(count), make_scenes(SplitSettings(images=24, seed=seed)), strict=False
        ):
            total.update(render(scene, 128, random).tobytes())
            total.update(json.dumps(annotate(scene, 128)).encode())
        return total.hexdigest()

    assert digest(5) == digest(5)
    assert digest(5) != digest(6)


def test_another_process_makes_the_same_scenes():
    """No dict order, hash seed or global random state leaks into the scenes."""
    code = (
        "import json, random, sys, numpy\n"
        "numpy.random.seed(int(sys.argv[1])); random.seed(sys.argv[1])\n"
        "from centernet_d2.data.datasets.shapes.split import SplitSettings, make_scenes\n"
        "from centernet_d2.data.datasets.shapes.render import annotate\n"
        "scenes = make_scenes(SplitSettings(images=24, seed=5))\n"
        "print(json.dumps([annotate(scene, 128) for scene, _ in scenes]))\n"
    )
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, "1"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    here = [annotate(scene, 128) for scene, _ in make_scenes(SMALL)]
    assert json.loads(there) == json.loads(json.dumps(here))


def test_the_scenes_are_frozen():
    """Fails when a numpy's streams differ, or the generator changed: then raise its version."""
    scenes = [annotate(scene, 128) for scene, _ in make_scenes(SMALL)]
    first, last = scenes[0][0], scenes[-1][-1]
    assert (files.GENERATOR_VERSION, sum(map(len, scenes))) == (1, FROZEN["count"])
    assert (first["kind"], last["kind"]) == FROZEN["kinds"]
    np.testing.assert_allclose(first["bbox"], FROZEN["first"], atol=2e-3)
    np.testing.assert_allclose(last["bbox"], FROZEN["last"], atol=2e-3)


def test_several_processes_make_one_split(tmp_path, monkeypatch):
    made = []
    write = files.write_split
    monkeypatch.setattr(files, "write_split", lambda *args: (made.append(1), write(*args)))
    folder = str(tmp_path / "deep" / "val")
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: files.ensure_split(SMALL, folder), range(4)))
    assert len(set(paths)) == 1
    assert len(made) == 1
    assert len(json.loads(Path(paths[0]).read_text())["images"]) == 24
    assert len(list(Path(folder, files.IMAGE_FOLDER).iterdir())) == 24


def test_an_interrupted_run_leaves_no_half_split(tmp_path, monkeypatch):
    folder = tmp_path / "val"

    def fail(path, image):
        raise OSError("No space left on device")

    with monkeypatch.context() as context:
        context.setattr(files, "_write_image", fail)
        with pytest.raises(OSError, match=r"No space left.*DETECTRON2_DATASETS"):
            files.ensure_split(SMALL, str(folder))
    assert not folder.exists()
    assert not list(tmp_path.glob(".making-*"))
    assert Path(files.ensure_split(SMALL, str(folder))).is_file()


def test_a_changed_generator_gets_another_folder(monkeypatch):
    before = files.split_stamp(SMALL)
    assert files.split_stamp(SplitSettings(images=24, seed=6)) != before
    other = SplitSettings(images=24, seed=5, scenes=SceneSettings(covered_share=0.5))
    assert files.split_stamp(other) != before
    monkeypatch.setattr(files, "GENERATOR_VERSION", files.GENERATOR_VERSION + 1)
    assert files.split_stamp(SMALL) != before


def test_registered_names_know_their_classes_before_anything_is_made():
    for name in ("shapes_train", "shapes_val"):
        assert name in DatasetCatalog.list()
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == list(SceneSettings().classes)
        assert metadata.evaluator_type == "coco"
        assert metadata.json_file.startswith(os.path.dirname(metadata.image_root))


def test_records(val):
    records = load_coco_records(str(val / files.ANNOTATION_FILE), str(val / files.IMAGE_FOLDER))
    assert len(records) == shapes.SPLITS["shapes_val"].images
    kinds = {a["category_id"] for record in records for a in record["annotations"]}
    assert kinds == set(range(5))
