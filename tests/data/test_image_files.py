"""Image files are looked at before a training: which are missing, cut off or of another size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from centernet_d2.data import image_files
from centernet_d2.data.image_files import (
    LEVELS,
    check_image_files,
    find_faults,
    has_whole_ends,
    looks_whole,
    missing_files,
)
from centernet_d2.data.images import ImageFileError, read_image

PIXELS = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
FORMATS = ("jpeg", "png", "webp", "bmp", "gif", "tiff")


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def record(file: Path, **changed) -> dict:
    return {"file_name": str(file), "image_id": 1, "height": 24, "width": 32, **changed}


@pytest.fixture
def folder(tmp_path):
    """Sixty good PNG files, 00.png to 59.png: more than are asked for one by one."""
    for number in range(60):
        (tmp_path / f"{number:02d}.png").write_bytes(encoded("png"))
    return tmp_path


@pytest.mark.parametrize("count", [3, 60])
def test_missing_files_are_found_by_listing_and_one_by_one(folder, count):
    (folder / "01.png").unlink()
    (folder / "02.png").unlink()
    (folder / "02.png").mkdir()  # a folder is no image
    (folder / "00.png").rename(folder / "away.png")
    (folder / "00.png").symlink_to(folder / "away.png")
    names = [str(folder / f"{number:02d}.png") for number in range(count)]
    nowhere = [str(folder / "nowhere" / f"{number}.png") for number in range(count)]
    inside = [str(folder / "away.png" / f"{number}.png") for number in range(count)]
    expected = {*names[1:3], *nowhere, *inside}
    assert missing_files([*names, *nowhere, *inside]) == expected


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_without_its_last_bytes_is_found(tmp_path, kind):
    whole = encoded(kind)
    good, cut, more = (tmp_path / f"{name}.{kind}" for name in ("good", "cut", "more"))
    good.write_bytes(whole)
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    more.write_bytes(whole + b"\0" * 20)  # some cameras leave bytes behind the end
    assert has_whole_ends(str(good)) is (None if kind == "tiff" else True)
    level = "decode" if kind == "tiff" else "ends"  # whose header stands anywhere
    faults = find_faults([record(good), record(cut), record(more)], level)
    assert faults.missing == []
    assert list(faults.unusable) == [1]
    assert str(cut) in str(faults.unusable[1])


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
def test_damage_between_whole_ends_is_found_without_decoding_what_says_so(tmp_path, kind):
    whole, file = encoded(kind), tmp_path / f"a.{kind}"
    middle = len(whole) * 4 // 5  # in the pixels
    file.write_bytes(whole)
    assert looks_whole(str(file)) is (None if kind == "tiff" else True)
    assert find_faults([record(file)], "ends").unusable == {}
    damaged = whole[:middle] + b"\xff\xd8\xff\x01" + whole[middle + 4 :]
    file.write_bytes(whole[:middle] if kind == "tiff" else damaged)
    (found,) = find_faults([record(file)], "ends").unusable.values()
    assert isinstance(found, ImageFileError)
    if kind != "tiff":
        assert looks_whole(str(file)) is False


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8\xff", b"BM", b"RIFF"])
def test_what_is_no_image_is_found(tmp_path, content):
    file = tmp_path / "a.jpg"
    file.write_bytes(content)
    faults = find_faults([record(file)], "ends")
    assert isinstance(faults.unusable[0], ImageFileError)


def test_each_level_includes_those_before(tmp_path, monkeypatch):
    good, cut, damaged = (tmp_path / f"{name}.png" for name in ("good", "cut", "damaged"))
    content = bytearray(encoded("png"))
    good.write_bytes(content)
    cut.write_bytes(content[:-99])
    content[len(content) // 2] ^= 0xFF  # its ends are whole
    damaged.write_bytes(content)
    records = [
        *(record(good), record(tmp_path / "none.png"), record(cut)),
        *(record(good, height=25), record(damaged)),
    ]
    found = {level: find_faults(records, level) for level in LEVELS}
    assert [len(found[level].missing) for level in LEVELS] == [0, 1, 1, 1, 1, 1]
    rows = {level: list(found[level].unusable) for level in LEVELS}
    expected = {"none": [], "exist": [], "header": [2, 3], "decode": [2, 3, 4]}
    assert rows == {**expected, "ends": [2, 3, 4], "bytes": [2, 3, 4]}
    monkeypatch.setattr(image_files, "_READ_ALL", 0)
    assert list(find_faults(records, "ends").unusable) == [2, 3]
    assert "its dataset record says (32, 25)" in str(found["header"].unusable[3])


@pytest.mark.parametrize(("wrong", "found"), [([44, 45], []), ([44, 594], [44, 594])])
def test_ends_compare_the_sizes_of_a_sample_and_then_of_all(folder, monkeypatch, wrong, found):
    monkeypatch.setattr(image_files, "_READ_ALL", 0)
    records = [record(folder / f"{number % 60:02d}.png") for number in range(600)]
    for row in wrong:  # of every sixth file the size is looked at
        records[row]["width"] = 33
    assert list(find_faults(records, "ends").unusable) == found


def test_header_sizes_are_upright_ones(tmp_path):
    file, tag = tmp_path / "turned.jpg", Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(PIXELS).save(file, exif=tag)
    assert read_image(str(file)).shape[:2] == (32, 24)
    turned, stored = record(file, height=32, width=24), record(file, as_stored=True)
    for level in ("header", "decode"):
        assert find_faults([turned, stored], level).unusable == {}
        assert list(find_faults([record(file)], level).unusable) == [0]


def test_records_without_a_local_file_are_left_to_the_loader():
    records = [{"file_name": "s3://bucket/a.jpg"}, {"image_id": 3}]
    assert find_faults(records, "decode") == ([], {})


def test_the_message_has_count_first_folder_and_cure(folder):
    for number in range(3):
        (folder / f"0{number + 4}.png").unlink()
    records = [record(folder / f"{number:02d}.png") for number in range(60)]
    faults = find_faults(records, "ends")
    source = "DATASETS.TRAIN mine"
    with pytest.raises(FileNotFoundError) as caught:
        check_image_files(records, faults, source=source, skip=False)
    words = (
        f"DATASETS.TRAIN mine: 3 of 60 image files do not exist, first '{folder}/04.png'; "
        f"3 of them in folder '{folder}'. Put them there, or correct the image folder given with "
        "the dataset. Or set DATASETS.SKIP_UNREADABLE True to train without them."
    )
    assert str(caught.value) == words
    gone = [record(folder / "nowhere" / "a.png")]
    faults = find_faults(gone, "ends")
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        check_image_files(gone, faults, source=source, skip=True)


def test_the_choice_leaves_out_and_counts(folder, caplog):
    (folder / "04.png").unlink()
    (folder / "06.png").write_bytes(encoded("png")[:-99])
    records = [record(folder / f"{number:02d}.png") for number in range(60)]
    faults = find_faults(records, "ends")
    kept = check_image_files(records, faults, source="DATASETS.TRAIN mine", skip=True)
    assert kept == [r for r in records if r["file_name"][-6:] not in ("04.png", "06.png")]
    assert "1 of 60 image files do not exist" in caplog.text
    assert "1 of 60 image files cannot be used, first: image file" in caplog.text
    assert "All 2 are left out" in caplog.text
    with pytest.raises(FileNotFoundError) as caught:  # of an evaluation that is no choice
        check_image_files(records, faults, source="DATASETS.TEST mine")
    assert "SKIP_UNREADABLE" not in str(caught.value)
