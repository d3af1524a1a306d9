from __future__ import annotations

import json
from pathlib import Path

import pytest

from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.registration import ANNOTATION_FILE
from centernet_d2.synthetic.settings import SPLITS


@pytest.fixture(scope="module")
def val(request, tmp_path_factory) -> Path:
    """The real split that a module names as `VAL`, in a folder of this test run."""
    folder = tmp_path_factory.mktemp("made") / "val"
    ensure_split(SPLITS[request.module.VAL], str(folder))
    return folder


@pytest.fixture(scope="module")
def content(val) -> dict:
    return json.loads((val / ANNOTATION_FILE).read_text())
