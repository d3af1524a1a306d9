"""Shares of data sets, and classes that are chosen, merged and renamed."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from centernet_d2 import setup
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.datasets.selection import class_members, groups, part_of
from centernet_d2.data.records import UnknownDatasetError, require_registered
from centernet_d2.engine.setup import load_config, register_datasets
from centernet_d2.evaluation import CocoEvaluator
from centernet_d2.evaluation.coco_ground_truth import load_ground_truth
from centernet_d2.evaluation.kitti_ground_truth import load_ground_truth as kitti_ground_truth

from .coco_files import coco_content, write_dataset
from .label_forms import write_images, write_labels
from .voc_files import write_voc

# ---- shares ----

VIDEOS = [f"{place}_{k:04d}.jpg" for place in ("park", "road", "shop", "yard") for k in range(10)]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (VIDEOS, [name.partition("_")[0] for name in VIDEOS]),
        # Roboflow's copies of one picture; numbers alone; one stem; classes; VOC's years
        (["a_jpg.rf.0f1e.jpg", "x/a_jpg.rf.9b.jpg", "b_png.rf.77.jpg"], ["a", "a", "b"]),
        (["000001.png", "000002.png"], ["000001", "000002"]),
        (["IMG_1.jpg", "IMG_2.jpg", "IMG_3.jpg"], ["IMG_1", "IMG_2", "IMG_3"]),
        (["Dot_1.png", "Dot_2.png", "u_1.png", "v_2.png"], ["Dot_1", "Dot_2", "u_1", "v_2"]),
        (["2007_01.jpg", "2007_02.jpg", "2008_01.jpg"], ["2007_01", "2007_02", "2008_01"]),
    ],
)  # fmt: skip
def test_groups_of_names(names, expected):
    assert groups(names, ["cell", "dot"])[0] == expected


def test_shares_are_disjoint_complete_and_of_whole_groups():
    names = [f"v{chr(97 + k % 26)}{k // 26}x_{n:03d}.png" for k in range(40) for n in range(5)]
    for shares in (("train80", "val20"), ("train70", "val70-85", "test85-100")):
        parts = [part_of(names, share, ())[0] for share in shares]
        assert np.array_equal(np.sum(parts, axis=0), np.ones(len(names)))
        for part in parts:
            assert part.reshape(40, 5).std(axis=1).max() == 0
    assert [part.sum() for part in parts] == [140, 30, 30]
    chosen = {name for name, taken in zip(names, parts[0], strict=True) if taken}
    moved = [f"elsewhere/{name}" for name in names]
    random.Random(0).shuffle(moved)
    again = {n for n, taken in zip(moved, part_of(moved, "train70", ())[0], strict=True) if taken}
    assert {name.removeprefix("elsewhere/") for name in again} == chosen
    # A hash of names, not of this process.
    letters = [f"{letter}.png" for letter in "abcdefghij"]
    part = part_of(letters, "train30", ())[0]
    assert "".join(n[0] for n, taken in zip(letters, part, strict=True) if taken) == "dfj"


@pytest.mark.parametrize("form", ["coco", "voc", "yolo", "csv", "labelme", "cvat", "folder"])
def test_every_form_takes_a_share(tmp_path, form):
    images = {letter: [("cell", 1, 1, 9, 9)] for letter in "abcdefghij"}
    write_images(tmp_path / "images", images)
    if form == "folder":
        objects = {letter: [(*rows[0], 0)] for letter, rows in images.items()}
        spec = f"voc:{write_voc(tmp_path / 'voc', objects, split='all')}:all"
    else:
        spec = write_labels(tmp_path, form, images)
    names = [register_from_files(f"{spec}:{share}") for share in ("train70", "val70-90", "test10")]
    found = [{r["file_name"] for r in DatasetCatalog.get(name)} for name in names]
    assert [len(part) for part in found] == [7, 2, 1]
    assert len(set().union(*found)) == 10
    assert MetadataCatalog.get(names[0]).file_spec.endswith(":train70")
    assert register_from_files(MetadataCatalog.get(names[0]).file_spec) == names[0]
    if form != "folder":
        truth = load_ground_truth(names[1])
        assert (len(truth.dataset["images"]), len(truth.dataset["annotations"])) == (2, 2)


def test_what_a_share_says_and_refuses(tmp_path, caplog):
    write_images(tmp_path / "images")
    spec = write_labels(tmp_path, "labelme")
    caplog.set_level("INFO")
    DatasetCatalog.get(register_from_files(f"{spec}:train70"))
    assert "train70: 2 of 3 images, 2 of 3 groups" in caplog.text
    for share in ("train0", "val0", "val90-10", "train101", "test1"):
        with pytest.raises(DatasetError, match=f"{share}: .* take a larger share, such as train80"):
            DatasetCatalog.get(register_from_files(f"{spec}:{share}"))
    with pytest.raises(ValueError, match="'no/labels' does not exist"):
        register_from_files("labelme:no/labels:train80")
    (tmp_path / "images:val20").mkdir()  # a path of that name is the path
    write_images(tmp_path / "images:val20")
    assert len(DatasetCatalog.get(register_from_files(f"{spec}:val20"))) == 3


# ---- classes ----


def test_entries_of_classes():
    known = ["RBC", "WBC", "a+b", "x=y"]
    entries = ["RBC", "cell = WBC + Platelets", "c=a+b", "x=y"]
    expected = {"RBC": ["RBC"], "cell": ["WBC", "Platelets"], "c": ["a+b"], "x=y": ["x=y"]}
    assert class_members(entries, known) == expected
    for wrong, words in {
        "RBC=WBC": "has 'RBC' again",
        "new=WBC+RBC": "has 'RBC' again",
        "new=": "lacks a name",
    }.items():
        with pytest.raises(DatasetError, match=words):
            class_members(["RBC", wrong], known)


def coco_file(tmp_path, **changes):
    """Three images with an object each, of the classes one, two, three, of ids 3, 7, 9."""
    content = coco_content()
    content["categories"] = [
        {"id": k, "name": n} for k, n in ((3, "one"), (7, "two"), (9, "three"))
    ]
    for number, annotation in enumerate(content["annotations"]):
        annotation |= {
            "category_id": (3, 7, 9)[number],
            "area": 60.0 + number,
            "iscrowd": number == 1,
        }
    content["annotations"][1] |= {**changes}
    path, root = write_dataset(tmp_path, content)
    return f"coco:{path}:{root}"


def test_chosen_classes_of_a_coco_file(tmp_path, caplog):
    caplog.set_level("INFO")
    name = register_from_files(coco_file(tmp_path), ["three", "both=two"])
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["three", "both"]
    assert metadata.thing_dataset_id_to_contiguous_id == {9: 0, 7: 1}
    records = DatasetCatalog.get(name)
    assert [[a["category_id"] for a in r["annotations"]] for r in records] == [[], [1], [0]]
    assert "left out as not in DATASETS.CLASSES: 1 one objects" in caplog.text
    truth = load_ground_truth(name)
    assert (truth.category_ids, truth.class_names) == ((9, 7), ("three", "both"))
    rows = [(a["category_id"], a["area"], a["iscrowd"]) for a in truth.dataset["annotations"]]
    assert rows == [(7, 61.0, 1), (9, 62.0, 0)]


def test_scores_of_merged_classes_are_those_of_a_merged_file(tmp_path):
    spec = coco_file(tmp_path / "a")
    path = tmp_path / "a" / "boxes.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = {3: 1, 7: 2, 9: 1}[annotation["category_id"]]
    content["categories"] = [{"id": 1, "name": "odd"}, {"id": 2, "name": "even"}]
    merged, root = write_dataset(tmp_path / "b", content)
    scores = []
    for name in (
        register_from_files(spec, ["odd=one+three", "even=two"]),
        register_from_files(f"coco:{merged}:{root}"),
    ):
        evaluator = CocoEvaluator(dataset_name=name, distributed=False)
        evaluator.reset()
        for record in DatasetCatalog.get(name):
            found = Instances((record["height"], record["width"]))
            found.pred_boxes = Boxes(torch.tensor([[4.5, 5.0, 14.0, 17.0], [0.0, 0.0, 9.0, 9.0]]))
            found.scores, found.pred_classes = torch.tensor([0.9, 0.4]), torch.tensor([0, 1])
            evaluator.process([record], [{"instances": found}])
        scores.append(evaluator.evaluate()["bbox"])
    assert scores[0] == pytest.approx(scores[1], nan_ok=True)
    assert scores[0]["AP"] > 20


def test_a_config_chooses_for_training_and_tests_and_registers_again(
    tmp_path, tiny_config, unregistered
):
    coco = coco_file(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write_images(tmp_path / "b/images")
    other = write_labels(tmp_path / "b", "voc")
    chosen = ["two", "cell=one+cell"]
    files = ("DATASETS.TRAIN", (coco, f"{other}:train70"), "DATASETS.TEST", (other,))
    cfg = tiny_config(*files, "DATASETS.CLASSES", chosen, "MODEL.HEATMAP.NUM_CLASSES", 0)
    setup(cfg)
    assert cfg.MODEL.HEATMAP.NUM_CLASSES == 2
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    assert [MetadataCatalog.get(name).thing_classes for name in names] == [["two", "cell"]] * 3
    assert list(cfg.DATASETS.FROM_FILES) == [coco, f"{other}:train70", other]
    for name in names:  # as in a new process
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    again = tiny_config()
    again.merge_from_other_cfg(cfg)
    assert (*setup(again).DATASETS.TRAIN, *again.DATASETS.TEST) == names
    assert MetadataCatalog.get(names[0]).thing_classes == ["two", "cell"]
    again.DATASETS.CLASSES = []  # all of them, of the same files
    again.DATASETS.TRAIN = again.DATASETS.TRAIN[:1]
    register_datasets(again)
    assert MetadataCatalog.get(again.DATASETS.TRAIN[0]).thing_classes == ["one", "two", "three"]


def test_names_that_no_data_set_has(tmp_path, tiny_config):
    spec = coco_file(tmp_path)
    for classes, words in {
        (
            "one",
            "tow",
        ): r"names 'tow', which is no class of .*\(nearest: two\); they have one, t",
        ("ONE",): "nearest: one",
    }.items():
        with pytest.raises(DatasetError, match=words):
            setup(tiny_config("DATASETS.TRAIN", (spec,), "DATASETS.CLASSES", list(classes)))


def test_classes_on_a_command_line():
    for given in ("RBC, cell=WBC+Platelets", "['RBC', 'cell=WBC+Platelets']"):
        cfg = load_config("", ["DATASETS.CLASSES", given])
        assert cfg.DATASETS.CLASSES == ["RBC", "cell=WBC+Platelets"]


def test_registered_names_are_chosen_from_too(tmp_path, tiny_config):
    DatasetCatalog.register(
        "selection_mine",
        lambda: [
            {"file_name": f"{k}.png", "image_id": k, "height": 9, "width": 9, "annotations": [
                {"bbox": [0, 0, 5, 5], "bbox_mode": 0, "category_id": k % 2, "difficult": 1}]}
            for k in range(4)
        ],
    )  # fmt: skip
    MetadataCatalog.get("selection_mine").set(
        thing_classes=["a", "b"], evaluator_type="coco", thing_colors=[(0, 0, 0), (1, 1, 1)]
    )
    cfg = tiny_config("DATASETS.TRAIN", ("selection_mine",), "DATASETS.TEST", ())
    cfg.DATASETS.CLASSES = ["b"]
    cfg.MODEL.HEATMAP.NUM_CLASSES = 0
    (name,) = setup(cfg).DATASETS.TRAIN
    assert list(cfg.DATASETS.FROM_FILES) == ["selection_mine"]
    assert [len(r["annotations"]) for r in DatasetCatalog.get(name)] == [0, 1, 0, 1]
    assert MetadataCatalog.get(name).get("thing_colors") is None
    half = register_from_files("selection_mine:train50")
    assert len(DatasetCatalog.get(half)) == 2


@pytest.mark.data
def test_real_kitti_with_chosen_classes(test_data, tmp_path):
    labels = test_data / "kitti" / "training" / "label_2"
    frames = sorted(path.stem for path in labels.glob("*.txt"))
    (tmp_path / "all.txt").write_text("\n".join(frames))
    spec = f"kitti:{test_data / 'kitti'}:{tmp_path / 'all.txt'}"
    name = register_from_files(spec, ["Car", "person=Pedestrian+Cyclist"])
    truth = kitti_ground_truth(name)
    kinds = re.findall(r"^(\w+)", "\n".join(p.read_text() for p in labels.glob("*.txt")), re.M)
    counts = np.bincount(truth.truth.label[~truth.truth.neighbor & (truth.truth.label >= 0)])
    assert truth.class_names == ["Car", "person"]
    assert list(counts) == [kinds.count("Car"), kinds.count("Pedestrian") + kinds.count("Cyclist")]
    half = register_from_files(f"{spec}:train50")
    assert len(kitti_ground_truth(half).image_ids) == len(frames) // 2


def test_joints_go_with_their_classes(tmp_path):
    content = coco_content()
    names = {"keypoints": ["head", "tail"], "keypoint_flip_map": []}
    content["categories"][0] |= names  # of id 7
    content["annotations"][1] |= {"keypoints": [5, 6, 2, 0, 0, 0], "num_keypoints": 1}
    path, root = write_dataset(tmp_path, content)
    spec = f"coco:{path}:{root}"
    with_joints = MetadataCatalog.get(register_from_files(spec, ["animal=second"]))
    assert (with_joints.keypoint_classes, with_joints.keypoint_names) == (
        ["animal"],
        ["head", "tail"],
    )
    truth = load_ground_truth(with_joints.name, with_joints=True)
    assert [a["keypoints"] for a in truth.dataset["annotations"]] == [[5, 6, 2, 0, 0, 0]]
    without = MetadataCatalog.get(register_from_files(spec, ["first"]))
    assert without.get("keypoint_names") is None


# ---- files that were moved ----


def test_pictures_that_only_a_number_tells_apart_are_said_once(tmp_path, caplog):
    caplog.set_level("INFO")
    images = {f"cell_{number:03}": [("blob", 1, 1, 9, 9)] for number in range(8)}
    write_images(tmp_path / "images", images)
    spec = write_labels(tmp_path, "csv", images)
    for share in ("train50", "val50"):
        assert len(DatasetCatalog.get(register_from_files(f"{spec}:{share}"))) == 4
    assert caplog.text.count("50: 4 of 8 images, 4 of 8 groups") == 2
    told = "8 pictures are named 'cell' and a number, and each is taken for one of its own; if"
    assert caplog.text.count(told) == 1


@pytest.mark.parametrize(
    ("spec", "usage"), [("voc:{}", "voc:<folder>:<split>"), ("kitti:{}", "kitti:<folder>:<split>")]
)
def test_a_share_without_its_split_is_told_how_it_is_written(tmp_path, spec, usage):
    told = (
        f"missing.*'val20' at the end is a share of what stands before it, written '{usage}:val20'"
    )
    with pytest.raises(ValueError, match=told):
        register_from_files(f"{spec.format(tmp_path)}:val20")


@pytest.mark.parametrize(("share", "classes"), [("", []), (":train50", ["pet=dog+cat"])])
def test_files_of_a_saved_config_that_are_not_here(tmp_path, tiny_config, share, classes):
    images = {"a": [("dog", 1, 1, 9, 9, 0)], "b": []}
    folder = write_voc(tmp_path / "mine", images, split="test")
    cfg = tiny_config("DATASETS.TEST", (f"voc:{folder}:test{share}",), "DATASETS.CLASSES", classes)
    cfg.MODEL.HEATMAP.NUM_CLASSES = 0
    (name,) = setup(cfg).DATASETS.TEST
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
    folder.rename(tmp_path / "moved")
    again = tiny_config()
    again.merge_from_other_cfg(cfg)
    setup(again)
    words = f"give it as 'voc:<new place>/mine:test{share}'"
    with pytest.raises(UnknownDatasetError, match=words):
        require_registered(name, key="DATASETS.TEST")


@pytest.mark.parametrize("share", ["", ":val50"])
def test_what_is_chosen_of_a_file_without_annotations_has_none(tmp_path, share):
    content = coco_content()
    classes = [content["categories"][0]["name"]] * (not share)
    for labelled in (True, False):
        folder = tmp_path / str(labelled)
        folder.mkdir()
        told = {key: v for key, v in content.items() if labelled or key != "annotations"}
        file, images = write_dataset(folder, told)
        name = register_from_files(f"coco:{file}:{images}{share}", classes)
        assert load_ground_truth(name).is_labelled == labelled
