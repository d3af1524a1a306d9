from __future__ import annotations

from pathlib import Path

import pytest

from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.settings import SPLITS


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A function that makes a registered split in a folder of this test run."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "val"
        ensure_split(SPLITS[name], str(folder))
        return folder

    return make
