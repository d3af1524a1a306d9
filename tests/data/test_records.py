"""The one check of dataset dicts: what is an error, what is brought to the usual form."""

from __future__ import annotations

import copy
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from PIL import Image

from centernet_d2 import Predictor, setup
from centernet_d2.data.checks import DatasetError
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.loader import build_test_loader, build_train_loader, load_dataset_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.data.record_checks import check_records
from centernet_d2.data.records import check_class_names, checked_records
from centernet_d2.evaluation.build import build_evaluator
from centernet_d2.evaluation.coco import CocoEvaluator
from centernet_d2.evaluation.voc import VocEvaluator

from .coco_files import coco_content, write_dataset

BOX = {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0}
CORNERS = {"bbox": [10, 20, 40, 60], "bbox_mode": BoxMode.XYXY_ABS}


def two_records() -> list[dict]:
    return [
        {
            "file_name": f"{k}.jpg",
            "image_id": k,
            "height": 100,
            "width": 200,
            "annotations": [dict(BOX, category_id=k)],
        }
        for k in range(2)
    ]


def check(records, classes=2):
    return check_records(records, name="dataset 'mine'", num_classes=classes)


def changed(**changes):
    """Two records, the second of which differs: a key of itself, or of its annotation."""
    records = two_records()
    for key, value in changes.items():
        of_object = key in (*BOX, "ignored", "keypoints")
        place = records[1]["annotations"][0] if of_object else records[1]
        if value is KeyError:
            del place[key]
        else:
            place[key] = value
    return records


@pytest.mark.parametrize("wrap", [list, iter, tuple, lambda r: (x for x in r)])
def test_what_is_right_stays_as_it_is_in_any_iterable(wrap):
    records = two_records()
    checked = check(wrap(records))
    assert checked == two_records()
    assert all(a is b for a, b in zip(checked, records, strict=True))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bbox_mode": 1}, {}),
        ({"bbox_mode": "XYWH_ABS"}, CORNERS),
        ({"bbox_mode": BoxMode.XYXY_REL, "bbox": [0.05, 0.2, 0.2, 0.6]}, CORNERS),
        ({"bbox_mode": "XYWH_REL", "bbox": (0.05, 0.2, 0.15, 0.4)}, CORNERS),
        ({"category_id": -1, "ignored": True}, {"iscrowd": 1}),
        ({"iscrowd": np.bool_(True)}, {}),
        ({"category_id": np.int64(0)}, {}),
        ({"keypoints": [1.5, 2.5, 2, 0, 0, 0]}, {}),
        ({"keypoints": []}, {}),
    ],
)
def test_annotations_of_another_form(changes, expected):
    records = changed(**changes)
    before = copy.deepcopy(records)
    annotation = dict(check(records)[1]["annotations"][0])
    box = annotation.pop("bbox")
    wanted = {**before[1]["annotations"][0], **expected}
    assert box == pytest.approx(wanted.pop("bbox"))
    assert annotation == wanted
    assert records == before  # what is registered stays as it is


@pytest.mark.parametrize("kind", [np.array, partial(np.array, dtype=np.float32), torch.tensor])
def test_boxes_of_arrays(kind):
    records = changed(bbox=kind(BOX["bbox"]))
    assert check(records)[1] is records[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"file_name": Path("a/b.jpg")}, {"file_name": "a/b.jpg"}),
        ({"image_id": np.int64(7)}, {"image_id": 7}),
        ({"image_id": "7"}, {"image_id": "7"}),
        ({"height": 100.0, "width": np.int32(200)}, {"height": 100, "width": 200}),
    ],
)
def test_records_of_another_form(changes, expected):
    record = check(changed(**changes))[1]
    assert {key: record[key] for key in expected} == expected
    assert type(record["image_id"]) in (int, str)


