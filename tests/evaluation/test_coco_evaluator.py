from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator, print_csv_format, verify_results
from detectron2.structures import BoxMode
from two_processes import one_of_two

from centernet_d2.config import add_centernet_config
from centernet_d2.evaluation import CocoEvaluator, build_evaluator
from centernet_d2.evaluation.coco import RESULTS_FILE
from centernet_d2.evaluation.coco_ground_truth import load_ground_truth
from centernet_d2.evaluation.coco_scores import FALSE_DISCOVERY_NAMES, METRIC_NAMES, false_discovery

from .conftest import NAME
from .random_coco import (
    CATEGORY_IDS,
    CLASS_NAMES,
    make_instances,
    oracle,
    random_dataset,
    run,
    to_records,
    to_rows,
)


def test_equals_pycocotools_in_percent(registered, dataset, detections):
    results = run(CocoEvaluator(dataset_name=registered(dataset)), detections)["bbox"]
    expected = oracle(dataset, to_rows(detections)) * 100
    np.testing.assert_allclose(
        [results[name] for name in METRIC_NAMES["bbox"]], expected, rtol=0, atol=1e-9
    )
    assert list(results) == [*METRIC_NAMES["bbox"], *(f"AP-{name}" for name in CLASS_NAMES)]
    print_csv_format({"bbox": results})


def test_equals_detectron2s_evaluator_where_that_has_numbers(registered, dataset, detections):
    name = registered(dataset)
    ours = run(CocoEvaluator(dataset_name=name), detections)["bbox"]
    theirs = run(COCOEvaluator(name, ("bbox",), False, use_fast_impl=False), detections)["bbox"]
    assert set(theirs) < set(ours)
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)


def test_images_may_come_in_any_order_and_twice(registered, dataset, detections, caplog):
    evaluator = CocoEvaluator(dataset_name=registered(dataset))
    expected = run(evaluator, detections)["bbox"]
    caplog.clear()
    images = [*reversed(list(detections)), 103, 105]
    assert run(evaluator, detections, images)["bbox"] == pytest.approx(expected, abs=1e-9)
    assert "2 were processed more than once" in caplog.text


def test_image_never_seen_counts_as_empty(registered, dataset, detections, caplog):
    evaluator = CocoEvaluator(dataset_name=registered(dataset))
    seen = [image_id for image_id in detections if image_id != 101]
    results = run(evaluator, detections, seen)["bbox"]
    rows = [row for row in to_rows(detections) if row["image_id"] != 101]
    assert len(rows) < len(to_rows(detections))
    assert results["AP"] == pytest.approx(oracle(dataset, rows)[0] * 100, abs=1e-9)
    assert "1 of 12 images were never processed" in caplog.text
    assert "101" in caplog.text


def test_no_detections_at_all(registered, dataset, detections, tmp_path):
    evaluator = CocoEvaluator(dataset_name=registered(dataset), output_folder=str(tmp_path / "out"))
    nothing = {image_id: instances[[]] for image_id, instances in detections.items()}
    results = run(evaluator, nothing)
    assert results["bbox"]["AP"] == 0
    assert json.loads((tmp_path / "out" / RESULTS_FILE).read_text()) == []
    evaluator.reset()
    assert evaluator.evaluate()["bbox"]["AP"] == 0  # not one image either


def test_no_objects_at_all(registered, dataset, detections, tmp_path):
    name = registered({**dataset, "annotations": []})
    results = run(CocoEvaluator(dataset_name=name, output_folder=str(tmp_path)), detections)
    assert math.isnan(results["bbox"]["AP"])
    scores = json.loads((tmp_path / CocoEvaluator.scores_file).read_text())
    assert scores["scores"]["bbox"]["AP"] is None


