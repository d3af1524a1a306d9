from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path

import pytest
import torch
from data.voc_files import write_voc  # the folder beside this one
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import print_csv_format
from detectron2.evaluation.pascal_voc_evaluation import PascalVOCDetectionEvaluator
from detectron2.structures import Boxes, Instances
from two_processes import one_of_two

from centernet_d2.data.datasets.voc import register_voc_split
from centernet_d2.engine.setup import load_config
from centernet_d2.evaluation import VocEvaluator, build_evaluator
from centernet_d2.evaluation.voc import result_file_name

NAME = "voc_of_a_test"
CLASSES = ("bird", "cat", "dog")
# The case of test_voc_scores.py that is worked out by hand; a bird that was found exactly.
CATS = [("cat", 1, 1, 20, 20), ("cat", 31, 1, 50, 20), ("cat", 31, 31, 50, 50)]
IMAGES = {
    "000001": [("cat", 1, 1, 10, 10, 0), ("cat", 31, 31, 40, 40, 1), ("bird", 5, 5, 9, 9, 0)],
    "000002": [(*cat, 0) for cat in CATS],
    "000003": [],
}
DETECTIONS = {  # class, score, XYXY in file coordinates
    "000002": [(1, 0.5, 2, 1, 20, 20), (1, 0.6, 1, 31, 10, 40)],
    "000001": [
        *((1, 0.9, 1, 1, 10, 10), (1, 0.8, 1, 1, 10, 9)),
        *((1, 0.7, 31, 31, 40, 40), (0, 0.25, 5, 5, 9, 9)),
    ],
    "000003": [],
}
CAT_07, CAT_12 = 100 * (3 + 1.5) / 11, 100 * 3 / 8


def instances(rows, offset=(1, 1, 1, 1)) -> Instances:
    """What a model gives whose boxes become `rows` in the files."""
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 6)
    found = Instances((50, 60))
    found.pred_boxes = Boxes((table[:, 2:] - torch.tensor(offset)).float())
    found.scores, found.pred_classes = table[:, 1].float(), table[:, 0].long()
    return found


def run(evaluator, images=DETECTIONS, offset=(1, 1, 1, 1)):
    evaluator.reset()
    for image_id in images:
        found = instances(DETECTIONS[image_id], offset)
        evaluator.process([{"image_id": image_id}], [{"instances": found}])
    return evaluator.evaluate()


@pytest.fixture
def register(tmp_path):
    """A function that writes and registers a VOC folder; returns the dataset's name."""

    def make(images=IMAGES, folder="VOC2007", year=2007, **options):
        write_voc(tmp_path / folder, images)
        register_voc_split(
            NAME, str(tmp_path / folder), "test", class_names=CLASSES, year=year, **options
        )
        return NAME

    yield make
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)
        MetadataCatalog.remove(NAME)


