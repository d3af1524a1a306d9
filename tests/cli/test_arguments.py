"""Numbers on the command line: what cannot be used is one sentence before anything is loaded."""

from __future__ import annotations

import re

import numpy as np
import pytest

from centernet_d2.checked_values import argument, check_value, number, share, whole

# Of each tool what it cannot do without, and its arguments that are numbers or devices.
WHOLE, COUNT = "a whole number, 0 or more", "a whole number, 1 or more"
NUMBERS = {
    "predict": (
        ["--config-file", "a.yaml", "--input", "a.png", "--output", "out"],
        {
            "--score-threshold": "a number, 0 or more and at most 1",
            "--batch-size": COUNT,
            "--focal-length": "a number, more than 0",
        },
    ),
    "visualize-data": (
        ["--config-file", "a.yaml", "--output", "out"],
        {"--count": COUNT, "--repeat": COUNT, "--seed": WHOLE},
    ),
    "analyze": (["corner-quadrants", "--config-file", "a"], {"--radius": "a number, 0 or more"}),
    "benchmark": (
        [],
        {
            **dict.fromkeys(("--batches", "--rounds", "--threads"), COUNT),
            "--warm-up": WHOLE,
        },
    ),
    "demo": (["points"], {"--images": COUNT}),
    "train": ([], {"--seeds": COUNT}),
}
FITS = {
    COUNT: ("1000000000",),
    WHOLE: ("0", "1000000000"),
    "a number, 0 or more": ("0", "1000000000", "1e9"),
    "a number, more than 0": ("1000000000", "1e9"),
    "a number, 0 or more and at most 1": ("0",),
}
CASES = [(tool, name) for tool, (_, names) in NUMBERS.items() for name in names]


@pytest.mark.parametrize(("tool", "name"), CASES)
def test_a_wrong_number_is_one_sentence_and_others_are_taken(verb, capsys, tool, name):
    needed, names = NUMBERS[tool]
    fits = FITS.get(names[name], ())
    parse = verb(tool).parse_arguments
    for given in fits:
        parsed = parse([*needed, f"{name}={given}"])
        found = vars(parsed)[name.strip("-").replace("-", "_")]
        assert found == ([float(given)] if name == "--batches" else float(given))
    wrong = ("-1", "nan", "inf", "-inf", "x", "", "1e999", "0", "1000000000", "1e9")
    for given in sorted({*wrong} - {*fits}):
        with pytest.raises(SystemExit) as stopped:
            parse([*needed, f"{name}={given}"])
        assert stopped.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"argument {name}: {given!r}; it must be {names[name]}" in said


def test_the_rules_of_arguments():
    assert argument(share)("1e-3") == 1e-3
    assert type(argument(whole(1))("7")) is int
    check_value("count", np.int64(3), whole(1))
    for value in (True, 2.0, "3", None, 10**400 * -1):
        with pytest.raises(ValueError, match=f"^count must be {re.escape(COUNT)}, got"):
            check_value("count", value, whole(1))
    assert not number().accepts(10**400)  # no float
    assert not whole(0, 5).accepts(6)


@pytest.mark.parametrize(
    ("tool", "name", "value"),
    [
        *(("predict", name, f"{name}_path") for name in ("weights", "output", "calibration")),
        ("predict", "input", ["input_path"]),
        *((tool, "output", "output_path") for tool in ("visualize-data", "analyze", "demo")),
        ("analyze", "weights", "weights_path"),
        ("benchmark", "json", "json_path"),
    ],
)
def test_paths_are_those_of_a_shell(verb, monkeypatch, capsys, tool, name, value):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PART", f"{name}_path")
    monkeypatch.delenv("NO_SUCH", raising=False)
    needed, _ = NUMBERS[tool]
    parsed = verb(tool).parse_arguments([*needed, f"--{name}", "~/$PART"])
    found = getattr(parsed, name)
    assert found == ([f"/home/me/{v}" for v in value] if name == "input" else f"/home/me/{value}")
    if name in ("output", "json"):
        with pytest.raises(SystemExit):
            verb(tool).parse_arguments([*needed, f"--{name}", "$NO_SUCH/a"])
        assert "'$NO_SUCH/a' has '$NO_SUCH', which is no user or var" in capsys.readouterr().err
