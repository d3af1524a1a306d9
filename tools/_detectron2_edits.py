"""What tools/install_detectron2.py changes in detectron2's sources, as a table.

The official sources assume tools that are gone (``pkg_resources``, numpy's old type names) or a
compiled extension that few machines can build. Each row below is one textual change with the
reason for it. The sources are pinned, so a row that finds less than it expects means that something
is not what it was when the row was written: the tool then stops and names the row.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """One textual change, made in every file of the package that the glob names."""

    name: str
    why: str
    files: str  # glob on the path inside the wheel; * crosses folders
    pattern: str  # regular expression; ^ and $ match at every line
    replacement: str
    minimum: int  # fewer replacements than this over all files is an error


MISSING_OPS_PATH = "detectron2/_missing_ops.py"

MISSING_OPS_TEXT = '''\
"""Stands in for detectron2's compiled extension, which this wheel was built without."""


class _MissingOps:
    def __getattr__(self, name):
        if name.startswith("__"):  # copy, pickle and inspect ask for these: not a use of an op
            raise AttributeError(name)
        raise ImportError(
            f"detectron2's compiled operator {name!r} was used, but this detectron2 is a pure "
            "Python build. Rebuild it with its C++ part (needs a compiler): "
            "python tools/install_detectron2.py --source git --with-ops"
        )


_C = _MissingOps()
'''

_MODEL_ZOO = "detectron2/model_zoo/model_zoo.py"

# Both sources need these two, so that setuptools is not needed at run time.
PKG_RESOURCES_EDITS = (
    Edit(
        name="pkg_resources-import",
        why="setuptools 82 removed pkg_resources",
        files=_MODEL_ZOO,
        pattern=r"^import pkg_resources$",
        replacement="import importlib.resources",
        minimum=1,
    ),
    Edit(
        name="pkg_resources-use",
        why="setuptools 82 removed pkg_resources",
        files=_MODEL_ZOO,
        pattern=(
            r"pkg_resources\.resource_filename\(\s*"
            r'"detectron2\.model_zoo", os\.path\.join\("configs", config_path\)\s*\)'
        ),
        replacement=(
            'str(\n        importlib.resources.files("detectron2.model_zoo")'
            '.joinpath("configs", config_path)\n    )'
        ),
        minimum=1,
    ),
)

# Only for a wheel without the compiled extension. `evaluation/fast_eval_api.py` keeps its plain
# import: that it fails is how COCOEvaluator learns to take pycocotools instead.
_OPS_NAMESPACE = r"\btorch\.ops\.detectron2\."
_IMPORT_TORCH = r"^import torch$"
_IMPORT_TORCH_AND_STAND_IN = "import torch\n\nfrom detectron2._missing_ops import _C"
_MISSING_OPS_EVERYWHERE = (
    Edit(
        name="missing-ops-deformable",
        why="the layers package must import without the extension",
        files="detectron2/layers/deform_conv.py",
        pattern=r"\bfrom detectron2 import _C$",
        replacement="from detectron2._missing_ops import _C",
        minimum=1,
    ),
    Edit(
        name="missing-ops-nms-import",
        why="a use of rotated NMS should say what is missing",
        files="detectron2/layers/nms.py",
        pattern=_IMPORT_TORCH,
        replacement=_IMPORT_TORCH_AND_STAND_IN,
        minimum=1,
    ),
    Edit(
        name="missing-ops-nms-use",
        why="a use of rotated NMS should say what is missing",
        files="detectron2/layers/nms.py",
        pattern=_OPS_NAMESPACE,
        replacement="_C.",
        minimum=1,
    ),
)

MAIN_MISSING_OPS_EDITS = (
    *_MISSING_OPS_EVERYWHERE,
    Edit(
        name="missing-ops-rotated-import",
        why="a use of a rotated op should say what is missing",
        files="detectron2/layers/roi_align_rotated.py",
        pattern=_IMPORT_TORCH,
        replacement=_IMPORT_TORCH_AND_STAND_IN,
        minimum=1,
    ),
    Edit(
        name="missing-ops-boxes-import",
        why="a use of a rotated op should say what is missing",
        files="detectron2/layers/rotated_boxes.py",
        pattern=_IMPORT_TORCH,
        replacement=_IMPORT_TORCH_AND_STAND_IN,
        minimum=1,
    ),
    Edit(
        name="missing-ops-rotated-use",
        why="a use of a rotated op should say what is missing",
        files="detectron2/layers/*rotated*.py",
        pattern=_OPS_NAMESPACE,
        replacement="_C.",
        minimum=4,
    ),
)

RELEASE_05_EDITS = (
    *_MISSING_OPS_EVERYWHERE,
    Edit(
        name="missing-ops-rotated",
        why="the layers package must import without the extension",
        files="detectron2/layers/*rotated*.py",
        pattern=r"^from detectron2 import _C$",
        replacement="from detectron2._missing_ops import _C",
        minimum=2,
    ),
    Edit(
        name="coco-evaluator-fallback",
        why="without the extension the evaluator takes pycocotools, as detectron2 main does",
        files="detectron2/evaluation/coco_evaluation.py",
        pattern=r"^from detectron2\.evaluation\.fast_eval_api import COCOeval_opt$",
        replacement=(
            "try:\n"
            "    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
            "except ImportError:\n"
            "    COCOeval_opt = COCOeval"
        ),
        minimum=1,
    ),
    Edit(
        name="caffe2-optional",
        why="caffe2 left torch; the rest of the export package must import, as in detectron2 main",
        files="detectron2/export/__init__.py",
        pattern=r"^from \.api import \*$",
        replacement="try:\n    from .api import *\nexcept ImportError:\n    pass",
        minimum=1,
    ),
    Edit(
        name="numpy-builtin-types",
        why="numpy 1.24 removed its aliases of Python's own types",
        files="detectron2/*.py",
        pattern=r"\bnp\.(bool|int|float|object|str)\b",
        replacement=r"\1",
        minimum=18,
    ),
    Edit(
        name="pillow-linear",
        why="Pillow 10 removed the old name of BILINEAR",
        files="detectron2/data/transforms/transform.py",
        pattern=r"\bImage\.LINEAR\b",
        replacement="Image.BILINEAR",
        minimum=1,
    ),
)

# What detectron2 needs at run time. Left out of the official list: black (pinned in 0.5 to a
# version that no longer runs, and only used to beautify a dumped config), and what only caffe2
# export wanted. torch, torchvision and opencv are missing from the official list too.
REQUIREMENTS = (
    "numpy",
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7,<0.1.10",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
    "packaging",
)