def test_scores_in_percent(register, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    evaluator = VocEvaluator(dataset_name=register(), output_folder=str(tmp_path), protocol="p")
    results = run(evaluator)["bbox"]
    assert results["AP07-cat"] == pytest.approx(CAT_07)
    assert results["AP12-cat"] == pytest.approx(CAT_12)
    assert results["AP07-bird"] == results["AP12-bird"] == pytest.approx(100)
    assert math.isnan(results["AP07-dog"])
    assert results["mAP07"] == pytest.approx((CAT_07 + 100) / 2)
    assert results["mAP12"] == pytest.approx((CAT_12 + 100) / 2)
    assert results["AP50"] == results["mAP07"]  # 2007: 11 points
    assert list(results)[:5] == ["mAP07", "mAP12", "AP", "AP50", "AP75"]
    print_csv_format({"bbox": results})
    saved = json.loads((tmp_path / VocEvaluator.scores_file).read_text())
    assert saved["protocol"] == "p"
    assert saved["scores"]["bbox"]["AP07-dog"] is None
    assert saved["scores"]["bbox"]["mAP07"] == results["mAP07"]
    # One table has all of it.
    rows = [line.split("|") for line in caplog.text.splitlines() if line.startswith("|")]
    (heads, _, *rows) = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert heads == ["class", "AP", "AP50", "AP75", "AP50 every-point"]
    assert [row[0] for row in rows] == ["all", *CLASSES]
    told = [f"{results[key]:.2f}" for key in ("AP", "AP50", "AP75", "mAP12")]
    assert rows[0][1:] == told
    assert [rows[2][2], rows[2][4]] == [f"{CAT_07:.2f}", f"{CAT_12:.2f}"]
    assert rows[3][1:] == ["nan"] * 4


@pytest.mark.parametrize(
    ("split", "name", "file"),
    [
        ("test", "fire engine", "comp4_det_test_fire engine.txt"),
        ("test", "a/b", "comp4_det_test_a%2Fb.txt"),
        ("test", "a%2Fb", "comp4_det_test_a%252Fb.txt"),  # no two names give one file
        ("part/val", "../c:\\d", "comp4_det_part%2Fval_..%2Fc%3A%5Cd.txt"),
    ],
)
def test_result_files_of_any_class_name(split, name, file):
    assert result_file_name(split, name) == file


def test_later_years_have_the_area_as_their_metric(register):
    results = run(VocEvaluator(dataset_name=register(folder="VOC2012", year=2012)))["bbox"]
    assert results["AP50"] == results["mAP12"] != results["mAP07"]


def test_result_files_have_the_published_format(register, tmp_path):
    run(VocEvaluator(dataset_name=register(), output_folder=str(tmp_path / "out")))
    folder = tmp_path / "out" / "results" / "VOC2007" / "Main"
    assert sorted(os.listdir(folder)) == [f"comp4_det_test_{name}.txt" for name in CLASSES]
    assert (folder / "comp4_det_test_dog.txt").read_text() == ""
    assert (folder / "comp4_det_test_cat.txt").read_text().splitlines() == [
        "000001 0.900 1.0 1.0 10.0 10.0",
        "000001 0.800 1.0 1.0 10.0 9.0",
        "000001 0.700 31.0 31.0 40.0 40.0",
        "000002 0.500 2.0 1.0 20.0 20.0",
        "000002 0.600 1.0 31.0 10.0 40.0",
    ]


def test_file_offset(register, tmp_path):
    name = register()
    exact = VocEvaluator(dataset_name=name, file_offset="left_top")
    assert run(exact, offset=(1, 1, 0, 0))["bbox"]["mAP12"] == pytest.approx((CAT_12 + 100) / 2)
    with pytest.raises(ValueError, match=r"file_offset must .*'all', 'left_top', got 'none'"):
        VocEvaluator(dataset_name=name, file_offset="none")


def test_rounding_makes_ties_and_can_be_turned_off(register):
    """0.4004 is behind 0.4001 by order of images, once both are 0.400."""
    name = register({"000001": [("cat", 1, 1, 10, 10, 0)], "000002": []})
    right, wrong = instances([(1, 0.4004, 1, 1, 10, 10)]), instances([(1, 0.4001, 1, 1, 10, 10)])
    for swapped in (False, True):
        for rounded, expected in ((True, 50 if swapped else 100), (False, 100)):
            evaluator = VocEvaluator(dataset_name=name, round_to_files=rounded)
            evaluator.objects.image[:] = int(swapped)
            found = (wrong, right) if swapped else (right, wrong)
            for image_id, boxes in zip(("000001", "000002"), found, strict=True):
                evaluator.process([{"image_id": image_id}], [{"instances": boxes}])
            assert evaluator.evaluate()["bbox"]["mAP12"] == pytest.approx(expected)


@pytest.mark.parametrize("labelled", [None, False])
def test_a_split_without_annotations_gives_files_only(register, tmp_path, caplog, labelled):
    images = {name: None if labelled is None else [] for name in IMAGES}
    name = register(images, "VOC2012", 2012, labelled=labelled)
    with caplog.at_level(logging.INFO):
        results = run(VocEvaluator(dataset_name=name, output_folder=str(tmp_path)))
    assert results == {"bbox": {}}
    assert "has no annotations, so there are no scores" in caplog.text
    file = tmp_path / "results" / "VOC2012" / "Main" / "comp4_det_test_cat.txt"
    assert str(file.parent) in caplog.text
    assert len(file.read_text().splitlines()) == 5
    assert not (tmp_path / VocEvaluator.scores_file).exists()


def test_records_that_do_not_know_difficult_objects(register, caplog):
    name = register()
    records = DatasetCatalog.get(name)
    for record in records:
        for annotation in record["annotations"]:
            del annotation["difficult"]
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, lambda: records)
    evaluator = VocEvaluator(dataset_name=name)
    assert "does not say which objects are difficult" in caplog.text
    assert not evaluator.objects.difficult.any()
    del records[0]["annotations"]
    with pytest.raises(ValueError, match="1 of 3 records have no 'annotations'"):
        VocEvaluator(dataset_name=name)


def test_images_never_seen_and_classes_never_heard_of(register, caplog):
    evaluator = VocEvaluator(dataset_name=register())
    results = run(evaluator, [])["bbox"]
    assert results["mAP07"] == results["mAP12"] == 0
    results = run(evaluator, ["000001"])["bbox"]
    assert results["AP12-cat"] == pytest.approx(25)
    assert "2 of 3 images were never processed" in caplog.text
    wrong = instances([(3, 0.5, 1, 1, 2, 2)])
    with pytest.raises(ValueError, match="has 3 classes"):
        evaluator.process([{"image_id": "000002"}], [{"instances": wrong}])


