from __future__ import annotations

import json

import pytest


def test_prints_tables_and_writes_json(load_tool, tiny_yaml, tmp_path, capsys):
    file = tmp_path / "numbers.json"
    arguments = ["--sections", "model_size", "detector", "--config-file", tiny_yaml]
    arguments += ["--batches", "1", "--rounds", "1", "--warm-up", "0", "--json", str(file)]
    assert load_tool("benchmark").main([*arguments, "--opts", "MODEL.DEVICE", "cpu"]) == 0
    content = json.loads(file.read_text())
    assert set(content["sections"]) == {"model_size", "detector"}
    assert content["machine"]["threads"] > 0
    assert content["options"]["rounds"] == 1
    printed = capsys.readouterr().out
    for word in ("preprocess", "network", "decode", "whole", "parameters", "gmac", "torchvision"):
        assert word in printed


def test_unknown_section(load_tool, capsys):
    with pytest.raises(SystemExit):
        load_tool("benchmark").main(["--sections", "sausages"])
    assert "deform_conv" in capsys.readouterr().err
