"""KITTI's folder -> records: lists, missing frames, classes, ignored regions, registered names."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.build import print_instances_class_histogram
from detectron2.structures import BoxMode, Instances

from centernet_d2.config import add_centernet_config
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.builtin import KITTI_SPLITS, register_builtin
from centernet_d2.data.datasets.choices import choose
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.data.datasets.kitti import (
    EVERY_CLASS,
    KITTI_RULES,
    ClassRules,
    load_kitti_records,
    register_kitti_split,
)
from centernet_d2.data.datasets.kitti_folder import find_frames, read_split
from centernet_d2.data.fields.boxes3d import Boxes3DField
from centernet_d2.data.image_files import find_faults
from centernet_d2.data.loader import load_training_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.setup import setup
from centernet_d2.engine.summary import describe_data
from centernet_d2.evaluation import KittiEvaluator
from centernet_d2.evaluation.kitti_ground_truth import load_ground_truth

from .kitti_files import (
    BEHIND,
    CAR,
    DONT_CARE,
    PEDESTRIAN,
    PROJECTION,
    SITTING,
    TRAM,
    VAN,
    write_kitti,
)

FRAMES = {"000003": [CAR, TRAM, VAN, DONT_CARE], "000001": [], "000007": [PEDESTRIAN, SITTING]}
LIST = "ImageSets/3dop/train.txt"


@pytest.fixture
def folder(tmp_path):
    return write_kitti(tmp_path / "kitti", FRAMES, lists={LIST: FRAMES})


def test_records(folder):
    records = load_kitti_records(str(folder), "3dop/train")
    assert [record["image_id"] for record in records] == ["000003", "000001", "000007"]
    first = records[0]
    assert first["file_name"] == str(folder / "training" / "image_2" / "000003.png")
    assert (first["width"], first["height"], first["as_stored"]) == (1242, 375, True)
    np.testing.assert_allclose(first["projection"], PROJECTION)
    car, van, region = first["annotations"]  # the tram is background
    assert car == {
        "bbox": [387.63, 181.54, 423.81, 203.12],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 1,
        "iscrowd": 0,
        "dimensions": [1.67, 1.87, 3.69],
        "location": [-16.53, 2.39, 58.49],
        "rotation_y": 1.57,
        "alpha": 1.85,
        "truncated": 0.0,
        "occluded": 0,
    }
    ignored = {"bbox_mode": BoxMode.XYXY_ABS, "ignored": True, "iscrowd": 1}
    assert van == {"bbox": [599.41, 156.4, 629.75, 189.25], "category_id": 1, **ignored}
    assert region == {
        "bbox": [503.89, 169.71, 590.61, 190.13],
        "category_id": EVERY_CLASS,
        **ignored,
    }
    assert records[1]["annotations"] == []
    pedestrian, sitting = records[2]["annotations"]
    assert (pedestrian["category_id"], pedestrian["occluded"]) == (0, 2)
    assert (sitting["category_id"], sitting["ignored"]) == (0, True)


def test_own_class_rules_hold_in_training_and_in_the_scores(folder):
    """Vans are vehicles here, trams no mistakes; what is neutral stands in the metadata."""
    rules = ClassRules(
        classes=("Car", "Pedestrian"),
        ignored={"Tram": "Car", "Van": None, "DontCare": None, "Person_sitting": "Pedestrian"},
        background=(),
        only_in_training=("Person_sitting",),
    )
    register_kitti_split("kitti_own_rules", str(folder), "3dop/train", rules=rules)
    records = DatasetCatalog.get("kitti_own_rules")
    truth = load_ground_truth("kitti_own_rules").truth
    entries = [entry for record in records for entry in record["annotations"]]
    assert [entry["category_id"] for entry in entries] == [0, 0, -1, -1, 1, 1]
    assert truth.label.tolist() == [0, 0, -1, -1, 1]  # the sitting person is background there
    assert truth.neighbor.tolist() == [False, True, False, False, False]


def test_class_rules_as_published():
    expected = {"Pedestrian": 0, "Car": 1, "Cyclist": 2}
    expected |= {"Van": 1, "Truck": 1, "Person_sitting": 0, "DontCare": -1}
    assert {kind: KITTI_RULES.category(kind) for kind in expected} == expected
    assert set(KITTI_RULES.background) == {"Tram", "Misc"}
    neutral = {"Van": "Car", "Person_sitting": "Pedestrian", "DontCare": None}
    assert KITTI_RULES.neutral_types() == neutral
    assert MetadataCatalog.get("kitti_3dop_val").neutral_types == neutral


@pytest.mark.parametrize("path", ["ImageSets/3dop/val.txt", "ImageSets_3dop/val.txt"])
def test_both_places_of_lists(folder, path):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text("000007 1\n\n000003\n")
    assert read_split(str(folder), "3dop/val") == ["000007", "000003"]


def test_other_lists(folder, tmp_path, monkeypatch):
    (folder / "ImageSets" / "train.txt").write_text("000001\n")
    assert read_split(str(folder), "train") == ["000001"]
    (tmp_path / "four.txt").write_text("000007\n")
    assert read_split(str(folder), str(tmp_path / "four.txt")) == ["000007"]
    monkeypatch.chdir(tmp_path)
    assert len(load_kitti_records(str(folder), "four.txt")) == 1
    # Without a list, trainval is what there is; with one, its list counts, wherever it lies.
    assert read_split(str(folder), "trainval") == ["000001", "000003", "000007"]
    (folder / "ImageSets" / "3dop" / "trainval.txt").write_text("000003\n")
    assert read_split(str(folder), "trainval") == ["000003"]


@pytest.mark.parametrize(
    ("content", "message"), [("\n", "is empty"), ("1\n2\n1\n", r"1 images more than once: \['1'\]")]
)
def test_bad_lists_are_named(folder, content, message):
    (folder / LIST).write_text(content)
    with pytest.raises(DatasetError, match=rf"3dop/train.txt' .*{message}"):
        read_split(str(folder), "3dop/train")


def test_a_missing_list_says_where_it_was_looked_for(folder):
    with pytest.raises(FileNotFoundError, match=r"ImageSets/subcnn/val.txt' and .*_subcnn/val.txt"):
        load_kitti_records(str(folder), "subcnn/val")


def test_missing_frames_are_counted_and_may_be_allowed(folder, caplog):
    (folder / LIST).write_text("000003\n000001\n000007\n000008\n000009\n")
    (folder / "training" / "calib" / "000001.txt").unlink()
    message = (
        r"of the 5 frames of split '3dop/train', 2 have no file in image_2 \(such as 000008\), 3 "
        r"have no file in calib \(such as 000001\), 2 have no file in label_2"
    )
    with pytest.raises(
        FileNotFoundError, match=message + r".*ALLOW_MISSING True goes on with .* 2"
    ):
        load_kitti_records(str(folder), "3dop/train")
    with caplog.at_level(logging.WARNING):
        records = load_kitti_records(str(folder), "3dop/train", allow_missing=True)
    assert [record["image_id"] for record in records] == ["000003", "000007"]
    assert "2 complete frames" in caplog.text


def test_no_complete_frame_is_an_error_whatever_is_allowed(folder):
    (folder / LIST).write_text("000011\n")
    with pytest.raises(FileNotFoundError, match=r"not one is complete. Unpack"):
        load_kitti_records(str(folder), "3dop/train", allow_missing=True)


@pytest.mark.parametrize("name", ["3", "000003.png", "training/image_2/000003.png"])
def test_a_list_that_names_files_otherwise_is_told_how(folder, name):
    (folder / LIST).write_text(f"{name}\n")
    with pytest.raises(FileNotFoundError, match=rf"the list must have .* '000003' for '{name}'"):
        load_kitti_records(str(folder), "3dop/train")


def test_changed_classes_are_read_anew(folder):
    """In one process, as by a notebook: names and records are of the file as it is now."""
    with_classes(folder, "Car\n", CAR)
    name = register_from_files(f"kitti:{folder}:3dop/train")
    classes, found = with_classes(folder, "Van\nCar\nPedestrian\n", PEDESTRIAN)
    assert name == register_from_files(f"kitti:{folder}:3dop/train")
    assert classes == MetadataCatalog.get(name).thing_classes == ["Van", "Car", "Pedestrian"]
    assert [entry["category_id"] for entry in found] == [1, 0, 2, EVERY_CLASS]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_in_other_encodings(folder, encoding):
    """Of the list, labels and calibrations, as Windows' editors and shells write them."""
    expected = load_kitti_records(str(folder), "3dop/train")
    for path in [folder / LIST, *folder.glob("training/[cl]*/*.txt")]:
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert load_kitti_records(str(folder), "3dop/train") == expected


