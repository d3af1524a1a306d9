"""The examples are short, and do what they say from outside the package."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tokenize
from ast import ClassDef, FunctionDef, Module, get_docstring, parse, walk
from pathlib import Path

import pytest
from engine.small_world import CLASSES, ROOT, small_config, write_dataset

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LONGEST = 60
NO_CODE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
)


def code_lines(source: str) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in walk(parse(source)):
        if isinstance(node, Module | ClassDef | FunctionDef) and get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_it_is_run(path):
    source = path.read_text()
    assert code_lines(source) <= LONGEST
    assert f"examples/{path.name} " in source or f"examples/{path.name} \\" in source


def test_code_lines_are_counted():
    assert (
        code_lines('"""Doc."""\n\n# comment\nx = [\n    1,\n]\n\n\ndef f():\n    """D."""\n') == 4
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with a small dataset, a third of whose objects are covered, and a config for it."""
    folder = tmp_path_factory.mktemp("examples")
    spec = write_dataset(folder / "data")
    file = folder / "data" / "boxes.json"
    content = json.loads(file.read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation["visible_share"] = 0.25 if number % 3 == 0 else 1.0
    file.write_text(json.dumps(content))
    images = {image["id"]: image for image in content["images"]}
    with open(folder / "boxes.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "width", "height", "label", "x1", "y1", "x2", "y2"])
        for annotation in content["annotations"]:
            image, (x, y, w, h) = images[annotation["image_id"]], annotation["bbox"]
            size, label = (image["width"], image["height"]), CLASSES[annotation["category_id"] - 1]
            table.writerow([image["file_name"], *size, label, x, y, x + w, y + h])
    steps = ("SOLVER.MAX_ITER", 2, "SOLVER.CHECKPOINT_PERIOD", 2)
    (folder / "small.yaml").write_text(small_config(spec, folder / "run", *steps).dump())
    return folder


def train(world: Path, program: list[str], *overrides: str) -> tuple[dict, str]:
    """Scores and log of a training that was started in another folder than the checkout."""
    output = world / "_".join(Path(program[-1]).stem.split("/"))
    command = [sys.executable, *program, "--config-file", "small.yaml", "OUTPUT_DIR", str(output)]
    done = subprocess.run(
        [*command, *overrides], cwd=world, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = (output / "log.txt").read_text()
    return json.loads((output / "results.json").read_text()), log


def with_import(name: str) -> list[str]:
    return [str(ROOT / "tools" / "train_net.py"), "--import", str(ROOT / "examples" / name)]


@pytest.mark.slow
def test_a_point_task_with_its_own_ground_truth(world):
    tasks = ("MODEL.POINTS_CENTERNET.TASKS", "['box2d', 'visible_share']")
    scores, log = train(world, with_import("point_task.py"), *tasks)
    assert set(scores) == {"bbox", "visible_share"}
    assert ", visible_share " in log
    again, weights = world / "again", world / "point_task" / "model_final.pth"
    command = [sys.executable, *with_import("point_task.py"), "--config-file", "small.yaml"]
    command += ["--eval-only", "OUTPUT_DIR", str(again), "MODEL.WEIGHTS", str(weights), *tasks]
    subprocess.run(command, cwd=world, check=True, capture_output=True, timeout=300)
    assert json.loads((again / "inference" / "results.json").read_text()) == scores


@pytest.mark.slow
def test_a_backbone(world):
    name = ("MODEL.BACKBONE.NAME", "build_plain_backbone")
    features = ("MODEL.HEATMAP.IN_FEATURES", "['plain']", "MODEL.PLAIN.WIDTH", "8")
    scores, log = train(world, with_import("backbone.py"), *name, *features)
    assert "AP" in scores["bbox"]
    assert "PlainBackbone" in log


@pytest.mark.slow
def test_a_fourth_detector(world):
    overrides = ("MODEL.META_ARCHITECTURE", "SideDetector", "MODEL.SIDES.INNER", "0.9")
    scores, log = train(world, with_import("detector.py"), *overrides, "TEST.FLIP", "True")
    assert "AP" in scores["bbox"]
    assert "sides " in log
    assert "flip / keep_res" in log


@pytest.mark.slow
def test_a_form_of_datasets_with_its_evaluator(world):
    spec = f"table:{world / 'boxes.csv'}:{world / 'data' / 'pictures'}"
    data = ("DATASETS.TRAIN", spec, "DATASETS.TEST", spec)
    scores, _ = train(world, with_import("dataset.py"), *data)
    assert set(scores) == {"recall"}
    assert 0 <= scores["recall"]["recall50"] <= 100


@pytest.mark.slow
def test_a_training_script(world):
    scores, log = train(world, [str(ROOT / "examples" / "training.py")])
    assert "AP" in scores["bbox"]
    assert "Largest loss" in log
