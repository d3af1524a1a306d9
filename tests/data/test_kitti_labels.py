"""Rows of label, result and calibration files: what is read, and what is refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.kitti_labels import (
    format_label_row,
    read_labels,
    read_projection,
)
from centernet_d2.structures.box3d_records import NO_BOX3D, box3d_row
from centernet_d2.structures.cameras import checked_projection

from .kitti_files import CALIBRATION, CAR, DONT_CARE, PEDESTRIAN, PROJECTION


def labels(tmp_path, *rows):
    path = tmp_path / "000007.txt"
    path.write_text("\n".join(rows))
    return read_labels(str(path))


def test_columns(tmp_path):
    car, region = labels(tmp_path, CAR, "", DONT_CARE, "")
    assert (car.type, car.truncated, car.occluded, car.alpha) == ("Car", 0.0, 0, 1.85)
    assert car.box == (387.63, 181.54, 423.81, 203.12)
    assert car.dimensions == (1.67, 1.87, 3.69)
    assert car.location == (-16.53, 2.39, 58.49)
    assert (car.rotation_y, car.score) == (1.57, None)
    assert (region.type, region.occluded, region.location[2]) == ("DontCare", -1, -1000)


def test_a_result_has_a_score_and_an_empty_file_no_objects(tmp_path):
    assert [item.score for item in labels(tmp_path, CAR + " 0.75", CAR)] == [0.75, None]
    assert labels(tmp_path) == []
    assert labels(tmp_path, "", "  ") == []


def test_written_rows_are_read_back(tmp_path):
    rows = [CAR, PEDESTRIAN, CAR + " 0.75"]
    items = labels(tmp_path, *rows)
    assert [format_label_row(item) for item in items] == rows
    assert labels(tmp_path, *map(format_label_row, items)) == items


def test_no_negative_zero_is_written(tmp_path):
    (item,) = labels(tmp_path, CAR.replace("1.85", "-0.001"))
    assert format_label_row(item).split()[3] == "0.00"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (CAR.rsplit(" ", 1)[0], r"row 2 has 14 columns.*15.*16"),
        (CAR + " 0.5 0.5", r"row 2 has 17 columns"),
        (CAR.replace("387.63", "x"), r"row 2: left is 'x'.*finite number"),
        (CAR.replace("58.49", "nan"), r"row 2: z is 'nan'"),
        (CAR.replace("Car 0.00 0 ", "Car 0.00 0.5 "), r"row 2: occluded is 0.5.*whole number"),
        (CAR.replace("423.81", "300.0"), r"row 2: the box .*ends before it begins"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(DatasetError, match=rf"000007.txt', {message}"):
        labels(tmp_path, PEDESTRIAN, row)


def test_missing_files_are_named(tmp_path):
    for read, kind in ((read_labels, "label"), (read_projection, "calibration")):
        with pytest.raises(FileNotFoundError, match=rf"{kind} file '.*9.txt' does not exist"):
            read(str(tmp_path / "9.txt"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "1.txt"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ValueError, match=r"1.txt' is no text in UTF-8 \(byte 0"):
        read_labels(str(path))


def test_the_projection_is_found_by_its_name(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text(CALIBRATION)
    np.testing.assert_allclose(read_projection(str(path)), PROJECTION, rtol=1e-12)
    path.write_text("\n".join(reversed(CALIBRATION.splitlines())))
    np.testing.assert_allclose(read_projection(str(path)), PROJECTION, rtol=1e-12)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"has no row 'P2: '.*copy it again"),
        ("P0: 1 2 3\n", r"has no row 'P2: '"),
        ("P0: 1\nP2: 1 2 3\n", r"row 2 \(P2\) has 3 numbers instead of the 12"),
        ("P2: " + "1 " * 11 + "a\n", r"row 1 \(P2\) is 'a'"),
        ("P2: " + "0 " * 12 + "\n", r"focal lengths 0 and 0"),
    ],
)
def test_malformed_calibrations_are_named(tmp_path, content, message):
    path = tmp_path / "calib.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"calib.txt'.*{message}|calib.txt', {message}"):
        read_projection(str(path))


K = [[700.0, 0, 600], [0, 710, 180], [0, 0, 1]]
ROW = "700 0 600 0 0 710 180 0 0 0 1 0"


@pytest.mark.parametrize(
    "content",
    [
        f"P2: {ROW}\n",
        f"corner_dist: 9.95e-02\nP_rect_00: {'1 ' * 12}\nP_rect_02: {ROW}\n",
        "P2: 700 0 600 0 710 180 0 0 1\n",
        f"P2 {ROW}\n",
        f"P2: [{ROW.replace(' ', ', ')}]\r\n",
        "700 0 600\n0 710 180\n0 0 1\n",  # numpy.savetxt of the matrix
        "7.0e2,0,600,0\n0,710,180,0\n0,0,1,0\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_forms_of_calibrations(tmp_path, content, encoding):
    path = tmp_path / "calib.txt"
    path.write_bytes(content.encode(encoding))
    expected = np.pad(K, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(read_projection(str(path)), expected)


def test_eight_columns_are_a_label_without_a_3d_box(tmp_path):
    (item,) = labels(tmp_path, " ".join(CAR.split()[:8]))
    assert (item.alpha, item.box) == (1.85, (387.63, 181.54, 423.81, 203.12))
    assert box3d_row(vars(item), "here") == NO_BOX3D.tolist()


def test_matrices_of_other_shapes_are_taken_or_refused():
    expected = np.pad(K, ((0, 0), (0, 1)))
    for matrix in (K, np.pad(K, ((0, 1), (0, 1))) + np.diag([0, 0, 0, 1.0]), expected):
        np.testing.assert_array_equal(checked_projection(matrix, "here"), expected)
    for wrong, message in (
        ([700, 700, 600, 180], r"here must be 3 x 4 \(or 3 x 3\).*\(4,\)"),
        (np.transpose(K), r"here begins row 3 with 600 and 180.*not transposed"),
        ("P2", r"here is no matrix"),
        (np.full((3, 4), np.nan), r"finite"),
    ):
        with pytest.raises(ValueError, match=message):
            checked_projection(wrong, "here")


@pytest.mark.data
def test_real_files(test_data):
    """All rows of the real labels are read; alpha and rotation_y tell the same story."""
    folder = test_data / "kitti" / "training"
    files = sorted((folder / "label_2").iterdir())
    assert len(files) == 16
    differences = []
    for file in files:
        for item in read_labels(str(file)):
            if item.type != "DontCare":
                x, _, z = item.location
                angle = item.alpha - (item.rotation_y - math.atan2(x, z))
                differences.append(abs(math.remainder(angle, 2 * math.pi)))
        projection = read_projection(str(folder / "calib" / file.name))
        assert 700 < projection[0, 0] < 730
        assert 44 < projection[0, 3] < 46
    assert len(differences) > 70
    # The files round to 0.01 rad and 0.01 m; some labelled angles were taken elsewhere on the car.
    assert np.median(differences) < 0.01
    assert max(differences) < 0.05
