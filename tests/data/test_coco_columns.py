"""What a COCO file says beside boxes: derived columns, flags, names, ids; with the right values."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from centernet_d2.data.datasets.coco_file import CocoFile, read_coco_json
from centernet_d2.data.datasets.coco_json import load_coco_records

from .coco_files import coco_content, write_dataset


def read(tmp_path, content, **options) -> CocoFile:
    path, _ = write_dataset(tmp_path, content)
    return read_coco_json(str(path), **options)


def having(key, *values) -> dict:
    """Content whose annotations have these values under a key; Ellipsis: none."""
    content = coco_content()
    for annotation, value in zip(content["annotations"], values, strict=True):
        annotation[key] = value
        if value is ...:
            del annotation[key]
    return content


BOX = 10 * 12.5


@pytest.mark.parametrize(
    ("given", "used", "wrong"),
    [
        ((125, 60.25, 1.5), (125, 60.25, 1.5), 0),  # of an outline: stays
        ((..., None, 3), (BOX, BOX, 3), 0),
        ((0, 1, 0.3), (BOX, BOX, BOX), 3),  # for "none", and a share of the image
        ((-5, 1e9, float("nan")), (BOX, BOX, BOX), 3),
        ((297, 298, float("inf")), (297, BOX, BOX), 2),  # twice the box with its border pixels
    ],
)
def test_areas_stay_or_are_those_of_the_box(tmp_path, caplog, given, used, wrong):
    assert read(tmp_path, having("area", *given)).areas.tolist() == list(used)
    assert (f"{wrong} of 3 annotations have an 'area' that cannot be" in caplog.text) is (wrong > 0)


def test_the_area_of_a_tiny_object_stays(tmp_path, caplog):
    content = having("area", 0.5, 1, 125)
    for annotation in content["annotations"][:2]:
        annotation["bbox"] = [4, 5, 2, 3]
    assert read(tmp_path, content).areas.tolist() == [0.5, 1, 125]
    assert not caplog.text


@pytest.mark.parametrize(
    ("given", "crowd"),
    [
        ((0, 1, ...), [False, True, False]),
        ((False, True, None), [False, True, False]),
        ((1.0, 0.0, 1), [True, False, True]),
        (("0", "1", "true"), [False, True, True]),
        (("False", "TRUE", 0), [False, True, False]),
    ],
)
@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
def test_flags_are_what_they_say(tmp_path, caplog, key, given, crowd):
    content = read(tmp_path, having(key, *given))
    assert {"iscrowd": content.crowd, "ignore": content.ignored}[key].tolist() == crowd
    texts = sum(isinstance(value, str) for value in given)
    assert (f"{texts} of 3 annotations have '{key}' as a text" in caplog.text) is (texts > 0)


def test_ignored_objects_are_marked_in_records_and_told(tmp_path, caplog):
    path, root = write_dataset(tmp_path, having("ignore", 1, 0, 0))
    records = load_coco_records(str(path), str(root))
    entries = [record["annotations"][0] for record in records]
    assert [entry.get("ignored") for entry in entries] == [1, None, None]
    assert [entry["iscrowd"] for entry in entries] == [1, 0, 0]
    assert "1 of 3 annotations have 'ignore' 1: annotation id 100 of image id 10" in caplog.text


def test_names_that_are_numbers_are_texts(tmp_path, caplog):
    content = coco_content()
    content["categories"] = [{"id": 3, "name": 8}, {"id": 7, "name": "b"}]
    assert read(tmp_path, content).categories == {3: "8", 7: "b"}
    assert "1 of 2 categories have a number as name: record 0" in caplog.text


def test_categories_of_one_name_stay_two(tmp_path, caplog):
    content = coco_content()
    content["categories"] = [{"id": k, "name": name} for k, name in ((3, "a"), (7, "a"), (9, "b"))]
    assert read(tmp_path, content).categories == {3: "a (id 3)", 7: "a (id 7)", 9: "b"}
    assert "told apart as ['a (id 3)', 'a (id 7)']" in caplog.text


@pytest.mark.parametrize(
    "ids", [(..., ..., ...), (5, 5, 6), ("x", 1, 2), (None, 1, 2), (2**70, 1, 2)]
)
def test_ids_that_number_nothing_are_made_anew(tmp_path, caplog, ids):
    assert read(tmp_path, having("id", *ids)).annotation_ids.tolist() == [1, 2, 3]
    assert "numbered 1 to 3" in caplog.text


def test_whole_ids_stay(tmp_path):
    content = coco_content()
    for group in content.values():
        for record in group:
            record |= {key: float(record[key]) for key in record if key.endswith("id")}
    found = read(tmp_path, content)
    assert found.annotation_ids.tolist() == [100, 101, 102]
    assert (found.image_ids, list(found.categories)) == ([10, 11, 12], [3, 7])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    content = coco_content()
    content["categories"][0]["name"] = "\u732b"
    path, _ = write_dataset(tmp_path, content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert list(read_coco_json(str(path)).categories.values()) == ["first", "\u732b"]


def test_useless_boxes_leave_nothing_behind(tmp_path, caplog):
    content = coco_content()
    content["annotations"][0]["bbox"] = [5, 5, 0, 4]
    content["annotations"][0]["iscrowd"] = 1
    found = read(tmp_path, content)
    assert (found.annotation_ids.tolist(), found.crowd.any()) == ([101, 102], False)
    assert found.annotation_images.tolist() == [1, 2]
    assert "neither learned nor to be found" in caplog.text


def test_a_file_that_is_good_is_silent(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="centernet_d2"):
        found = read(tmp_path, coco_content())
    assert not caplog.text
    assert found.is_labelled
    assert np.array_equal(found.areas, [125] * 3)
