from __future__ import annotations

import errno
import json
import os
import stat

import pytest
from detectron2.utils.file_io import PathHandler, PathManager

from centernet_d2.atomic_write import atomic_folder, atomic_write, write_json


def fill(folder, **files):
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path, "w") as file:
        file.write("ü")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "ü"
    with pytest.raises(TypeError), atomic_write(path, "w") as file:
        file.writelines(["half", None])
    assert content(path.parent) == {"file.txt": "ü"}


def test_a_written_file_has_the_rights_of_an_ordinary_one(tmp_path):
    (tmp_path / "ordinary").write_text("")
    write_json(tmp_path / "new" / "b.json", {"x": [1, 2.5]}, indent=1)
    assert json.loads((tmp_path / "new" / "b.json").read_text()) == {"x": [1, 2.5]}
    rights = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("ordinary", "new/b.json")]
    assert rights[0] == rights[1]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_what_is_no_json_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "b.json"
    path.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, [1, value])
    assert content(tmp_path) == {"b.json": "old"}


def test_full_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "b.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match=r"b\.json.*No space left.*there before is unchanged"
    ) as caught:
        write_json(path, [1])
    assert caught.value.errno == errno.ENOSPC
    assert content(tmp_path) == {"b.json": "old"}


def test_a_remote_file_is_put_by_its_store(tmp_path):
    class Store(PathHandler):
        def _get_supported_prefixes(self):
            return ["teststore://"]

        def _open(self, path, mode="r", buffering=-1, **kwargs):
            if "refused" in path:
                raise OSError("403 forbidden")
            return open(tmp_path / path.rpartition("/")[2], mode)

    PathManager.register_handler(Store(), allow_override=True)
    with atomic_write("teststore://bucket/a.pth") as file:
        file.write(b"tensors")
    write_json("teststore://bucket/b.json", 1)
    assert content(tmp_path) == {"a.pth": "tensors", "b.json": "1"}
    with pytest.raises(OSError, match=r"teststore://refused/c \(403 forbidden\)"):
        write_json("teststore://refused/c", 1)


def test_a_folder_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder"
    with atomic_folder(path) as folder:
        fill(folder, a="1", b="2")
        assert not path.exists()
    assert content(path) == {"a": "1", "b": "2"}
    with atomic_folder(path) as folder:
        fill(folder, b="3")
        assert content(path) == {"a": "1", "b": "2"}
    assert content(path) == {"b": "3"}
    with pytest.raises(TypeError), atomic_folder(path) as folder:
        fill(folder, c="4", d=None)
    assert content(path) == {"b": "3"}
    assert os.listdir(path.parent) == ["folder"]


def test_an_older_folder_comes_back_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    with atomic_folder(path) as folder:
        fill(folder, a="1")
    replace = os.replace

    def refuse(source, target):
        if source.endswith(".part"):
            raise OSError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError), atomic_folder(path) as folder:
        fill(folder, a="2")
    assert content(path) == {"a": "1"}
    assert os.listdir(tmp_path) == ["folder"]