def test_a_test_split_has_no_labels(folder):
    write_kitti(folder, {"000000": []}, lists={}, part="testing")
    (folder / "testing" / "label_2" / "000000.txt").unlink()
    (record,) = load_kitti_records(str(folder), "test", labelled=False)
    assert "annotations" not in record
    assert record["file_name"].endswith("testing/image_2/000000.png")
    assert find_frames(str(folder), "test", labelled=False)[0].label is None


def test_objects_without_a_3d_box_are_objects_in_the_image(folder, caplog):
    """Behind the camera, with KITTI's marks of what is not known, or of 8 columns."""
    file = folder / "training" / "label_2" / "000003.txt"
    file.write_text("\n".join([BEHIND, CAR, CAR.replace("1.67", "-1"), " ".join(CAR.split()[:8])]))
    with caplog.at_level(logging.INFO):
        records = load_kitti_records(str(folder), "3dop/train")
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]  # nothing for 2-D
        annotations = records[0]["annotations"]
        Boxes3DField().check_records(records, str(folder))
    assert not any(entry.get("ignored") for entry in annotations)
    assert describe_data(records, ("Pedestrian", "Car", "Cyclist")) == (
        "3 images (1 without objects), 5 objects and 1 crowd or ignored regions of 3 "
        "classes: Car 4, Pedestrian 1; none of Cyclist"
    )
    assert "of 5 objects 3 have no 3-D box in front of the camera and are learned" in caplog.text
    assert "not learned: '000003.png' annotation 0 location [-6.53, 2.39, -0.49]; " in caplog.text
    instances = DetectionMapper(is_train=True, fields=[Boxes3DField()])(records[0])["instances"]
    assert instances.gt_3d_supervised.tolist() == [False, True, False, False]
    assert instances.gt_boxes3d.alpha.tolist() == pytest.approx([1.85, 1.85, -10, -10])


