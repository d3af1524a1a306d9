"""What an installed centernet_d2 must do by itself; `check_wheel.py` runs it."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from pathlib import Path

import torch
from detectron2.modeling import build_model

import centernet_d2
from centernet_d2 import model_zoo, setup

package = Path(centernet_d2.__file__).parent
assert package.is_relative_to(sys.argv[1]), f"not the wheel's files: {package}"
assert (package / "py.typed").exists(), "the wheel has no py.typed"
for outside in ("benchmarks", "tests", "tools", "examples"):
    assert importlib.util.find_spec(outside) is None, f"{outside} is importable"

modules = [m.name for m in pkgutil.walk_packages(centernet_d2.__path__, "centernet_d2.")]
modules.remove("centernet_d2.layers.directional_pool_triton")  # needs Triton
for name in modules:
    importlib.import_module(name)

names = model_zoo.config_names()
assert len(names) > 30, names
for name in names:
    assert Path(model_zoo.get_config_file(name)).is_relative_to(package), name
    model_zoo.get_config(name)

cfg = model_zoo.get_config("Shapes/points_tiny.yaml")
cfg.MODEL.DEVICE = "cpu"
model = build_model(setup(cfg)).eval()
(found,) = model([{"image": torch.zeros(3, 64, 96, dtype=torch.uint8), "height": 64, "width": 96}])
print(
    f"centernet_d2 {centernet_d2.__version__} from its wheel: {len(modules)} modules import, "
    f"{len(names)} configs load, a detector predicts ({len(found['instances'])} boxes)"
)
