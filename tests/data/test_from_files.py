"""`coco:<json>:<image dir>`: parsing, registering, and records equal to detectron2's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from centernet_d2 import setup
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets import coco_file, columns, from_files
from centernet_d2.data.datasets.builtin import LazyMetadata
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.datasets.from_files import (
    FileDataset,
    dataset_name,
    form_of,
    is_file_spec,
    register_dataset_form,
    register_from_files,
    split_paths,
    title_of,
)
from centernet_d2.evaluation import CocoEvaluator

from .coco_files import coco_content, write_dataset


def test_registering_needs_no_code_and_knows_the_classes_first(tmp_path, monkeypatch):
    path, root = write_dataset(tmp_path, coco_content())
    name = register_from_files(f"coco:{path}:{root}")
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["first", "second"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert metadata.evaluator_type == "coco"
    assert (metadata.json_file, metadata.image_root) == (str(path), str(root))
    monkeypatch.setattr(json, "loads", None)  # the JSON was parsed once
    records = DatasetCatalog.get(name)
    assert [record["image_id"] for record in records] == [10, 11, 12]
    assert [record["annotations"][0]["category_id"] for record in records] == [0, 1, 0]
    assert records[1]["annotations"][0]["bbox"] == [5.0, 5.0, 10.0, 12.5]
    assert "segmentation" not in records[1]["annotations"][0]
    assert os.path.isfile(records[0]["file_name"])


def test_the_name_is_short_safe_and_the_same_everywhere(tmp_path, monkeypatch):
    path, root = write_dataset(tmp_path, coco_content(), json_name="my boxes (v2): all.json")
    name = register_from_files(f"coco:{path}:{root}")
    assert name == register_from_files(f"coco:{path}:{root}")
    assert name == dataset_name(path.stem, str(path), str(root))
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
    assert name.startswith("my_boxes_v2_all_")
    assert title_of(name) == f"{tmp_path.name}/my boxes (v2): all.json"
    monkeypatch.chdir(tmp_path)
    assert register_from_files(f"coco:{path.name}:images") == name
    assert (
        dataset_name("x", "/a/x.json", "/b") == "x_3eabf7b6"
    )  # a hash of the paths, not of this process
    assert dataset_name("x", "/a/x.json", "/c") != dataset_name("x", "/a/x.json", "/b")


@pytest.mark.parametrize(
    "folder", ["plain", "a blank", "a:colon", "2024-01-01 10:30:00", "x.json:y"]
)
def test_paths_with_blanks_and_colons(tmp_path, folder):
    path, root = write_dataset(tmp_path / folder, coco_content(), json_name="an: other.json")
    assert split_paths(f"coco:{path}:{root}") == (str(path), str(root))
    assert len(DatasetCatalog.get(register_from_files(f"coco:{path}:{root}"))) == 3


def test_home_folder(tmp_path, monkeypatch):
    path, root = write_dataset(tmp_path, coco_content())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert split_paths("coco:~/boxes.json:~/images") == (str(path), str(root))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        *((spec, "form 'coco:<json>:<image dir>'") for spec in ("coco:", "coco:one", "coco::")),
        (
            "voc:a",
            "folder 'a' does not exist.*form 'voc:<folder>:<split>' or 'voc:<annotation dir>",
        ),
        ("yolo:no.yaml:train", "'no.yaml' does not exist.* such as 'yolo:my/data.yaml:train'"),
        ("boxes.json:images", "known forms .*'coco:<json>:<image dir>', 'voc:<folder>:<split>'"),
    ],
)
def test_other_forms_are_refused(spec, words):
    with pytest.raises(ValueError, match=words):
        register_from_files(spec)


def test_a_missing_part_is_named(tmp_path):
    path, root = write_dataset(tmp_path, coco_content())
    for spec, words in {
        f"coco:{path}:{root}:extra": f"'{root}:extra' is no image folder",
        f"coco:{path}:{root}x": f"image folder '{root}x' does not exist",
        f"coco:{path}x:{root}": f"JSON '{path}x' does not exist",
        f"coco:{path}": "the image folder lacks",
    }.items():
        with pytest.raises(ValueError, match=re.escape(words)):
            register_from_files(spec)


def test_is_file_spec():
    assert is_file_spec("coco:a:b")
    assert not is_file_spec("coco_2017_train")
    DatasetCatalog.register("my:dataset", list)
    assert not is_file_spec("my:dataset")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("cooc:a.json:images", "(nearest: coco)"),
        ("kiti:folder:train", "(nearest: kitti)"),
        ("zip:a", "'zip' is none of the known forms ['coco', "),
        ("C:a.json:images", "'C' is none of the known forms"),
        ("voc:a:b,few, voc:c:test", "write them as \"('voc:a:b', 'few', 'voc:c:test')\""),
    ],
)
def test_an_unknown_form_names_the_known_ones_and_the_nearest(tiny_config, spec, hint):
    cfg = tiny_config("DATASETS.TRAIN", (spec,))
    with pytest.raises(ValueError, match=re.escape(hint)):
        setup(cfg)


def test_files_without_a_form_are_told_theirs(tiny_config, tmp_path):
    file, images = write_dataset(tmp_path, coco_content())
    for image in images.iterdir():
        image.rename(image.with_suffix(".moved"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "images.zip").write_bytes(b"PK\5\6" + bytes(18))
    for given, cure in (
        (str(file), f"write 'coco:{file}:<image dir>'"),
        (str(tmp_path), f"write 'coco:{file}:<image dir>'"),
        ("no/such.json", "'coco:<json>:<image dir>'"),
        (f"{tmp_path}/empty", "no known labels are in"),
        (f"{tmp_path}/images.zip", "is an archive: unpack it"),
    ):
        with pytest.raises(ValueError, match=re.escape(cure)):
            setup(tiny_config("DATASETS.TRAIN", (given,)))


# ---- forms of one's own ----


def read_lines(spec: str) -> FileDataset:
    """`lines:<list>:<image dir>`: a text file of image names, without annotations."""
    path, root = split_paths(spec)

    def load() -> list[dict]:
        names = Path(path).read_text().split()
        return [{"file_name": f"{root}/{n}", "image_id": k} for k, n in enumerate(names)]

    def register(name: str) -> None:
        DatasetCatalog.register(name, load)
        MetadataCatalog.get(name).set(thing_classes=["thing"], list_file=path)

    return FileDataset(Path(path).stem, (path, root), register)


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """A form that is registered from outside, and a list in it."""
    monkeypatch.setattr(from_files, "_forms", dict(from_files._forms))
    register_dataset_form(
        "lines",
        f"{__name__}:read_lines",
        pattern="<list>:<image dir>",
        example="lines:all.txt:images",
        location="list_file",
    )
    (tmp_path / "all.txt").write_text("a.png b.png")
    return f"lines:{tmp_path / 'all.txt'}:{tmp_path}"


def test_a_form_of_ones_own_serves_a_config(lines, tiny_config, tmp_path):
    cfg = tiny_config("DATASETS.TEST", (lines,), "MODEL.HEATMAP.NUM_CLASSES", 0)
    setup(cfg)
    (name,) = cfg.DATASETS.TEST
    assert name.startswith("all_")
    assert (list(cfg.DATASETS.FROM_FILES), cfg.MODEL.HEATMAP.NUM_CLASSES) == ([lines], 1)
    assert [record["image_id"] for record in DatasetCatalog.get(name)] == [0, 1]
    form = form_of(MetadataCatalog.get(name))
    assert (form.usage, form.location) == ("lines:<list>:<image dir>", "list_file")
    with pytest.raises(ValueError, match=r"file 'b.txt' does not exist.*such as 'lines:all.txt"):
        register_from_files(f"lines:b.txt:{tmp_path}")
    with pytest.raises(ValueError, match=r"'roboflow:<folder>:<split>', 'lines:<list>:<image dir>"):
        register_from_files("line:b.txt")


def test_a_prefix_is_a_word_that_is_free():
    for prefix in ("coco", "a b", "", "a:b"):
        with pytest.raises(ValueError, match=r"must be a word that is none of \['coco', "):
            register_dataset_form(prefix, read_lines, pattern="", example="")


def test_forms_of_datasets_that_are_registered_in_code():
    assert form_of(MetadataCatalog.get("coco_2017_val")).usage == "coco:<json>:<image dir>"
    assert form_of(MetadataCatalog.get("voc_2007_val")).usage == "voc:<folder>:<split>"
    assert form_of(MetadataCatalog.get("kitti_3dop_val")).location == "image_dir"
    assert form_of(MetadataCatalog.get("a_name_without_metadata")).prefix == "coco"


def test_a_coco_dataset_executes_no_reader_of_another_form(tmp_path):
    path, root = write_dataset(tmp_path, coco_content())
    code = f"""
