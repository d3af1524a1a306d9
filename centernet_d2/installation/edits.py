"""What the installer changes in detectron2's sources, as a table.

The official sources assume tools that are gone (``pkg_resources``, numpy's old type names) or a
compiled extension that few machines can build. The sources are pinned, so a row that finds less
than it expects means that something is not what it was: the tool then stops and names the row.
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
    minimum: int = 1  # fewer replacements than this over all files is an error


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
            "python -m centernet_d2 install-detectron2 --source git --with-ops"
        )


_C = _MissingOps()
'''

# Both sources need these two, so that setuptools is not needed at run time.
_GONE = "setuptools 82 removed pkg_resources", "detectron2/model_zoo/model_zoo.py"
PKG_RESOURCES_EDITS = (
    Edit("pkg_resources-import", *_GONE, r"^import pkg_resources$", "import importlib.resources"),
    Edit(
        "pkg_resources-use",
        *_GONE,
        r"pkg_resources\.resource_filename\(\s*"
        r'"detectron2\.model_zoo", os\.path\.join\("configs", config_path\)\s*\)',
        'str(\n        importlib.resources.files("detectron2.model_zoo")'
        '.joinpath("configs", config_path)\n    )',
    ),
)

# Only for a wheel without the compiled extension. `evaluation/fast_eval_api.py` keeps its plain
# import: that it fails is how COCOEvaluator learns to take pycocotools instead.
_LAYERS = "detectron2/layers/"
_MUST_IMPORT = "the layers package must import without the extension"
_MUST_SAY = "a use of a rotated op should say what is missing"
_STAND_IN = "from detectron2._missing_ops import _C"
_INSTEAD = r"\bfrom detectron2 import _C$", _STAND_IN
_BESIDE_TORCH = r"^import torch$", f"import torch\n\n{_STAND_IN}"
_NAMESPACE = r"\btorch\.ops\.detectron2\.", "_C."
_ROTATED = _LAYERS + "*rotated*.py"
_MISSING_OPS_EDITS = (
    Edit("missing-ops-deformable", _MUST_IMPORT, _LAYERS + "deform_conv.py", *_INSTEAD),
    Edit("missing-ops-nms-import", _MUST_SAY, _LAYERS + "nms.py", *_BESIDE_TORCH),
    Edit("missing-ops-nms-use", _MUST_SAY, _LAYERS + "nms.py", *_NAMESPACE),
)
MAIN_MISSING_OPS_EDITS = (
    *_MISSING_OPS_EDITS,
    Edit("missing-ops-rotated-import", _MUST_SAY, _LAYERS + "roi_align_rotated.py", *_BESIDE_TORCH),
    Edit("missing-ops-boxes-import", _MUST_SAY, _LAYERS + "rotated_boxes.py", *_BESIDE_TORCH),
    Edit("missing-ops-rotated-use", _MUST_SAY, _ROTATED, *_NAMESPACE, minimum=4),
)

RELEASE_05_EDITS = (
    *_MISSING_OPS_EDITS,
    Edit("missing-ops-rotated", _MUST_IMPORT, _ROTATED, *_INSTEAD, minimum=2),
    Edit(
        "coco-evaluator-fallback",
        "without the extension the evaluator takes pycocotools, as detectron2 main does",
        "detectron2/evaluation/coco_evaluation.py",
        r"^(from detectron2\.evaluation\.fast_eval_api import COCOeval_opt)$",
        r"try:\n    \1\nexcept ImportError:\n    COCOeval_opt = COCOeval",
    ),
    Edit(
        "caffe2-optional",
        "caffe2 left torch; the rest of the export package must import, as in detectron2 main",
        "detectron2/export/__init__.py",
        r"^(from \.api import \*)$",
        r"try:\n    \1\nexcept ImportError:\n    pass",
    ),
    Edit(
        "numpy-builtin-types",
        "numpy 1.24 removed its aliases of Python's own types",
        "detectron2/*.py",
        r"\bnp\.(bool|int|float|object|str)\b",
        r"\1",
        minimum=18,
    ),
    Edit(
        "pillow-linear",
        "Pillow 10 removed the old name of BILINEAR",
        "detectron2/data/transforms/transform.py",
        r"\bImage\.LINEAR\b",
        "Image.BILINEAR",
    ),
)

# What detectron2 needs at run time. Left out of the official list: black (pinned in 0.5 to a
# version that no longer runs, and only used to beautify a dumped config), and what only caffe2
# export wanted. torch, torchvision and opencv are missing from the official list too.
REQUIREMENTS = tuple(
    """
    numpy Pillow>=7.1 matplotlib pycocotools>=2.0.2 termcolor>=1.1 yacs>=0.1.8 tabulate
    cloudpickle tqdm>4.29.0 tensorboard fvcore>=0.1.5,<0.1.6 iopath>=0.1.7,<0.1.10
    omegaconf>=2.3 hydra-core>=1.3.2 packaging
    """.split()  # noqa: SIM905
)
