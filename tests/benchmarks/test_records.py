"""What a record holds of a measurement, and which ratios are told to have fallen."""

from __future__ import annotations

import json
import math
from functools import partial

import pytest

from benchmarks import BenchmarkOptions, records
from benchmarks.records import (
    check_records,
    compare,
    compare_and_record,
    kind_of,
    ratios,
    records_of,
)
from centernet_d2.benchmark.timing import Timing

MACHINE = {"cpu": "AMD EPYC", "cpu_capability": "AVX512", "threads": 2}


def timing(median: float, quartiles: float = 0.1, rounds: int = 16) -> Timing:
    """Of so many seconds, and so wide quartiles as a share."""
    ends = median * (1 - quartiles / 2), median * (1 + quartiles / 2)
    return Timing(median, 0.9 * median, ends, rounds)


def result(**alternatives: Timing) -> dict:
    """What `run_sections` returns of these, all held against the first."""
    (name, reference), *_ = alternatives.items()
    rows = [
        {"case": "a", "batch": 1, "alternative": told, **one.against(reference, name), "ms": one.ms}
        for told, one in alternatives.items()
    ]
    options = {"overrides": (), "amp_dtype": ""}
    shared = {"date": "2026-11-26", "machine": MACHINE, "options": options}
    return shared | {"sections": {"speed": rows, "size": [{"model": "b", "parameters": 5}]}}


def test_a_comparison_has_a_ratio_and_how_sure_it_is():
    row = timing(0.2, 0.1).against(timing(0.3, 0.2), "theirs")
    assert row == {
        "reference": "theirs",
        "speed_up": 1.5,
        # 1.57 / sqrt(16) of either spread, as the notches of a box plot.
        "uncertainty": round(math.hypot(0.1, 0.2) * 1.57 / 4, 3),
    }
    assert timing(0.2, rounds=1).against(timing(0.3), "theirs")["uncertainty"] is None
    assert timing(3.0).against(timing(0.0123), "theirs")["speed_up"] == 0.0041


def test_a_record_holds_one_section_of_one_kind_of_machine():
    (name, record), (other, size) = records_of(result(theirs=timing(3), ours=timing(2)))
    assert name == "speed-amd_epyc_avx512_2_threads.json"
    assert record["ratios"] == {"a, 1, ours against theirs": [1.5, 0.056]}
    assert record["rows"][1]["ms"] == 2000
    assert {"date", "machine", "options", "section"} < set(record)
    assert (other, size["ratios"]) == ("size-amd_epyc_avx512_2_threads.json", {})
    assert kind_of({**MACHINE, "gpu": "NVIDIA H100 80GB HBM3"}) == "nvidia_h100_80gb_hbm3"
    assert ratios([{"a": 1, **timing(1, rounds=1).against(timing(2), "b")}]) == {}
    # `runtimes`: shares of the rate of a product, whose own row has none.
    rows = [{"model": "a", "runtime": "float32 GEMM", "ms_per_image": None, "gflops": 100}]
    rows.append({"model": "a", "runtime": "eager", "ms_per_image": 3, "of_gemm": 0.8})
    rows[1]["uncertainty"] = 0.1
    assert ratios(rows) == {"a, eager against float32 GEMM": [0.8, 0.1]}


@pytest.mark.parametrize(
    ("seconds", "quartiles", "fell"),
    [
        (2.0, 0.1, False),
        (2.3, 0.01, False),  # by less than the tolerance
        (2.6, 0.01, True),
        (2.6, 0.5, False),  # by no more than chance
        (4.0, 0.5, True),
        (1.0, 0.01, False),
    ],
)
def test_a_ratio_that_fell_by_more_than_chance_is_told(tmp_path, seconds, quartiles, fell):
    file = tmp_path / "speed.json"
    before = dict(records_of(result(theirs=timing(3), ours=timing(2), gone=timing(1))))
    file.write_text(json.dumps(next(iter(before.values()))))
    # A machine that is busy makes all of them slow.
    now = result(theirs=timing(30, 0.01), ours=timing(10 * seconds, quartiles), new=timing(1))
    _, record = next(records_of(now))
    told = compare(record, file)
    ratio = float(f"{3 / seconds:.3g}")
    line = f"speed: a, 1, ours against theirs {ratio}, was 1.5 on 2026-11-26"
    assert told == [line] * fell


def test_what_cannot_be_compared_is_said(tmp_path):
    file = tmp_path / "speed.json"
    _, record = next(records_of(result(theirs=timing(3), ours=timing(2))))
    for content in ("{}", "[]", "none"):
        file.write_text(content)
        with pytest.raises(ValueError, match="is no record"):
            compare(record, file)
    other = record | {"options": {"overrides": ["TEST.FOLD_NORM", "False"], "amp_dtype": ""}}
    file.write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"other --opts or --amp: \[\['TEST.FOLD_NORM'"):
        compare(record, file)


def test_records_are_looked_at_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "describe_machine", lambda device: MACHINE)
    look, folder = partial(check_records, ["speed"], BenchmarkOptions()), str(tmp_path)
    with pytest.raises(ValueError, match="no such record of amd_epyc_avx512_2_threads: "):
        look(folder, "")
    look(folder, folder)
    compare_and_record(result(theirs=timing(3), ours=timing(2)), "", folder)
    look(folder, "")
    (tmp_path / "speed-amd_epyc_avx512_2_threads.json").write_text("{}")
    with pytest.raises(ValueError, match="is no record"):
        look(folder, folder)


def test_what_fell_twice_is_told_and_its_record_stays(tmp_path, monkeypatch, capsys):
    fast, slow = (result(theirs=timing(3), ours=timing(seconds)) for seconds in (1, 2))
    asked = []

    def again(now):
        monkeypatch.setattr(
            records, "run_sections", lambda names, options: asked.append((names, options)) or now
        )

    for each in (fast, slow):
        each["sections"].pop("size")
    folder = str(tmp_path)
    assert compare_and_record(fast, "", folder) == 0
    [file] = tmp_path.iterdir()
    before = file.read_bytes()
    again(slow)
    assert compare_and_record(slow, folder, folder) == 1
    told = "speed: a, 1, ours against theirs 1.5, was 3.0 on 2026-11-26"
    assert told in capsys.readouterr().out
    assert file.read_bytes() == before
    assert asked == [(["speed"], BenchmarkOptions(overrides=()))]
    again(fast)  # the first time was chance
    assert compare_and_record(slow, folder, folder) == 0
    assert compare_and_record(fast, folder, "") == 0
    assert len(asked) == 2
    assert "0 ratio(s) fell since the last of 1 record(s)" in capsys.readouterr().out
    assert compare_and_record(slow, "", folder) == 0
    assert json.loads(file.read_text())["ratios"]["a, 1, ours against theirs"][0] == 1.5
