from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation.random_coco import random_dataset, random_detections, to_rows

from centernet_d2.analysis import matching
from centernet_d2.analysis.matching import Objects
from centernet_d2.evaluation.coco_scores import run_coco_evaluation
from centernet_d2.evaluation.voc_scores import VocDetections


def matches_of(dataset: dict, rows: list[dict], most: int = 100) -> matching.Matches:
    """COCO's dictionaries as arrays; boxes XYWH."""
    ids = sorted(image["id"] for image in dataset["images"])
    labels = [category["id"] for category in dataset["categories"]]

    def columns(entries):
        boxes = np.array([entry["bbox"] for entry in entries]).reshape(-1, 4)
        return {
            "image": np.array([ids.index(entry["image_id"]) for entry in entries], dtype=int),
            "category": np.array([labels.index(e["category_id"]) for e in entries], dtype=int),
            "boxes": np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        }

    crowd = np.array([a["iscrowd"] for a in dataset["annotations"]], dtype=bool)
    objects = Objects(**columns(dataset["annotations"]), difficult=crowd, crowd=crowd)
    rows = sorted(rows, key=lambda row: ids.index(row["image_id"]))
    found = VocDetections(**columns(rows), scores=np.array([row["score"] for row in rows]))
    return matching.match(found, objects, len(labels), most)


def coco_precision(dataset, rows, **options):
    evaluation, _ = run_coco_evaluation(
        dataset, rows, "bbox", "pycocotools", iou_thresholds=np.array([0.5]), **options
    )
    return evaluation.eval["precision"][0, :, :, 0, -1].T


@pytest.mark.parametrize("most", [100, 2])
@pytest.mark.parametrize("seed", range(4))
def test_precisions_are_pycocotools(seed, most):
    """With crowds, equal scores, classes without objects, and detections beyond the limit."""
    dataset = random_dataset(seed=seed)
    rows = [
        {**row, "score": round(row["score"], 1 + seed % 2)}
        for row in to_rows(random_detections(dataset, seed=seed))
    ]
    ours = matching.precisions(matches_of(dataset, rows, most))
    np.testing.assert_allclose(
        ours, coco_precision(dataset, rows, max_detections=most), rtol=0, atol=1e-12
    )
    assert 0 < ours.mean() < 1


@pytest.mark.data
def test_precisions_of_cocos_example_are_pycocotools(test_data):
    folder = test_data / "coco_eval"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    ours = matching.precisions(matches_of(dataset, rows))
    np.testing.assert_allclose(ours, coco_precision(dataset, rows), rtol=0, atol=1e-12)
    assert ours[ours[:, 0] >= 0].mean() == pytest.approx(0.6969727, abs=1e-7)  # published AP50


@pytest.mark.parametrize("seed", range(3))
def test_confusion_is_that_of_faster_coco_eval(seed):
    """Of a score threshold; theirs counts crowds as objects, so that there are none here."""
    extra = pytest.importorskip("faster_coco_eval.extra", reason="optional package is missing")
    from faster_coco_eval import COCO

    dataset = random_dataset(seed=seed, images=60)
    for annotation in dataset["annotations"]:
        annotation["iscrowd"] = 0
    rows = to_rows(random_detections(dataset, seed=seed))
    threshold = float(np.median([row["score"] for row in rows]))
    truth = COCO(dataset)
    theirs = extra.PreviewResults(
        truth, truth.loadRes(rows), min_score=threshold, iou_tresh=0.5
    ).compute_confusion_matrix()
    ours = matching.confusion(matches_of(dataset, rows, 10_000), threshold)
    classes = len(dataset["categories"])
    np.testing.assert_array_equal(ours[:classes, :classes], theirs[:, :classes])
    np.testing.assert_array_equal(ours[classes, :classes], theirs[:, -2])  # of nothing
    np.testing.assert_array_equal(ours[:classes, classes], theirs[:, -1])  # missed
    assert ours[:classes, :classes].sum() > np.trace(ours) > 0


BOX, FAR = [10, 10, 20, 20], [60, 60, 20, 20]


def one_image(objects, rows):
    """(class, box, crowd) and (class, box, score) in one picture of two classes."""
    annotations = [
        {"image_id": 1, "category_id": k, "bbox": box, "iscrowd": crowd}
        for k, box, crowd in objects
    ]
    found = [{"image_id": 1, "category_id": k, "bbox": b, "score": s} for k, b, s in rows]
    categories = [{"id": 1}, {"id": 2}]
    return matches_of(
        {"images": [{"id": 1}], "categories": categories, "annotations": annotations}, found
    )


def test_confusion_by_hand():
    """A wrong class takes the object; the second detection there, and one of nothing, are of the
    background; one in a crowd counts as nothing."""
    matches = one_image(
        [(1, BOX, 0), (2, FAR, 0), (1, [0, 200, 100, 100], 1)],
        [(2, BOX, 0.9), (1, BOX, 0.8), (1, [0, 120, 20, 20], 0.7), (2, [5, 220, 9, 9], 0.6)],
    )
    assert matching.confusion(matches, 0.5).tolist() == [[0, 1, 0], [0, 0, 1], [2, 0, 0]]
    assert matching.confusion(matches, 0.85).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert matches.missed(0.5).tolist() == [False, True, False]
    assert matches.missed(0.85).tolist() == [True, True, False]


def test_thresholds_by_hand():
    """Of three objects two are found, one of them below a false detection."""
    matches = one_image(
        [(1, BOX, 0), (1, FAR, 0), (1, [0, 200, 9, 9], 0)],
        [(1, BOX, 0.9), (1, [0, 120, 20, 20], 0.7), (1, FAR, 0.5)],
    )
    at = matching.by_threshold(matches)
    advised = matching.advised(at, 0)
    assert advised == {
        "threshold": pytest.approx(0.25, abs=0.001),  # the middle of 0 to 0.5
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
        "precise_from": pytest.approx(0.701),
    }
    here = np.searchsorted(at["threshold"], 0.9)  # that of the best detection keeps it
    assert (at["true"][0, here], at["false"][0, here], at["true"][0, here + 1]) == (1, 0, 0)
    assert set(matching.advised(at, 2).values()) == {None}  # no such object


@pytest.mark.parametrize(
    ("objects", "rows"),
    [([], []), ([], [(1, BOX, 0.9)]), ([(1, BOX, 0)], []), ([(1, BOX, 1)], [(1, BOX, 0.9)])],
)
def test_nothing_to_find_or_nothing_found(objects, rows):
    matches = one_image(objects, rows)
    assert matching.advised(matching.by_threshold(matches), 0)["threshold"] is None
    false = len(rows) if not objects else 0
    missed = 1 if objects and not rows else 0
    assert matching.confusion(matches, 0.3).tolist() == [[0, 0, missed], [0, 0, 0], [false, 0, 0]]


def test_crowding_is_the_largest_overlap_of_two():
    objects = one_image([(1, BOX, 0), (2, [10, 10, 20, 10], 0), (1, FAR, 0)], []).objects
    np.testing.assert_allclose(matching.crowding(objects), [0.5, 0.5, 0])