def test_split_without_annotations_writes_the_submission(
    registered, dataset, detections, tmp_path, caplog
):
    unlabelled = {key: value for key, value in dataset.items() if key != "annotations"}
    evaluator = CocoEvaluator(dataset_name=registered(unlabelled), output_folder=str(tmp_path))
    caplog.set_level(logging.INFO)
    results = run(evaluator, detections)
    assert results == {"bbox": {}}
    rows = json.loads((tmp_path / RESULTS_FILE).read_text())
    expected = to_rows(detections)
    assert [set(row) for row in rows] == [{"image_id", "category_id", "bbox", "score"}] * len(rows)
    for row, wanted in zip(rows, expected, strict=True):
        assert row["category_id"] == wanted["category_id"]
        assert row["bbox"] == pytest.approx(wanted["bbox"])
    assert "no annotations" in caplog.text
    assert str(tmp_path / RESULTS_FILE) in caplog.text
    print_csv_format(results)  # as detectron2's trainer does with it, and then:
    cfg = get_cfg()
    assert verify_results(cfg, results)
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 50.0, 1.0]]
    with pytest.raises(SystemExit):
        verify_results(cfg, results)


def test_rounding_as_the_published_results(registered, dataset, detections, tmp_path):
    evaluator = CocoEvaluator(
        dataset_name=registered(dataset), output_folder=str(tmp_path), round_results=2
    )
    results = run(evaluator, detections)["bbox"]
    rounded = [
        {
            **row,
            "bbox": [float(f"{v:.2f}") for v in row["bbox"]],
            "score": float(f"{row['score']:.2f}"),
        }
        for row in to_rows(detections)
    ]
    assert json.loads((tmp_path / RESULTS_FILE).read_text()) == rounded
    assert results["AP"] == pytest.approx(oracle(dataset, rounded)[0] * 100, abs=1e-9)


def test_false_discovery_and_ap_by_iou_stand_beside_ap(
    registered, dataset, detections, tmp_path, caplog
):
    cfg = get_cfg()
    add_centernet_config(cfg)
    name = registered(dataset)
    plain = run(build_evaluator(cfg, name, str(tmp_path)), detections)["bbox"]
    cfg.merge_from_list(
        ["TEST.FALSE_DISCOVERY", True, "TEST.PER_IOU_AP", True, "TEST.ROUND_RESULTS", 1]
    )
    evaluator = build_evaluator(cfg, name, str(tmp_path))
    caplog.set_level(logging.INFO)
    caplog.clear()
    results = run(evaluator, detections)["bbox"]
    added = ("AP60", "AP70", "AP80", "AP90", *FALSE_DISCOVERY_NAMES)
    assert set(results) == {*plain, *added}
    rows = json.loads((tmp_path / RESULTS_FILE).read_text())  # rounded as they are scored
    expected = false_discovery(dataset, rows)
    assert {key: results[key] for key in expected} == pytest.approx(expected, abs=1e-9)
    assert results["FD50"] == pytest.approx(100 - results["AP50"], abs=1e-9)
    scores = json.loads((tmp_path / CocoEvaluator.scores_file).read_text())["scores"]["bbox"]
    assert scores["FD"] == pytest.approx(results["FD"])
    report = "\n".join(m for m in caplog.messages if "In percent" in m or "Average" in m)
    assert "False discovery in percent" in report
    assert f"{results['FD_S']:.2f}" in report
    assert f"{results['AP90']:.2f}" in report
    print_csv_format({"bbox": results})


def test_protocol_stands_beside_every_score(registered, dataset, detections, tmp_path, caplog):
    evaluator = CocoEvaluator(
        dataset_name=registered(dataset),
        output_folder=str(tmp_path),
        protocol="no augmentation / keep_res",
    )
    caplog.set_level(logging.INFO)
    run(evaluator, detections)
    report = "\n".join(m for m in caplog.messages if "In percent" in m or "Average" in m)
    assert report.count(f"bbox of {NAME}, protocol no augmentation / keep_res") == 3
    assert report.count("Average") == 12
    assert "traffic light" in report
    assert (
        json.loads((tmp_path / CocoEvaluator.scores_file).read_text())["protocol"]
        == "no augmentation / keep_res"
    )


