"""What counts as a difference between two lists of detections."""

from __future__ import annotations

import numpy as np
import pytest

from centernet_d2.export.parity import Differences


def rows(count: int = 60) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    corner = random.uniform(0, 300, (count, 2))
    boxes3d = random.uniform(1, 50, (count, 8))
    boxes3d[:, 6:] = random.uniform(-3, 3, (count, 2))
    found = {
        "scores": np.sort(random.uniform(0.1, 0.9, count))[::-1].copy(),
        "pred_classes": random.integers(0, 3, count),
        "pred_boxes": np.concatenate([corner, corner + random.uniform(9, 90, (count, 2))], axis=1),
        "pred_keypoints": random.uniform(0, 300, (count, 4, 3)),
        "pred_boxes3d": boxes3d,
    }
    found["scores"][7] = found["scores"][8]
    found["pred_classes"][7] = found["pred_classes"][8]
    return found


def fault(change, row=5) -> str:
    found = {name: values.copy() for name, values in rows().items()}
    change(found, row)
    report = Differences()
    report.add(rows(), found, "photo.png")
    return report.fault()


def put(name, index, value):
    def change(found, row):
        found[name][(row, *index)] += value

    return change


def swap(found, row):
    for values in found.values():
        values[[row, row + 1]] = values[[row + 1, row]]


def drop(found, row):
    found.update({name: np.delete(values, row, axis=0) for name, values in found.items()})


@pytest.mark.parametrize(
    "change",
    [
        swap,
        put("pred_boxes", (1,), 9e-4),
        put("scores", (), 9e-5),
        put("pred_boxes3d", (6,), 2 * np.pi),
    ],
)
def test_order_rounding_and_full_turns_are_no_difference(change):
    assert fault(change, row=7) == ""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("pred_boxes", (2,), 0.25), "pred_boxes differs by 0.25 (allowed: 0.001) in photo.png"),
        (put("scores", (), 2e-4), "scores differs by 0.0002 (allowed: 0.0001) in photo.png"),
        (put("pred_keypoints", (1, 0), 0.5), "pred_keypoints differs by 0.5"),
        (put("pred_keypoints", (1, 2), 0.5), "joint scores differs by 0.5"),
        (put("pred_boxes3d", (7,), 0.1), "angles differs by 0.1"),
        (put("pred_boxes", (0,), 40), "that PyTorch alone finds in photo.png"),
        (put("pred_boxes", (0,), np.nan), "that PyTorch alone finds in photo.png"),
        (put("pred_classes", (), 1), "that PyTorch alone finds in photo.png"),
        (drop, "that PyTorch alone finds in photo.png"),
    ],
)
def test_what_differs_is_told(change, told):
    assert told in fault(change)


def test_few_may_stand_on_a_neighbouring_cell_of_equal_score():
    def moved(count):
        def change(found, row):
            found["pred_boxes"][row : row + count] += 1.5

        return change

    assert fault(moved(1)) == ""
    assert fault(moved(20)) == "40 of 60 detections stand beside others of equal score"


@pytest.mark.parametrize(
    ("picture", "floor", "score", "told"),
    [
        ("photo.png", 0, 0.05, "a score of 0.0500 of class 1 that the file alone finds in photo"),
        ("photo.png", 0.3, 0.29, ""),
        ("generated picture 0", 0, 0.09, ""),
        ("generated picture 0", 0, 0.11, "a score of 0.1100 of class 1 that the file alone finds"),
        ("generated picture 0", 0.3, 0.31, "a score of 0.3100 of class 1 that the file alone"),
    ],
)
def test_peaks_by_chance_count_in_pictures_that_were_not_generated(picture, floor, score, told):
    expected, found = rows(), rows()
    for each in (expected, found):
        each["scores"][-1] = 0.001  # so that the other is not the last of its list
    more = {n: np.concatenate([v, v[:1]]) for n, v in found.items()}
    more["scores"][-1], more["pred_classes"][-1] = score, 1
    more["pred_boxes"][-1] = [400, 400, 420, 420]
    report = Differences(floor)
    report.add(expected, more, picture)
    assert report.fault().startswith(told)
    assert bool(report.fault()) == bool(told)
    assert report.ties == (picture != "photo.png" and score < 0.1)


def test_the_last_ones_of_a_list_may_tie():
    def other_last(found, row):
        found["pred_boxes"][-1] += 100

    assert fault(other_last) == ""


def test_nothing_found_proves_nothing():
    report, nothing = Differences(), {name: values[:0] for name, values in rows().items()}
    report.add(nothing, nothing, "photo.png")
    assert "finds nothing to compare" in report.fault()
    report.add(rows(), nothing, "photo.png")
    assert "that PyTorch alone finds" in report.fault()
