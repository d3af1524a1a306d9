"""Image files that were cut or changed at random: pixels, or an error that names file and cure."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from centernet_d2.data.image_files import find_faults
from centernet_d2.data.images import ImageFileError, read_image, read_image_size

PIXELS = np.random.RandomState(0).randint(0, 256, (12, 20, 3)).astype(np.uint8)
CASES = [
    *(("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    *(("TIFF", mode) for mode in ("RGB", "CMYK", "LAB", "F", "I")),
    *(("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGBA"), ("PPM", "RGB"), ("ICO", "RGBA")),
    *(("TGA", "RGB"), ("PCX", "P"), ("JPEG2000", "RGB"), ("SGI", "RGB")),
]


def encoded(form: str, mode: str) -> bytes:
    picture = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode, palette=1)
    if mode == "I;16":
        picture = Image.fromarray(PIXELS[..., 0].astype(np.uint16) << 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    more = {"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}
    if form == "ICO":  # Pillow 12 writes no picture of less than its standard sizes unless asked
        more = {"sizes": [picture.size]}
    picture.save(file, form, **more)
    return file.getvalue()


CONTENTS = {case: encoded(*case) for case in CASES}
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.one_of(st.binary(max_size=6), st.none())), max_size=3
)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.sampled_from(CASES), CHANGES, st.booleans())
def test_pixels_or_an_error_of_ours(case, changes, upright):
    content = CONTENTS[case]
    for share, value in changes:
        place = int(share * len(content))
        content = content[:place] + (
            b"" if value is None else value + content[place + len(value) :]
        )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file_name = str(Path(folder) / "odd.png")
        Path(file_name).write_bytes(content)
        for read in (read_image, read_image_size):
            try:
                found = read(file_name, upright=upright)
            except ImageFileError as error:
                found, told = None, str(error)
                assert told.startswith(f"image file '{file_name}'")
            else:
                assert isinstance(found, tuple) or (found.dtype, found.shape[2]) == (np.uint8, 3)
            record = {"file_name": file_name, "as_stored": not upright}
            level = "decode" if read is read_image else "header"
            faults = find_faults([record], level).unusable
            if found is None:
                assert file_name in str(faults[0])
            elif level == "decode":
                assert not faults


@pytest.mark.parametrize("case", CASES)
def test_whole_files_of_every_form(tmp_path, case):
    file_name = str(tmp_path / "whole")
    Path(file_name).write_bytes(CONTENTS[case])
    if case[1] in ("F", "I"):
        with pytest.raises(ImageFileError, match="32-bit"):
            read_image(file_name)
        return
    height, width = read_image(file_name).shape[:2]
    assert read_image_size(file_name, upright=True) == (width, height)
    assert {height, width} == {12, 20} or case[0] == "ICO"
