"""What all worlds have in common: registration, determinism, and how splits get onto the disk."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet_d2.data.datasets.kitti import KITTI_RULES
from centernet_d2.synthetic import files
from centernet_d2.synthetic.figures import SKELETON
from centernet_d2.synthetic.registration import (
    IMAGE_FOLDER,
    load_split,
    split_metadata,
)
from centernet_d2.synthetic.settings import (
    SPLITS,
    FigureSettings,
    ShapeSettings,
    SplitSettings,
    StreetSettings,
    split_folder,
    split_stamp,
)

WORLDS = (ShapeSettings, FigureSettings, StreetSettings)
in_every_world = pytest.mark.parametrize("world", WORLDS)


def small(world, seed: int = 5, images: int = 4) -> SplitSettings:
    return SplitSettings(images, seed, world())


def digest(folder: Path) -> str:
    """Of all files of a folder and their names."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="session")
def another_process(tmp_path_factory) -> tuple[Path, set[str]]:
    """Splits of each world made by another process, and the modules that its import loaded."""
    code = (
        "import random, sys, numpy\n"
        "numpy.random.seed(1); random.seed(1)\n"
        "import centernet_d2\n"
        "print(*[name for name in sys.modules if name.startswith('centernet_d2.synthetic.')])\n"
        "from centernet_d2.synthetic import files, settings\n"
        "for name in sys.argv[2:]:\n"
        "    split = settings.SplitSettings(4, 5, getattr(settings, name)())\n"
        "    files.ensure_split(split, f'{sys.argv[1]}/{name}')\n"
    )
    folder = tmp_path_factory.mktemp("there")
    names = [world.__name__ for world in WORLDS]
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(folder), *names],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return folder, {name.rpartition(".")[2] for name in loaded.split()}


def test_importing_the_package_imports_no_world(another_process):
    assert another_process[1] == {"registration", "settings"}


@in_every_world
def test_equal_seeds_give_equal_files_in_every_process(world, another_process, tmp_path):
    """No dict order, hash seed or global random state leaks into pictures and annotations."""
    files.ensure_split(small(world), str(tmp_path / "here"))
    files.ensure_split(small(world, seed=6), str(tmp_path / "other"))
    there = digest(another_process[0] / world.__name__)
    assert digest(tmp_path / "here") == there
    assert digest(tmp_path / "other") != there


def test_several_processes_make_one_split(tmp_path, monkeypatch):
    made = []
    write = files.make_scenes
    monkeypatch.setattr(files, "make_scenes", lambda *args: made.append(1) or write(*args))
    folder, split = str(tmp_path / "deep" / "val"), small(ShapeSettings)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: files.ensure_split(split, folder), range(4)))
    assert len(set(paths)) == 1
    assert len(made) == 1
    assert len(load_split(split, folder)) == 4
    assert len(list(Path(folder, IMAGE_FOLDER).iterdir())) == 4


@in_every_world
def test_an_interrupted_run_leaves_no_half_split(world, tmp_path, monkeypatch):
    folder, split = tmp_path / "val", small(world)

    def fail(*arguments):
        raise OSError("No space left on device")

    with monkeypatch.context() as context:
        context.setattr(files, "_write_image", fail)
        with pytest.raises(OSError, match=r"No space left.*DETECTRON2_DATASETS"):
            files.ensure_split(split, str(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["val.lock"]
    assert Path(files.ensure_split(split, str(folder))).is_file()
    monkeypatch.setattr(files, "make_scenes", fail)
    assert len(load_split(split, str(folder))) == 4  # it is there


@in_every_world
def test_a_changed_generator_gets_another_folder(world, monkeypatch):
    name, value = {
        ShapeSettings: ("covered_share", 0.5),
        FigureSettings: ("max_distractors", 2),
        StreetSettings: ("depths", (5.0, 30.0)),
    }[world]
    splits = [
        *(small(world), small(world, seed=6), small(world, images=5)),
        SplitSettings(4, 5, world(**{name: value})),
    ]
    stamps = [split_stamp(split) for split in splits]
    assert len(set(stamps)) == 4
    monkeypatch.setattr(world, "version", 2)
    assert split_stamp(small(world)).startswith("v2-")
    assert split_stamp(small(world))[3:] != stamps[0][3:]


def test_splits_keep_their_folders():
    """What was made once is not made again: neither pictures nor settings have changed."""
    assert {name: split_folder(name, "root") for name in SPLITS} == {
        "shapes_train": "root/shapes/train-v1-364eebe3",
        "shapes_val": "root/shapes/val-v1-f1144f2d",
        "shapes_large_train": "root/shapes/large_train-v1-c87572e4",
        "shapes_large_val": "root/shapes/large_val-v1-df8d2deb",
        "shapes_pose_train": "root/shapes/pose_train-v1-bab8fcfb",
        "shapes_pose_val": "root/shapes/pose_val-v1-fb93b3cb",
        "shapes3d_train": "root/shapes3d/train-v1-7fc42d36",
        "shapes3d_val": "root/shapes3d/val-v1-ea46da6d",
    }


def test_registered_names_know_their_metadata_before_anything_is_made():
    assert set(SPLITS) <= set(DatasetCatalog.list())
    for name, split in SPLITS.items():
        metadata = MetadataCatalog.get(name)
        is_street = "3d" in name
        assert metadata.thing_classes == list(split.scenes.classes)
        assert metadata.evaluator_type == ("kitti" if is_street else "coco")
        paths = ("image_dir", "calib_dir", "label_dir") if is_street else ("json_file",)
        root = metadata.label_dir if is_street else metadata.image_root
        assert {os.path.dirname(metadata.get(key)) for key in paths} == {os.path.dirname(root)}
    assert StreetSettings.classes == KITTI_RULES.classes
    assert MetadataCatalog.get("shapes_pose_val").keypoint_names == list(SKELETON.names)


@in_every_world
def test_metadata_name_what_is_made(world, tmp_path):
    load_split(small(world), str(tmp_path))
    metadata = split_metadata(small(world), str(tmp_path))
    paths = [metadata[key] for key in metadata if key.endswith(("_dir", "_file", "_root"))]
    assert len(paths) >= 2
    assert all(os.path.exists(path) for path in paths)
