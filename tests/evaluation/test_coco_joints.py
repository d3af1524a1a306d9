"""Keypoint scores: those of pycocotools and detectron2, for any skeleton."""

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
from detectron2.evaluation import COCOEvaluator, print_csv_format
from detectron2.structures import Instances
from pycocotools.cocoeval import COCOeval
from two_processes import one_of_two

from centernet_d2.config import add_centernet_config
from centernet_d2.data.datasets.from_files import register_from_files
from centernet_d2.evaluation import CocoEvaluator, build_evaluator
from centernet_d2.evaluation.coco import RESULTS_FILE
from centernet_d2.evaluation.coco_joints import keypoint_similarity
from centernet_d2.evaluation.coco_scores import METRIC_NAMES

from . import random_coco
from .random_coco import make_instances, run, to_records
from .random_joints import (
    CATEGORY_IDS,
    CLASS_NAMES,
    NAMES,
    PERSON,
    SIGMAS,
    oracle,
    random_persons,
    random_poses,
    register,
    to_rows,
)

BOTH = ("bbox", "keypoints")
HALF = np.array([0.5, 0.5, 0])


@pytest.fixture
def dataset() -> dict:
    return random_persons(seed=0)


@pytest.fixture
def detections(dataset) -> dict[int, Instances]:
    return random_poses(dataset, seed=0)


@pytest.fixture
def register_dataset():
    """How the folder's `registered` registers."""
    return register


def values(results: dict) -> list[float]:
    return [results["keypoints"][name] for name in METRIC_NAMES["keypoints"]]


@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_with_the_datasets_own_sigmas(registered, seed, backend):
    dataset = random_persons(seed)
    detections = random_poses(dataset, seed)
    name = registered(dataset)
    results = run(CocoEvaluator(dataset_name=name, iou_types=BOTH, backend=backend), detections)
    expected = oracle(dataset, to_rows(detections)) * 100
    assert expected[0] > 5
    np.testing.assert_allclose(values(results), expected, rtol=0, atol=1e-9)
    assert list(results["keypoints"]) == [*METRIC_NAMES["keypoints"], "AP-person"]
    assert list(results["bbox"])[-2:] == ["AP-ball", "AP-person"]
    print_csv_format(results)


def test_sigmas_matter_and_can_be_given(registered, dataset, detections):
    name = registered(dataset)
    loose = [0.3] * len(NAMES)
    results = run(
        CocoEvaluator(dataset_name=name, iou_types=("keypoints",), oks_sigmas=loose), detections
    )
    expected = oracle(dataset, to_rows(detections), loose) * 100
    np.testing.assert_allclose(values(results), expected, rtol=0, atol=1e-9)
    assert expected[0] > oracle(dataset, to_rows(detections))[0] * 100 + 10


def test_equals_detectron2s_evaluator_on_the_same_detections(
    registered, detections, dataset, tmp_path
):
    """Its `pred_keypoints` are half a pixel further than COCO's, and so are ours."""
    dataset["annotations"] = [a for a in dataset["annotations"] if a["category_id"] == PERSON]
    dataset["categories"] = dataset["categories"][1:]
    name = registered(dataset)
    metadata = MetadataCatalog.get(name)
    del metadata.thing_classes, metadata.thing_dataset_id_to_contiguous_id
    metadata.set(thing_classes=["person"], thing_dataset_id_to_contiguous_id={PERSON: 0})
    persons = {}
    for image_id, instances in detections.items():
        persons[image_id] = instances[instances.pred_classes == 1]
        persons[image_id].pred_classes = torch.zeros_like(persons[image_id].pred_classes)
    evaluator = CocoEvaluator(dataset_name=name, iou_types=BOTH, output_folder=str(tmp_path))
    results = run(evaluator, persons)
    ours = results["keypoints"]
    # The file is one of results for either task, as COCO's own tools read it.
    written = json.loads((tmp_path / RESULTS_FILE).read_text())
    assert oracle(dataset, written)[0] * 100 == pytest.approx(ours["AP"], abs=1e-9)
    boxes = random_coco.oracle(dataset, written)
    assert boxes[0] * 100 == pytest.approx(results["bbox"]["AP"], abs=1e-9)
    theirs = COCOEvaluator(name, BOTH, False, use_fast_impl=False, kpt_oks_sigmas=SIGMAS)
    theirs = run(theirs, persons)["keypoints"]
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)


