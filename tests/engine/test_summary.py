"""What a person is told of data and progress."""

from __future__ import annotations

import pytest
from detectron2.utils.events import EventStorage

from centernet_d2.engine.summary import PeriodPrinter, describe_data


def record(*classes, crowds=0):
    entries = [{"category_id": index, "iscrowd": 0} for index in classes]
    return {"annotations": entries + [{"category_id": 0, "iscrowd": 1}] * crowds}


@pytest.mark.parametrize(
    ("records", "names", "said"),
    [
        ([{}, {}], ["a"], "2 images without annotations"),
        ([record(0), record(0, 1)], ["a", "b"], "2 images, 3 objects of 2 classes: a 2, b 1"),
        (
            [record(1, crowds=2), record()],
            ["a", "b"],
            "2 images (1 without objects), 1 objects and 2 crowd or ignored regions of 2 "
            "classes: b 1; none of a",
        ),
        ([record(0)], [], "1 images, 1 objects"),
        ([{"annotations": []}] * 3, ["person"], "3 images without annotations"),
        (
            [{"annotations": [{"category_id": 0, "iscrowd": 1}]}],
            ["person"],
            "1 images (1 without objects), 0 objects and 1 crowd or ignored regions",
        ),
        (
            [{"annotations": None}, {"annotations": [{}]}],
            [],
            "2 images (1 without objects), 1 objects",
        ),
        (
            [record(*range(10))],
            [f"c{index}" for index in range(19)],
            "1 images, 10 objects of 19 classes: c0 1, c1 1, c2 1, c3 1, c4 1, c5 1, c6 1, c7 1 "
            "and 2 more; none of c10, c11, c12, c13, c14, c15, c16, c17 and 1 more",
        ),
    ],
)
def test_data(records, names, said):
    assert describe_data(records, names) == said


def test_a_line_has_medians_and_the_time_left(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    printer = PeriodPrinter(100, images_per_step=8)
    with EventStorage(0) as storage:
        for step, loss in enumerate((9.0, 2.0, 3.0)):
            storage.iter = step
            storage.put_scalars(total_loss=loss, loss_heatmap=loss - 1, time=0.5, data_time=0.02)
            storage.put_scalar("lr", 1.25e-4, smoothing_hint=False)
        assert printer.line(storage) == (
            "iteration 3 of 100, ETA 0:00:48, loss 3 (heatmap 2), lr 0.000125, 16.0 images/s, "
            "20 ms for data"
        )
        assert storage.latest()["eta_seconds"] == (0.5 * 97, 2)


def test_a_run_with_nothing_left_to_train_has_no_line(monkeypatch):
    printer, lines = PeriodPrinter(100, images_per_step=8), []
    monkeypatch.setattr(printer, "line", lines.append)
    with EventStorage(100) as storage:
        storage.iter = 101  # where a resumed run that was at its end stands
        storage.put_scalar("bbox/AP", 40.0)
        printer.write()
        assert not lines
        storage.put_scalar("total_loss", 3.0)
        printer.write()
        assert lines == [storage]
