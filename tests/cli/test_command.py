"""The command itself: its verbs, help in an instant, one sentence for a fault, the completion."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.engine import default_argument_parser
from torch.multiprocessing import ProcessRaisedException

from centernet_d2 import cli
from centernet_d2.analysis import oracle, point_oracle
from centernet_d2.cli.demo import DEMOS
from centernet_d2.cli.faults import sentence
from centernet_d2.cli.parsers import analyze, demo, predict
from centernet_d2.engine.setup import load_config
from centernet_d2.inference.records import BOX_FORMATS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ["torch", "detectron2", "numpy", "cv2", "matplotlib", "pycocotools", "PIL", "yaml"]
# Runs the command as `python -m` does, and says which heavy modules that has imported.
PROBE = f"""
import runpy, sys
sys.argv, sys.orig_argv = ["-m", *sys.argv[1:]], ["python", "-m", "centernet_d2"]
try:
    runpy.run_module("centernet_d2", run_name="__main__", alter_sys=True)
finally:
    print("HEAVY", [name for name in {HEAVY} if name in sys.modules])
"""


def command(*arguments: str, program=("-m", "centernet_d2"), cwd=None):
    return subprocess.run(
        [sys.executable, *program, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120
    )


@pytest.mark.parametrize("verb", ["", *cli.VERBS])
def test_help_imports_nothing_heavy(verb):
    """Which is what takes seconds; an empty process of Python takes as long as this."""
    done = command(*([verb] if verb else []), "--help", program=("-c", PROBE))
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert done.stdout.startswith(f"usage: centernet-d2 {verb}".strip())
    if not verb:
        assert all(f"    {name}" in done.stdout for name in cli.VERBS)


@pytest.mark.parametrize("tool", ["train_net", "predict"])
def test_tools_are_the_same_commands(tool):
    done = command("--help", program=(str(ROOT / "tools" / f"{tool}.py"),))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {ROOT}/tools/{tool}.py [-h]")
    assert f"    {ROOT}/tools/{tool}.py --" in done.stdout  # its examples


def test_train_takes_what_detectron2_takes():
    given = [
        *("--config-file", "a.yaml", "--resume", "--eval-only", "--num-gpus", "2"),
        *("--num-machines", "3", "--machine-rank", "1", "--dist-url", "tcp://a:1", "A.B", "c"),
    ]
    for arguments in ([], given):
        theirs = vars(default_argument_parser().parse_args(arguments))
        ours = vars(cli.parse("train", arguments))
        assert {key: ours[key] for key in theirs} == theirs


def test_choices_are_those_of_the_package():
    assert set(analyze.OF_CORNERS) == set(oracle.SUBSTITUTES)
    assert set(analyze.OF_POINTS) == set(point_oracle.SUBSTITUTES)
    assert cli.parse("predict", ["--config-file", "a", "--input", "b", "--output", "c"])
    assert tuple(BOX_FORMATS) == predict.BOX_FORMATS
    assert set(DEMOS) == set(demo.DEMOS)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["trian"], 2, "centernet-d2: error: 'trian' is no verb (nearest: train)"),
        (["--verison"], 2, "centernet-d2: error: "),
        (
            ["train", "--confg-file", "x"],
            2,
            "centernet-d2 train: error: '--confg-file' is no option (nearest: --config-file); see ",
        ),
        (
            ["train", "--config-file", "x", "SEED", "1", "--seeds", "2"],
            2,
            "centernet-d2 train: error: '--seeds' stands behind the config overrides KEY VALUE: ",
        ),
        (
            ["analyze", "oracle", "--substitute", "centers", "--weights", "a", "--topk=3"],
            2,
            "centernet-d2 analyze: error: '--topk' is no option",
        ),
        (
            ["predict", "--input", "a.png", "--output", "b", "--keypoints", "TEST.FLIP", "True"],
            2,
            "centernet-d2 predict: error: unrecognized arguments: TEST.FLIP True; config overrides "
            "KEY VALUE stand behind --opts; see centernet-d2 predict --help",
        ),
        (
            ["predict", "--input", "a.png", "--output", "b", "--heatmap", "TEST.FLIP", "True"],
            2,
            "centernet-d2 predict: error: argument --heatmap: invalid choice: 'TEST.FLIP' (choose "
            "from 'alone', 'boxes', 'maps'); config overrides KEY VALUE stand behind --opts",
        ),
        (
            ["train", "--config-file", "Shapes/points_tin"],
            1,
            "centernet-d2 train: Config file 'Shapes/points_tin' does not exist (nearest: "
            "Shapes/points_tiny",
        ),
        (
            ["evaluate", "--config-file", "Shapes/points_tiny", "MODEL.WIEGHTS", "a"],
            1,
            "centernet-d2 evaluate: MODEL.WIEGHTS is no key (nearest: MODEL.WEIGHTS",
        ),
        (["benchmark", "--sections", "x"], 1, "centernet-d2 benchmark: No benchmark section"),
    ],
)
def test_a_fault_is_one_sentence(capfd, arguments, status, told):
    with pytest.raises(SystemExit) as stopped:  # as a process ends
        sys.exit(cli.main(arguments))
    assert stopped.value.code == status
    said = capfd.readouterr().err
    assert said.splitlines()[-1].startswith(told)
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(30, "Read-only file system", "/a/b"), "give a place with write access."),
        (OSError(28, "No space left on device", "/a/b"), "free some space, or give a place"),
        (OSError(28, "No space left on device"), "No space left on device; free some space"),
        (OSError(5, "Input/output error", "/a/b"), "'/a/b': Input/output error."),
        (OSError("told already"), "told already"),
    ],
)
def test_what_the_system_refuses_has_a_cure(error, told):
    assert told in sentence(error, "here")


def test_the_trace_is_shown_where_it_is_asked_for(capfd):
    assert cli.main(["train", "--traceback", "--config-file", "no.yaml"]) == 1
    assert "FileNotFoundError: Config file 'no.yaml'" in capfd.readouterr().err


def test_unforeseen_errors_say_what_they_are(monkeypatch, capfd):
    def fail(args):
        raise AttributeError("no such thing")

    monkeypatch.setattr("centernet_d2.cli.predict.run", fail)
    needed = ["--config-file", "a", "--input", "b", "--output", "c"]
    assert cli.main(["predict", *needed]) == 1
    said = capfd.readouterr().err
    assert said.startswith("centernet-d2 predict: AttributeError: no such thing (")


@pytest.mark.parametrize(("closed", "status"), [(True, 0), (False, 1)])
def test_a_reader_who_has_enough_is_no_fault(monkeypatch, capfd, closed, status):
    class Pipe:
        def write(self, text):
            pass

        def flush(self):
            if closed:
                raise BrokenPipeError

    def fail(args):
        raise BrokenPipeError("a worker is gone")

    monkeypatch.setattr("centernet_d2.cli.check.run", fail)
    monkeypatch.setattr(sys, "stdout", Pipe())
    assert cli.main(["check"]) == status
    assert ("a worker is gone" in capfd.readouterr().err) is not closed


def test_of_a_process_its_last_line_is_told():
    trace = "\n\n-- Process 1 terminated with the following error:\nTraceback:\n  ...\n"
    cause = {"error_index": 1, "error_pid": 7}
    for line, told in (
        ("ValueError: SEED is 'x'.\n", "SEED is 'x'."),
        ("AttributeError: 'a': b\n", "AttributeError: 'a': b (here)"),
    ):
        assert sentence(ProcessRaisedException(trace + line, **cause), "here") == told


def test_a_stop_by_hand_says_what_is_kept(monkeypatch, capfd):
    def stop(args):
        error = KeyboardInterrupt()
        error.add_note("2 of 3 images are in out.json")
        raise error

    monkeypatch.setattr("centernet_d2.cli.predict.run", stop)
    assert cli.main(["predict", "--config-file", "a", "--input", "b", "--output", "c"]) == 130
    assert capfd.readouterr().err == "Stopped.\n2 of 3 images are in out.json\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_is_a_script_of_that_shell(shell, capsys):
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "centernet-d2" in script
    assert "visualize" in script
    if shell == "bash":
        assert "_shtab_centernet_d2_predict___weights_COMPGEN=_shtab_compgen_files" in script
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["Shapes/points_tiny", "configs/Shapes/points_tiny.yaml"])
def test_shipped_configs_are_known_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        load_config(name).dump()
        == load_config(str(ROOT / "configs/Shapes/points_tiny.yaml")).dump()
    )
    (tmp_path / "points_tiny").write_text("SEED: 7")  # a file of one's own comes first
    assert load_config("points_tiny").SEED == 7


def test_another_package_registers_at_once(tmp_path):
    """`python -m my.module` has the same first word while my/__init__.py is imported."""
    package = tmp_path / "my"
    package.mkdir()
    (package / "__init__.py").write_text("import centernet_d2")
    (package / "program.py").write_text(
        "from detectron2.modeling import META_ARCH_REGISTRY as known\n"
        "print('PointsCenterNet' in known)"
    )
    done = command(program=("-m", "my.program"), cwd=tmp_path)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize("more", [["DATASETS.TEST", "a"], ["--traceback", "DATASETS.TEST", "a"]])
def test_overrides_of_a_sub_command_are_told_where_they_belong(more, capsys):
    with pytest.raises(SystemExit):
        cli.parse("analyze", ["collisions", *more])
    assert "config overrides KEY VALUE stand behind --opts" in capsys.readouterr().err
    assert cli.parse("analyze", ["collisions", "--verbose"]).verbose
    assert not cli.parse("analyze", ["collisions"]).verbose
