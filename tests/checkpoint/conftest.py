from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own for each test: the folder."""
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