import sys, centernet_d2
from centernet_d2.data.datasets.from_files import register_from_files
from detectron2.data import DatasetCatalog, MetadataCatalog
assert len(DatasetCatalog.get(register_from_files("coco:{path}:{root}"))) == 3
assert "voc_2007_val" in DatasetCatalog and "kitti_test" in DatasetCatalog
assert "centernet_d2.data.datasets.voc" not in sys.modules
assert MetadataCatalog.get("voc_2007_val").as_dict()["year"] == 2007
assert "centernet_d2.data.datasets.voc" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_a_changed_file_is_read_again(tmp_path):
    path, root = write_dataset(tmp_path, coco_content())
    first = coco_file.read_coco_json(str(path))
    assert coco_file.read_coco_json(str(path)) is first
    write_dataset(tmp_path, coco_content(images=4))
    assert len(load_coco_records(str(path), str(root))) == 4


def _renamed(tmp_path, *names):
    content = coco_content()
    for category, name in zip(content["categories"], names, strict=True):
        category["name"] = name
    write_dataset(tmp_path, content)


def test_a_changed_file_is_registered_again_with_its_names(tmp_path, caplog):
    path, root = write_dataset(tmp_path, coco_content())
    spec = f"coco:{path}:{root}"
    name = register_from_files(spec)
    MetadataCatalog.get(name).set(own="kept")
    assert register_from_files(spec) == name
    assert (MetadataCatalog.get(name).own, caplog.text) == ("kept", "")
    _renamed(tmp_path, "dog", "cat")
    with pytest.raises(DatasetError, match=r"boxes.json' has changed since .* 'thing_classes' was"):
        DatasetCatalog.get(name)
    with pytest.raises(DatasetError, match=r"has changed since .* call centernet_d2.setup"):
        CocoEvaluator(dataset_name=name)
    assert register_from_files(spec) == name
    assert MetadataCatalog.get(name).thing_classes == ["cat", "dog"]
    assert f"Dataset '{name}' has changed and is registered anew" in caplog.text
    assert len(DatasetCatalog.get(name)) == 3
    assert CocoEvaluator(dataset_name=name).ground_truth.class_names == ("cat", "dog")


