"""Registered names beside other detectron2 packages, whichever is imported first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from centernet_d2 import setup
from centernet_d2.modeling import registration

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
assert ours.registration.backbone_name("build_dla_backbone") == "build_dla_backbone"
assert ours.registration.backbone_name("build_encoder_decoder_backbone").startswith(
    "build_centernet_"
)
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
    assert "'build_dla_backbone' is the backbone of __main__" in done.stderr


def test_old_names_of_saved_configs_build_the_same_and_name_the_new_one(tiny_config, caplog):
    cfg = tiny_config("MODEL.BACKBONE.NAME", "build_encoder_decoder_backbone")
    registration._tell_once.cache_clear()
    torch.manual_seed(0)
    old = build_model(cfg)
    assert cfg.MODEL.BACKBONE.NAME == "build_encoder_decoder_backbone"
    (record,) = caplog.records
    assert "is now 'build_centernet_encoder_decoder_backbone'" in record.getMessage()
    setup(cfg)
    assert cfg.MODEL.BACKBONE.NAME == "build_centernet_encoder_decoder_backbone"
    torch.manual_seed(0)
    new = build_model(cfg)
    assert len(caplog.records) == 1
    for (name, first), (_, second) in zip(
        old.state_dict().items(), new.state_dict().items(), strict=True
    ):
        assert torch.equal(first, second), name


def test_names_of_other_backbones_are_left():
    for name in ("build_resnet_backbone", "build_no_such_backbone", "mine"):
        assert registration.backbone_name(name) == name