def test_joints_on_the_truth_score_100_and_a_swap_is_seen(registered, dataset):
    """The half pixel goes the right way; left and right hands are not the same."""
    persons = [a for a in dataset["annotations"] if a.get("num_keypoints")]
    name = registered({**dataset, "annotations": persons})
    sigmas = [0.002] * len(NAMES)  # so strict that half a pixel would count

    def score(order) -> float:
        found = {image["id"]: [] for image in dataset["images"]}
        for annotation in persons:
            joints = np.reshape(annotation["keypoints"], (-1, 3))[order].astype(float)
            joints[:, :2] += 0.5
            found[annotation["image_id"]].append((annotation["bbox"], joints))
        detections = {}
        for image_id, rows in found.items():
            boxes = [(x, y, x + w, y + h) for (x, y, w, h), _ in rows]
            instances = make_instances(boxes, [1.0] * len(rows), [1] * len(rows))
            points = np.array([joints for _, joints in rows]).reshape(-1, len(NAMES), 3)
            instances.pred_keypoints = torch.tensor(points)
            detections[image_id] = instances
        evaluator = CocoEvaluator(dataset_name=name, iou_types=("keypoints",), oks_sigmas=sigmas)
        return run(evaluator, detections)["keypoints"]["AP"]

    assert score([0, 1, 2, 3, 4]) == pytest.approx(100)
    assert score([0, 2, 1, 3, 4]) < 40


def test_results_file(registered, dataset, detections, tmp_path):
    evaluator = CocoEvaluator(
        dataset_name=registered(dataset), output_folder=str(tmp_path), iou_types=BOTH
    )
    run(evaluator, detections)
    rows = json.loads((tmp_path / RESULTS_FILE).read_text())
    persons = [row for row in rows if row["category_id"] == PERSON]
    assert len(persons) < len(rows)
    assert all(("keypoints" in row) == (row["category_id"] == PERSON) for row in rows)
    for row, expected in zip(persons, to_rows(detections), strict=True):
        assert row["keypoints"] == pytest.approx(expected["keypoints"], abs=1e-9)
    scores = json.loads((tmp_path / CocoEvaluator.scores_file).read_text())
    assert scores["oks_sigmas"] == list(SIGMAS)
    assert set(scores["scores"]) == {"bbox", "keypoints"}


def test_rounding_as_the_published_results(registered, dataset, detections):
    evaluator = CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH, round_results=2)
    rounded = [
        {
            **row,
            "bbox": [float(f"{v:.2f}") for v in row["bbox"]],
            "keypoints": [float(f"{v:.2f}") for v in row["keypoints"]],
            "score": float(f"{row['score']:.2f}"),
        }
        for row in to_rows(detections)
    ]
    expected = oracle(dataset, rounded) * 100
    np.testing.assert_allclose(values(run(evaluator, detections)), expected, rtol=0, atol=1e-9)


def test_split_without_annotations_writes_the_submission(registered, dataset, detections, tmp_path):
    unlabelled = {key: value for key, value in dataset.items() if key != "annotations"}
    evaluator = CocoEvaluator(
        dataset_name=registered(unlabelled), output_folder=str(tmp_path), iou_types=BOTH
    )
    results = run(evaluator, detections)
    assert results == {"bbox": {}, "keypoints": {}}
    rows = json.loads((tmp_path / RESULTS_FILE).read_text())
    assert sum("keypoints" in row for row in rows) == len(to_rows(detections)) > 0
    print_csv_format(results)


def test_no_detections_and_no_labelled_persons(registered, dataset, detections):
    name = registered(dataset)
    nothing = {image_id: instances[[]] for image_id, instances in detections.items()}
    results = run(CocoEvaluator(dataset_name=name, iou_types=BOTH), nothing)
    assert results["keypoints"]["AP"] == 0
    balls = [a for a in dataset["annotations"] if a["category_id"] != PERSON]
    name = registered({**dataset, "annotations": balls}, name="joints_of_nobody")
    results = run(CocoEvaluator(dataset_name=name, iou_types=BOTH), detections)
    assert math.isnan(results["keypoints"]["AP"])
    assert not math.isnan(results["bbox"]["AP"])


def test_home_made_files_without_counts(registered, dataset, detections):
    expected = oracle(dataset, to_rows(detections)) * 100
    for annotation in dataset["annotations"]:
        if not annotation.pop("num_keypoints", 0):
            annotation.pop("keypoints", None)
    evaluator = CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH)
    np.testing.assert_allclose(values(run(evaluator, detections)), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("key", "value"), [("num_keypoints", 0), ("area", 0), ("area", 1)])
def test_derived_columns_that_are_wrong_do_not_count(registered, dataset, detections, key, value):
    for annotation in dataset["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    expected = run(CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH), detections)
    for annotation in dataset["annotations"]:
        annotation[key] = value
    name = registered(dataset, name="derived_evaluation_test")
    assert run(CocoEvaluator(dataset_name=name, iou_types=BOTH), detections) == expected


def test_categories_without_names_are_known_by_their_annotations(registered, dataset, detections):
    expected = oracle(dataset, to_rows(detections)) * 100
    del dataset["categories"][1]["keypoints"]
    evaluator = CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH)
    np.testing.assert_allclose(values(run(evaluator, detections)), expected, rtol=0, atol=1e-9)


