"""The stream of training samples: the image at each position, and its randomness.

Both are functions of (seed, position) alone. A run that stops after P images therefore goes on at
position P with the same images, in the same order, cropped and flipped in the same way, whatever
the number of loader workers.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch.utils.data import Sampler


@dataclass(eq=False)
class PositionSampler(Sampler[list[tuple[int, int]]]):
    """Endless batches of (index, position) for one process.

    Position p of the stream is entry `p % size` of the permutation of epoch `p // size`. Every
    `batch_size` positions form the batch of one step; process r of W takes the positions r, r + W,
    ... of it. Where W does not divide `batch_size` the first processes take one image more (the
    published runs split 114 images over 4 GPUs in such a way).
    """

    size: int  # images of the dataset
    _: KW_ONLY
    batch_size: int = 1  # images per step, over all processes
    seed: int = 0  # of the permutations, equal in all processes
    start: int = 0  # images consumed already, over all processes
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("There are no training images. Check DATASETS.TRAIN.")
        if self.batch_size < self.world_size:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH {self.batch_size} is less than the number of processes "
                f"{self.world_size}, so some would have no image. Set SOLVER.IMS_PER_BATCH to "
                f"{self.world_size} or more, or --num-gpus to {self.batch_size} or less."
            )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.arange(self.size)
        first = self.start
        while True:
            batch = []
            for position in range(first + self.rank, first + self.batch_size, self.world_size):
                if position // self.size != epoch:
                    epoch = position // self.size
                    order = epoch_order(self.size, epoch, seed=self.seed)
                batch.append((int(order[position % self.size]), position))
            yield batch
            first += self.batch_size


def epoch_order(size: int, epoch: int, *, seed: int) -> np.ndarray:
    """Return the indices 0 .. size - 1 in the order of `epoch`, an int64 array of shape (size,)."""
    return np.random.default_rng([seed, epoch]).permutation(size)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed `random`, numpy's global and torch's CPU generator and restore all three after.

    `key` are non-negative integers, for example (seed, position).
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_generators(*key)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seed_generators(*key: int) -> None:
    """Seed the generators of `seeded` by the non-negative integers `key`, for good."""
    words = np.random.SeedSequence(key).generate_state(8)
    np.random.seed(words[:4])
    random.seed(int(words[4]) << 32 | int(words[5]))
    # Not torch.manual_seed: it would seed CUDA as well, which a loader worker must not touch.
    torch.default_generator.manual_seed(int(words[6]) << 32 | int(words[7]))
