"""Bad data gets a message that names the file, the image or the key, and the cure; nothing is lost.

One table: what is done to a good dataset, and the words that the message must hold.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image

from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.loader import MappedSamples
from centernet_d2.data.mapper import DetectionMapper

from .coco_files import coco_content, write_dataset


def _at(*path_and_value):
    """Set a value of the content."""
    *path, key, value = path_and_value

    def change(content):
        for step in path:
            content = content[step]
        content[key] = value

    return change


def _annotation(key, value):
    return _at("annotations", 1, key, value)


def _image(key, value, index=1):
    return _at("images", index, key, value)


def _all_boxes(box):
    def change(content):
        for annotation in content["annotations"]:
            annotation["bbox"] = box

    return change


def _without(group, key):
    return lambda content: content[group][1].pop(key)


def _file(action):
    """Damage the image file of the second record after it was written."""
    return _at("after_writing", action)


def _truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _turn(path):
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


BAD = {
    # name: (what is done, words of an error or warning, is an error)
    "missing image": (_file(lambda path: path.unlink()), ["1.png", "image folder"], True),
    "truncated image": (_file(_truncate), ["1.png", "truncated", "download it again"], True),
    "empty file": (_file(lambda path: path.write_bytes(b"")), ["1.png", "remove its record"], True),
    "no image": (_file(lambda path: path.write_text("<html>")), ["1.png", "web page"], True),
    "EXIF-rotated": (
        _file(_turn),
        ["1.png", "(40, 30)", "(30, 40)", "EXIF_ORIENTATION ignore"],
        True,
    ),
    "resized image": (
        _file(lambda path: Image.open(path).resize((20, 15)).save(path)),
        ["1.png", "(20, 15)", "(40, 30)", "'width', 'height'"],
        True,
    ),
    "wrong image folder": (
        _image("file_name", "elsewhere/0.png", index=0),
        ["elsewhere/0.png", "image folder"],
        True,
    ),
    "folder in the name": (
        _image("file_name", "C:\\images\\0.png", index=0),
        ["image folder", "'0.png' is there: write 'file_name' without folders"],
        True,
    ),
    "NaN": (_annotation("bbox", [1, float("nan"), 5, 5]), ["101", "1.png", "'bbox'", "NaN"], True),
    "infinity": (_annotation("bbox", [1, 2, float("inf"), 5]), ["101", "'bbox'", "remove"], True),
    "negative size": (
        _annotation("bbox", [20, 5, -10, 5]),
        ["101", "1.png", "negative", "'bbox' is [x, y, width, height]"],
        True,
    ),
    "three numbers": (_annotation("bbox", [1, 2, 3]), ["101", "'bbox' [1, 2, 3]", "four"], True),
    "text as box": (_annotation("bbox", [1, 2, "3", 4]), ["101", "'bbox'", "four numbers"], True),
    "unknown category": (
        _annotation("category_id", 5),
        ["boxes.json", "'category_id' 5", "[3, 7]", "1.png", "Add the categories"],
        True,
    ),
    "category as text": (_annotation("category_id", "3"), ["'category_id'", '"3"', "quotes"], True),
    "same image id twice": (
        _image("id", 10),
        ["boxes.json", "'id' 10", "'images'", "own 'id'"],
        True,
    ),
    "same annotation id twice": (
        _annotation("id", 100),
        ["boxes.json", "'id' of annotations", "repeated", "numbered 1 to 3"],
        False,
    ),
    "image without width": (_without("images", "width"), ["'images'", "'width'", "1.png"], True),
    "annotation without box": (
        _without("annotations", "bbox"),
        ["id 101", "1.png", "'bbox'"],
        True,
    ),
    "0 x 0 image": (_image("height", 0, index=2), ["2.png", "no pixels", "'height'"], True),
    "huge id": (_image("id", 2**70), ["boxes.json", "record 1", "'id' 118", "2^63"], True),
    "no file name": (_image("file_name", None), ["'file_name' null", "'images'", "text"], True),
    "huge number in a box": (_annotation("bbox", [1, 2, 10**400, 4]), ["101", "'bbox'"], True),
    "true in a box": (_annotation("bbox", [True, 2, 3, 4]), ["101", "'bbox' [true, 2"], True),
    "area as text": (
        _annotation("area", "12"),
        ["boxes.json", "101", "'area' \"12\"", "without quotes"],
        True,
    ),
    "iscrowd 2": (_annotation("iscrowd", 2), ["101", "'iscrowd' 2", "0 or 1"], True),
    "iscrowd a list": (_annotation("iscrowd", [0]), ["101", "'iscrowd' [0]", "0 or 1"], True),
    "annotations null": (
        _at("annotations", None),
        ["boxes.json", "'annotations' is null", "list of objects", "[] where there are none"],
        True,
    ),
    "annotations nested": (
        _at("annotations", [[{}]]),
        ["boxes.json", "record 0 of 'annotations'", "without inner lists"],
        True,
    ),
    "images an object": (_at("images", {"10": {}}), ["'images' is an object"], True),
    "an image null": (_at("images", [None]), ["record 0 of 'images' is null"], True),
    "categories words": (
        _at("categories", ["a", "b"]),
        ["boxes.json", "record 0 of 'categories' is \"a\"", "object"],
        True,
    ),
    "category without a word": (
        _at("categories", [{"id": 3, "name": None}, {"id": 7, "name": "b"}]),
        ["boxes.json", "'id': 3", "'name' null", "must be a text"],
        True,
    ),
    "shares of the image": (
        _all_boxes([0.25, 0.5, 0.125, 0.25]),
        ["boxes.json", "3 of 3 boxes", "0.png", "multiply x and width by the image's width"],
        True,
    ),
    "one file, two images": (
        _image("file_name", "0.png"),
        ["2 of 3 images", "0.png", "Join"],
        False,
    ),
    "no images": (_at("images", []), ["boxes.json", "'images' is empty"], True),
    "no categories": (_at("categories", []), ["'categories'", "add one"], True),
    "zero size": (
        _annotation("bbox", [5, 5, 0, 4]),
        ["boxes.json", "1 of 3", "101", "1.png", "zero width", "'bbox'"],
        False,
    ),
    "outside the image": (
        _annotation("bbox", [50, 5, 10, 4]),
        ["boxes.json", "1 of 3", "101", "1.png", "outside", "'width' and 'height'"],
        False,
    ),
    "corners given as sizes": (
        _all_boxes([22, 18, 39, 29]),
        ["boxes.json", "3 of 3", "0.png", "[x1, y1, x2, y2]", "write [x1, y1, x2 - x1, y2 - y1]"],
        False,
    ),
    "annotation of another image": (
        _annotation("image_id", 99),
        ["boxes.json", "1 of 3", "'image_id'", "99"],
        False,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_the_message_names_the_place_and_the_cure(name, tmp_path, caplog):
    change, words, is_error = BAD[name]
    content = coco_content()
    change(content)
    after_writing = content.pop("after_writing", None)
    path, root = prepare(tmp_path, content)
    if after_writing:
        after_writing(root / "1.png")
    np.random.seed(0)
    with caplog.at_level(logging.WARNING, logger="centernet_d2"):
        if is_error:
            with pytest.raises((ValueError, OSError)) as error:
                use(path, root)
            message = "\n".join([str(error.value), *getattr(error.value, "__notes__", ())])
        else:
            use(path, root)
            message = caplog.text
    for word in words:
        assert word in message, message
    if is_error:
        assert not caplog.text


def prepare(folder, content):
    """Write the good dataset's images and this content as its JSON."""
    write_dataset(folder, coco_content())
    path = folder / "boxes.json"
    path.write_text(json.dumps(content))
    return path, folder / "images"