@pytest.mark.parametrize("missing", [KeyError, None])
@pytest.mark.parametrize(("exif", "size"), [(1, (200, 100)), (6, (100, 200))])
def test_a_missing_size_is_that_of_the_upright_image(tmp_path, missing, exif, size):
    image = Image.new("RGB", (200, 100))
    image.getexif()[0x0112] = exif
    image.save(tmp_path / "a.jpg", exif=image.getexif())
    records = changed(width=missing, height=missing, file_name=tmp_path / "a.jpg")
    record = check(records)[1]
    assert (record["width"], record["height"]) == size
    sample = DetectionMapper(is_train=False)(record)
    assert sample["image"].shape[1:] == size[::-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_id": KeyError}, r"1 of 2 records have no 'image_id': record 1 \('1.jpg'\)\. Give"),
        ({"image_id": 1.5}, r"wrong 'image_id': record 1 .* 1.5\. Give .* whole number or a te"),
        ({"image_id": True}, r"wrong 'image_id': record 1 .* has True"),
        ({"image_id": 0}, r"2 of 2 records share an 'image_id'.*record 0 .* has 0; record 1"),
        ({"file_name": None}, r"1 of 2 records have no 'file_name', although others have"),
        ({"file_name": b"1.jpg"}, r"wrong 'file_name': .* the path of the image file"),
        ({"height": -3}, r"wrong 'height': record 1 .* has -3"),
        ({"width": "200"}, r"wrong 'width': record 1 .* has '200'. Give .* number of pixels"),
        ({"width": float("nan")}, r"wrong 'width': record 1 .* has nan"),
        ({"annotations": None}, r"1 of 2 records have no 'annotations'.*record 1 .*an empty list"),
        ({"annotations": KeyError}, r"1 of 2 records have no 'annotations'.*record 1"),
        ({"annotations": {}}, r"wrong 'annotations': record 1 .* has {}. Give .* list of dicts"),
        ({"annotations": [BOX, 3]}, r"1 of 3 annotations are no dicts: annotation 1 of record 1"),
        ({"bbox": KeyError}, r"1 of 2 annotations have no 'bbox': annotation 0 of record 1"),
        ({"bbox": [1, 2, 3]}, r"wrong 'bbox': annotation 0 of record 1 .* has \[1, 2, 3\].*four n"),
        ({"bbox": ["1", "2", "3", "4"]}, r"wrong 'bbox': .* four numbers"),
        ({"bbox": [None] * 4}, r"wrong 'bbox'"),
        ({"bbox": [1, 2, float("nan"), 4]}, r"1 of 2 boxes hold NaN or infinity: annotation 0 of"),
        ({"bbox": [50, 50, -10, 10]}, r"1 of 2 boxes have a negative width or height"),
        ({"bbox_mode": KeyError}, r"have no 'bbox_mode': annotation 0 of record 1.*BoxMode.XYXY_A"),
        ({"bbox_mode": "xywh"}, r"wrong 'bbox_mode': .* has 'xywh'\. Give .*BoxMode\.XYWH_ABS"),
        ({"bbox_mode": BoxMode.XYWHA_ABS}, r"wrong 'bbox_mode': .* rotated boxes have to be conv"),
        ({"bbox_mode": [0]}, r"wrong 'bbox_mode'"),
        ({"bbox_mode": 0, "bbox": [50, 50, 9, 9]}, r"x2 < x1.* has \[50, 50, 9, 9\]\. If .*XYWH_A"),
        ({"category_id": 2}, r"1 of 2 annotations are of no class: .* 2\. .*0 to 1 \(not count"),
        ({"category_id": -1}, r"have 'category_id' -1 and no 'ignored' 1: annotation 0 of record"),
        ({"category_id": -2, "ignored": 1}, r"wrong 'category_id': .* has -2"),
        ({"category_id": "a"}, r"wrong 'category_id': .* has 'a'"),
        ({"category_id": 0.5}, r"wrong 'category_id': .* has 0.5"),
        ({"iscrowd": "0"}, r"wrong 'iscrowd': .* has '0'\. Give each 'iscrowd': 0 or 1"),
        ({"ignored": 2}, r"wrong 'ignored'"),
        ({"keypoints": "1 2 2"}, r"wrong 'keypoints': .* x, y, visibility of each joint"),
        ({"keypoints": [1, 2]}, r"wrong 'keypoints'"),
        ({"keypoints": [[1, 2], [1]]}, r"wrong 'keypoints'"),
    ],
)
def test_what_cannot_be_meant_names_record_key_and_cure(changes, words):
    with pytest.raises(DatasetError, match=rf"^dataset 'mine': .*{words}"):
        check(changed(**changes))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "returned None; return a list of dicts"),
        ({"images": []}, r"returned {'images': \[\]}"),
        ([], "has no images"),
        (["a.jpg"], r"1 of 1 records are no dicts: record 0 \('a.jpg'\)"),
    ],
)
def test_what_is_no_list_of_records(given, words):
    with pytest.raises(DatasetError, match=words):
        check(given)


