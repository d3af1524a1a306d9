"""Dataset dicts with values of any kind: checked records, or an error that names what and where."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st

from centernet_d2.data.checks import DatasetError
from centernet_d2.data.fields.base import source_boxes
from centernet_d2.data.images import ImageFileError
from centernet_d2.data.record_checks import check_records

ENTRY = {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0}
RECORD = {"file_name": "{}.jpg", "image_id": 0, "height": 100, "width": 200}
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**70, True, 0.5, 1.0, float("nan"), float("inf"), 1e308]),
    st.sampled_from([np.int64(1), np.uint8(1), np.float32(2), np.bool_(True), np.array(1), 1j]),
)
VALUES = st.one_of(
    NUMBERS,
    st.none(),
    st.sampled_from(["", "1", "XYXY_ABS", "XYWH_REL", b"a.jpg", Path("a.jpg"), *BoxMode]),
    st.lists(NUMBERS, max_size=5),
    st.lists(st.integers(1, 90), min_size=4, max_size=4).map(np.array),
    st.builds(dict),
    st.just([dict(ENTRY)]),
)
KEYS = st.sampled_from([*ENTRY, *RECORD, "ignored", "difficult", "annotations", "as_stored"])
CHANGES = st.lists(st.tuples(st.integers(0, 2), KEYS, VALUES), min_size=1, max_size=4)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(CHANGES, st.sampled_from([2, 90, None]))
def test_checked_records_or_an_error_of_ours(changes, num_classes):
    records = [
        {**RECORD, "file_name": f"{k}.jpg", "image_id": k, "annotations": [dict(ENTRY)]}
        for k in range(3)
    ]
    for row, key, value in changes:
        annotations = records[row].get("annotations")
        inner = annotations[0] if isinstance(annotations, list) and annotations else None
        place = inner if isinstance(inner, dict) and key not in RECORD else records[row]
        place["annotations" if key == "annotations" else key] = copy.deepcopy(value)
    before = repr(records)
    try:
        checked = check_records(records, name="dataset 'odd'", num_classes=num_classes)
    except (DatasetError, ImageFileError, FileNotFoundError) as error:
        told = str(error)
        of_record = told.startswith("dataset 'odd': ") and "record" in told
        assert of_record or told.startswith("image file '")  # that was asked for its size
    else:
        assert len({record["image_id"] for record in checked}) == 3
        for record in checked:
            entries = record.get("annotations", [])
            boxes = source_boxes(entries, record["file_name"])
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes[:, :2] < (record["width"], record["height"])).all()
            last = np.inf if num_classes is None else num_classes - 1
            assert all(-1 <= int(entry["category_id"]) <= last for entry in entries)
    assert repr(records) == before
