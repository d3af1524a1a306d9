"""What a Predictor takes as an image: the same detections, or one error that says what to give."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from PIL import Image

from centernet_d2 import Predictor

from .test_predictor_heatmap import make_predictor


@pytest.fixture(scope="module")
def predictor(tiny_config, tmp_path_factory) -> Predictor:
    return make_predictor(tiny_config(), tmp_path_factory.mktemp("weights"))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)


def same(found: dict, expected: dict) -> bool:
    one, other = (each["instances"].pred_boxes.tensor for each in (found, expected))
    return len(one) > 0 and torch.equal(one, other)


def read_only(image):
    image = image.copy()
    image.flags.writeable = False
    return image


@pytest.mark.parametrize(
    "view",
    [
        lambda image: image[:, :, ::-1][:, :, ::-1],  # negative strides
        np.asfortranarray,
        read_only,
        lambda image: np.repeat(image, 2, axis=1)[:, ::2],
        lambda image: image.view(type("Own", (np.ndarray,), {})),
    ],
)
def test_any_memory_of_an_array(predictor, image, view):
    assert same(predictor(view(image)), predictor(image))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda i: None, r"not NoneType: cv2\.imread returns None for a file"),
        (lambda i: "a.jpg", r"not str: for files use Predictor\.batch\(\[path\]\)"),
        (lambda i: Path("a.jpg"), r"not PosixPath: for files use"),
        (lambda i: i.tolist(), r"not list: use np\.asarray\(image, dtype='uint8'\)"),
        (torch.from_numpy, r"not Tensor of shape \(40, 56, 3\): use tensor\.cpu\(\)\.numpy\(\)"),
        (Image.fromarray, r"not Image: of Pillow, use np\.asarray\(image\.convert\('RGB'\)\)"),
        (lambda i: i / 255.0, r"dtype float64; .*: of values 0 to 1 use \(image \* 255\)"),
        (lambda i: i > 3, r"dtype bool; .*: of values 0 to 1 use"),
        (lambda i: i.astype(np.float32), r"dtype float32; .*: if its values are 0 to 255, use"),
        (lambda i: i * np.float64("nan"), r"dtype float64; it must be uint8"),
        (lambda i: i.astype(np.uint16), r"dtype uint16; .*: for 16 bits use \(image >> 8\)"),
        (lambda i: i.astype(int), r"dtype int64; .*: if its values are 0 to 255, use image\.asty"),
        (lambda i: i[..., 0], r"shape \(40, 56\); .*COLOR_GRAY2BGR"),
        (lambda i: np.dstack([i, i[..., :1]]), r"shape \(40, 56, 4\); .*COLOR_BGRA2BGR"),
        (lambda i: i.transpose(2, 0, 1), r"shape \(3, 40, 56\); .*image\.transpose\(1, 2, 0\)"),
        (lambda i: i[:0], r"shape \(0, 56, 3\): it is empty"),
        (lambda i: i[:, :0], r"shape \(40, 0, 3\): it is empty"),
        (np.ma.masked_array, r"masked array: use image\.filled\(0\)"),
    ],
)
def test_another_image_is_told_with_the_cure(predictor, image, change, says):
    given = change(image)
    calls = [predictor, predictor.heatmap]
    if not isinstance(given, (str, Path)):
        calls.append(lambda one: predictor.batch([image, one]))
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=says) as caught:
            call(given)
        assert str(caught.value).count("\n") == 0


def test_many_images_in_any_container(predictor, image, tmp_path):
    images = [image, image[::-1].copy(), image[:, ::-1].copy()]
    expected = [predictor(each) for each in images]
    files = []
    for number, each in enumerate(images):
        files.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(files[-1]), each)
    mixed = [images[0], str(files[1]), files[2]]
    names = np.array([str(file) for file in files])
    for given in (images, tuple(images), np.stack(images), iter(images), files, mixed, names):
        found = predictor.batch(given, batch_size=1)
        assert [same(*pair) for pair in zip(found, expected, strict=True)] == [True] * 3
    assert len(predictor.batch(iter(images), projections=[None] * 3, file_names=["a"] * 3)) == 3
    assert predictor.batch([]) == predictor.batch(iter([])) == []


def test_a_generator_is_read_batch_by_batch(predictor, image, monkeypatch):
    read, seen = [], []
    model = predictor.model
    monkeypatch.setattr(
        predictor, "model", lambda entries: seen.append(len(read)) or model(entries)
    )

    def images():
        for number in range(5):
            read.append(number)
            yield image

    assert len(predictor.batch(images(), batch_size=2)) == 5
    assert seen == [2, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        *(
            ({"batch_size": wrong}, f"batch_size must be a whole number, 1 or more, got {wrong!r}")
            for wrong in (0, -1, True, 2.0, "8")
        ),
        ({"file_names": ["a"]}, "1 file_names for 2 images: give one for each"),
        ({"projections": []}, "0 projections for 2 images: give one for each"),
        ({"images": "a.jpg"}, "images are str; give a list of arrays or files: [image]"),
        ({"images": Path("a.jpg")}, "images are PosixPath; give a list"),
        ({"images": np.zeros((4, 4, 3), np.uint8)}, "images are ndarray of shape (4, 4, 3); give"),
        ({"images": torch.zeros(2, 3, 4, 4)}, "images are Tensor of shape (2, 3, 4, 4); give"),
        ({"images": {"a": 1}}, "images are dict; give a list"),
        ({"images": None}, "images are NoneType; give a list"),
        ({"images": 3}, "images are int; give a list"),
        ({"images": [3]}, "not int: for files use Predictor.batch([path])"),
    ],
)
def test_arguments_of_a_batch(predictor, image, arguments, says):
    with pytest.raises((TypeError, ValueError), match=re.escape(says)):
        predictor.batch(**{"images": [image, image], **arguments})


@pytest.mark.parametrize("cfg", ["a.yaml", None, {"MODEL": {}}, Path("a.yaml")])
def test_a_predictor_of_no_config(cfg):
    says = r"^Predictor takes a file of weights or a config, not .*load_config\(path"
    with pytest.raises(TypeError, match=says):
        Predictor(cfg)


def test_a_pickled_predictor_finds_the_same(predictor, image):
    expected = predictor(image)
    assert same(pickle.loads(pickle.dumps(predictor))(image), expected)
    assert same({"instances": pickle.loads(pickle.dumps(expected["instances"]))}, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (2000, 10)])
@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
def test_pictures_of_extreme_sizes(tiny_config, tmp_path, size, resolution):
    cfg = tiny_config("TEST.RESOLUTION", resolution, "TEST.FIXED_SIZE", [64, 64])
    predictor = make_predictor(cfg, tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = predictor(image)
    assert found["instances"].image_size == size
    assert torch.isfinite(found["instances"].pred_boxes.tensor).all()
    assert same(found, DefaultPredictor(predictor.cfg)(image))
