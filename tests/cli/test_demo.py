from __future__ import annotations

import json
import re

import cv2
import pytest

from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.settings import SplitSettings, StreetSettings


@pytest.mark.slow
def test_demo_trains_scores_and_draws(verb, tiny_overrides, tmp_path, capsys):
    demo = verb("demo")
    output = tmp_path / "out"
    arguments = ["points", "--output", str(output), "--images", "3"]
    overrides = [*tiny_overrides, "SOLVER.MAX_ITER", "25"]
    assert demo.main([*arguments, *overrides]) == 0
    text = capsys.readouterr().out.strip().splitlines()
    assert re.fullmatch(r"AP [01]\.\d{3} AP50 [01]\.\d{3}", text[-1])
    assert sum(re.match(r"\| +AP \| +AP50 \|", line) is not None for line in text) == 1
    for name in ("detections.jpg", "curves.png"):
        assert cv2.imread(str(output / name)).std() > 5
    assert (output / "model_final.pth").is_file()

    lines = (output / "metrics.json").read_text().splitlines()
    assert demo.main([*arguments, "--check", *overrides]) == 1  # 25 steps do not reach the bars
    assert "Below" in capsys.readouterr().out
    assert len((output / "metrics.json").read_text().splitlines()) == len(lines)


def test_unknown_demo(verb, capsys):
    with pytest.raises(SystemExit):
        verb("demo").main(["sausages"])
    assert "points" in capsys.readouterr().err


@pytest.mark.slow
def test_boxes_in_space_are_trained_scored_and_drawn(verb, tmp_path, capsys):
    demo = verb("demo")
    ensure_split(SplitSettings(4, 1, StreetSettings()), str(tmp_path / "streets"))
    name = f"kitti:{tmp_path / 'streets'}:all"
    output = tmp_path / "out"
    overrides = ["DATASETS.TRAIN", f"('{name}',)", "DATASETS.TEST", f"('{name}',)"]
    overrides += ["SOLVER.IMS_PER_BATCH", "4", "SOLVER.MAX_ITER", "21", "MODEL.DEVICE", "cpu"]
    overrides += ["DATALOADER.NUM_WORKERS", "0"]
    assert demo.main(["box3d", "--output", str(output), "--images", "2", *overrides]) == 0
    text = capsys.readouterr().out.strip().splitlines()
    assert re.fullmatch(r"AP40-Car-moderate ([01]\.\d{3}|nan)", text[-1])
    # Two streets above each other, beside each a square from above.
    picture = cv2.imread(str(output / "detections.jpg"))
    assert picture.std() > 5
    results = json.loads((output / "results.json").read_text())
    tasks = {"bbox", "aos", "bev", "box3d"}
    assert set(results) == {*tasks, *(f"{task}_loose" for task in tasks)}