def test_built_from_a_config(register, tiny_config):
    cfg = tiny_config("TEST.VOC.FILE_OFFSET", "left_top", "TEST.VOC.ROUND", False)
    evaluator = build_evaluator(cfg, register(), "out", protocol="no augmentation / keep_res")
    assert isinstance(evaluator, VocEvaluator)
    assert (evaluator.file_offset, evaluator.round_to_files) == ("left_top", False)
    assert evaluator.protocol.startswith("no augmentation / keep_res")


def test_own_configs_score_boxes_as_they_are_read(register):
    """What was found exactly, of a size that a pixel is a part of, has AP 100."""
    name = register({"000001": [("cat", 3, 4, 12, 13, 0)]})
    (record,) = DatasetCatalog.get(name)
    found = Instances((50, 60), scores=torch.tensor([0.99997]), pred_classes=torch.tensor([1]))
    found.pred_boxes = Boxes(torch.tensor([record["annotations"][0]["bbox"]]))
    scores = {}
    for config in ("Own/points_small", "Shapes/points_tiny"):
        evaluator = build_evaluator(load_config(config), name)
        evaluator.reset()
        evaluator.output_folder = None
        evaluator.process([{"image_id": "000001"}], [{"instances": found}])
        scores[config] = evaluator.evaluate()["bbox"]["AP"]
    assert scores["Own/points_small"] == 100
    assert scores["Shapes/points_tiny"] == 70  # IoU 100 / 121


def _score_in_process(rank: int, folder: str) -> None:
    """One of two processes: takes every other image, and one that both take."""
    with one_of_two(rank, folder):
        register_voc_split(NAME, f"{folder}/VOC2007", "test", class_names=CLASSES, year=2007)
        evaluator = VocEvaluator(dataset_name=NAME)
        results = run(evaluator, sorted(DETECTIONS)[rank::2] + ["000001"] * rank)
        Path(folder, f"results{rank}.json").write_text(json.dumps(results))


@pytest.mark.slow
def test_two_processes_equal_one(register, tmp_path):
    expected = run(VocEvaluator(dataset_name=register()))
    torch.multiprocessing.spawn(_score_in_process, args=(str(tmp_path),), nprocs=2)
    assert json.loads((tmp_path / "results1.json").read_text()) == {}
    first = json.loads((tmp_path / "results0.json").read_text())
    assert first["bbox"] == pytest.approx(expected["bbox"], nan_ok=True)


# ---- real data ----


@pytest.fixture
def sample(test_data):
    """The 100 VOC 2012 images as a dataset, and a detector's rows for each image."""
    folder = test_data / "voc2012_sample"
    register_voc_split(NAME, str(folder), "val", year=2012)
    rows = {}
    for image_id in [record["image_id"] for record in DatasetCatalog.get(NAME)]:
        file = folder / "detections_abs_xywh" / f"{image_id}.txt"
        lines = file.read_text().splitlines() if file.is_file() else []
        table = [[float(word) for word in line.split()] for line in lines]
        rows[image_id] = [(int(k), s, x, y, x + w, y + h) for k, s, x, y, w, h in table]
    yield rows
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.mark.data
@pytest.mark.parametrize("year", [2007, 2012])
def test_real_images_score_as_with_detectron2s_evaluator(sample, year):
    """Both see the same boxes; detectron2's is the devkit's Python translation.

    It sorts equal scores in no particular order, so here every score becomes its rank.
    """
    metadata = MetadataCatalog.get(NAME)
    metadata.__dict__["year"] = year  # both metrics on one set
    ours = VocEvaluator(dataset_name=NAME, file_offset="left_top")
    theirs = PascalVOCDetectionEvaluator(NAME)
    theirs.reset()
    assert len(sample) == 100
    scores = sorted(row[1] for rows in sample.values() for row in rows)
    assert 200 < len(set(scores)) < 1000
    for image_id, rows in sample.items():
        ranks = []
        for kind, score, *box in rows:
            place = scores.index(score)
            scores[place] = None
            ranks.append((kind, place / 1000, *box))
        output = [{"instances": instances(ranks, (1, 1, 0, 0))}]
        ours.process([{"image_id": image_id}], output)
        theirs.process([{"image_id": image_id}], output)
    results, expected = ours.evaluate()["bbox"], theirs.evaluate()["bbox"]
    assert 20 < expected["AP50"] < 99
    for key in ("AP", "AP50", "AP75"):
        assert results[key] == pytest.approx(expected[key], abs=1e-9)
    assert ours.objects.difficult.sum() == 38
    assert len(ours.objects) == 273