def test_useless_boxes_are_dropped_with_a_count(folder, caplog):
    outside = CAR.replace("387.63", "1400.0").replace("423.81", "1500.0")
    empty = CAR.replace("387.63", "423.81")
    (folder / "training" / "label_2" / "000003.txt").write_text(f"{outside}\n{CAR}\n{empty}\n")
    with caplog.at_level(logging.WARNING):
        records = load_kitti_records(str(folder), "3dop/train")
    assert len(records[0]["annotations"]) == 1
    for what, k in (("of zero width or height", 2), ("that lie outside their image", 0)):
        assert f"dropped 1 of 5 boxes {what}: annotation {k} of '000003.txt'" in caplog.text


def test_an_unknown_type_is_named(folder):
    (folder / "training" / "label_2" / "000003.txt").write_text(f"{CAR}\n{CAR.lower()}\n")
    with pytest.raises(DatasetError, match=r"000003.txt', object 2 has the type 'car'.*capital"):
        load_kitti_records(str(folder), "3dop/train")


def test_a_damaged_image_is_left_to_the_look_at_the_files(folder):
    records = load_kitti_records(str(folder), "3dop/train")
    (folder / "training" / "image_2" / "000007.png").write_bytes(b"no picture")
    assert load_kitti_records(str(folder), "3dop/train") == records
    (fault,) = find_faults(records, "ends").unusable.values()
    assert "000007.png' cannot be read" in str(fault)


