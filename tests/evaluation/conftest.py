from __future__ import annotations

import copy

import pytest

from .random_coco import random_dataset, random_detections, register, unregister

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
    names = []

    def add(dataset: dict, name: str = NAME) -> str:
        register_dataset(name, tmp_path / f"{name}.json", copy.deepcopy(dataset))
        names.append(name)
        return name

    yield add
    for name in names:
        unregister(name)
