"""Projections of image files: all problems at once, and warnings of those of other pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centernet_d2.inference.cameras import ImageCameras

ROW = "P2: 700 0 {x} 45 0 700 {y} -0.5 0 0 1 0.005\n"


def projection(x: float, y: float) -> np.ndarray:
    return np.array([[700, 0, x, 45], [0, 700, y, -0.5], [0, 0, 1, 0.005]])


@pytest.fixture
def files(tmp_path) -> list[str]:
    """Five images of 120 x 40 pixels, and `calib` with a file for each."""
    (tmp_path / "calib").mkdir()
    files = [str(tmp_path / f"{name}.jpg") for name in "abcde"]
    for number, file in enumerate(files):
        Image.new("RGB", (120, 40)).save(file)
        (tmp_path / "calib" / f"{Path(file).stem}.txt").write_text(ROW.format(x=60 + number, y=20))
    return files


def test_each_image_has_its_own_or_all_have_one(files, tmp_path, caplog):
    cameras = ImageCameras(files, calibration=str(tmp_path / "calib"))
    for number, file in enumerate(files):
        np.testing.assert_array_equal(cameras.of(file, (40, 120)), projection(60 + number, 20))
    cameras = ImageCameras(files, calibration=str(tmp_path / "calib" / "b.txt"))
    for file in files:
        np.testing.assert_array_equal(cameras.of(file, (40, 120)), projection(61, 20))
    assert not caplog.records


def test_a_focal_length_looks_at_the_middle(files):
    found = ImageCameras(files, focal_length=900.0).of(files[0], (40, 120))
    expected = [[900, 0, 59.5, 0], [0, 900, 19.5, 0], [0, 0, 1, 0]]
    np.testing.assert_array_equal(found, expected)
    assert ImageCameras(files).of(files[0], (40, 120)) is None


def test_a_focal_length_is_positive(files):
    for focal_length in (0.0, -5.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="--focal-length must be a number, more than 0, got"):
            ImageCameras(files, focal_length=focal_length)


def test_all_bad_calibrations_are_one_error(files, tmp_path):
    folder = tmp_path / "calib"
    (folder / "b.txt").unlink()
    (folder / "c.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(ValueError, match="2 of 5 calibration files") as caught:
        ImageCameras(files, calibration=str(folder))
    message = str(caught.value)
    assert f"there is no '{folder / 'b.txt'}' (of image '{files[1]}')" in message
    assert f"'{folder / 'c.txt'}', row 1 (P2) has 3 numbers" in message
    assert "<image name>.txt" in message
    for name in "ade":
        (folder / f"{name}.txt").unlink()
    with pytest.raises(ValueError, match=r"5 of 5 calibration files.*") as caught:
        ImageCameras(files, calibration=str(folder))
    assert "... and 2 more" in str(caught.value)
    assert "d.txt" not in str(caught.value)
    with pytest.raises(ValueError, match="1 of 1 calibration files"):  # one for all images
        ImageCameras(files, calibration=str(tmp_path / "nothing.txt"))


def test_an_image_that_was_resized_after_calibrating_is_said(files, tmp_path, caplog):
    """Halved or doubled: the principal point is no longer near the middle."""
    for file, size in zip(files[1:3], ((60, 20), (240, 80)), strict=True):
        Image.new("RGB", size).save(file)
    ImageCameras(files, calibration=str(tmp_path / "calib"))
    (message,) = caplog.messages
    assert message.startswith("2 of 5 images do not fit their calibration")
    assert f"'{files[2]}': the principal point (62, 20) lies far from the middle of its" in message


def test_a_focal_length_that_is_not_in_pixels_is_an_error(files, tmp_path):
    (tmp_path / "calib" / "b.txt").write_text("P2: 1.5 0 60 0 1.5 20 0 0 1\n")
    with pytest.raises(ValueError, match=r"calibration of '.*b.jpg' has a focal length of 1.5 pix"):
        ImageCameras(files, calibration=str(tmp_path / "calib"))


@pytest.mark.parametrize(("x", "y"), [(130, 20), (60, 40), (-1, 20), (60, -0.5)])
def test_a_principal_point_outside_the_image_is_said(files, tmp_path, caplog, x, y):
    (tmp_path / "calib" / "b.txt").write_text(ROW.format(x=x, y=y))
    cameras = ImageCameras(files, calibration=str(tmp_path / "calib"))
    (message,) = caplog.messages
    assert message.startswith("1 of 5 images do not fit their calibration")
    assert f"'{files[1]}': the principal point" in message
    assert "outside its 120 x 40 pixels" in message
    np.testing.assert_array_equal(cameras.of(files[1], (40, 120)), projection(x, y))


@pytest.mark.parametrize(("orientation", "turned"), [(1, False), (3, True), (6, True), (0, False)])
def test_a_photo_that_exif_turns_is_said(files, tmp_path, caplog, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for file in files[1:3]:
        Image.new("RGB", (120, 40)).save(file, exif=exif)
    Path(files[4]).write_text("no image")  # said by whoever reads its pixels
    ImageCameras(files, calibration=str(tmp_path / "calib"))
    assert len(caplog.records) == turned
    if turned:
        assert caplog.text.count("EXIF orientation turns it") == 2
        assert f"'{files[1]}'" in caplog.text


def test_images_of_one_name_share_a_calibration_and_it_is_said(files, tmp_path, caplog):
    (tmp_path / "right").mkdir()
    other = tmp_path / "right" / "a.jpg"
    Image.new("RGB", (120, 40)).save(other)
    cameras = ImageCameras([*files, str(other)], calibration=str(tmp_path / "calib"))
    np.testing.assert_array_equal(cameras.of(str(other), (40, 120)), projection(60, 20))
    (message,) = caplog.messages
    assert "1 images share a calibration, found by their name alone" in message
    assert f"'{files[0]}' and '{other}': '{tmp_path / 'calib' / 'a.txt'}'" in message
