"""Imports go one way: which room may import which, read from the syntax tree."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "centernet_d2"

# room -> the rooms that it may import. A single module counts as a room.
ALLOWED = {
    "checked_values": set(),
    "layers": {"checked_values"},
    "structures": set(),
    "targets": {"structures", "checked_values"},
    "losses": {"structures", "checked_values"},
    "decoding": {"structures", "checked_values"},
    "config": {"checked_values", "detectron2_versions", "text_files"},
    "allocator": set(),
    "atomic_write": set(),
    "text_files": set(),
    "check": {"layers", "detectron2_versions", "installation", "missing"},
    "installation": {"missing"},
    "missing": set(),
    "detectron2_versions": {"threads"},
    "threads": {"runtime"},
    "progress": set(),
    "quiet": set(),
    "__main__": {"cli"},
    "modeling": {
        *("layers", "structures", "targets", "losses", "decoding"),
        *("checked_values", "config", "detectron2_versions", "missing"),
    },
    "data": {
        *("structures", "checked_values", "detectron2_versions"),
        *("progress", "text_files", "atomic_write"),
    },
    "synthetic": {"structures", "data", "atomic_write", "progress"},
    "evaluation": {
        *("structures", "detectron2_versions", "atomic_write", "checked_values", "progress"),
        "text_files",
    },
    "visualization": {"structures", "checked_values"},
    "analysis": {
        *("structures", "targets", "modeling", "data", "evaluation", "visualization"),
        *("atomic_write", "checked_values", "text_files", "progress"),
    },
    "checkpoint": {
        *("structures", "config", "atomic_write", "detectron2_versions", "missing", "progress"),
    },
    "model_zoo": {
        *("config", "checkpoint", "checked_values", "atomic_write", "missing", "progress"),
    },
    "runtime": set(),
    "export": {"structures", "decoding", "modeling", "runtime", "missing"},
    "reproduction": {
        *("checked_values", "config", "data", "engine", "visualization", "analysis"),
        *("atomic_write", "progress"),
        *("model_zoo", "checkpoint", "detectron2_versions", "threads"),
    },
    "app": {
        *("structures", "data", "modeling", "checkpoint", "model_zoo", "engine"),
        *("visualization", "inference", "runtime"),
    },
}
EVERYTHING = {"engine", "inference", "cli", "benchmark", "__init__"}
TORCH_ONLY = ("targets", "losses", "decoding", "structures")
# These are torch and more: what brings images to tensors, and a field of detectron2's Instances.
NOT_TORCH_ONLY = ("structures/padded_images.py", "structures/boxes3d.py")
# Single modules of another room: what a row of KITTI's files says is written down once, and a COCO
# file, like any record, is read and checked once, for training and for scoring.
# And a detector names the ground truth that it learns, and asks the datasets for their joints.
ALLOWED_MODULES = {
    "evaluation": {
        *(f"centernet_d2.data.datasets.{name}" for name in ("kitti_labels", "coco_file")),
        "centernet_d2.data.records",
    },
    "modeling": {
        *(f"centernet_d2.data.fields.{name}" for name in ("base", "joints", "boxes3d")),
        "centernet_d2.data.checks3d",
        "centernet_d2.data.datasets.skeletons",
    },
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path):
    """Absolute dotted names of all imports of a file, relative ones resolved."""
    parts = ["centernet_d2", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parts[: -node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "centernet_d2":  # from . import room
                yield from (f"centernet_d2.{alias.name}" for alias in node.names)
            else:
                yield module


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_room_imports_only_what_stands_before_it():
    wrong = []
    for path in files():
        room = room_of(path)
        if room in EVERYTHING:
            continue
        assert room in ALLOWED, f"{path} is in no known room"
        for module in imported_modules(path):
            if not module.startswith("centernet_d2.") or module in ALLOWED_MODULES.get(room, ()):
                continue
            other = module.split(".")[1]
            if other not in (room, "__version__") and other not in ALLOWED[room]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_need_torch_only():
    wrong = []
    for path in files():
        relative = path.relative_to(PACKAGE).as_posix()
        if room_of(path) not in TORCH_ONLY or relative in NOT_TORCH_ONLY:
            continue
        for module in imported_modules(path):
            if module.split(".")[0] in ("detectron2", "fvcore", "cv2", "torchvision"):
                wrong.append(f"{relative} imports {module}")
    assert not wrong, "\n".join(wrong)


# In these rooms a config is read only by functions whose names begin so, and in these files.
CONFIG_FREE = (
    *("layers", "structures", "targets", "losses", "decoding"),
    *("data", "evaluation", "visualization", "analysis"),
)
CONFIG_READERS = (
    "from_config",
    "build_",
    # data/loader.py: the `from_config` of the two loaders, and what those and the engine call.
    "_train_loader_from_config",
    "_test_loader_from_config",
    "load_training_dicts",
)
CONFIG_FILES = ("evaluation/build.py",)


def uses_of_cfg(node: ast.AST, inside: str = "") -> list[str]:
    """Names of the functions, "" for the module, in which `cfg` is named or taken."""
    found = []
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef)
        named = isinstance(child, ast.Name) and child.id == "cfg"
        taken = isinstance(child, ast.arg) and child.arg == "cfg"
        found += [inside] if named or taken else []
        found += uses_of_cfg(child, child.name if is_function else inside)
    return found


def test_configs_are_read_only_where_objects_are_built():
    readers = []
    for path in files():
        relative = path.relative_to(PACKAGE).as_posix()
        if room_of(path) in CONFIG_FREE and relative not in CONFIG_FILES:
            uses = uses_of_cfg(ast.parse(path.read_text()))
            readers += [f"{relative}: {f}" for f in uses if not f.startswith(CONFIG_READERS)]
    assert not readers, readers


def test_a_function_that_reads_a_config_is_found():
    source = "def build_it(cfg):\n    return cfg\ndef draw(image, cfg):\n    return cfg.X\n"
    uses = uses_of_cfg(ast.parse(source))
    assert [name for name in uses if not name.startswith(CONFIG_READERS)] == ["draw", "draw"]
