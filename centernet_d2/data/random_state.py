"""Draws from numpy's global random state, the one source of chance in the input.

The loader seeds that state for each sample, so that a sample's augmentation depends on its seed and
position and on nothing else; a generator object of our own would not see the seed.
"""

from __future__ import annotations

import numpy as np

normal = np.random.normal
permutation = np.random.permutation
randint = np.random.randint
seed = np.random.seed
uniform = np.random.uniform