def test_useless_boxes_are_dropped_and_counted(caplog):
    records = two_records()
    records[0]["annotations"] += [dict(BOX, bbox=[5, 5, 0, 3]), dict(BOX, bbox=[300, 5, 9, 9])]
    checked = check(records)
    assert checked[0]["annotations"] == two_records()[0]["annotations"]
    assert checked[1] is records[1]
    dropped = r"dropped 1 of 4 boxes of zero width or height: annotation 1 of record 0 \('0.jpg'\)"
    assert re.search(dropped, caplog.text)
    assert re.search(r"dropped 1 of 4 boxes that lie outside their image: .* 2 of rec", caplog.text)
    with pytest.raises(DatasetError, match=r"2 of 2 boxes lie outside .* another resolution"):
        check([dict(r, width=10, height=10) for r in two_records()])


@pytest.mark.parametrize("is_train", [True, False])
def test_images_without_file_names_need_a_mapper_of_ones_own(tiny_config, is_train):
    records = [{k: v for k, v in r.items() if k != "file_name"} for r in two_records()]
    name, key = register(records), "TRAIN" if is_train else "TEST"
    cfg = tiny_config(f"DATASETS.{key}", (name,), "DATALOADER.NUM_WORKERS", 0)

    def build(**given):
        return (
            build_train_loader(cfg, **given) if is_train else build_test_loader(cfg, name, **given)
        )

    words = (
        rf"^DATASETS\.{key} records_mine: 2 of 2 records have no 'file_name'\. Give each .* path"
    )
    with pytest.raises(DatasetError, match=words):
        build()
    sample = next(iter(build(mapper=lambda record: {"seen": record["image_id"]})))[0]
    assert sample["seen"] in (0, 1)
    with pytest.raises(DatasetError, match=r"^image 1: 1 of 1 records have no 'file_name'"):
        DetectionMapper(is_train=is_train)(records[1])


@pytest.mark.parametrize("error", [KeyError("size"), ZeroDivisionError("division by zero")])
def test_an_error_of_a_data_set_function_names_the_data_set(error):
    def fail():
        raise error

    DatasetCatalog.register("records_mine", fail)
    with pytest.raises(type(error)) as caught:
        checked_records("records_mine", key="DATASETS.TEST")
    assert caught.value.__notes__[0].startswith(
        "DATASETS.TEST: the function of dataset 'records_mine' (no json_file in its metadata)"
    )


def test_without_class_names_any_number_is_a_class():
    assert check(changed(category_id=70), classes=None)[1]["annotations"][0]["category_id"] == 70


def test_records_without_any_annotation_are_unlabelled():
    bare = [{"image_id": k, "annotations": None} for k in "ab"]
    assert check(bare) == [{"image_id": "a"}, {"image_id": "b"}]


@pytest.mark.parametrize("names", ["ab", ["a", "a"], [1, 2], [], None, ["a", None], 3])
def test_class_names(names):
    words = rf"'mine': thing_classes .* is {re.escape(repr(names))}.*thing_classes=\['first'"
    with pytest.raises(DatasetError, match=words):
        check_class_names(names, "mine")
    assert check_class_names(("b", "a"), "mine") == ["b", "a"]


def register(records, name="records_mine", **metadata):
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(thing_classes=["a", "b"], **metadata)
    return name


