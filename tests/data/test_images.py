"""Every kind of image file arrives as upright 8-bit BGR."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from detectron2.data.detection_utils import read_image as detectron2_read_image
from PIL import Image, PngImagePlugin

from centernet_d2.data.images import ImageFileError, limit_pixels, read_image, read_image_size
from centernet_d2.progress import say_again

RGB = np.random.RandomState(1).randint(0, 256, (12, 20, 3)).astype(np.uint8)
GRAY = RGB[:, :, 0]


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "1", "P", "RGBA", "CMYK"])
def test_every_mode_is_three_channels_as_in_detectron2(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    file_name = save(tmp_path / f"a.{suffix}", Image.fromarray(RGB).convert(mode))
    image = read_image(file_name)
    assert (image.shape, image.dtype, image.flags["C_CONTIGUOUS"]) == ((12, 20, 3), np.uint8, True)
    np.testing.assert_array_equal(image, detectron2_read_image(file_name, "BGR"))
    if mode == "RGB":
        np.testing.assert_array_equal(image, RGB[:, :, ::-1])


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


@pytest.mark.parametrize(("bits", "told"), [(16, 0), (12, 1), (8, 1)])
@pytest.mark.parametrize("name", ["gray.png", "gray.tif", "color.png", "color.tif"])
def test_fewer_bits_in_a_file_of_16_are_seen_and_said(tmp_path, caplog, name, bits, told):
    """As OpenCV wrote them: a camera's 12 bits are no black picture."""
    say_again()
    caplog.set_level("INFO")
    values = RGB.astype(np.uint16) << (bits - 8)
    values = values[:, :, 0] if name.startswith("gray") else values
    cv2.imwrite(str(tmp_path / name), values[..., ::-1] if values.ndim == 3 else values)
    expected = np.dstack([GRAY] * 3) if values.ndim == 2 else RGB[:, :, ::-1]
    for _ in range(2):
        np.testing.assert_array_equal(read_image(str(tmp_path / name)), expected)
    assert caplog.text.count(f"are taken for {bits}-bit ones.") == told


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


def box(kind: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + kind + bytes(600)


@pytest.mark.parametrize(
    ("content", "kind", "cure"),
    [
        (box(b"isom"), "a video", "ffmpeg -i"),
        (b"RIFF\n\0\0\0AVI LIST", "a video", "ffmpeg"),
        (b"\x1aE\xdf\xa3" + bytes(9), "a video", "ffmpeg"),
        ((b"G" + bytes(187)) * 3, "a video", "ffmpeg"),
        (box(b"heic"), "a HEIC photo", "as JPEG"),
        (b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg/>", "an SVG drawing", "as PNG"),
        (b"\n<!DOCTYPE html>\n<html>404", "a web page", "download the image itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", "git lfs pull"),
        (b"PK\x03\x04" + bytes(30), "an archive", "unpack it"),
        (b"%PDF-1.7", "a PDF", "pages"),
        (b"\x93NUMPY\x01", "an array of NumPy", "as PNG"),
        ("Brücke, 3, 4\n".encode(), "text", "the image file itself"),
        (b"", "empty", "download it again"),
        (b"\xff\xd8\xff" + bytes(100), "damaged or no image", "download it again"),
    ],
)
@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_what_is_no_image_is_called_by_its_name(tmp_path, content, kind, cure, read):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageFileError, match=rf"a\.jpg' .*it is .*{kind}.*; .*{cure}"):
        read(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("read", [read_image, read_image_size])
def test_too_many_pixels_are_said_and_the_limit_is_a_choice(tmp_path, monkeypatch, read):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    limit_pixels(0)  # Pillow's limit stays
    file_name = str(tmp_path / "large.png")
    header = (20_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    with open(file_name, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
            PngImagePlugin.putchunk(file, name, data)
    words = r"large\.png' has 400,000,000 pixels, more than the 178,956,970 .*set INPUT\.MAX_PIXELS"
    with pytest.raises(ImageFileError, match=words):
        read(file_name)
    limit_pixels(400_000_000)
    assert read_image_size(file_name) == (20_000, 20_000)
    small = save(tmp_path / "small.png", Image.fromarray(RGB))
    limit_pixels(2 * 12 * 20)
    assert read_image_size(small) == (20, 12)
    limit_pixels(200)
    with pytest.raises(ImageFileError, match="has 240 pixels"):
        read(small)
