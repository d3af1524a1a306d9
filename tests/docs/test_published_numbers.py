"""docs/published_numbers.yaml: whole tables; configs and model zoo agree with them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
import yaml

from centernet_d2.engine.setup import load_config
from centernet_d2.model_zoo.entries import ENTRIES

ROOT = Path(__file__).resolve().parents[2]
TABLES = yaml.safe_load((ROOT / "docs/published_numbers.yaml").read_text())
FIRST = ("Objects as Points, Table 1", "Objects as Points, Table 6", "CornerNet, Table 7")
FIRST += ("Keypoint Triplets, Table 2",)  # of released weights
CODE_SAYS = {"points_resnet101_dcn_384": (77.6, 77.1)}  # paper, authors' program
NUMBER = re.compile(r"(?<![\d.])\d\d\.\d(?!\d|\.\d)")


def rows():
    for table in TABLES:
        for name, config, *values in table["rows"]:
            yield table, name, config.partition(" "), values


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["table"])
def test_rows_are_whole_and_their_configs_load(table):
    for name, config, *values in table["rows"]:
        assert len(values) == len(table["columns"]), name
        assert all(isinstance(v, float) or re.fullmatch(r"\d\d\.\d ± \d\.\d", v) for v in values)
        file, *overrides = config.split() or [""]
        load_config(file, overrides)


def of_config() -> dict[str, set[str]]:
    """Config -> all numbers of the tables that name it, and of the model zoo."""
    found: dict[str, set[str]] = {}
    for table in TABLES:
        files = {row[1].partition(" ")[0].removesuffix("_multiscale") for row in table["rows"]}
        numbers = {str(value) for _, _, *values in table["rows"] for value in values}
        for file in files:
            found.setdefault(file, set()).update(numbers)
    for entry in ENTRIES:
        found.setdefault(entry.name, set()).update(map(str, entry.published.values()))
    # Of KITTI the comments have more, the single trainings of the authors' page.
    return {name: known for name, known in found.items() if "/" in name and "KITTI" not in name}


@pytest.mark.parametrize(("config", "known"), of_config().items())
def test_numbers_in_a_configs_comment_are_published(config, known):
    lines = (ROOT / f"configs/{config}.yaml").read_text().splitlines()
    head = " ".join(lines[: next((k for k, line in enumerate(lines) if line[:1] != "#"), 0)])
    told = set(NUMBER.findall(head))
    assert told <= known
    assert told or "Ablations/" not in config


def test_the_zoos_numbers_are_those_of_the_tables():
    published, seen = {entry.name: entry.published for entry in ENTRIES}, 0
    for table, name, (config, _, overrides), (ap, *_) in rows():
        entry = published.get(config.removesuffix("_multiscale"), {})
        if table["table"] not in FIRST or not entry or "of that time" in name:
            continue
        flips = "none" not in entry or "TEST.FLIP" in overrides
        view = "ms" if config.endswith("_multiscale") else "flip" if flips else "none"
        assert (ap, entry[view]) == CODE_SAYS.get(config.rpartition("/")[2], (ap, ap)), name
        seen += 1
    assert seen == 12 + 6 + 2 + 4


def test_the_scores_beside_published_times_are_those_of_the_tables():
    """Of the papers' own detectors, where all three are given."""
    known = {tuple(values[:3]) for table, _, _, values in rows() if len(values) > 1}
    with (ROOT / "centernet_d2/analysis/published_speed.csv").open() as file:
        table = [row for row in csv.DictReader(file) if row["name"] != "YOLOv3"]
    names = ("bbox/AP", "bbox/AP50", "bbox/AP75")
    timed = [tuple(float(row[name]) for name in names) for row in table if row["bbox/AP75"]]
    assert len(timed) == 16
    assert {*timed} <= known
