from __future__ import annotations

import os

import pytest

from centernet_d2.atomic_write import atomic_folder, atomic_write


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
