"""The benchmark of training options: what a variant is, and what the table says."""

from __future__ import annotations

import argparse
import json

import pytest

from benchmarks import own_data_recipe
from benchmarks.own_data_recipe import PARTS, overrides, read_parts, table, words
from centernet_d2 import load_config
from centernet_d2.config.checks import check_values

ALL = read_parts(argparse.Namespace(parts=str(PARTS)))


@pytest.mark.parametrize("part", [name for name, keys in ALL.items() if "CONFIG" not in keys])
def test_every_part_has_keys_and_values_that_there_are(part):
    config, keys = overrides(ALL, f"base+{part}")
    check_values(load_config(config, words(keys)))


def test_later_parts_replace_earlier_ones():
    parts = {"a": {"CONFIG": "c", "X": 1, "Y": 2}, "b": {"Y": 3}}
    assert overrides(parts, "a+b") == ("c", {"X": 1, "Y": 3})
    assert words({"X": 1, "Y": [2, "z"]}) == ["X", "1", "Y", "[2, 'z']"]
    with pytest.raises(KeyError, match="no part 'd': a, b"):
        overrides(parts, "a+d")


def row(variant, seed, ap):
    scores = {"AP": ap, "AP50": 80.0, "AP75": 50.0}
    return {
        "variant": variant,
        "seed": seed,
        "steps": 9,
        "cpu_s_per_step": 0.5,
    } | scores


def test_differences_are_told_in_spreads():
    rows = [row("base", 0, 44.0), row("base", 1, 46.0), row("x", 0, 49.0), row("x", 1, 49.0)]
    *_, base, other = table([*rows, row("y", 0, 40.0)], {"x": 0.25}, "base").splitlines()[:4]
    assert base == "| base | 2 | 9 | 0.500 | 45.0 ± 1.4 | 80.0 ± 0.0 | 50.0 ± 0.0 | +0.0 | +0.0 |"
    # The standard deviation of the difference is sqrt(2 / 2 + 0) = 1.
    assert other == "| x | 2 | 9 | 0.250 | 49.0 ± 0.0 | 80.0 ± 0.0 | 50.0 ± 0.0 | +4.0 | +4.0 |"
    assert table([rows[0], row("y", 0, 40.0)], {}, "base").endswith("| -4.0 | - |")


def test_what_has_a_row_is_not_trained_again(tmp_path, monkeypatch):
    called = []

    def run(command, **_):
        called.append(command[-4:])
        return argparse.Namespace(returncode=0)

    monkeypatch.setattr(own_data_recipe.subprocess, "run", run)
    args = argparse.Namespace(output=str(tmp_path), seeds=[0, 1], steps=0, cpu_minutes=2)
    args.train, args.val, args.device = "t", "v", "cpu"
    there = [
        row("base", 0, 44.0) | {"data": "t v", "budget": "2 CPU minutes"},
        row("x", 0, 44.0) | {"data": "t v", "budget": "9 steps"},
        row("base", 1, 44.0) | {"data": "t v", "budget": "2 CPU minutes", "device": "cuda"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, there)))
    own_data_recipe.run_all(args, ["base", "x"], {"base": 0.5, "x": 0.25})
    steps = {"base": "240", "x": "480"}  # two minutes of CPU
    done = [("x", 0), ("base", 1), ("x", 1)]
    assert called == [["--one", name, str(seed), steps[name]] for name, seed in done]
