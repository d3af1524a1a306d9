"""Modules of one's own, imported before a config is read: `--import` of the commands.

A module registers what it adds (datasets, detectors, point tasks, evaluators) as it is imported. If
it defines `add_config(cfg)`, that is called with the defaults before the config file is merged, to
add config keys of its own.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from types import ModuleType

from detectron2.config import CfgNode

from ..text_files import expanded

AddKeys = Callable[[CfgNode], object]


def import_all(names: Iterable[str]) -> list[AddKeys]:
    """Import modules, and return the `add_config` of those that have one."""
    modules = map(import_user_module, names)
    return [module.add_config for module in modules if hasattr(module, "add_config")]


def import_user_module(name: str) -> ModuleType:
    """Import `package.module`, or a file that ends in .py, once per process.

    A file is imported under its name without the ending, and files beside it can be imported too.

    Raises:
        ImportError: it is not there, or fails; the message says which and what to do.
    """
    name = expanded(name)
    if name.endswith(".py") and not os.path.isfile(name):
        raise ImportError(f"--import {name}: there is no such file. Check its path.")
    try:
        if name.endswith(".py"):
            return _import_file(os.path.abspath(name))
        _add_to_path(os.getcwd())  # a program's own folder stands there in its place
        return importlib.import_module(name)
    except Exception as error:
        reason = (
            f"it raises {type(error).__name__}: {error}. The traceback above names the line of it "
            "to correct"
        )
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            reason = (
                f"{error}. Install its package (pip install -e .), start in the folder that holds "
                "it, or give the path of a file: --import path/to/file.py"
            )
        raise ImportError(f"--import {name}: {reason}.") from error


def _import_file(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0]
    if (known := sys.modules.get(name)) is not None:
        if os.path.realpath(getattr(known, "__file__", None) or "") == os.path.realpath(path):
            return known
        raise ValueError(f"a module named '{name}' is imported already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    _add_to_path(os.path.dirname(path))
    sys.modules[name] = module  # what it defines can be pickled
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _add_to_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)