def with_classes(folder, content, row) -> tuple[list[str], list[dict]]:
    (folder / "classes.txt").write_text(content)
    rows = [CAR, VAN, row, DONT_CARE]
    (folder / "training" / "label_2" / "000003.txt").write_text("\n".join(rows))
    name = register_from_files(f"kitti:{folder}:3dop/train")
    return MetadataCatalog.get(name).thing_classes, DatasetCatalog.get(name)[0]["annotations"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Bus", "Car"], [(1, False), (1, True), (0, False), (EVERY_CLASS, True)]),
        (["Bus", "Van"], [(1, False), (0, False), (EVERY_CLASS, True)]),  # cars are background
    ],
)
def test_own_classes(folder, names, expected):
    """What KITTI's other types mean beside them stays: a Van for a Car, DontCare for all."""
    content = "\ufeff" + "\n".join(names)
    classes, found = with_classes(folder, content, CAR.replace("Car", "Bus"))
    assert classes == names
    assert [(e["category_id"], e.get("ignored", False)) for e in found] == expected


@pytest.mark.parametrize(
    ("content", "row", "message"),
    [
        ("Bus\n", CAR.replace("Car", "bus"), r"object 3 has the type 'bus'.*'classes.txt' in the"),
        ("\n", CAR, r"classes.txt' must hold the name of each class once"),
        ("Car\ncar\n", CAR, r"names 'Car': .* differs in capital letters alone"),
        ("Car\nDontCare\n", CAR, r"names 'DontCare': .* marks regions"),
        ("fire engine\n", CAR, r"names 'fire engine': a type .* word without blanks"),
    ],
)
def test_own_classes_that_do_not_fit_are_named(folder, content, row, message):
    with pytest.raises(DatasetError, match=message):
        with_classes(folder, content, row)


def test_labels_of_boxes_alone_train_and_score_boxes(folder):
    """KITTI's marks, zeros or 8 columns; a perfect detector of 2-D boxes finds them."""
    rows = [" ".join(CAR.split()[:8]), " ".join([*PEDESTRIAN.split()[:8], *["0"] * 7])]
    for frame in FRAMES:
        (folder / "training" / "label_2" / f"{frame}.txt").write_text("\n".join(rows))
    name = register_from_files(f"kitti:{folder}:3dop/train")
    records = DatasetCatalog.get(name)
    instances = DetectionMapper(is_train=True)(records[0])["instances"]
    assert instances.gt_classes.tolist() == [1, 0]
    evaluator = KittiEvaluator(dataset_name=name)
    for record in records:
        found = Instances((375, 1242), pred_boxes=instances.gt_boxes)
        found.pred_classes, found.scores = instances.gt_classes, torch.ones(2)
        evaluator.process([record], [{"instances": found}])
    results = evaluator.evaluate()
    assert results["bbox"]["AP11-Pedestrian-hard"] == pytest.approx(100 / 11)
    with pytest.raises(DatasetError, match="not one of 6 objects has a 3-D box in front of"):
        Boxes3DField().check_records(records, name)


def test_a_folder_of_boxes_alone_needs_no_calibrations(folder, caplog):
    with_cameras = load_kitti_records(str(folder), "3dop/train")
    shutil.rmtree(folder / "training" / "calib")
    records = load_kitti_records(str(folder), "3dop/train")
    assert records == [{k: v for k, v in r.items() if k != "projection"} for r in with_cameras]
    assert "training' has no folder calib: no cameras for 3-D boxes" in caplog.text
    with pytest.raises(DatasetError, match=r"000003.png': .* no 'projection'.*of calibrations"):
        Boxes3DField().check_records(records, "a folder")


def test_registered_names(tmp_path):
    for name in KITTI_SPLITS:
        metadata = MetadataCatalog.get(name)
        assert metadata.thing_classes == ["Pedestrian", "Car", "Cyclist"]
        assert metadata.evaluator_type == "kitti"
        part = "testing" if name == "kitti_test" else "training"
        assert metadata.image_dir.endswith(f"kitti/{part}/image_2")
        assert metadata.calib_dir.endswith(f"kitti/{part}/calib")
        label_dir = None if name == "kitti_test" else metadata.image_dir[:-7] + "label_2"
        assert metadata.label_dir == label_dir