def use(path, root):
    """What training does with a dataset."""
    records = load_coco_records(str(path), str(root))
    samples = MappedSamples(records, DetectionMapper(is_train=True))
    return [samples[index] for index in range(len(samples))]


def test_the_good_dataset_is_silent(tmp_path, caplog):
    path, root = prepare(tmp_path, coco_content())
    with caplog.at_level(logging.WARNING, logger="centernet_d2"):
        results = use(path, root)
    assert [len(result["instances"]) for result in results] == [1, 1, 1]
    assert not caplog.text


def test_only_the_useless_boxes_are_lost(tmp_path):
    content = coco_content()
    content["annotations"][1]["bbox"] = [5, 5, 0, 4]
    path, root = prepare(tmp_path, content)
    assert [len(result["instances"]) for result in use(path, root)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("]", ",]", r"line 1 column \d+ .*a comma stands before the closing bracket; remove it"),
        ('"', "'", r"line 1 column 2 .*single quotes; write the file by json.dump"),
        ("{", '{"a": 1}\n{', r"line 2 column 1 .*one object after the other, as JSON Lines"),
    ],
)
def test_a_json_with_a_slip(tmp_path, old, new, words):
    path, root = prepare(tmp_path, coco_content())
    text = path.read_text()
    path.write_text(text.replace(old, new, 1 if old == "{" else -1))
    with pytest.raises(ValueError, match=rf"boxes.json' is no valid JSON.*{words}") as caught:
        use(path, root)
    assert "truncated" not in str(caught.value)


def test_a_json_that_is_cut_off(tmp_path):
    path, root = prepare(tmp_path, coco_content())
    path.write_text(path.read_text()[:200])
    with pytest.raises(ValueError, match=r"boxes.json' is no valid JSON.*copy it again"):
        use(path, root)


def test_a_result_file_is_no_dataset(tmp_path):
    path, root = prepare(tmp_path, coco_content())
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"boxes.json' has no key 'images'.*result file"):
        use(path, root)


def test_boxes_of_other_loaders_are_checked_by_the_mapper(tmp_path):
    path, root = prepare(tmp_path, coco_content())
    record = load_coco_records(str(path), str(root))[0]
    record["annotations"][0]["bbox"] = [1.0, 2.0, float("nan"), 4.0]
    with pytest.raises(ValueError, match=r"0\.png.*'bbox'.*correct it"):
        DetectionMapper(is_train=True)(record)