def test_a_file_that_broke_leaves_the_dataset_registered(tmp_path):
    path, root = write_dataset(tmp_path, coco_content())
    name = register_from_files(f"coco:{path}:{root}")
    path.write_text("{")
    with pytest.raises(DatasetError, match="no valid JSON"):
        register_from_files(f"coco:{path}:{root}")
    assert MetadataCatalog.get(name).thing_classes == ["first", "second"]
    with pytest.raises(DatasetError, match="no valid JSON"):
        DatasetCatalog.get(name)


def test_a_config_that_is_set_up_sees_a_changed_file(tmp_path, tiny_config):
    path, root = write_dataset(tmp_path, coco_content())
    files = ("DATASETS.TRAIN", (f"coco:{path}:{root}",), "DATASETS.TEST", ())
    cfg = setup(tiny_config(*files, "MODEL.HEATMAP.NUM_CLASSES", 0))
    _renamed(tmp_path, "dog", "cat")
    (name,) = setup(cfg).DATASETS.TRAIN
    assert MetadataCatalog.get(name).thing_classes == ["cat", "dog"]


@pytest.mark.parametrize("removed", [DatasetCatalog, MetadataCatalog])
def test_a_name_that_was_removed_is_registered_again(tmp_path, removed):
    path, root = write_dataset(tmp_path, coco_content())
    name = register_from_files(f"coco:{path}:{root}")
    removed.remove(name)
    assert register_from_files(f"coco:{path}:{root}") == name
    assert len(DatasetCatalog.get(name)) == 3
    assert MetadataCatalog.get(name).thing_classes == ["first", "second"]


def test_folder_and_file_in_the_other_order(tmp_path):
    path, root = write_dataset(tmp_path, coco_content())
    with pytest.raises(ValueError, match=re.escape(f"write 'coco:{path}:{root}'")):
        register_from_files(f"coco:{root}:{path}")


