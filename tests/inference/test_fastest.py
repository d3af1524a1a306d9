"""What "auto" chooses: the fastest way that finds nearly the same, measured once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from export.small import config, detector, pictures

from centernet_d2.benchmark.timing import Timing
from centernet_d2.inference import fastest
from centernet_d2.inference.fastest import Fastest, clearly_faster, to_evaluate
from centernet_d2.inference.runtime import Runtimes, entry_of

DAMAGED = ["[damaged", "[]", '{"1 x 16384": ["gone", "", true]}', '{"1 x 16384": null}']


def timing(median: float, low: float | None = None, high: float | None = None) -> Timing:
    return Timing(median, low or median, (low or median, high or median), 4)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Seconds by way, which a test sets, in place of a clock; "turns" are the measurements."""
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path))
    found = {"turns": [], "said": []}

    def in_turns(calls, **how):
        found["turns"] += [[*calls]] * (how["rounds"] > 1)
        return {way: timing(found[way]) for way in calls}

    monkeypatch.setattr(fastest, "time_interleaved", in_turns)
    monkeypatch.setattr(fastest, "say", found["said"].append)
    return found


def known(dtype: str = "auto", difference=(0.02, 0.1), sure: float = 3.0) -> Runtimes:
    """Of a detector that is `sure` of large boxes."""
    cfg, model = config("hard"), detector("hard")
    cfg.TEST.DTYPE, cfg.TEST.DTYPE_DIFFERENCE = dtype, list(difference)
    with torch.no_grad():
        for name, more in {"heatmap": sure, "size": 40.0}.items():
            getattr(model.head.stacks[0], name).last_layer.bias += more
    return Runtimes(model, {"class_names": ["a"]}, cfg)


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ({"b": timing(0.95)}, []),  # a gain that may be chance
        ({"b": timing(0.9, 0.85, 0.97)}, ["b"]),
        ({"b": timing(0.8, 0.7, 1.1)}, []),  # its slow calls are slower than float32's fast ones
        ({"b": timing(0.8), "c": timing(0.5), "d": timing(1.7)}, ["c", "b"]),
    ],
)
def test_only_a_clear_gain_leaves_float32(others, chosen):
    assert clearly_faster({"float32": timing(1.0, 0.98, 1.05), **others}) == chosen


def test_a_slower_bfloat16_is_not_taken_and_nothing_is_measured_twice(measured):
    measured |= {"float32": 0.117, "bfloat16": 0.194}
    entries = [entry_of(image) for image in pictures(6)]
    chosen = Fastest(known(), "")
    with torch.no_grad():
        found, expected = chosen(entries[:1]), chosen.known.model(entries[:1])
    assert torch.equal(found[0]["instances"].scores, expected[0]["instances"].scores)
    assert measured["said"] == [
        "TEST.DTYPE auto is float32: 1 of 100 x 150 pixels take float32 117, bfloat16 194 ms "
        f"({torch.get_num_threads()} threads); none is 1.1 times as fast as float32"
    ]
    again = Fastest(known(), "")
    nearly, large = ([entry_of(pictures(1, side, side)[0])] for side in (120, 260))
    assert {again.choose(each) for each in (entries[:1], nearly)} == {"float32"}
    assert len(measured["turns"]) == 1
    again.choose(entries[:2])  # other numbers of pictures, a canvas of 3 times the pixels
    again.choose(entries[:3])
    again.choose(large)
    assert len(measured["turns"]) == 3
    for number, text in enumerate(DAMAGED):
        again.record.write_text(text)
        assert Fastest(known(), "").choose(entries[:1]) == "float32"
        assert len(measured["turns"]) == 4 + number


def test_threads_wait_for_one_measurement(measured):
    measured |= {"float32": 0.1, "bfloat16": 0.2}
    auto, entries = Fastest(known(), ""), [entry_of(image) for image in pictures(2)]
    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(auto, [entries] * 4)]
    assert len(measured["turns"]) == 1
    assert [len(each) for each in found] == [2] * 4


def test_processes_keep_what_others_have_measured(measured):
    measured |= {"float32": 0.1, "bfloat16": 0.2}
    entries = [entry_of(image) for image in pictures(2)]
    first, second = Fastest(known(), ""), Fastest(known(), "")
    first.choose(entries, 1)
    second.choose(entries, 2)
    assert json.loads(first.record.read_text()).keys() == {"1 x 16384", "2 x 16384"}


