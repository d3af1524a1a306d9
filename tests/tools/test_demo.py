from __future__ import annotations

import re

import cv2
import pytest


@pytest.mark.slow
def test_demo_trains_scores_and_draws(load_tool, tiny_overrides, tmp_path, capsys):
    demo = load_tool("demo")
    output = tmp_path / "out"
    arguments = ["points", "--output", str(output), "--images", "3"]
    overrides = [*tiny_overrides, "SOLVER.MAX_ITER", "25"]
    assert demo.main([*arguments, *overrides]) == 0
    text = capsys.readouterr().out.strip().splitlines()
    assert re.fullmatch(r"AP [01]\.\d{3} AP50 [01]\.\d{3}", text[-1])
    assert sum("Average Precision" in line for line in text) == 6
    for name in ("detections.jpg", "curves.png"):
        assert cv2.imread(str(output / name)).std() > 5
    assert (output / "model_final.pth").is_file()

    lines = (output / "metrics.json").read_text().splitlines()
    assert demo.main([*arguments, "--check", *overrides]) == 1  # 25 steps do not reach the bars
    assert "Below" in capsys.readouterr().out
    assert len((output / "metrics.json").read_text().splitlines()) == len(lines)


def test_unknown_demo(load_tool, capsys):
    with pytest.raises(SystemExit):
        load_tool("demo").main(["sausages"])
    assert "points" in capsys.readouterr().err
