from __future__ import annotations

import math

import numpy as np
import pytest

from centernet_d2.evaluation.coco_scores import (
    METRIC_NAMES,
    check_backend,
    score_detections,
)

from .random_coco import oracle, random_dataset, random_detections, to_rows

SEEDS = range(8)


def values(scores) -> np.ndarray:
    return np.array([scores.metrics[name] for name in METRIC_NAMES["bbox"]])


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_pycocotools(seed):
    dataset = random_dataset(seed)
    rows = to_rows(random_detections(dataset, seed))
    expected = oracle(dataset, rows)
    assert 0.1 < expected[0] < 0.9  # the data is neither hopeless nor trivial
    np.testing.assert_allclose(
        values(score_detections(dataset, rows)), expected * 100, rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_backends_are_equal(seed):
    pytest.importorskip("faster_coco_eval", reason="optional package faster-coco-eval is missing")
    dataset = random_dataset(seed)
    rows = to_rows(random_detections(dataset, seed))
    ours = score_detections(dataset, rows)
    fast = score_detections(dataset, rows, backend="faster-coco-eval")
    np.testing.assert_allclose(values(fast), values(ours), rtol=0, atol=1e-9)
    assert fast.class_ap == pytest.approx(ours.class_ap, abs=1e-9, nan_ok=True)
    assert len(fast.table.splitlines()) == 12


@pytest.mark.parametrize("seed", SEEDS)
def test_ap_of_single_thresholds_equals_runs_at_these_alone(seed, backend):
    dataset = random_dataset(seed)
    rows = to_rows(random_detections(dataset, seed))
    metrics = score_detections(dataset, rows, backend=backend, per_iou=True).metrics
    assert list(metrics) == [*METRIC_NAMES["bbox"], "AP60", "AP70", "AP80", "AP90"]
    expected = {
        f"AP{iou}": 100 * oracle(dataset, rows, [iou / 100])[0] for iou in (50, 60, 70, 80, 90)
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert len({round(value, 6) for value in expected.values()}) == 5
    plain = score_detections(dataset, rows, backend=backend).metrics
    assert plain == {name: metrics[name] for name in METRIC_NAMES["bbox"]}


def test_class_ap_averages_to_ap(dataset, detections):
    scores = score_detections(dataset, to_rows(detections))
    assert set(scores.class_ap) == {3, 7, 12, 40}
    assert np.mean(list(scores.class_ap.values())) == pytest.approx(scores.metrics["AP"], abs=1e-9)


def test_nothing_detected_scores_zero(dataset, backend):
    scores = score_detections(dataset, [], backend=backend)
    assert scores.metrics["AP"] == 0
    assert scores.metrics["AR100"] == 0


def test_nothing_to_find_is_not_a_number(dataset, detections):
    scores = score_detections({**dataset, "annotations": []}, to_rows(detections))
    assert all(math.isnan(value) for value in scores.metrics.values())


def test_perfect_detections_score_100(dataset):
    rows = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in dataset["annotations"]
        if not a["iscrowd"]
    ]
    scores = score_detections(dataset, rows)
    assert scores.metrics["AP"] == pytest.approx(100)
    assert scores.metrics["AR1"] < scores.metrics["AR100"] == pytest.approx(100)


def test_unknown_backend_is_named():
    with pytest.raises(ValueError, match=r"backend must be .*faster-coco-eval.* got 'fast'"):
        check_backend("fast")


def test_missing_backend_names_the_cure(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match="pip install faster-coco-eval"):
        check_backend("faster-coco-eval")