def test_dataset_dicts_without_json(dataset, detections):
    """detectron2's records carry the half pixel, COCO's annotations do not."""
    records = to_records(dataset, CATEGORY_IDS)
    name = "joints_evaluation_test_dicts"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(
        thing_classes=list(CLASS_NAMES),
        keypoint_names=list(NAMES),
        keypoint_oks_sigmas=list(SIGMAS),
    )
    results = run(CocoEvaluator(dataset_name=name, iou_types=BOTH), detections)
    expected = oracle(dataset, to_rows(detections)) * 100
    np.testing.assert_allclose(values(results), expected, rtol=0, atol=1e-9)


def test_non_finite_joints_are_left_out(registered, dataset, detections, caplog):
    evaluator = CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH)
    expected = run(evaluator, detections)["keypoints"]["AP"]
    broken = make_instances([[1, 2, 3, 4]], [0.99], [1])
    broken.pred_keypoints = torch.full((1, len(NAMES), 3), math.nan, dtype=torch.float64)
    detections[101] = Instances.cat([broken, detections[101]])
    assert run(evaluator, detections)["keypoints"]["AP"] == pytest.approx(expected)
    assert "1 of" in caplog.text


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (0, r"a\.jpg.*no 'pred_keypoints'.*TASKS"),
        (17, r"17 joints, the dataset 5.*NUM_JOINTS"),
    ],
)
def test_detections_of_other_joints_are_named(registered, dataset, joints, message):
    evaluator = CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH)
    instances = make_instances([[1, 2, 3, 4]], [0.5], [1])
    if joints:
        instances.pred_keypoints = torch.zeros(1, joints, 3)
    with pytest.raises(ValueError, match=message):
        evaluator.process([{"image_id": 101, "file_name": "a.jpg"}], [{"instances": instances}])


def test_truth_with_another_number_of_joints_is_named(registered, dataset):
    person = next(a for a in dataset["annotations"] if a["category_id"] == PERSON)
    person["keypoints"] = [1, 2, 2]
    with pytest.raises(ValueError, match=rf"annotation id {person['id']}.*1, 2, 2.*5 joints"):
        CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH)


def test_dataset_without_joint_names_is_named(registered, dataset):
    name = registered(dataset)
    del MetadataCatalog.get(name).keypoint_names
    with pytest.raises(ValueError, match=rf"'{name}' names no joints.*keypoint_names"):
        CocoEvaluator(dataset_name=name, iou_types=BOTH)


JOINTS = ("pred_boxes", "pred_keypoints")


def config(*overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_list(list(overrides))
    return cfg


def built(cfg, name, folder=None):
    """The evaluator of a model with joints."""
    return build_evaluator(cfg, name, folder, outputs=JOINTS)


def test_the_outputs_decide_what_is_scored(registered, dataset, tmp_path, caplog):
    name = registered(dataset)
    assert built(config(), name, str(tmp_path)).iou_types == BOTH
    assert build_evaluator(config(), name, str(tmp_path)).iou_types == ("bbox",)
    del MetadataCatalog.get(name).keypoint_names
    assert built(config(), name, str(tmp_path)).iou_types == ("bbox",)
    assert "boxes alone are scored" in caplog.text


def test_detectron2s_key_for_sigmas(registered, dataset, tmp_path):
    name = registered(dataset)
    assert built(config(), name).skeleton.oks_sigmas == SIGMAS
    cfg = config("TEST.KEYPOINT_OKS_SIGMAS", [0.1] * 5)
    assert built(cfg, name).skeleton.oks_sigmas == (0.1,) * 5
    cfg = config("TEST.KEYPOINT_OKS_SIGMAS", [0.1] * 17)
    with pytest.raises(
        ValueError, match=r"^oks_sigmas \(TEST\.KEYPOINT_OKS_SIGMAS\).* be 5 positive"
    ):
        built(cfg, name)


def _score_in_process(rank: int, folder: str) -> None:
    """One of two processes: takes every other image."""
    with one_of_two(rank, folder):
        dataset = random_persons(seed=0)
        detections = random_poses(dataset, seed=0)
        register("joints_of_two", Path(folder) / f"{rank}.json", dataset)
        evaluator = CocoEvaluator(dataset_name="joints_of_two", iou_types=BOTH)
        results = run(evaluator, detections, list(detections)[rank::2])
        Path(folder, f"results{rank}.json").write_text(json.dumps(results))


@pytest.mark.slow
def test_two_processes_equal_one(registered, dataset, detections, tmp_path):
    torch.multiprocessing.spawn(_score_in_process, args=(str(tmp_path),), nprocs=2)
    expected = run(CocoEvaluator(dataset_name=registered(dataset), iou_types=BOTH), detections)
    results = [json.loads((tmp_path / f"results{rank}.json").read_text()) for rank in range(2)]
    assert results[1] == {}
    for iou_type in BOTH:
        assert results[0][iou_type] == pytest.approx(expected[iou_type], abs=1e-9)


@pytest.mark.data
def test_published_numbers_through_the_registry(test_data, tmp_path, backend, caplog):
    folder = test_data / "coco_eval"
    truth = folder / "fce_keypoints" / "gt_dataset.json"
    name = register_from_files(f"coco:{truth}:{folder}")
    caplog.set_level(logging.INFO)
    evaluator = built(config("TEST.COCO_BACKEND", backend), name, str(tmp_path))
    rows = json.loads((folder / "fce_keypoints" / "dt_dataset.json").read_text())
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (row["bbox"] for row in rows)]
    instances = make_instances(boxes, [0.0] * len(rows), [0] * len(rows))
    instances.scores = torch.tensor([row["score"] for row in rows], dtype=torch.float64)
    joints = np.array([row["keypoints"] for row in rows]).reshape(-1, 17, 3) + HALF
    instances.pred_keypoints = torch.tensor(joints)
    evaluator.process([{"image_id": rows[0]["image_id"]}], [{"instances": instances}])
    results = evaluator.evaluate()
    expected = json.loads((folder / "pycocotools_2.0.11_stats.json").read_text())
    np.testing.assert_allclose(
        np.array(values(results)) / 100, expected["fce_keypoints_oks"], rtol=0, atol=1e-9
    )
    boxes = [results["bbox"][metric] / 100 for metric in METRIC_NAMES["bbox"]]
    np.testing.assert_allclose(boxes, expected["fce_keypoints_bbox"], rtol=0, atol=1e-9)
    assert "keypoints of gt_dataset_" in caplog.text


