"""Paths without a form, exports of Roboflow and CVAT, and what is said of them."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets import recognize
from centernet_d2.data.datasets.from_files import is_file_spec, register_from_files
from centernet_d2.data.datasets.label_files import files_in
from centernet_d2.data.datasets.recognize import splits_of

from .label_forms import CLASSES, IMAGES, boxes_of, write_images, write_labels
from .voc_files import write_voc


def export(folder, form, splits=("train", "valid")):
    """A folder of Roboflow's form: labels beside the images of each split, or YOLO's folders."""
    for split in splits:
        place = folder / split
        write_images(place / "images")
        spec = write_labels(place, form)
        if form != "yolo":
            for file in (place / "images").iterdir():
                file.rename(place / file.name)
        if form == "coco":
            content = json.loads((place / "boxes.json").read_text())
            for category in content["categories"]:
                category["supercategory"] = "cells-things"
            content["categories"].append({"id": 9, "name": "cells-things", "supercategory": "none"})
            (place / "_annotations.coco.json").write_text(json.dumps(content))
            (place / "boxes.json").unlink()
        if form == "csv":
            (place / "boxes.csv").rename(place / "_annotations.csv")
        if form == "voc":
            for file in (place / "labels").iterdir():
                file.rename(place / file.name)
        if form == "yolo":
            (folder / "data.yaml").write_text(
                "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cell', 'dot']\n"
            )
            (place / "data.yaml").unlink()
        else:
            shutil.rmtree(place / "labels")
            (place / "images").rmdir()
        (folder / "README.roboflow.txt").write_text(f"not {spec}")
    return folder


@pytest.mark.parametrize("form", ["coco", "csv", "voc", "yolo"])
def test_all_splits_of_an_export(tmp_path, form):
    folder = export(tmp_path / "cells.v1", form, ("train", "valid", "test"))
    if form == "yolo":
        with (folder / "data.yaml").open("a") as file:
            file.write("test: ../test/images\n")
    prefix, val = ("yolo", "val") if form == "yolo" else ("roboflow", "valid")
    splits = [f"{prefix}:{folder}:{split}" for split in ("train", val, "test")]
    assert splits_of(str(folder)) == splits_of(f"{prefix}:{folder}") == splits
    assert splits_of(splits[0]) == splits[:1]
    assert splits_of(f"{folder}:train") == [f"{folder}:train"]
    for each in splits:
        assert len(DatasetCatalog.get(register_from_files(each))) == 3


@pytest.mark.parametrize("form", ["voc", "labelme"])
def test_labels_in_any_depth_are_known_by_the_first(tmp_path, form, monkeypatch):
    folder = tmp_path / "all"
    names = {f"{day}/{number}": IMAGES["c"] for day in ("day 1", "day 2") for number in range(9)}
    for day in ("day 1", "day 2"):
        (folder / "labels" / day).mkdir(parents=True)
        write_images(folder / "images" / day, range(9))
    write_labels(folder, form, names)
    walks = []
    monkeypatch.setattr(recognize, "files_in", lambda *_: walks.append(_) or files_in(*_))
    assert recognize.candidates(str(folder)) == [f"{form}:{folder}/labels:{folder}/images"]
    first = f"{folder}/labels/day 1"
    walks.clear()
    assert recognize.candidates(first)[0].startswith(f"{form}:{first}:")
    assert len(walks) <= 5  # and not for each file
    assert len(DatasetCatalog.get(register_from_files(str(folder)))) == 18


def test_yolo_without_names_and_coco_with_deep_pictures(tmp_path):
    write_images(tmp_path / "yolo" / "images")
    (tmp_path / "yolo" / write_labels(tmp_path / "yolo", "yolo")[5:]).unlink()
    with pytest.raises(DatasetError, match=r"write the class names into classes.txt there"):
        register_from_files(str(tmp_path / "yolo"))
    write_images(tmp_path / "coco" / "images")
    write_labels(tmp_path / "coco", "coco")
    (tmp_path / "coco" / "images").rename(tmp_path / "coco" / "pics")
    (way,) = recognize.candidates(str(tmp_path / "coco" / "boxes.json"))
    assert way == f"coco:{tmp_path}/coco/boxes.json:{tmp_path}/coco/pics"


def test_splits_of_other_folders(tmp_path):
    lists = tmp_path / "voc" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name in ("train", "val", "trainval", "cat_train"):
        (lists / f"{name}.txt").touch()
    voc = f"voc:{tmp_path}/voc"
    assert splits_of(f"{tmp_path}/voc") == splits_of(voc) == [f"{voc}:train", f"{voc}:val"]
    coco = tmp_path / "coco"
    (coco / "images").mkdir(parents=True)
    for name in ("instances_val2017", "instances_train2017"):
        (coco / f"{name}.json").write_text('{"images": []}')
    first, second = splits_of(str(coco))
    assert "instances_train2017.json" in first
    assert "instances_val2017.json" in second
    (coco / "keypoints_val2017.json").write_text('{"images": []}')  # the same pictures again
    for one in (str(coco), "coco_2017_val", "voc:a:b", str(tmp_path / "nothing")):
        assert splits_of(one) == [one]


@pytest.mark.parametrize("form", ["coco", "csv", "voc", "yolo"])
def test_exports_of_roboflow(tmp_path, form, caplog):
    caplog.set_level("INFO")
    folder = export(tmp_path / "cells.v1", form)
    for spec in (f"roboflow:{folder}:valid", f"roboflow:{folder}:val", f"{folder}:train"):
        name = register_from_files(spec)
        assert MetadataCatalog.get(name).thing_classes == CLASSES
        found = boxes_of(DatasetCatalog.get(name))
        assert found["c"] == [(0, 20, 6, 30, 12)]
        assert len(found) == 3
    prefix = "yolo" if form == "yolo" else "roboflow"
    assert f"'{folder}:train' is read as '{prefix}:{folder}:train'" in caplog.text
    with pytest.raises(
        ValueError, match=re.escape(f"write '{prefix}:{folder}:train' or '{prefix}:")
    ):
        register_from_files(str(folder))
    with pytest.raises(ValueError, match=re.escape(f"'{prefix}:{folder}:train' or ")):
        register_from_files(f"roboflow:{folder}:test")
    (folder / "valid").rename(folder / "Validation")
    if form != "yolo":  # whose data.yaml names the folders
        with pytest.raises(ValueError, match=re.escape(f"write 'roboflow:{folder}:Validation'")):
            register_from_files(f"roboflow:{folder}:valid")


@pytest.mark.parametrize(
    ("form", "path"),
    [
        *(("coco", "boxes.json"), ("csv", "boxes.csv"), ("cvat", "boxes.xml"), ("yolo", "")),
        *(("yolo", "data.yaml"), ("labelme", ""), ("labelme", "labels"), ("voc", "labels")),
    ],
)
def test_a_path_alone(tmp_path, form, path, caplog):
    caplog.set_level("INFO")
    write_images(tmp_path / "images")
    spec = write_labels(tmp_path, form)
    given = str(tmp_path / path)
    assert is_file_spec(given)
    found = boxes_of(DatasetCatalog.get(register_from_files(given)))
    assert found["c"] == [(0, 20, 6, 30, 12)]
    assert f"'{given}' is read as '{form}:" in caplog.text
    share = DatasetCatalog.get(register_from_files(f"{given}:train70"))
    assert (len(found), len(share), spec.partition(":")[0]) == (3, 2, form)


def test_voc_and_yolo_folders_of_labelling_programs(tmp_path):
    """CVAT's VOC and YOLO 1.1 exports, and labelImg's folder."""
    voc = write_voc(tmp_path / "voc", {"a": [("x", 1, 1, 9, 9, 0)]}, split="default")
    assert register_from_files(str(voc)) == register_from_files(f"voc:{voc}:default")
    write_images(tmp_path / "images")
    write_labels(tmp_path, "yolo")
    yolo = tmp_path / "yolo"
    shutil.copytree(tmp_path / "images", yolo / "obj_train_data")
    for file in (tmp_path / "labels").iterdir():
        shutil.copy(file, yolo / "obj_train_data")
    (yolo / "obj.names").write_text("cell\ndot\n")
    (yolo / "train.txt").write_text("data/obj_train_data/c.png\n")
    found = boxes_of(DatasetCatalog.get(register_from_files(str(yolo))))
    assert (list(found), found["c"]) == (list(IMAGES), [(0, 20, 6, 30, 12)])


def test_a_voc_folder_without_class_file_has_the_classes_of_its_xml_files(tmp_path, caplog):
    caplog.set_level("INFO")
    folder = write_voc(tmp_path / "voc", {"a": [("x", 1, 1, 9, 9, 0)]}, split="train")
    write_voc(folder, {"b": [("person", 1, 1, 9, 9, 0)]}, split="test")
    names = [register_from_files(f"voc:{folder}:{split}") for split in ("train", "test")]
    assert [MetadataCatalog.get(n).thing_classes for n in names] == [["person", "x"]] * 2
    assert caplog.text.count("has no classes.txt: classes of its XML files: person, x") == 1
    assert MetadataCatalog.get(names[0]).evaluator_type == "pascal_voc"
