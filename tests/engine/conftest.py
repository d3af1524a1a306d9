from __future__ import annotations

import logging

import pytest

from .small_world import small_config, write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Spec of a small COCO dataset on disk."""
    return write_dataset(tmp_path_factory.mktemp("small"))


@pytest.fixture
def config(dataset, tmp_path):
    """A function (*overrides) -> config of the small dataset and detector."""
    return lambda *overrides: small_config(dataset, tmp_path / "run", *overrides)


@pytest.fixture(autouse=True)
def _loggers_propagate():
    """detectron2 switches propagation off, which would hide messages from caplog."""
    names = ("centernet_d2", "detectron2", "fvcore")
    yield
    for name in names:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