def test_where_nothing_can_be_kept_it_is_measured_and_said(measured, tmp_path, monkeypatch, caplog):
    measured |= {"float32": 0.1, "bfloat16": 0.2}
    (tmp_path / "file").touch()
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "file"))
    assert Fastest(known(), "").choose([entry_of(pictures(1)[0])]) == "float32"
    assert "is measured again in the next process: [Errno" in caplog.text


class OtherError(Exception):
    """As that of onnxruntime, which is no RuntimeError."""


@pytest.mark.parametrize(("fails_for", "told"), [(2, ""), (1, "openvino fails: no 1 pictures")])
def test_a_way_that_fails_is_left_out(measured, monkeypatch, fails_for, told):
    measured |= {"folded": 0.2, "eager": 0.19, "onnxruntime": 0.1, "openvino": 0.05}

    def of_file(self, name, *_):
        def detect(entries):
            if name == "openvino" and len(entries) == fails_for:
                raise OtherError(f"no {fails_for} pictures")
            return self.model(entries)

        return detect

    monkeypatch.setattr(Runtimes, "_of_file", of_file)
    monkeypatch.setattr(fastest, "time_interleaved", called(fastest.time_interleaved))
    entries = [entry_of(image) for image in pictures(3)]
    assert known("float32").detector("auto").choose(entries, 2) == "onnxruntime"
    assert told in measured["said"][0]
    assert ("openvino 50" in measured["said"][0]) == bool(told)


def called(timings):
    def in_turns(calls, **how):
        for call in calls.values():
            call()
        return timings(calls, **how)

    return in_turns


def test_nothing_to_detect_in_is_not_measured(measured):
    auto = Fastest(known(), "")
    assert auto([]) == []
    assert auto.choose([], 8) == "float32"
    assert not measured["turns"]


@pytest.mark.parametrize(
    ("difference", "chosen"), [((0.2, 0.25), "bfloat16"), ((1e-6, 0.1), "float32")]
)
def test_a_faster_bfloat16_is_taken_within_the_difference(measured, difference, chosen):
    measured |= {"float32": 0.2, "bfloat16": 0.1}
    entries = [entry_of(image) for image in pictures(4)]
    auto = Fastest(known(difference=difference), "")
    assert auto.choose(entries, 1) == chosen
    assert f"scores up to {difference[0]:g} apart" in measured["said"][0]
    kept = json.loads(auto.record.read_text())
    assert {key: way for key, (way, *_) in kept.items()} == {"1 x 16384": chosen}


def test_where_nothing_is_sure_the_next_pictures_are_asked(measured):
    measured |= {"float32": 0.2, "bfloat16": 0.1}
    auto = Fastest(known(sure=-9.0), "")
    blank = [entry_of(pictures(1)[0])]
    assert auto.choose(blank) == "float32"
    assert "neither side finds anything above 0.3" in measured["said"][0]
    assert json.loads(auto.record.read_text()) == {}


def test_runtimes_are_exact_unless_dtypes_are_free(measured, monkeypatch):
    measured |= {"folded": 0.2, "eager": 0.1, "openvino": 0.05, "bf16": 0.04, "openvino-bf16": 1}
    monkeypatch.setattr(Runtimes, "_of_file", broken_file)
    entries = [entry_of(image) for image in pictures(4)]
    assert known("float32").detector("auto").choose(entries, 1) == "eager"
    assert measured["turns"] == [["folded", "eager", "openvino"]]
    assert "openvino differs in" in measured["said"][0]
    assert known(difference=(0.3, 0.25)).detector("auto").choose(entries, 1) == "bf16"
    assert measured["turns"][1:] == [
        ["folded", "eager", "openvino", "bf16"]
    ]  # without what is far slower


def broken_file(self, name, form, precision):
    if form == "onnx":
        raise ImportError("onnx needs onnxruntime")

    def detect(entries):
        found = self.model(entries)
        found[0]["instances"].scores -= 2e-4
        return found

    return detect


def test_what_is_evaluated_says_what_was_chosen(measured):
    measured |= {"float32": 0.2, "bfloat16": 0.1, "folded": 1}
    free = known(difference=(0.2, 0.25))
    entries = [entry_of(image) for image in pictures(4)]
    shown = to_evaluate(free.cfg, free.model, ["a"], "", lambda *_: [entries])
    assert shown.describe_protocol().endswith(" / bfloat16 (auto)")
    assert next(shown.backbone.parameters()).dtype == torch.bfloat16
    folded = to_evaluate(free.cfg, free.model, ["a"], "folded", lambda *_: 1 / 0)
    assert folded.describe_protocol().endswith(" / folded")
