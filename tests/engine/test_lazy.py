"""The engine's parts without a config: LazyConfig builds the loaders, detectron2's trainer runs."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import LazyCall, instantiate
from detectron2.engine import SimpleTrainer
from detectron2.utils.events import EventStorage
from torch import nn

from centernet_d2.data.loader import build_test_loader, build_train_loader, load_dataset_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.setup import setup


class Brightness(nn.Module):
    """Learns the mean of all pixels."""

    def __init__(self):
        super().__init__()
        self.guess = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        means = torch.stack([sample["image"].float().mean() for sample in batch])
        return {"loss": (self.guess - means / 255).square().mean()}


@pytest.fixture
def name(config):
    return setup(config()).DATASETS.TRAIN[0]


def test_loaders_from_lazy_calls(name):
    loader = instantiate(
        LazyCall(build_train_loader)(
            dataset=LazyCall(load_dataset_dicts)(names=[name]),
            mapper=LazyCall(DetectionMapper)(is_train=True, augmentations=[]),
            total_batch_size=3,
            seed=5,
        )
    )
    model = Brightness()
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.3))
    with EventStorage(0) as storage:
        for trainer.iter in range(8):
            trainer.run_step()
            storage.step()
    assert model.guess.item() == pytest.approx(0.5, abs=0.1)

    test_loader = instantiate(
        LazyCall(build_test_loader)(
            dataset=LazyCall(load_dataset_dicts)(names=[name], key="the test loader"),
            mapper=LazyCall(DetectionMapper)(is_train=False),
            batch_size=4,
        )
    )
    assert sum(map(len, test_loader)) == 10
