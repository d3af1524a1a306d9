"""Config files as people write them: read right, or one sentence with file, place and cure."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from centernet_d2.config import value_of
from centernet_d2.config.files import read_levels
from centernet_d2.engine.lazy import load_lazy, settings
from centernet_d2.engine.run import is_lazy
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.engine.user_modules import import_user_module
from centernet_d2.text_files import expanded, expanded_output

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mine(tmp_path):
    return tmp_path / "mine.yaml"


def told(path: Path) -> str:
    with pytest.raises((ValueError, KeyError, FileNotFoundError)) as caught:
        load_config(str(path))
    message = str(caught.value.args[0])
    assert message.removeprefix("Config file '").startswith(str(path.parent))
    assert "\n" not in message
    return message.replace(f"{path.parent}{os.sep}", "")


def test_files_of_any_editor(mine):
    mine.write_text("# Größe\r\nSOLVER:\r\n  BASE_LR: 0.5\r\n", "utf-16")
    assert load_config(str(mine)).SOLVER.BASE_LR == 0.5
    assert not is_lazy(str(mine))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("SOLVER: {BASE_LR: 1e-4}", "SOLVER.BASE_LR", 1e-4),
        ("SOLVER: {BASE_LR: 1}", "SOLVER.BASE_LR", 1.0),
        ("SOLVER.BASE_LR: 5.E-1", "SOLVER.BASE_LR", 0.5),
        ("TEST: {SCALES: [1e-1, .5e0, 1_0.0]}", "TEST.SCALES", [0.1, 0.5, 10.0]),
        ("TEST: {FLIP: yes}", "TEST.FLIP", True),
        ("TEST: {FLIP: off}", "TEST.FLIP", False),
        ("OUTPUT_DIR: 2026-01-31", "OUTPUT_DIR", "2026-01-31"),
        ("OUTPUT_DIR: '2026'", "OUTPUT_DIR", "2026"),
        ("OUTPUT_DIR: '[a]'", "OUTPUT_DIR", "[a]"),
        ('{"SOLVER": {"STEPS": [3, 5]}}', "SOLVER.STEPS", (3, 5)),
        ("SOLVER: &s {GAMMA: 0.5}\nINPUT: {}", "SOLVER.GAMMA", 0.5),
    ],
)
def test_values_as_they_are_meant(mine, text, key, value):
    mine.write_text(text)
    cfg = load_config(str(mine))
    assert value_of(cfg, key) == value
    assert type(value_of(cfg, key)) is type(value)


def test_texts_that_look_like_numbers_on_the_command_line():
    assert load_config("", ["SOLVER.GAMMA", "1"]).SOLVER.GAMMA == 1.0
    for given, meant in (("2024", "2024"), ("1e5", "1e5"), ("'a b'", "a b"), ("None", "None")):
        assert meant == load_config("", ["OUTPUT_DIR", given]).OUTPUT_DIR


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mine.yaml: a config file holds keys and values, this one None."),
        ("- SOLVER\n", "mine.yaml: a config file holds keys and values, this one ['SOLVER']."),
        ("SOLVER:\n\tBASE_LR: 1", "mine.yaml: line 2: found character '\\t' that cannot start any"),
        ("SEED: 1\nVIS_PERIOD: 0\nSEED: 2", "mine.yaml: line 3: 'SEED' stands in line 1 already."),
        ("SEED: 1\n---\nSEED: 2", "mine.yaml: line 2: but found another document."),
        ("SEED: [1", "mine.yaml: line 1: expected ',' or ']', but got '<stream end>'."),
        ("SEED: !!python/name:os.x", "mine.yaml: line 1: could not determine a constructor for"),
        ("SEED: !!int x", "mine.yaml: invalid literal for int() with base 10: 'x'. Correct"),
        ("SEED: \x01", "mine.yaml: unacceptable character #x0001: special characters are not"),
        ("[" * 600, "mine.yaml: maximum recursion depth exceeded"),
        ("MODEL: &m {X: *m}", "mine.yaml: maximum recursion depth exceeded"),
        ("{SEED: 1, SEED: 1}", "mine.yaml: line 1: 'SEED' stands in line 1 already."),
        ("MODEL: {WEIGHTS: a}\nMODEL.WEIGHTS: b", "mine.yaml: MODEL.WEIGHTS is set twice."),
        ("_BASE_: 3", "mine.yaml: _BASE_ is 3; it must be a path or a list of paths."),
        (
            "OUTPUT_DIR: 2024",
            "mine.yaml: OUTPUT_DIR is 2024; it must be a text that is not empty. Put it",
        ),
        ("MODEL: {DLA: {NORM: no}}", "mine.yaml: MODEL.DLA.NORM is False; it must be one of 'BN'"),
        ("SOLVER: {MAX_ITER: 1e3}", "mine.yaml: SOLVER.MAX_ITER is 1000.0; it must be a whole"),
        ("MODEL: 5", "mine.yaml: MODEL is a group of keys, and takes no value itself. Indent"),
    ],
)
def test_what_is_no_config_is_one_sentence(mine, text, says):
    mine.write_text(text)
    assert told(mine).startswith(says)


def test_circles_and_gaps_of_bases_name_the_files(mine):
    (mine.parent / "b.yaml").write_text("_BASE_: [mine.yaml]\nSEED: 1")
    mine.write_text("_BASE_: ./b.yaml")
    with pytest.raises(ValueError, match=r"mine.yaml -> .*b.yaml -> .*mine.yaml\. Remove one"):
        load_config(str(mine))
    (mine.parent / "b.yaml").write_text("_BASE_: gone.yaml\nSEED: 1")
    assert told(mine) == "Config file './gone.yaml' does not exist. Check _BASE_ of './b.yaml'."
    # The same base on two ways is no circle.
    for name, text in (("b", "_BASE_: d.yaml"), ("c", "_BASE_: d.yaml"), ("d", "SEED: 4")):
        (mine.parent / f"{name}.yaml").write_text(text)
    mine.write_text("_BASE_: [b.yaml, c.yaml]")
    assert load_config(str(mine)).SEED == 4


def test_other_kinds_of_files(tmp_path):
    picture = tmp_path / "a.yaml"
    picture.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF")
    with pytest.raises(ValueError, match="is no text in UTF-8"):
        load_config(str(picture))
    lazy = ROOT / "configs/lazy/points_tiny.py"
    with pytest.raises(ValueError, match=r"points_tiny\.py is Python, a LazyConfig: only"):
        read_levels(str(lazy))


@pytest.mark.parametrize("overrides", ["SEED 3", {"SEED": 3}, [3, "SEED"], [None, None]])
def test_overrides_are_a_list_of_pairs(overrides):
    with pytest.raises(ValueError, match=r"^Overrides are a list of KEY, VALUE"):
        load_config("", overrides)


# ------------------------------------------------------------------------------------------- paths
@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with the variable RUNS, and the current folder elsewhere."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNS", "runs/five")
    monkeypatch.delenv("NO_SUCH", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return str(tmp_path / "home")


def test_paths_are_those_of_a_shell(home):
    for given, meant in {
        "~": home,
        "~/a/$RUNS": f"{home}/a/runs/five",
        "${RUNS}/*.jpg": "runs/five/*.jpg",
        "published:~/a.pth": f"published:{home}/a.pth",
        "coco:~/a.json:~/b": f"coco:{home}/a.json:{home}/b",
        "a~b/~c": "a~b/~c",
        "https://a.org/~me/$NO_SUCH": "https://a.org/~me/$NO_SUCH",
        "$NO_SUCH/a": "$NO_SUCH/a",
        "": "",
    }.items():
        assert expanded(given) == meant
    Path("$RUNS").mkdir()
    assert expanded("$RUNS") == expanded_output("$RUNS") == "$RUNS"  # there under this name


@pytest.mark.parametrize("given", ["$NO_SUCH/a", "${NO_SUCH}", "~no_such_user/a"])
def test_no_folder_is_named_by_a_variable(home, given):
    with pytest.raises(argparse.ArgumentTypeError, match="is no user or variable here: correct"):
        expanded_output(given)
    with pytest.raises(ValueError, match=r"^OUTPUT_DIR: '.*is no user or variable here"):
        load_config("", ["OUTPUT_DIR", given])


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_place_is_told(given):
    with pytest.raises(ValueError, match=rf"^OUTPUT_DIR: '{given}' names no place: give a path"):
        load_config("", ["OUTPUT_DIR", given])
    cfg = load_config("")
    cfg.OUTPUT_DIR = ""
    with pytest.raises(ValueError, match="OUTPUT_DIR is ''; it must be a text that is not empty"):
        setup(cfg)


def test_paths_of_a_config_by_file_override_python_and_lazy(home, tmp_path):
    out = f"{home}/runs/five"
    (Path(home) / "a.yaml").write_text("OUTPUT_DIR: ~/$RUNS\nMODEL: {WEIGHTS: '~/a.pth'}")
    cfg = load_config("~/a.yaml", ["DATASETS.TEST", "coco:$RUNS/a.json:~/b"])
    assert (out, f"{home}/a.pth") == (cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS)
    assert (f"coco:runs/five/a.json:{home}/b",) == cfg.DATASETS.TEST
    assert out == load_config(Path(home, "a.yaml")).OUTPUT_DIR
    (Path(home) / "b.yaml").write_text("_BASE_: ~/a.yaml")
    assert out == load_config(f"{home}/b.yaml").OUTPUT_DIR
    cfg = load_config("", ["MODEL.META_ARCHITECTURE", "PointsCenterNet", "DATASETS.TRAIN", "()"])
    cfg.OUTPUT_DIR, cfg.DATASETS.TEST = "~/$RUNS", ()
    assert out == setup(cfg).OUTPUT_DIR
    lazy = load_lazy(str(ROOT / "configs/lazy/points_tiny.py"), ["train.output_dir='~/$RUNS'"])
    assert out == settings(lazy).OUTPUT_DIR
    (Path(home) / "own_module_of_home.py").write_text("X = 3")
    assert import_user_module("~/own_module_of_home.py").X == 3
    assert os.listdir(".") == []
