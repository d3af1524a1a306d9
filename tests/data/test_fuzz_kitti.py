"""Mutated KITTI folders give records, samples and scores, or one error that names file and cure."""

from __future__ import annotations

import math

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from centernet_d2.data.checks3d import NetworkFrame
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.fields.boxes3d import Boxes3DField
from centernet_d2.data.fields.boxes3d_transforms import RandomHalfJitter
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.evaluation import KittiEvaluator

from .kitti_files import CAR, DONT_CARE, PEDESTRIAN, VAN, write_kitti

FRAMES = {"000003": [CAR, VAN, DONT_CARE], "000007": [PEDESTRIAN, CAR]}
FILES = {
    "training/label_2/000003.txt": None,
    "training/label_2/000007.txt": None,
    "training/calib/000003.txt": None,
    "training/calib/000007.txt": None,
    "ImageSets/train.txt": None,
    "classes.txt": "Car\nPedestrian\n",
}
TOKENS = (
    *("", "nan", "-inf", "1e999", "1e308", "-1", "0", "-10", "-1000", "1e-320", "1_0", "0x1f", "٣"),
    *("2.5", "None", "Car", "car", "DontCare", "\x00", "\ufeff", "P2:", "P_rect_02:", ":", "../x"),
    *("[1,2]", "000003", "7", " \t ", "é", "\u2028", "\x0c", "9" * 400, "a" * 300),
)
CUTS = st.floats(0, 1)


@st.composite
def mutations(draw, text: str) -> bytes:
    """A text with a few tokens, lines or characters changed, in some encoding."""
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("token", "token", "line", "insert", "cut", "column", "all")))
        lines = text.split("\n")
        number = draw(st.integers(0, len(lines) - 1))
        words = lines[number].split(" ")
        word = draw(st.integers(0, len(words) - 1))
        token = draw(st.sampled_from(TOKENS))
        if kind == "token":
            words[word] = token
        elif kind == "column":
            words = words[: word + 1]
        lines[number] = " ".join(words)
        if kind == "line":
            lines = lines[:number] + lines[number + 1 :] if draw(st.booleans()) else lines * 2
        text = "\n".join(lines)
        place = int(draw(CUTS) * len(text))
        if kind == "insert":
            text = text[:place] + token + text[place:]
        elif kind == "cut":
            text = text[:place]
        elif kind == "all":
            text = "\n".join([token] * draw(st.integers(0, 3)))
    content = text.encode(draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16"))))
    return content[: int(draw(CUTS) * len(content))] if draw(st.integers(0, 9)) == 0 else content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_kitti(
        tmp_path_factory.mktemp("fuzz") / "kitti", FRAMES, lists={"ImageSets/train.txt": FRAMES}
    )


def used(folder) -> None:
    """Whatever reads a folder: catalogue, checks, samples, ground truth and scores."""
    name = register_from_files(f"kitti:{folder}:train")
    records = DatasetCatalog.get(name)
    field = Boxes3DField(training=NetworkFrame((96, 320), "width", "INPUT.TRAIN_SIZE"))
    fit = RandomHalfJitter((96, 320), probability=0)
    mapper = DetectionMapper(is_train=True, fields=[field], augmentations=[fit])
    field.check_test_records(records, name)
    field.check_records(records, name)
    for record in records:
        sample = mapper(record)
        found = sample["instances"]
        tensors = sample["image_projection"], found.gt_boxes3d.tensor, found.gt_boxes.tensor
        assert all(np.isfinite(tensor.numpy()).all() for tensor in tensors)
    results = KittiEvaluator(dataset_name=name).evaluate()
    scores = [score for task in results.values() for score in task.values()]
    assert all(math.isnan(score) or 0 <= score <= 100 for score in scores)


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_a_mutated_folder_is_data_or_an_error_that_names_it(folder, data):
    files = data.draw(st.lists(st.sampled_from(sorted(FILES)), min_size=1, max_size=2, unique=True))
    before = {file: (folder / file).read_bytes() for file in files if (folder / file).exists()}
    caught = None
    try:
        for file in files:
            text = FILES[file] or before[file].decode()
            (folder / file).write_bytes(data.draw(mutations(text)))
        used(folder)
    except (ValueError, OSError) as error:
        caught = error
    finally:
        (folder / "classes.txt").unlink(missing_ok=True)
        for file, content in before.items():
            (folder / file).write_bytes(content)
    if caught is not None:
        assert not isinstance(caught, UnicodeError), caught
        assert str(folder) in str(caught) or "00000" in str(caught), caught
        assert len(str(caught)) < 3000, caught
