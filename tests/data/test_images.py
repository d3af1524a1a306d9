"""Every kind of image file arrives as upright 8-bit BGR."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image as detectron2_read_image
from PIL import Image

from centernet_d2.data.images import ImageFileError, read_image

RGB = np.random.RandomState(1).randint(0, 256, (12, 20, 3)).astype(np.uint8)
GRAY = RGB[:, :, 0]


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


def test_color(tmp_path):
    file_name = save(tmp_path / "a.png", Image.fromarray(RGB))
    image = read_image(file_name)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(image, RGB[:, :, ::-1])


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "CMYK"])
def test_other_modes_are_three_channels_as_in_detectron2(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    file_name = save(tmp_path / f"a.{suffix}", Image.fromarray(RGB).convert(mode))
    image = read_image(file_name)
    assert image.shape == (12, 20, 3)
    np.testing.assert_array_equal(image, detectron2_read_image(file_name, "BGR"))


def test_alpha_is_dropped_not_blended(tmp_path):
    alpha = np.dstack([RGB, np.zeros_like(GRAY)])
    file_name = save(tmp_path / "a.png", Image.fromarray(alpha))
    np.testing.assert_array_equal(read_image(file_name), RGB[:, :, ::-1])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, suffix):
    values = (GRAY.astype(np.uint16) << 8) + 77
    file_name = save(tmp_path / f"deep.{suffix}", Image.fromarray(values))
    image = read_image(file_name)
    np.testing.assert_array_equal(image, np.dstack([GRAY] * 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_in_detectron2(tmp_path, orientation):
    picture = Image.fromarray(RGB)
    exif = picture.getexif()
    exif[0x0112] = orientation
    file_name = save(tmp_path / "turned.png", picture, exif=exif)
    image = read_image(file_name)
    assert image.shape[:2] == ((20, 12) if orientation >= 5 else (12, 20))
    np.testing.assert_array_equal(image, detectron2_read_image(file_name, "BGR"))
    assert (orientation == 1) == bool(np.array_equal(image, RGB[:, :, ::-1]))


def test_32_bit_values_have_no_known_range(tmp_path):
    file_name = save(tmp_path / "float.tif", Image.fromarray(GRAY.astype(np.float32)))
    with pytest.raises(ImageFileError, match=r"float\.tif.*32-bit.*save it with 8"):
        read_image(file_name)
