from __future__ import annotations

import json

import pytest


def test_prints_tables_and_writes_json(verb, tiny_yaml, tmp_path, capsys):
    file = tmp_path / "numbers.json"
    arguments = ["--sections", "model_size", "detector", "--config-file", tiny_yaml]
    arguments += ["--batches", "1", "--rounds", "1", "--warm-up", "0", "--json", str(file)]
    assert verb("benchmark").main([*arguments, "--opts", "MODEL.DEVICE", "cpu"]) == 0
    content = json.loads(file.read_text())
    assert set(content["sections"]) == {"model_size", "detector"}
    assert content["machine"]["threads"] > 0
    assert content["options"]["rounds"] == 1
    printed = capsys.readouterr().out
    for word in ("preprocess", "network", "decode", "whole", "parameters", "gmac", "torchvision"):
        assert word in printed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--sections", "sausages"], "deform_conv"), (["--device", "cuda:99"], "must be a device")],
)
def test_what_is_not_there(verb, arguments, told):
    with pytest.raises(ValueError, match=told):
        verb("benchmark").main(arguments)