def test_class_that_the_dataset_lacks(registered, dataset):
    evaluator = CocoEvaluator(dataset_name=registered(dataset))
    outputs = [{"instances": make_instances([[1, 2, 3, 4]], [0.5], [4])}]
    with pytest.raises(ValueError, match=r"a\.jpg.*class 4.*4 classes.*NUM_CLASSES"):
        evaluator.process([{"image_id": 101, "file_name": "a.jpg"}], outputs)


def test_image_that_the_dataset_lacks(registered, dataset, detections):
    evaluator = CocoEvaluator(dataset_name=registered(dataset))
    evaluator.process([{"image_id": 9}], [{"instances": detections[101]}])
    with pytest.raises(ValueError, match=rf"{NAME}.*image_id 9"):
        evaluator.evaluate()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_detections_are_left_out(registered, dataset, detections, caplog, value):
    evaluator = CocoEvaluator(dataset_name=registered(dataset))
    expected = run(evaluator, detections)["bbox"]
    count = len(detections[101])
    broken = make_instances([[value, 2, 3, 4], [1, 2, 3, 4]], [0.9, math.nan], [0, 1])
    detections[101] = type(broken).cat([broken, detections[101]])
    assert run(evaluator, detections)["bbox"] == pytest.approx(expected, abs=1e-9)
    assert f"2 of {count + 2} detections have a NaN" in caplog.text


@pytest.mark.parametrize("damage", ["id 0", "same id", "no id", "no area", "no iscrowd"])
def test_home_made_files_score_like_complete_ones(registered, dataset, detections, damage):
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = 0
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    expected = oracle(dataset, to_rows(detections))
    for number, annotation in enumerate(dataset["annotations"]):
        if damage == "id 0":
            annotation["id"] = number
        elif damage == "same id":
            annotation["id"] = 1
        else:
            del annotation[damage.removeprefix("no ")]
    results = run(CocoEvaluator(dataset_name=registered(dataset)), detections)["bbox"]
    np.testing.assert_allclose(
        [results[name] for name in METRIC_NAMES["bbox"]], expected * 100, rtol=0, atol=1e-9
    )


