"""The checks by themselves: counts, and what must stay silent."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from centernet_d2.data.checks import DatasetError, check_boxes, check_image_size

SIZE = (100.0, 80.0)


def report(boxes):
    boxes = np.array(boxes, dtype=float)
    sizes = np.tile(SIZE, (len(boxes), 1))
    return check_boxes(boxes, sizes, source="boxes.json", describe=lambda row: f"row {row}")


@pytest.mark.parametrize(
    "boxes",
    [
        [[0, 0, 100, 80], [5.5, 2, 3, 4], [99, 79, 1, 1], [10, 10, 20, 20]],
        [[-5, 10, 20, 20], [90, 70, 30, 30], [10, 10, 20, 20]],  # partly outside
        np.zeros((0, 4)),
    ],
)
def test_good_boxes_are_silent(boxes):
    result = report(boxes)
    assert result[0].all()
    assert result[1] == []


def test_counts_of_what_is_dropped():
    result = report([[1, 1, 0, 5], [1, 1, 5, 0], [100, 1, 5, 5], [-9, 1, 9, 5], [1, 1, 5, 5]])
    assert result[0].tolist() == [False, False, False, False, True]
    assert "dropped 2 of 5 boxes of zero width or height: row 0 bbox" in result[1][0]
    assert "dropped 2 of 5 boxes that lie outside their image: row 2" in result[1][1]


def test_shares_of_the_image_are_no_pixels():
    shares = [[0.1, 0.2, 0.5, 0.25]] * 18
    with pytest.raises(DatasetError, match=r"18 of 20 boxes have no number above 1.*multiply x"):
        report([*shares, [10, 10, 20, 20], [0, 0, 1.5, 1]])
    (few,) = report([*shares, *[[10, 10, 20, 20]] * 3])[1]  # perhaps tiny ones
    assert "18 of 21 boxes have no number above 1" in few
    one_pixel = check_boxes([[0, 0, 1, 1]], [[1, 1]], source="x", describe=str)
    assert one_pixel[0].all()


def test_corners_given_as_sizes_are_suspected():
    random = np.random.RandomState(0)
    start = random.uniform(0, 60, (200, 2))
    corners = np.hstack([start, start + random.uniform(5, 20, (200, 2))])
    result = report(corners)
    assert result[0].sum() > 100  # a suspicion drops nothing
    found = re.search(r"(\d+) of 200 boxes reach over their image", result[1][0])
    assert int(found[1]) > 20
    assert "[x1, y1, x2 - x1, y2 - y1]" in result[1][0]


def test_honest_boxes_are_not_suspected():
    random = np.random.RandomState(0)
    start = random.uniform(0, 60, (500, 2))
    boxes = np.hstack([start, random.uniform(2, 1, (500, 2)) * (SIZE - start) / 2])
    boxes[:20, 2:] += 3  # a few reach over the border
    assert report(boxes)[1] == []


def test_many_examples_are_cut_short():
    with pytest.raises(DatasetError, match=r"7 of 7 boxes.*row 4.*; \.\.\.\.") as error:
        report([[1, 1, -5, 5]] * 7)
    assert "row 5" not in str(error.value)


def test_image_size():
    check_image_size("a.jpg", (4, 3), (4, 3))
    with pytest.raises(DatasetError, match=r"'a.jpg'.*\(3, 4\).*\(4, 3\).*correct them$"):
        check_image_size("a.jpg", (4, 3), (3, 4))
    with pytest.raises(DatasetError, match="resized") as error:
        check_image_size("a.jpg", (4, 3), (8, 6))
    assert "EXIF" not in str(error.value)


@pytest.mark.parametrize(
    ("orientation", "upright", "cure"),
    [
        (6, True, r"EXIF orientation.*INPUT\.EXIF_ORIENTATION ignore"),
        (6, False, r"as its EXIF orientation turns it, but its pixels are taken as stored; save"),
        (1, True, r"record has width and height exchanged; correct them$"),
        (None, False, r"record has width and height exchanged; correct them$"),
    ],
)
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_exif_is_named_where_the_file_has_it(tmp_path, orientation, upright, cure, ending):
    file, exif = str(tmp_path / f"a.{ending}"), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (4, 3)).save(file, exif=exif)
    actual = (3, 4) if orientation == 6 and upright else (4, 3)
    with pytest.raises(DatasetError, match=cure):
        check_image_size(file, actual[::-1], actual)


def test_middles_given_as_corners_are_suspected():
    random = np.random.RandomState(0)
    half = random.uniform(2, 15, (200, 2))
    middle = half + random.uniform(0, 1, (200, 2)) * (SIZE - 2 * half)
    (message,) = report(np.hstack([middle, 2 * half]))[1]
    assert "reach over their image as [x, y, width, height], but fit it as [cx, cy," in message
    assert "write [cx - width / 2, cy - height / 2, width, height]" in message


def test_percent_are_suspected():
    random = np.random.RandomState(0)
    start = random.uniform(0, 70, (20, 2))
    boxes = np.hstack([start, random.uniform(5, 30, (20, 2))])
    boxes[0] = (60, 60, 40, 40)

    def messages(boxes, side):
        sizes = np.full((len(boxes), 2), side)
        return check_boxes(boxes, sizes, source="boxes.json", describe=str)[1]

    (message,) = messages(boxes, 640)
    assert "20 of 20 boxes lie in the first 100 x 100 pixels of larger images" in message
    assert messages(boxes, 128) == []  # small images
    assert messages(boxes[:19], 640) == []  # few boxes
    assert messages([*boxes, [300, 10, 5, 5]], 640) == []


@pytest.mark.parametrize(("outside", "told"), [(1, False), (2, True), (6, True)])
def test_many_boxes_outside_have_a_cause(outside, told):
    (message,) = report([[100, 1, 5, 5]] * outside + [[1, 1, 5, 5]] * (12 - outside))[1]
    assert message.startswith(f"boxes.json: dropped {outside} of 12 boxes that lie outside")
    assert (
        "pixels of another resolution than the record's, or x and y exchanged" in message
    ) == told
    with pytest.raises(DatasetError, match=r"7 of 12 boxes lie outside .* another resolution"):
        report([[100, 1, 5, 5]] * 7 + [[1, 1, 5, 5]] * 5)
