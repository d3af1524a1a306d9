"""The stream of positions: complete, repeatable, split over processes, resumable."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

from centernet_d2.data.samplers import PositionSampler, epoch_order, seed_generators, seeded


def take(sampler: PositionSampler, batches: int) -> list[list[tuple[int, int]]]:
    return list(itertools.islice(sampler, batches))


def flat(batches) -> list[tuple[int, int]]:
    return [item for batch in batches for item in batch]


def test_each_epoch_holds_each_image_once():
    stream = flat(take(PositionSampler(5, batch_size=2, seed=3), 10))
    assert [position for _, position in stream] == list(range(20))
    for epoch in range(4):
        assert sorted(i for i, _ in stream[5 * epoch : 5 * epoch + 5]) == [0, 1, 2, 3, 4]
    assert len({tuple(epoch_order(5, e, seed=3)) for e in range(8)}) > 1


def test_seed_decides_the_order():
    first, again, other = (epoch_order(50, 0, seed=s).tolist() for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("start", [3, 8, 17])
def test_start_continues_the_stream(start):
    whole = flat(take(PositionSampler(7, batch_size=1, seed=5), 40))
    rest = flat(take(PositionSampler(7, batch_size=1, seed=5, start=start), 40 - start))
    assert rest == whole[start:]


@pytest.mark.parametrize(("batch_size", "world_size"), [(4, 1), (4, 2), (8, 4), (114, 8), (5, 3)])
def test_processes_share_each_batch(batch_size, world_size):
    whole = take(PositionSampler(11, batch_size=batch_size, seed=2), 3)
    shares = [
        take(PositionSampler(11, batch_size=batch_size, seed=2, rank=r, world_size=world_size), 3)
        for r in range(world_size)
    ]
    for step in range(3):
        assert sorted(flat(share[step] for share in shares)) == sorted(whole[step])
        sizes = [len(share[step]) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_impossible_splits_say_what_to_set():
    with pytest.raises(ValueError, match=r"SOLVER.IMS_PER_BATCH to 4 or more.*--num-gpus to 2"):
        PositionSampler(10, batch_size=2, world_size=4)
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN"):
        PositionSampler(0)


def test_seeded_covers_three_generators_and_restores_them():
    def draw():
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_generators(11)
    expected_after = draw()
    seed_generators(11)
    with seeded(1, 2):
        inside = draw()
    assert draw() == expected_after
    with seeded(1, 2):
        assert draw() == inside
    with seeded(1, 3):
        other = draw()
    assert all(a != b for a, b in zip(inside, other, strict=True))


def test_seeded_restores_after_an_error():
    seed_generators(4)
    expected = random.random()
    seed_generators(4)
    with pytest.raises(KeyError), seeded(9):
        raise KeyError
    assert random.random() == expected
