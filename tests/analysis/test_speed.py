"""Points of accuracy against speed, read from runs, tables and the papers."""

from __future__ import annotations

import json

import cv2
import pytest

from centernet_d2 import cli
from centernet_d2.analysis.speed import PUBLISHED, points_of, table_points
from centernet_d2.visualization.speed import SpeedPoint

# Objects as Points, Table 1: the column FPS, without augmentation, with flip, of several scales.
FPS = {"Hourglass-104": (14, 7.8, 1.4), "DLA-34": (52, 28, 4)}
HERE = "a CPU, batches of 1"
FPS |= {"ResNet-101": (45, 25, 4), "ResNet-18": (142, 71, 12)}


def run(folder, ap, *, ms=20.0, protocol="no augmentation / keep_res", datasets=("val",)):
    told = {"scores": {"bbox": {"AP": ap, "AP50": None}}, "protocol": protocol}
    told |= {
        "device": "a CPU",
        "batch": 1,
        "ms_per_picture": {"detector": {"mean": 1.0, "median": ms}},
    }
    (folder / "inference").mkdir(parents=True)
    file = folder / "inference" / "timing.json"
    file.write_text(json.dumps({"datasets": dict.fromkeys(datasets, told)}))
    return str(folder)


def test_runs_are_points(tmp_path):
    plain, flip = (
        run(tmp_path / "a=b", 40.0),
        run(tmp_path / "flip", 41.0, ms=40.0, protocol="flip / keep_res"),
    )
    assert points_of(plain, "bbox/AP") == [SpeedPoint("a=b", 20, 40, machine=HERE, data="val")]
    assert points_of(f"mine={flip}", "bbox/AP") == [SpeedPoint("mine", 40, 41, "flip", HERE, "val")]
    both = run(tmp_path / "both", 42.0, protocol="published: ms", datasets=("val", "test"))
    names = [(point.name, point.variant) for point in points_of(both, "bbox/AP")]
    assert names == [("both val", "scales"), ("both test", "scales")]
    with pytest.raises(
        ValueError, match=r"timing.json' has no number bbox/AP50 of val; it has bbox"
    ):
        points_of(plain, "bbox/AP50")
    with pytest.raises(FileNotFoundError, match=r"nowhere/inference/timing.json': .*--timing"):
        points_of(str(tmp_path / "nowhere"), "bbox/AP")


def test_tables_of_other_programs(tmp_path):
    table = tmp_path / "others.csv"
    table.write_text("name,variant,AP,ms,fps\nyolo,,50.5,,100\nrtdetr,x,53,9.5,\n")
    expected = [SpeedPoint("yolo", 10, 50.5), SpeedPoint("rtdetr", 9.5, 53, "x")]
    assert points_of(str(table), "bbox/AP") == expected
    rows = [{"name": "yolo", "bbox/AP": 50.5, "fps": 100, "published": "yes"}]
    (tmp_path / "others.json").write_text(json.dumps(rows))
    (point,) = points_of(str(tmp_path / "others.json"), "bbox/AP")
    assert (point.ms, point.score, point.is_published) == (10, 50.5, True)
    (tmp_path / "others.json").write_text(json.dumps([rows[0] | {"bbox/AP": 0.0, "AP": 7}]))
    assert points_of(str(tmp_path / "others.json"), "bbox/AP")[0].score == 0  # a score like others
    for wrong in ("yolo,,50,,", "yolo,,,3,", "yolo,,50,0,", ",,50,3,"):
        table.write_text(f"name,variant,AP,ms,fps\n{wrong}\n")
        with pytest.raises(ValueError, match=r"others.csv', row 1: it needs name.* and is {'name'"):
            points_of(str(table), "bbox/AP")
    table.write_text("name,variant,AP,ms,fps\n")
    with pytest.raises(ValueError, match=r"others.csv' has no rows"):
        points_of(str(table), "bbox/AP")


def test_published_points_are_those_of_the_papers():
    points = [p for p in table_points(PUBLISHED, "bbox/AP", data="coco") if p.is_published]
    assert len(points) == 21
    for name, rates in FPS.items():
        found = [1e3 / point.ms for point in points if point.name == f"CenterNet {name}"]
        assert found == pytest.approx(rates, rel=0.07)  # milliseconds are rounded
    voc = {(p.name, p.variant): p for p in table_points(PUBLISHED, "bbox/AP50", data="voc")}
    assert voc["CenterNet DLA-34", "512"].score == 80.7
    assert 1e3 / voc["CenterNet DLA-34", "384"].ms == pytest.approx(50)


def test_the_command_draws_and_writes_them(tmp_path, capsys):
    runs = ["--runs", f"mine={run(tmp_path / 'a', 40.0)}", "--metric", "AP", "--reference"]
    assert cli.main(["analyze", "plot", *runs, "--output", str(tmp_path / "plot")]) == 0
    rows = json.loads((tmp_path / "plot" / "plot.json").read_text())
    mine = {"name": "mine", "variant": "", "bbox/AP": 40.0, "ms": 20.0, "fps": 50.0}
    assert rows[0] == mine | {"machine": HERE, "data": "val", "published": "", "front": "yes"}
    assert len(rows) == 22
    assert points_of(str(tmp_path / "plot" / "plot.json"), "bbox/AP")[1].is_published
    assert cv2.imread(str(tmp_path / "plot" / "plot.png")).std() > 5
    assert "<svg" in (tmp_path / "plot" / "plot.svg").read_text()[:1000]
    said = capsys.readouterr().out
    assert "Times are of 4 set-ups" in said
    assert "Scores are of 2 data sets" in said
    for wrong, told in {
        (): "that have bbox/AP",
        ("--reference", "voc"): "no time beside bbox/AP on voc: COCO's are",
        (
            "--reference",
            "--metric",
            "keypoints/AP",
        ): "no time beside keypoints/AP on coco: COCO's",
    }.items():
        assert cli.main(["analyze", "plot", *wrong, "--output", str(tmp_path / "no")]) == 1
        assert told in capsys.readouterr().err
