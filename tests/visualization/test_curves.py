from __future__ import annotations

import json

import cv2
import pytest

from centernet_d2.visualization.curves import plot_curves, read_metrics


def write(path, records, tail=""):
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + tail)
    return str(path)


RECORDS = [
    {"iteration": 19, "total_loss": 8.0, "loss_heatmap": 6.0, "lr": 1e-3},
    {"iteration": 39, "total_loss": 2.0, "loss_heatmap": 1.5, "bbox/AP": 40.0, "bbox/AP50": 70.0},
]


def test_series_by_name_and_resumed_runs(tmp_path):
    again = {"iteration": 19, "total_loss": 7.0}
    file = write(tmp_path / "metrics.json", [*RECORDS, again], tail='{"iteration": 59, "tot')
    series = read_metrics(file)
    assert series["total_loss"] == ([19, 39], [7.0, 2.0])
    assert series["bbox/AP"] == ([39], [40.0])


def test_plot_is_a_picture_of_its_data(tmp_path):
    pictures = []
    losses = [{**each, "validation/total_loss": 3.0} for each in RECORDS]
    for records in (RECORDS, RECORDS[:1], losses):
        picture = str(tmp_path / "folder" / "curves.png")
        plot_curves(write(tmp_path / "metrics.json", records), picture)
        pictures.append(cv2.imread(picture))
        assert pictures[-1].shape[1] > 1000
        assert pictures[-1].std() > 5
    assert (pictures[0] != pictures[1]).any()
    half = pictures[0].shape[1] // 2  # the losses' panel
    assert (pictures[0] != pictures[2])[:, :half].any()
    assert (pictures[0] == pictures[2])[:, half:].all()


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json.*OUTPUT_DIR"):
        read_metrics(str(tmp_path / "metrics.json"))
    with pytest.raises(ValueError, match=r"metrics\.json has no record"):
        read_metrics(write(tmp_path / "metrics.json", [], tail='{"iter'))
