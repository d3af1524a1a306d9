"""Files of text in the encodings that editors write."""

from __future__ import annotations

import pytest

from centernet_d2.text_files import PathError, TextFileError, output_file, output_folder, read_text

TEXT = 'a line\n{"name": "Kätzchen 猫"}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_text_is_the_same_in_every_encoding(tmp_path, encoding, end):
    file = tmp_path / "file.txt"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    file.write_bytes((mark + TEXT.replace("\n", end)).encode(encoding))
    assert read_text(str(file)) == TEXT


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\xff\xfea"])
def test_what_is_no_text_is_named(tmp_path, content):
    file = tmp_path / "file.txt"
    file.write_bytes(content)
    with pytest.raises(TextFileError, match=r"file\.txt' is no text in UTF-8 .*save it as UTF-8"):
        read_text(str(file))


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_text(str(tmp_path / "none.txt"))


def test_a_place_to_write_to_is_no_other_kind_of_thing(tmp_path):
    (file := tmp_path / "a.txt").write_text("")
    assert output_folder(f"{tmp_path}/new/er") == f"{tmp_path}/new/er"
    assert output_file(str(file)) == str(file)
    for taken in (file, file / "inner"):
        with pytest.raises(PathError, match=f"^OUTPUT_DIR: '{file}' is a file: give a folder"):
            output_folder(str(taken), "OUTPUT_DIR: ")
    with pytest.raises(PathError, match=f"^'{tmp_path}' is a folder: give the name of a file"):
        output_file(str(tmp_path))