def test_columns_that_are_asked_for_survive_loading(tmp_path, monkeypatch):
    for names in ("ANNOTATION_COLUMNS", "IMAGE_COLUMNS"):
        monkeypatch.setattr(columns, names, set())
        monkeypatch.setattr(coco_file, names, getattr(columns, names))
    content = coco_content()
    content["images"].reverse()
    content["images"][0] |= {"projection": [[1, 2]], "note": "not asked for"}  # of image 12
    content["annotations"][1] |= {"visible_share": 0.25, "note": "not asked for"}
    content["annotations"][0]["bbox"][2] = 0  # dropped: columns stay with their rows
    path, root = write_dataset(tmp_path, content)
    name = register_from_files(f"coco:{path}:{root}")  # parsed once without them
    assert "visible_share" not in DatasetCatalog.get(name)[1]["annotations"][0]
    columns.keep_annotation_columns("visible_share", "segmentation", "absent", "bbox")
    columns.keep_image_columns("projection")
    records = DatasetCatalog.get(name)
    assert [record.get("projection") for record in records] == [None, None, [[1, 2]]]
    kept = [entry for record in records for entry in record["annotations"]]
    assert [entry.get("visible_share") for entry in kept] == [0.25, None]
    assert kept[0]["segmentation"] == [[4, 5, 14, 5, 14, 17]]
    assert not {"note", "absent"} & set(kept[0])
    assert kept[0]["bbox"] == [5.0, 5.0, 10.0, 12.5]


def test_a_split_without_annotations(tmp_path):
    content = coco_content()
    del content["annotations"]  # as image_info_test-dev2017.json
    path, root = write_dataset(tmp_path, content)
    name = register_from_files(f"coco:{path}:{root}")
    assert MetadataCatalog.get(name).thing_classes == ["first", "second"]
    assert [record["annotations"] for record in DatasetCatalog.get(name)] == [[], [], []]


def test_images_without_annotations_are_kept(tmp_path):
    content = coco_content()
    del content["annotations"][1]
    path, root = write_dataset(tmp_path, content)
    records = load_coco_records(str(path), str(root))
    assert [len(record["annotations"]) for record in records] == [1, 0, 1]


def test_images_come_sorted_by_id(tmp_path):
    content = coco_content()
    content["images"].reverse()
    content["annotations"].reverse()
    path, root = write_dataset(tmp_path, content)
    records = load_coco_records(str(path), str(root))
    assert [record["image_id"] for record in records] == [10, 11, 12]
    assert [record["annotations"][0]["id"] for record in records] == [100, 101, 102]


@pytest.mark.data
@pytest.mark.parametrize("split", ["train2017", "val2017"])
@pytest.mark.parametrize("kind", ["instances", "person_keypoints"])
def test_real_records_are_those_of_detectron2(test_data, kind, split):
    folder = test_data / "coco_mini"
    path, root = str(folder / "annotations" / f"{kind}_{split}.json"), str(folder / split)
    ours = load_coco_records(path, root)
    theirs = load_coco_json(path, root, "scratch_name_of_a_test")
    MetadataCatalog.pop("scratch_name_of_a_test", None)
    keys = ("bbox", "bbox_mode", "category_id", "iscrowd")
    keys += ("keypoints",) * (kind != "instances")
    labelled = 0
    for record, expected in zip(ours, theirs, strict=True):
        for key in ("file_name", "image_id", "height", "width"):
            assert record[key] == expected[key]
        assert [{k: a[k] for k in keys} for a in record["annotations"]] == [
            {k: a[k] for k in keys} for a in expected["annotations"]
        ]
        labelled += sum(any(a.get("keypoints", [1] * 3)[2::3]) for a in record["annotations"])
    assert labelled > 50


@pytest.mark.data
def test_real_classes(test_data):
    folder = test_data / "coco_mini"
    name = register_from_files(
        f"coco:{folder / 'annotations' / 'instances_val2017.json'}:{folder / 'val2017'}"
    )
    metadata = MetadataCatalog.get(name)
    builtin = MetadataCatalog.get("coco_2017_val")
    assert metadata.thing_classes == builtin.thing_classes
    assert metadata.thing_dataset_id_to_contiguous_id == builtin.thing_dataset_id_to_contiguous_id


def test_lazy_metadata_is_read_once_and_stays_consistent():
    reads = []

    def read():
        reads.append(1)
        return {"thing_classes": ["a"]}

    metadata = LazyMetadata("lazy_name_of_a_test", read)
    assert not reads
    metadata.set(note=1)
    assert (metadata.note, metadata.get("absent"), metadata.thing_classes) == (1, None, ["a"])
    assert metadata.as_dict() == {"name": "lazy_name_of_a_test", "thing_classes": ["a"], "note": 1}
    with pytest.raises(AssertionError, match="different value"):
        metadata.set(thing_classes=["b"])
    assert len(reads) == 1