def detections(*rows):
    """Of boxes (XYXY), score and class."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    found = Instances((100, 200), pred_boxes=Boxes(table[:, :4]), scores=table[:, 4])
    found.pred_classes = table[:, 5].long()
    return [{"instances": found}]


both_evaluators = pytest.mark.parametrize("evaluator", [CocoEvaluator, VocEvaluator])


@both_evaluators
def test_loader_and_evaluator_get_the_same(evaluator):
    """Perfect detections of what the loader gives score 100 of 100."""
    name = register(changed(bbox_mode="XYWH_REL", bbox=[0.05, 0.2, 0.15, 0.4]))
    scores = evaluator(dataset_name=name, distributed=False)
    for record in load_dataset_dicts([name]):
        (annotation,) = record["annotations"]
        box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
        scores.process([record], detections([*box, 1, annotation["category_id"]]))
    assert scores.evaluate()["bbox"]["AP50"] == pytest.approx(100)


@both_evaluators
def test_an_ignored_region_counts_for_no_class(evaluator):
    """What is found there is neither right nor wrong: at a higher score it costs nothing."""
    records = two_records()
    region = dict(BOX, bbox=[100, 20, 30, 40], category_id=-1, ignored=True)
    records[0]["annotations"].append(region)
    scores = evaluator(dataset_name=register(records), distributed=False)
    there = [10, 20, 40, 60, 0.5]
    scores.process(records[:1], detections([*there, 0], [100, 20, 130, 60, 0.9, 0]))
    scores.process(records[1:], detections([*there, 1]))
    assert scores.evaluate()["bbox"]["AP50"] == pytest.approx(100)


@pytest.mark.parametrize("kind", ["coco", "pascal_voc", "kitti"])
@pytest.mark.parametrize("annotations", [[], None, KeyError])
def test_nothing_to_be_found_is_said(tiny_config, caplog, kind, annotations):
    """Empty lists give NaN and a word; no annotations give no scores and a word."""
    bare = [{k: v for k, v in r.items() if k != "annotations"} for r in two_records()]
    given = {} if annotations is KeyError else {"annotations": annotations}
    records = [{**record, **given} for record in bare]
    name = register(records, evaluator_type=kind, label_dir=None)
    scores = build_evaluator(tiny_config(), name)
    scores.distributed, scores.output_folder = False, None
    scores.process(records, detections() * 2)
    results = scores.evaluate()["bbox"]
    if annotations == []:
        assert results
        assert all(np.isnan(value) for value in results.values())
        assert "has no object to be found, so all scores are NaN" in caplog.text
    else:
        assert results == {}
        assert "has no annotations, so there are no scores" in caplog.text


@both_evaluators
def test_evaluators_refuse_what_the_loader_refuses(evaluator):
    name = register(changed(image_id=0))
    words = "dataset 'records_mine': 2 of 2 records share an 'image_id'"
    with pytest.raises(DatasetError, match=rf"^DATASETS\.TRAIN: {words}"):
        load_dataset_dicts([name])
    with pytest.raises(DatasetError, match=f"^{words}"):
        evaluator(dataset_name=name)


@pytest.mark.parametrize("form", ["coco file", "code", "code without sizes"])
def test_pixels_as_stored_by_choice(tmp_path, tiny_config, form):
    """Photos whose annotations do not know their EXIF orientation are read as they are stored."""
    json_file, root = write_dataset(tmp_path, coco_content(size=(40, 30)))
    pictures = [np.full((30, 40, 3), value, dtype=np.uint8) for value in (10, 90, 170)]
    for k, picture in enumerate(pictures):
        picture[:, :20] += 60
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(picture).save(root / f"{k}.png", exif=exif)
    dataset = f"coco:{json_file}:{root}"
    if form != "coco file":
        records = list(load_coco_records(str(json_file), str(root)))
        sizes = ("height", "width") if "without" in form else ()
        records = [{k: v for k, v in record.items() if k not in sizes} for record in records]
        dataset = register(records)
    for choice in ("apply", "ignore"):
        cfg = tiny_config("INPUT.EXIF_ORIENTATION", choice, "DATASETS.TEST", (dataset,))
        cfg.MODEL.HEATMAP.NUM_CLASSES = 0
        loader = build_test_loader(setup(cfg), cfg.DATASETS.TEST[0])
        if choice == "apply" and "without" not in form:
            with pytest.raises(DatasetError, match=r"INPUT\.EXIF_ORIENTATION ignore"):
                next(iter(loader))
            continue
        for (sample,), picture in zip(loader, pictures, strict=True):
            turned = np.rot90(picture, -1) if choice == "apply" else picture
            assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), turned)
            assert (sample["height"], sample["width"]) == turned.shape[:2]
        found = Predictor.read(SimpleNamespace(cfg=cfg), str(root / "2.png"))
        assert np.array_equal(found, turned)


def test_one_dataset_of_several_without_annotations():
    bare = [{"image_id": 0, "file_name": "0.jpg"}]
    names = [register(two_records(), "records_labelled"), register(bare, "records_bare")]
    words = "DATASETS.TRAIN: dataset 'records_bare' has no annotations, although 'records_labelled'"
    with pytest.raises(ValueError, match=words):
        load_dataset_dicts(names, filter_empty=True)


def test_records_of_a_reader_that_somebody_changed_are_checked(tmp_path):
    """A reader of this package has checked its own; that of a user who goes on from there not."""
    json_file, image_root = write_dataset(tmp_path, coco_content())
    DatasetCatalog.register("records_own", lambda: twice)
    twice = load_coco_records(str(json_file), str(image_root)) * 2
    with pytest.raises(DatasetError, match="share an 'image_id'"):
        checked_records("records_own")
