"""Registered names beside other detectron2 packages, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

OTHERS = """
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
for name in ("dla", "timm", "hourglass", "resnet_fpn_stride4"):
    exec(f"def build_{name}_backbone(cfg, input_shape): ...")
    BACKBONE_REGISTRY.register(locals()[f"build_{name}_backbone"])
"""
OTHER_DETECTOR = """
@META_ARCH_REGISTRY.register()
class CornerNet: ...
"""
CHECK = """
import centernet_d2.modeling as ours
from centernet_d2.modeling.backbone import DLA
assert BACKBONE_REGISTRY.get("build_dla_backbone") is build_dla_backbone
assert BACKBONE_REGISTRY.get("build_centernet_dla_backbone").__module__ == DLA.__module__
"""
IMPORT = "import centernet_d2"


LOST = """
assert META_ARCH_REGISTRY.get("CornerNet") is CornerNet
assert ours.CornerNet is not CornerNet
from centernet_d2.engine.setup import load_config
centernet_d2.setup(load_config("", ["MODEL.META_ARCHITECTURE", "PointsCenterNet"]))
try:
    centernet_d2.setup(load_config("", ["MODEL.META_ARCHITECTURE", "CornerNet"]))
except ValueError as error:
    assert "'CornerNet' is __main__.CornerNet, which was registered before" in str(error), error
else:
    raise AssertionError("no error")
"""
PROGRAMS = {
    "theirs first": [OTHERS, OTHER_DETECTOR, IMPORT, CHECK, LOST],
    "ours first": [IMPORT, OTHERS, CHECK],
}


@pytest.mark.parametrize("order", PROGRAMS)
def test_other_packages_may_register_the_short_names(order):
    """And a detector that has lost its name to them says so when it is asked for by it."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", "\n".join(PROGRAMS[order])]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # detectron2's, where it is imported before.
    assert ("FutureWarning" in done.stderr) == (order == "theirs first")