@pytest.fixture
def dense(dataset):
    """60 boxes of each of two classes in one image."""
    boxes = [[10 * (k % 60), 20 * (k // 60), 8, 8] for k in range(120)]
    return {
        "images": [{"id": 1, "height": 480, "width": 640, "file_name": "1.jpg"}],
        "categories": dataset["categories"],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": (3, 7)[k % 2], "bbox": box}
            for k, box in enumerate(boxes)
        ],
    }


def _dense_scores(name, dense, **options):
    boxes = np.array([annotation["bbox"] for annotation in dense["annotations"]], dtype=float)
    boxes[:, 2:] += boxes[:, :2]
    found = make_instances(boxes, np.linspace(1, 0.5, 120), [k % 2 for k in range(120)])
    return run(CocoEvaluator(dataset_name=name, **options), {1: found})["bbox"]


@pytest.mark.parametrize(
    ("count", "ap", "told"),
    [(0, 100, False), (60, 100, False), (30, 50.495, True), (5, 8.911, True)],
)
def test_how_many_detections_count(registered, dense, caplog, count, ap, told, backend):
    name = registered(dense)
    with caplog.at_level(logging.INFO, logger="centernet_d2"):
        scores = _dense_scores(name, dense, max_detections=count, backend=backend)
    assert scores["AP"] == pytest.approx(ap, abs=1e-3)
    assert scores[f"AR{count or 100}"] == pytest.approx(min(100, 100 * (count or 60) / 60))
    assert (f"{120 - 2 * count} of 120 objects ({100 - count / 0.6:.1f} %)" in caplog.text) is told
    note = f"{backend}, at most {count} detections per image and class"
    assert (note in caplog.text) is (count > 0)
    assert f"maxDets={count or 100:>3} ]" in caplog.text


def test_what_the_model_cannot_find_is_told(registered, dense, caplog):
    _dense_scores(registered(dense), dense, model_limits={"TEST.A": 90, "TOP_K": 100})
    assert (
        "30 of 120 objects (25.0 %) are out of reach of the model, which takes the best 90"
        in caplog.text
    )
    assert (
        "best 90 detections of an image; there are up to 120 objects. Raise TEST.A (90) and TOP_K"
        in caplog.text
    )


def test_ignored_objects_are_crowd_regions(registered, dataset, detections):
    evaluator = CocoEvaluator(dataset_name=registered(dataset))
    expected = run(evaluator, detections)["bbox"]
    for annotation in dataset["annotations"]:
        annotation["ignore"] = annotation["iscrowd"]
        annotation["iscrowd"] = 0
    name = registered(dataset, name="ignored_evaluation_test")
    assert run(CocoEvaluator(dataset_name=name), detections)["bbox"] == expected


def test_boxes_that_training_drops_are_not_to_be_found(registered, dataset, detections):
    expected = run(CocoEvaluator(dataset_name=registered(dataset)), detections)["bbox"]
    for bbox in ([5, 5, 0, 9], [700, 5, 9, 9]):  # the images are 640 wide
        annotation = {**dataset["annotations"][0], "id": 1000 + bbox[0], "bbox": bbox, "area": 81}
        dataset["annotations"].append(annotation)
    name = registered(dataset, name="useless_evaluation_test")
    assert run(CocoEvaluator(dataset_name=name), detections)["bbox"] == expected


@pytest.mark.parametrize("labelled", [True, False])
def test_dataset_dicts_without_json(dataset, detections, labelled):
    name = "evaluation_test_dicts"
    records = to_records(dataset, CATEGORY_IDS)
    for record in records:
        for entry in record["annotations"]:
            entry["bbox"] = BoxMode.convert(entry["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
            entry["bbox_mode"] = BoxMode.XYXY_ABS
        if not labelled:
            del record["annotations"]
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).thing_classes = list(CLASS_NAMES)
    results = run(CocoEvaluator(dataset_name=name), detections)
    if labelled:
        expected = oracle(dataset, to_rows(detections)) * 100
        assert results["bbox"]["AP"] == pytest.approx(expected[0], abs=1e-9)
    else:
        assert results == {"bbox": {}}


IMAGE = '{"id": 1, "file_name": "a.jpg", "width": 4, "height": 3}'


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "not at .*DETECTRON2_DATASETS"),
        ("{", ValueError, "is no valid JSON"),
        (f'{{"images": [{IMAGE}]}}', ValueError, "'categories' is missing"),
        (
            f'{{"images": [{IMAGE}], "categories": [{{"id": 1, "name": "a"}}]}}',
            ValueError,
            r"category ids \[3, 7, 12, 40\]",
        ),
    ],
)
def test_broken_ground_truth_is_named(registered, dataset, tmp_path, content, error, message):
    name = registered(dataset)
    file = tmp_path / f"{name}.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(error, match=message) as caught:
        CocoEvaluator(dataset_name=name)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("change", ["other order", "one more"])
def test_names_that_are_not_those_of_the_categories_are_refused(registered, dataset, change):
    name = registered(dataset)
    names = CLASS_NAMES[::-1] if change == "other order" else [*CLASS_NAMES, "more"]
    del MetadataCatalog.get(name).thing_classes
    MetadataCatalog.get(name).thing_classes = list(names)
    with pytest.raises(ValueError, match=r"thing_classes .* \['disk', .* beside wrong names"):
        CocoEvaluator(dataset_name=name)


def test_categories_of_one_name_keep_both_scores(registered, dataset, detections):
    expected = run(CocoEvaluator(dataset_name=registered(dataset)), detections)["bbox"]
    dataset["categories"][1]["name"] = "disk"
    name = registered(dataset, name="two_disks")
    del MetadataCatalog.get(name).thing_classes
    MetadataCatalog.get(name).thing_classes = ["disk", "disk", *CLASS_NAMES[2:]]
    scores = run(CocoEvaluator(dataset_name=name), detections)["bbox"]
    assert scores["AP-disk (id 3)"] == expected["AP-disk"]
    assert scores["AP-disk (id 7)"] == expected["AP-ring"]
    assert len(scores) == len(expected)


