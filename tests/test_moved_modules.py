"""Old names of modules say the new ones, and the new ones are there."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

from centernet_d2.moved_modules import MOVED


@pytest.mark.parametrize("name", MOVED)
def test_an_old_name_says_a_new_one_that_is_there(name):
    with pytest.raises(ModuleNotFoundError, match=rf"^centernet_d2\.{name} is now ") as error:
        import_module(f"centernet_d2.{name}")
    assert find_spec(str(error.value).split(" is now ")[1].split(",")[0].split(" ")[0])


def test_what_never_was_is_not_found_as_usual():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'centernet_d2\.nothing'"):
        import_module("centernet_d2.nothing")
