from __future__ import annotations

import json
import sys

import pytest
from export.small import saved

from centernet_d2.benchmark import runtimes
from centernet_d2.export import formats
from centernet_d2.inference import runtime


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
    [
        (["--sections", "sausages"], "deform_conv"),
        (["--device", "cuda:99"], "must be a device"),
        (["--weights", "bccd"], "go with --runtimes"),
        (["--runtimes", "--amp", "float16"], "--amp does nothing with --runtimes: leave it out"),
        (["--runtimes", "--sections", "detector"], "--sections does nothing with --runtimes"),
        (
            ["--runtimes", "--images", "a", "--size", "9", "9"],
            "--size beside --images does nothing",
        ),
        (["--runtimes"], "Nothing says which model"),
    ],
)
def test_what_is_not_there(verb, arguments, told):
    with pytest.raises(ValueError, match=told):
        verb("benchmark").main(arguments)


def test_runtimes_are_compared_and_the_fastest_is_remembered(verb, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(formats, "is_missing", lambda package: package == "onnxscript")
    monkeypatch.setattr(runtimes, "PAUSE", 0)
    some = {n: runtime.RUNTIMES[n] for n in ("eager", "folded", "bf16", "onnxruntime")}
    for module in (runtime, runtimes):
        monkeypatch.setattr(module, "RUNTIMES", some)
    weights, file = saved("hard", tmp_path / "model.pth"), tmp_path / "numbers.json"
    arguments = ["--runtimes", "--warm-up", "0", "--size", "96", "128"]
    assert verb("benchmark").main(["--rounds", "5", "--json", str(file), *arguments, *weights]) == 0
    told = json.loads(file.read_text())
    rows = {(row["runtime"], row["batch"]): row for row in told["sections"]["runtimes"]}
    names = [runtimes.GEMM, "eager", "folded", "bf16", "onnxruntime"]
    assert [*rows] == [(name, batch) for batch in (1, 8) for name in names]
    for batch in (1, 8):
        absent, half = rows["onnxruntime", batch], rows["bf16", batch]
        assert absent["note"].startswith(
            "onnx needs onnxscript: pip install 'centernet-d2[export]'"
        )
        assert absent["ms_per_image"] is None
        assert "above 0.3" in half["note"]
        eager, machine = rows["eager", batch], rows[runtimes.GEMM, batch]["gflops"]
        assert eager["times_eager"] == 1
        assert eager["scores"] < 1e-6 > eager["boxes"] * 0.01  # a batch against single pictures
        assert eager["of_gemm"] == pytest.approx(eager["gflops"] / machine, abs=0.02)
        assert 0 < rows["folded", batch]["boxes"] < 1e-3
    used = {batch: name for (name, batch), row in rows.items() if row["use"]}
    assert {*used.values()} <= {"eager", "folded"}
    [record] = (tmp_path / "cache").rglob("measured_with_*_threads.json")
    assert json.loads(record.read_text()) == {str(k): v for k, v in used.items()}
    assert told["machine"]["recommendation"].startswith("On this machine with --threads ")
    assert (
        f"{used[8]} for batch 8 of model ("
        in told["machine"]["recommendation"]
        in capsys.readouterr().out
    )
    before = record.read_bytes()
    assert verb("benchmark").main(["--rounds", "1", "--batches", "1", *arguments, *weights]) == 0
    assert record.read_bytes() == before
    assert "; not remembered: fewer than 5 rounds" in capsys.readouterr().out


def test_what_is_much_faster_and_finds_the_same_is_used():
    def row(name, milliseconds, note="", batch=1):
        times = {"ms_per_image": milliseconds, "times_eager": milliseconds and 9 / milliseconds}
        return {"model": "a", "runtime": name, "batch": batch, "use": "", "note": note, **times}

    rows = [
        *(row(runtimes.GEMM, None), row("eager", 9), row("folded", 8.2), row("bf16", 4)),
        *(row("compile", 5), row("onnxruntime", 2, "scores differs"), row("openvino", 8)),
        *(row("aotinductor", None, "no compiler"), row("eager", 3, batch=8)),
    ]
    assert runtimes.mark_fastest(rows, 1) == "folded"  # 2.5 % are no gain
    assert [row["runtime"] for row in rows if row["use"]] == ["folded"]
    assert runtimes.mark_fastest(rows, 8) == "eager"
    told = runtimes.recommendation(rows, 5)
    assert "use folded for batch 1 of a (1.09" in told
    assert ", eager for batch 8 of a (3" in told


def test_ratios_are_held_against_the_record(verb, tmp_path, capsys, monkeypatch):
    from benchmarks import soft_nms

    monkeypatch.setattr(soft_nms, "CASES", (("few boxes", 30, 4, 1, 0),))
    arguments = ["--sections", "soft_nms", "--short", "--rounds", "2"]
    place = ["--compare", str(tmp_path)]
    with pytest.raises(ValueError, match=r"has no such record of .*: --record makes it"):
        verb("benchmark").main([*arguments, *place])
    assert verb("benchmark").main([*arguments, "--record", str(tmp_path)]) == 0
    [file] = tmp_path.iterdir()
    record = json.loads(file.read_text())
    assert (record["section"], record["options"]["short"]) == ("soft_nms", True)
    assert len(record["ratios"]) == 3
    for factor, status in ((100, 1), (0.01, 0)):
        told = {name: [factor * ratio, 0.01] for name, (ratio, _) in record["ratios"].items()}
        file.write_text(json.dumps(record | {"ratios": told}))
        capsys.readouterr()
        assert verb("benchmark").main([*arguments, *place]) == status
        assert capsys.readouterr().out.count("few boxes, ours, clean against NumPy") == status


def test_an_installed_package_has_no_records(verb, tmp_path, monkeypatch):
    monkeypatch.setattr("centernet_d2.cli.benchmark.CHECKOUT", tmp_path)
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)
    with pytest.raises(ValueError, match="--compare and --record are of a checkout: take --json"):
        verb("benchmark").main(["--sections", "detector", "--record"])
    with pytest.raises(ValueError, match=r"No benchmark section \['a'\].* A checkout has more\.$"):
        verb("benchmark").main(["--sections", "a"])