def test_iou_type_without_scores_is_named(registered, dataset):
    with pytest.raises(ValueError, match=r"\['segm'\].*known: bbox"):
        CocoEvaluator(dataset_name=registered(dataset), iou_types=("bbox", "segm"))


def _score_in_process(rank: int, folder: str) -> None:
    """One of two processes: takes every other image and one that both take."""
    from .random_coco import random_detections, register

    with one_of_two(rank, folder):
        dataset = random_dataset(seed=0)
        detections = random_detections(dataset, seed=0)
        register(NAME, Path(folder) / f"{rank}.json", dataset)
        evaluator = CocoEvaluator(dataset_name=NAME, output_folder=f"{folder}/out")
        images = list(detections)[rank::2] + [101] * rank
        results = run(evaluator, detections, images)
        Path(folder, f"results{rank}.json").write_text(json.dumps(results))


@pytest.mark.slow
def test_two_processes_equal_one(registered, dataset, detections, tmp_path):
    torch.multiprocessing.spawn(_score_in_process, args=(str(tmp_path),), nprocs=2)
    one = CocoEvaluator(dataset_name=registered(dataset), output_folder=str(tmp_path / "one"))
    expected = run(one, detections)
    results = [json.loads((tmp_path / f"results{rank}.json").read_text()) for rank in range(2)]
    assert results[1] == {}
    assert results[0]["bbox"] == pytest.approx(expected["bbox"], abs=1e-9)
    assert (tmp_path / "out" / RESULTS_FILE).read_text() == (
        tmp_path / "one" / RESULTS_FILE
    ).read_text()


@pytest.mark.data
def test_published_numbers_of_100_images(test_data, tmp_path, backend):
    """AP .505, .697, .573 of COCO's own example results, through the registry."""
    folder = test_data / "coco_eval"
    name = "coco_eval_100_images"
    json_file = folder / "instances_val2014_100.json"
    categories = sorted(c["id"] for c in json.loads(json_file.read_text())["categories"])
    DatasetCatalog.register(name, lambda: [])
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        evaluator_type="coco",
        thing_dataset_id_to_contiguous_id={c: i for i, c in enumerate(categories)},
    )
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.TEST.COCO_BACKEND = backend
    evaluator = build_evaluator(cfg, name, str(tmp_path))
    results = _score_file(
        evaluator, folder / "instances_val2014_fakebbox100_results.json", categories
    )
    expected = json.loads((folder / "pycocotools_2.0.11_stats.json").read_text())["val2014_bbox"]
    values = [results[metric] / 100 for metric in METRIC_NAMES["bbox"]]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-9)
    assert [round(value, 3) for value in values[:3]] == [0.505, 0.697, 0.573]


def _score_file(evaluator, results_file: Path, categories: list[int]) -> dict[str, float]:
    rows = json.loads(results_file.read_text())
    for image_id in {image["id"] for image in evaluator.ground_truth.dataset["images"]}:
        here = [row for row in rows if row["image_id"] == image_id]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (row["bbox"] for row in here)]
        instances = make_instances(
            boxes,
            [row["score"] for row in here],
            [categories.index(row["category_id"]) for row in here],
        )
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


def test_a_generated_dataset_is_made_for_the_evaluator_too(tmp_path):
    file = tmp_path / "made" / "annotations.json"

    def make():
        file.parent.mkdir()
        file.write_text(f'{{"images": [{IMAGE}], "categories": [{{"id": 1, "name": "a"}}]}}')
        return []

    DatasetCatalog.register("made_on_first_use", make)
    MetadataCatalog.get("made_on_first_use").set(json_file=str(file), thing_classes=["a"])
    assert load_ground_truth("made_on_first_use").class_names == ("a",)
