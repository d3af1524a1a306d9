"""False discovery against pycocotools by itself, and against AP."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from centernet_d2.evaluation.coco_scores import (
    FALSE_DISCOVERY_NAMES,
    false_discovery,
    score_detections,
)

from .random_coco import oracle_evaluation, random_dataset, random_detections, to_rows

SEEDS = range(6)


def plain_run(dataset: dict, rows: list[dict], thresholds) -> dict[str, float]:
    """1 - stat in percent, from pycocotools' precision as the specification of FD says."""
    precision = oracle_evaluation(dataset, rows, thresholds).eval["precision"][..., 2]

    def rate(values):
        return 100 * (1 - values[values > -1].mean())

    thresholds = list(thresholds)
    return {
        "FD": rate(precision[:, :, :, 0]),
        **{
            f"FD{iou}": rate(precision[thresholds.index(iou / 100), :, :, 0]) for iou in (5, 25, 50)
        },
        **{f"FD_{area}": rate(precision[:, :, :, k]) for k, area in enumerate("SML", start=1)},
    }


def as_array(rates: dict[str, float]) -> np.ndarray:
    return np.array([rates[name] for name in FALSE_DISCOVERY_NAMES])


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_a_plain_run_at_low_thresholds(seed, backend):
    dataset = random_dataset(seed)
    rows = to_rows(random_detections(dataset, seed, jitter=0.3))
    expected = as_array(plain_run(dataset, rows, np.linspace(0.05, 0.5, 10)))
    assert len(set(expected.round(6))) >= 6  # thresholds and areas are told apart
    found = as_array(false_discovery(dataset, rows, backend=backend))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_at_half_overlap_it_is_what_ap_lacks(seed, backend):
    dataset = random_dataset(seed)
    rows = to_rows(random_detections(dataset, seed, jitter=0.3))
    rates = false_discovery(dataset, rows, backend=backend)
    ap50 = score_detections(dataset, rows, backend=backend).metrics["AP50"]
    assert rates["FD50"] == pytest.approx(100 - ap50, abs=1e-9)
    assert rates["FD5"] <= rates["FD25"] <= rates["FD50"]
    assert rates["FD5"] < rates["FD"] < rates["FD50"]


def test_the_order_of_thresholds_is_kept_by_boxes_of_known_overlap(backend):
    """Seven objects, each with one box that covers a known share of it and nothing else."""
    shares = (0.02, 0.06, 0.22, 0.32, 0.47, 0.55, 0.9)
    images = [{"id": k, "height": 100, "width": 100} for k in range(1, 8)]
    truth, rows = [], []
    for image, share in zip(images, shares, strict=True):
        common = {"image_id": image["id"], "category_id": 1}
        truth.append(
            {
                **common,
                "id": image["id"],
                "bbox": [0.0, 0.0, 50.0, 50.0],
                "area": 2500.0,
                "iscrowd": 0,
            }
        )
        # Best overlap first: precision is 1 until the first wrong box.
        rows.append({**common, "bbox": [0.0, 0.0, 50.0, 50.0 * share], "score": share})
    dataset = {
        "images": images,
        "categories": [{"id": 1, "name": "one"}],
        "annotations": truth,
    }
    rates = false_discovery(dataset, rows, backend=backend)

    def lacking(hits: int) -> float:  # of 101 recall points, those up to hits / 7 have precision 1
        return 100 - 100 * (100 * hits // 7 + 1) / 101

    assert rates["FD5"] == pytest.approx(lacking(6))
    assert rates["FD25"] == pytest.approx(lacking(4))
    assert rates["FD50"] == pytest.approx(lacking(2))
    per_threshold = [sum(100 * share > t for share in shares) for t in range(5, 51, 5)]
    assert rates["FD"] == pytest.approx(np.mean([lacking(hits) for hits in per_threshold]))
    assert rates["FD_M"] == pytest.approx(rates["FD"])  # 50 x 50 is medium
    assert math.isnan(rates["FD_S"])
    assert math.isnan(rates["FD_L"])


def test_nothing_detected_and_nothing_to_find(dataset, detections, backend):
    assert set(false_discovery(dataset, [], backend=backend).values()) == {100.0}
    rates = false_discovery({**dataset, "annotations": []}, to_rows(detections), backend=backend)
    assert list(rates) == list(FALSE_DISCOVERY_NAMES)
    assert all(math.isnan(rate) for rate in rates.values())


def test_perfect_detections_discover_nothing_false(dataset, backend):
    rows = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in dataset["annotations"]
        if not a["iscrowd"]
    ]
    rates = false_discovery(dataset, rows, backend=backend)
    assert max(rates.values()) == pytest.approx(0, abs=1e-9)


@pytest.mark.data
def test_equals_a_plain_run_on_100_images_of_coco(test_data, backend):
    folder = test_data / "coco_eval"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    rows = [{key: row[key] for key in ("image_id", "category_id", "bbox", "score")} for row in rows]
    expected = plain_run(dataset, rows, np.linspace(0.05, 0.5, 10))
    found = false_discovery(dataset, rows, backend=backend)
    np.testing.assert_allclose(as_array(found), as_array(expected), rtol=0, atol=1e-9)
    assert round(100 - found["FD50"], 1) == 69.7  # COCO's own AP50 of these results
