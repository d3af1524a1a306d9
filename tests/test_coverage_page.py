"""docs/coverage.md: what its tables name is there, and its commands parse."""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stdout, suppress
from functools import cache
from io import StringIO
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

import benchmarks  # noqa: F401 - registers its sections
from centernet_d2 import cli
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY
from centernet_d2.config import value_of
from centernet_d2.config.checks import check_config
from centernet_d2.engine.setup import load_config
from centernet_d2.model_zoo.lookup import find_entry

ROOT = Path(__file__).resolve().parents[1]
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*")
PAGE = (ROOT / "docs/coverage.md").read_text()
ROWS = re.findall(r"^\| (?!---|what|figure|topic|option|program|to \|).*", PAGE, re.M)


@cache
def config(path: str = "", *overrides: str):
    """A config whose values are allowed and whose datasets are known."""
    cfg = load_config(path, overrides)
    check_config(cfg)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert ":" in name or name in DatasetCatalog, name
    return cfg


@cache
def help_of(verb: str) -> str:
    with redirect_stdout(StringIO()) as text, suppress(SystemExit):
        cli.main([verb, "--help"])
    return text.getvalue()


def check_command(verb: str, *words: str) -> None:
    """A whole command, or one that ends in "...", of which the options are known."""
    if words[-1:] == ("...",):
        for word in words[:-1]:
            assert re.search(rf"(?<!\S)[\[{{]?{word}\b", help_of(verb)), word
        return
    given = vars(cli.parse(verb, words))
    files, weights = given.get("configs") or [given.get("config_file")], given.get("weights")
    weights = (weights or [""])[0] if isinstance(weights, list) else weights  # of two the first
    opts = list(given.get("opts") or ())
    if weights not in (None, "", "w.pth"):  # brings its protocol and, where none is named, config
        files = files if files[0] else [find_entry(weights).config]
        opts += [] if "TEST.PROTOCOL" in opts else ["TEST.PROTOCOL", "published"]
    opts += ["DATASETS.TEST", given["dataset"]] if given.get("dataset") else []
    for file in files:
        config(file or "", *opts)
    assert all(name in BENCHMARK_REGISTRY for name in given.get("sections") or ())


def check_span(span: str) -> None:
    """Fail unless what stands in backticks is a command, key, file, config, weights or dataset."""
    head, _, rest = span.partition(" ")
    file, _, anchor = span.partition("#")
    if head in cli.VERBS:
        check_command(head, *shlex.split(rest))
    elif KEY.fullmatch(head):
        value_of(config(*["", *shlex.split(span)] * bool(rest)), head)
    elif (ROOT / file).is_file():
        if anchor:
            titles = re.findall(r"^#+ (.*)", (ROOT / file).read_text().lower(), re.M)
            assert anchor in [re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles]
    elif span.startswith("published:"):
        find_entry(span.removeprefix("published:"))
    else:
        assert (ROOT / "configs" / f"{span}.yaml").is_file() or span in DatasetCatalog


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_what_a_row_names_is_there(row):
    cells = row.split(" | ")[1:]
    for span in re.findall("`([^`]+)`", " ".join(cells)):
        check_span(span)


def test_every_config_of_a_paper_is_named():
    shipped = {f"{file.parent.name}/{file.stem}" for file in (ROOT / "configs").glob("*/*.yaml")}
    papers = {name for name in shipped if not name.startswith(("Own/", "Shapes/"))}
    named = set(re.findall("`([^`]+)`", PAGE))
    assert {name for name in papers - named if "/Base-" not in name} == set()
