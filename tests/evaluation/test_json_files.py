from __future__ import annotations

import errno
import json
import os
import stat

import pytest

from centernet_d2.evaluation.json_files import write_json_atomically


def test_writes_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json_atomically(str(path), {"x": [1, 2.5]})
    assert json.loads(path.read_text()) == {"x": [1, 2.5]}
    assert os.listdir(path.parent) == ["b.json"]


def test_has_the_rights_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").write_text("")
    write_json_atomically(str(tmp_path / "b.json"), 1)
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ordinary", "b.json")]
    assert rights[0] == rights[1]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_what_is_no_json_leaves_the_old_file(tmp_path, value):
    path = tmp_path / "b.json"
    path.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json_atomically(str(path), [1, value])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.json"]


def test_full_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "b.json"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"b\.json.*No space left.*older file.*unchanged"):
        write_json_atomically(str(path), [1])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.json"]
