"""Tensors of nested values."""

from collections import namedtuple

import torch

from centernet_d2.structures.nested import mapped, tensors_of
from centernet_d2.structures.padded_images import PaddedImages

Pair = namedtuple("Pair", "first second")


def test_tensors_change_and_all_else_stays():
    numbers = [torch.tensor(float(number)) for number in range(6)]
    images = PaddedImages(numbers[0], ((4, 5),), scale=numbers[1], shift=numbers[2])
    nested = {"a": [images, None, 7], "b": Pair(numbers[3], (numbers[4],)), "c": numbers[5]}
    assert all(map(lambda one, other: one is other, tensors_of(nested), numbers))
    doubled = mapped(nested, lambda tensor: 2 * tensor)
    assert [float(each) for each in tensors_of(doubled)] == [0, 2, 4, 6, 8, 10]
    assert (type(doubled["b"]), doubled["a"][1:]) == (Pair, [None, 7])
    assert doubled["a"][0].image_sizes == ((4, 5),)
    assert tensors_of(nested) == numbers  # as it was
