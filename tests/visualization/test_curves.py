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


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1]])
def test_plot_is_a_picture(tmp_path, records):
    picture = tmp_path / "folder" / "curves.png"
    plot_curves(write(tmp_path / "metrics.json", records), str(picture))
    image = cv2.imread(str(picture))
    assert image.shape[1] > 1000
    assert image.std() > 5


def test_more_data_makes_another_plot(tmp_path):
    pictures = []
    for count in (1, 2):
        file = write(tmp_path / "metrics.json", RECORDS[:count])
        plot_curves(file, str(tmp_path / "curves.png"))
        pictures.append(cv2.imread(str(tmp_path / "curves.png")))
    assert (pictures[0] != pictures[1]).any()


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json.*OUTPUT_DIR"):
        read_metrics(str(tmp_path / "metrics.json"))
    with pytest.raises(ValueError, match=r"metrics\.json has no record"):
        read_metrics(write(tmp_path / "metrics.json", [], tail='{"iter'))
