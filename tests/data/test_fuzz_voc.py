"""VOC folders whose files were changed at random: records, or an error that names file and cure."""

from __future__ import annotations

import contextlib
import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.datasets.voc import load_voc_records
from centernet_d2.data.images import ImageFileError
from centernet_d2.data.record_checks import check_records
from centernet_d2.text_files import TextFileError

from .voc_files import write_voc, xml_text

OURS = (DatasetError, TextFileError, ImageFileError, FileNotFoundError)
OBJECTS = [("cat", 1, 1, 60, 50, 0), ("dog", 3, 5, 7, 9, 1)]
FILES = {
    "Annotations/my photo.xml": xml_text("my photo", OBJECTS).encode(),
    "ImageSets/Main/train.txt": b"my photo\nb 1\n",
    "classes.txt": b"cat\ndog\n",
}
WORDS = st.sampled_from(
    ["", "\n", "1", "-1", "0", "nan", "inf", "1e999", "true", "\xfc", "\x00", "a/b", "<", "&", "b"]
)
EDITS = st.lists(
    st.one_of(
        *[st.tuples(st.just("word"), st.integers(0, 400), WORDS)] * 3,
        st.tuples(st.just("bytes"), st.integers(0, 400), st.binary(max_size=4)),
        st.tuples(st.just("cut"), st.integers(0, 400), st.integers(1, 400)),
        st.tuples(st.just("code"), st.just(0), st.sampled_from(["utf-16", "utf-8-sig", "cp1252"])),
    ),
    min_size=1,
    max_size=3,
)


def edited(content: bytes, edits: list) -> bytes:
    for kind, place, value in edits:
        place = min(place, len(content))
        if kind == "cut":
            content = content[:place] + content[place + value :]
        elif kind == "code":
            content = content.decode("utf-8", "replace").encode(value, "replace")
        elif kind == "bytes":
            content = content[:place] + value + content[place + len(value) :]
        else:  # in the place of a word or number
            text = content.decode("utf-8", "replace")
            values = r"(?<=>)[^<>]+(?=</)" if "<" in text else r"\S+"
            spans = [found.span() for found in re.finditer(values, text)] or [(0, 0)]
            start, end = spans[place % len(spans)]
            content = (text[:start] + value + text[end:]).encode()
    return content


@settings(max_examples=120, derandomize=True, deadline=None)
@given(st.sampled_from(sorted(FILES)), EDITS, st.sampled_from(["error", "negative"]))
def test_records_or_an_error_of_ours(name, edits, missing_xml):
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_voc(Path(temporary), {"my photo": OBJECTS, "b": []}, split="train")
        for path, content in FILES.items():
            (folder / path).write_bytes(edited(content, edits) if path == name else content)
        given = (str(folder), "train", ("cat", "dog"))
        try:
            records = load_voc_records(*given, missing_xml=missing_xml)
        except OURS as error:
            told = str(error)
            assert str(folder) in told
        else:
            assert check_records(records, name="voc", num_classes=2) == records
            assert all(record["image_id"] in ("my photo", "b") for record in records)
        with contextlib.suppress(*OURS):
            register_from_files(f"voc:{folder}:train")