def test_registering_again_leaves_what_is_there(tmp_path):
    before = MetadataCatalog.get("kitti_3dop_val").image_dir
    register_builtin(str(tmp_path))
    assert MetadataCatalog.get("kitti_3dop_val").image_dir == before


def test_from_files(folder):
    name = register_from_files(f"kitti:{folder}:3dop/train")
    assert name == register_from_files(f"kitti:{folder}:3dop/train")
    assert name.startswith("kitti_3dop_train_")
    metadata = MetadataCatalog.get(name)
    assert metadata.file_spec == f"kitti:{folder}:3dop/train"
    assert metadata.label_dir == str(folder / "training" / "label_2")
    assert len(DatasetCatalog.get(name)) == 3


def test_from_files_without_labels(folder):
    for file in (folder / "training" / "label_2").iterdir():
        file.unlink()
    (folder / "training" / "label_2").rmdir()
    name = register_from_files(f"kitti:{folder}:3dop/train")
    assert MetadataCatalog.get(name).label_dir is None
    assert "annotations" not in DatasetCatalog.get(name)[0]


def test_from_files_says_what_is_wrong_at_once(folder):
    with pytest.raises(ValueError, match=r"folder '/no/such' does not exist.*ImageSets and"):
        register_from_files("kitti:/no/such:train")
    with pytest.raises(FileNotFoundError, match=r"list of split 'val'"):
        register_from_files(f"kitti:{folder}:val")
    with pytest.raises(ValueError, match=r"form .*'kitti:<folder>:<split>'"):
        register_from_files("kitti:train")


def test_the_config_key_allows_missing_frames(folder):
    (folder / LIST).write_text("000003\n000099\n")
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.INPUT.FORMAT = "BGR"
    cfg.DATASETS.TRAIN = (f"kitti:{folder}:3dop/train",)
    cfg.MODEL.HEATMAP.NUM_CLASSES = 0
    for allowed in (False, True, False):
        cfg.DATASETS.KITTI.ALLOW_MISSING = allowed
        setup(cfg)
        assert cfg.MODEL.HEATMAP.NUM_CLASSES == 3
        if allowed:
            assert len(load_training_dicts(cfg)) == 1
        else:
            with pytest.raises(FileNotFoundError, match="ALLOW_MISSING"):
                load_training_dicts(cfg)


def test_allowing_touches_the_named_datasets_only(folder):
    (folder / LIST).write_text("000003\n000099\n")
    for name in ("a_split", "b_split"):
        register_kitti_split(name, str(folder), "3dop/train")
    choose(["a_split"], "missing_frames", True)
    assert len(DatasetCatalog.get("a_split")) == 1
    with pytest.raises(FileNotFoundError):
        DatasetCatalog.get("b_split")


def test_detectron2_and_box_training_leave_ignored_regions_out(folder):
    records = load_kitti_records(str(folder), "3dop/train")
    print_instances_class_histogram(records, ["Pedestrian", "Car", "Cyclist"])
    instances = DetectionMapper(is_train=True)(records[0])["instances"]
    assert instances.gt_classes.tolist() == [1]


@pytest.mark.data
def test_real_folder(test_data):
    folder = str(test_data / "kitti")
    counts = {}
    for split in ("3dop/train", "3dop/val", "subcnn/train", "subcnn/val", "trainval"):
        counts[split] = len(read_split(folder, split))
        records = load_kitti_records(folder, split, allow_missing=True)
        assert 7 <= len(records) <= 16
        for record in records:
            assert record["width"] in (1224, 1238, 1242)
            for entry in record["annotations"]:
                assert entry.get("ignored") or entry["location"][2] > 0
    assert list(counts.values()) == [3712, 3769, 3682, 3799, 7481]
    with pytest.raises(FileNotFoundError, match=r"3696 have|3705 have|3704 have"):
        load_kitti_records(folder, "3dop/train")
