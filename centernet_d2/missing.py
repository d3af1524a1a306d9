"""What this package needs and does not find, and the command that brings it.

One table for `check`, for a name of the package that is used where something is missing, and for
the commands. The standard library only: it has to run where torch or detectron2 is missing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator

TORCH_PAIR = "torch==2.15.0 torchvision==0.29.2"  # tested together, as in requirements/torch.txt
CURE_PAIR = (
    f"install the two together, at once: {{pip}} install --force-reinstall {TORCH_PAIR} "
    "(a CPU-only or older torch does not load the index's torchvision)"
)
CURE_DETECTRON2 = "{python} -m centernet_d2 install-detectron2"

# Module to import -> what pip installs for it. detectron2 is not on the package index.
REQUIREMENTS = {
    **dict.fromkeys(("torch", "torchvision"), TORCH_PAIR),
    **{"numpy": "numpy", "PIL": "pillow", "cv2": "opencv-python-headless"},
    **{"pycocotools": "pycocotools", "fvcore": "fvcore", "iopath": "iopath"},
    **{"matplotlib": "matplotlib", "tqdm": "tqdm", "yaml": "PyYAML", "yacs": "yacs"},
}


def fill(cure: str) -> str:
    """A cure with this environment's own Python and pip in it."""
    pip = f"{sys.executable} -m pip"  # by no `format`: texts of others may have braces, too
    return cure.replace("{python}", sys.executable).replace("{pip}", pip)


def is_missing(module: str) -> bool:
    """Whether no finder knows a module of the top level; nothing is imported."""
    try:
        return importlib.util.find_spec(module) is None
    except (ImportError, ValueError):
        return True


def explain(what: str, error: BaseException) -> str:
    """One sentence: what `what` needs and does not find, and the command that brings it.

    All that is missing is named at once, not only what the import failed at first.

    Args:
        what: what was asked for, such as "centernet_d2.Predictor".
        error: what importing the package ended with.
    """
    names = [name for name in (*REQUIREMENTS, "detectron2") if is_missing(name)]
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and name and name not in names and is_missing(name):
        names.append(name)
    if names:
        are = "is missing" if len(names) == 1 else "are missing"
        listed = ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
        wheels = dict.fromkeys(REQUIREMENTS.get(n, n) for n in names if n != "detectron2")
        cures = [f"{{pip}} install {' '.join(wheels)}"] if wheels else []
        cures += [CURE_DETECTRON2] if "detectron2" in names else []
        return f"{what} needs {listed}, which {are} here: {fill(', then '.join(cures))}."
    last = (str(error).strip().splitlines() or ["no message"])[-1]
    cure = "{python} -m centernet_d2 check says what is broken and its cure"
    if "torchvision::" in last or name in ("torch", "torchvision"):
        cure = CURE_PAIR
    kind = type(error).__name__
    return f"{what} cannot be used, as an import fails ({kind}: {last}): {fill(cure)}."


@contextlib.contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Around an import of an optional package: the ImportError is `explain`'s sentence."""
    try:
        yield
    except ImportError as error:
        raise ImportError(explain(what, error)) from error
