from __future__ import annotations

import copy

import pytest
from catalogs import unregistered  # noqa: F401

from centernet_d2.evaluation.coco_scores import BACKENDS

from .random_coco import random_dataset, random_detections, register

NAME = "evaluation_test_dataset"


@pytest.fixture
def dataset() -> dict:
    return random_dataset(seed=0)


@pytest.fixture
def detections(dataset):
    return random_detections(dataset, seed=0)


@pytest.fixture
def register_dataset():
    """How `registered` registers: function(name, file, dataset)."""
    return register


@pytest.fixture
def registered(tmp_path, register_dataset):
    """Call with a COCO dictionary; returns the registered name."""

    def add(dataset: dict, name: str = NAME) -> str:
        register_dataset(name, tmp_path / f"{name}.json", copy.deepcopy(dataset))
        return name

    return add


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    if request.param == "faster-coco-eval":
        pytest.importorskip("faster_coco_eval", reason="optional package is missing")
    return request.param