@pytest.mark.data
def test_fourteen_joints_of_crowdpose(test_data, tmp_path):
    """Another real skeleton: only its file is named, sigmas stand in its category."""
    folder = test_data / "coco_eval" / "fce_keypoints"
    content = json.loads((folder / "example_crowdpose_val.json").read_text())
    sigmas = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089]
    sigmas += [0.079, 0.079]
    content["categories"][0]["keypoint_oks_sigmas"] = sigmas
    for annotation in content["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3] * 0.53
    path = tmp_path / "crowdpose.json"
    path.write_text(json.dumps(content))
    name = register_from_files(f"coco:{path}:{tmp_path}")
    rows = json.loads((folder / "example_crowdpose_preds.json").read_text())
    evaluator = built(config(), name)
    for image in content["images"]:
        here = [row for row in rows if row["image_id"] == image["id"]]
        joints = np.array([row["keypoints"] for row in here]).reshape(-1, 14, 3)
        corners = [np.ravel([j[:, :2].min(0), j[:, :2].max(0)]) for j in joints]
        instances = make_instances(corners, [0.0] * len(here), [0] * len(here))
        instances.scores = torch.tensor([row["score"] for row in here], dtype=torch.float64)
        instances.pred_keypoints = torch.tensor(joints + HALF)
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
    results = evaluator.evaluate()
    content["categories"][0]["id"] = PERSON  # the oracle's
    for row in (*rows, *content["annotations"]):
        row["category_id"] = PERSON
    expected = oracle(content, rows, sigmas) * 100
    assert expected[1] > 50
    np.testing.assert_allclose(values(results)[:3], expected[:3], rtol=0, atol=1e-6)


def test_similarity_is_pycocotools():
    """Of 3 objects and 4 detections; of the last object no joint but one is labelled."""
    rng = np.random.default_rng(0)
    truth, found = rng.uniform(0, 30, (3, 17, 3)), rng.uniform(0, 30, (4, 17, 3))
    truth[..., 2] = rng.integers(0, 3, (3, 17))
    truth[2, 1:, 2], truth[2, 0, 2] = 0, 1
    areas = np.array([2000.0, 5000.0, 300.0])
    judge = COCOeval(iouType="keypoints")
    objects = zip(truth, areas, strict=True)
    rows = [{"keypoints": t.ravel(), "area": a, "bbox": [0, 0, 9, 9]} for t, a in objects]
    judge._gts, judge._dts = {(1, 1): rows}, {(1, 1): [{"keypoints": f.ravel()} for f in found]}
    for number, row in enumerate(judge._dts[1, 1]):
        row["score"] = 1 - number / 10
    expected = judge.computeOks(1, 1)
    d, g = np.indices(expected.shape).reshape(2, -1)
    scale = areas[:, None] * judge.params.kpt_oks_sigmas**2
    own = keypoint_similarity(found[d], truth[g], scale[g])
    assert expected.max() > 0.1
    np.testing.assert_allclose(own, expected.ravel(), rtol=1e-12)
