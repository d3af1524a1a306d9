"""The command line: train, go on, evaluate; in one process and in two."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import default_argument_parser

from centernet_d2.engine.run import run
from centernet_d2.engine.setup import load_config

from .small_world import CLASSES, ROOT, write_dataset


@pytest.fixture
def command(config, tmp_path):
    """A function (*arguments) -> the argument list for the small config, written to a file."""

    def make(*arguments: str) -> list[str]:
        file = tmp_path / "small.yaml"
        if not file.exists():
            file.write_text(config().dump())
        return ["--config-file", str(file), *arguments]

    return make


def call(arguments: list[str], **more):
    args = default_argument_parser().parse_args(arguments)
    vars(args).update(more)
    return run(args)


def test_a_resume_that_does_not_begin_changes_nothing(command, tmp_path):
    """Data or model of another config: the run's own files are what they were."""
    call(command("SOLVER.MAX_ITER", "2"))
    files = [tmp_path / "run" / name for name in ("config.yaml", "results.json")]
    before = [file.read_bytes() for file in files]
    for wrong in (["DATASETS.TRAIN", "()"], ["MODEL.ENCODER_DECODER.OUT_CHANNELS", "12"]):
        with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty|of another model"):
            call(command("--resume", *wrong))
        assert [file.read_bytes() for file in files] == before
    # Without --config-file the run's own is used.
    call(["--resume", "OUTPUT_DIR", str(tmp_path / "run"), "SOLVER.MAX_ITER", "4"])
    assert torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["iteration"] == 3
    assert load_config(str(files[0])).SOLVER.MAX_ITER == 4


def test_train_resume_and_evaluate(command, tmp_path):
    folder = tmp_path / "run"
    call(command("SOLVER.MAX_ITER", "3"))
    assert torch.load(folder / "model_final.pth", weights_only=True)["iteration"] == 2
    assert (folder / "config.yaml").exists()
    log = (folder / "log.txt").read_text()
    assert "6 iterations" not in log
    assert f"Command line arguments: Namespace(config_file='{tmp_path / 'small.yaml'}'" in log

    results = call(command("--resume"))
    assert torch.load(folder / "model_final.pth", weights_only=True)["iteration"] == 5
    log = (folder / "log.txt").read_text()
    assert "starting at image 12 of the stream" in log  # 3 steps of 4 images
    assert log.index("6 iterations") < log.index("Starting training from iteration 3")

    saved = (folder / "config.yaml").read_bytes()
    again = call(command("--eval-only", "MODEL.WEIGHTS", str(folder / "model_final.pth")))
    assert again["bbox"] == pytest.approx(results["bbox"], abs=1e-9, nan_ok=True)
    assert (folder / "config.yaml").read_bytes() == saved  # the training's
    evaluated = load_config(str(folder / "inference" / "config.yaml"))
    assert str(folder / "model_final.pth") == evaluated.MODEL.WEIGHTS


def test_evaluation_does_not_ask_for_the_training_data(command, tmp_path):
    call(command("SOLVER.MAX_ITER", "1"))
    other = write_dataset(tmp_path / "other", classes=("bright", "grey"))
    weights = ["MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth")]
    results = call(command("--eval-only", "DATASETS.TRAIN", other, *weights))
    assert "AP" in results["bbox"]
    with pytest.raises(ValueError, match="other classes"):
        call(command("--eval-only", "DATASETS.TEST", other, *weights))


@pytest.mark.parametrize("evaluation", [False, True])
def test_missing_dataset_says_where_it_is_looked_for(command, tmp_path, evaluation):
    missing = tmp_path / "nowhere" / "boxes.json"
    name = "engine_missing"
    key, options = "DATASETS.TRAIN", []
    if evaluation:
        call(command("SOLVER.MAX_ITER", "1"))
        key = "DATASETS.TEST"
        options = ["--eval-only", "MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth")]
    register_coco_instances(name, {}, str(missing), str(tmp_path))
    MetadataCatalog.get(name).thing_classes = list(CLASSES)
    try:
        with pytest.raises(FileNotFoundError) as caught:
            call(command(*options, key, name))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    words = (key, name, str(missing), "DETECTRON2_DATASETS", "docs/datasets.md", "coco:<json>:")
    assert [word for word in words if word not in str(caught.value)] == []


def test_saved_config_repeats_the_run(command, tmp_path):
    folder = tmp_path / "run"
    call(command("SOLVER.MAX_ITER", "2"))
    call(["--config-file", str(folder / "config.yaml"), "OUTPUT_DIR", str(tmp_path / "again")])
    first, second = (
        torch.load(f / "model_final.pth", weights_only=True) for f in (folder, tmp_path / "again")
    )
    assert first["iteration"] == second["iteration"] == 1
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name])


@pytest.mark.slow
def test_program_in_two_processes(command, tmp_path):
    program = [sys.executable, str(ROOT / "tools" / "train_net.py")]
    registered = "from detectron2.data import DatasetCatalog as d; assert 'shapes_val' in d\n"
    (tmp_path / "mine.py").write_text(f"print('mine is imported')\n{registered}")
    options = ["--import", "mine.py", "--num-gpus", "2", "--dist-url", "auto"]
    options += ["SOLVER.MAX_ITER", "2"]
    done = subprocess.run(
        [*program, *command(*options)], capture_output=True, text=True, cwd=tmp_path, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "World size: 2" in (tmp_path / "run" / "log.txt.rank1").read_text()
    assert "; 2 processes\n" in done.stdout
    assert done.stdout.count("\niteration 2 of 2, ") == 1  # one of them speaks
    assert "Warning" not in done.stderr
    assert done.stdout.count("mine is imported") == 2
    assert torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["iteration"] == 1


def test_program_without_a_config_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml.*--config-file"):
        call(["--config-file", "nowhere.yaml", "OUTPUT_DIR", str(tmp_path)])
