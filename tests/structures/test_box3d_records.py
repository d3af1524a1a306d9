"""3-D boxes and cameras as people write them: numbers, or an error that names place and key."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet_d2.structures.box3d_records import NO_BOX3D, box3d_row
from centernet_d2.structures.cameras import camera_doubt, checked_projection

ENTRY = {"location": [3.0, 1.5, 4.0], "dimensions": [1.5, 1.6, 4.0], "rotation_y": 1.0}
RAY = math.atan2(3, 4)


@pytest.mark.parametrize(
    ("changes", "rotation_y", "alpha"),
    [
        ({}, 1.0, 1 - RAY),
        ({"alpha": None}, 1.0, 1 - RAY),
        ({"alpha": -10}, 1.0, 1 - RAY),
        ({"alpha": 0.3}, 1.0, 0.3),
        ({"alpha": 0.3 + 2 * math.pi}, 1.0, 0.3),
        ({"alpha": 0.3, "rotation_y": -10}, 0.3 + RAY, 0.3),
        ({"alpha": -10, "rotation_y": -10.0}, -10, -10),
        ({"rotation_y": -10}, -10, -10),
    ],
)
def test_an_angle_follows_from_the_other(changes, rotation_y, alpha):
    row = box3d_row({**ENTRY, **changes}, "here")
    assert row == pytest.approx([3, 1.5, 4, 1.5, 1.6, 4, rotation_y, alpha])


@pytest.mark.parametrize(
    "changes",
    [
        {"location": [-1000, -1000, -1000]},
        {"dimensions": [-1, -1, -1]},
        {"dimensions": [0, 0, 0], "location": [0, 0, 0], "rotation_y": 0},
        {"location": None, "dimensions": None, "rotation_y": None},
    ],
)
def test_no_box_is_one_mark(changes):
    assert box3d_row({**ENTRY, "alpha": 0.3, **changes}, "here") == NO_BOX3D.tolist()
    assert box3d_row({"bbox": [0, 0, 1, 1]}, "here") == NO_BOX3D.tolist()


ODD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(key=st.sampled_from(["location", "dimensions", "rotation_y", "alpha"]), value=ODD)
def test_any_value_is_a_row_or_an_error_that_names_it(key, value):
    try:
        row = box3d_row({**ENTRY, key: value}, "image file 'a.png': annotation 0")
    except ValueError as error:
        named = str(error).startswith(f"image file 'a.png': annotation 0 has '{key}'")
        assert named, error  # noqa: PT017
    else:
        assert len(row) == 8
        assert np.isfinite(np.float32(row)).all()


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(ODD | st.lists(st.lists(st.floats(), min_size=3, max_size=4), min_size=3, max_size=4))
def test_any_matrix_is_a_camera_or_an_error_that_names_it(value):
    try:
        matrix = checked_projection(value, "a.png: 'projection'")
        camera_doubt(matrix, (375, 1242), "a.png: 'projection'")
    except ValueError as error:
        assert str(error).startswith("a.png: 'projection' "), error  # noqa: PT017
    else:
        assert matrix.shape == (3, 4)
        assert np.isfinite(matrix.astype(np.float32)).all()
