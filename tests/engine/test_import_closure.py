"""A training of 2-D boxes runs the files that it needs, and none of another task's."""

from __future__ import annotations

import json
import subprocess
import sys

from .small_world import ROOT

# Notes the files whose functions a training calls, and those that are imported at its end.
PROGRAM = """
import inspect, json, os, sys, threading
from detectron2.engine import default_argument_parser

called = set()

def profile(frame, event, argument):
    if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # no module, no class body
        called.add((frame.f_code.co_filename, frame.f_code.co_qualname))

import centernet_d2
from centernet_d2.engine.run import run

root = os.path.dirname(centernet_d2.__file__) + os.sep
args = default_argument_parser().parse_args(sys.argv[2:])
threading.setprofile(profile)
sys.setprofile(profile)
run(args)
sys.setprofile(None)
imported = {m.__file__ for n, m in sys.modules.items() if n.startswith("centernet_d2")}
functions = [(f.removeprefix(root), name) for f, name in called if f.startswith(root)]
found = {
    "functions": sorted(map(" ".join, functions)),
    "called": sorted({f for f, _ in functions}),
    "imported": sorted(f.removeprefix(root) for f in imported if f),
}
with open(sys.argv[1], "w") as file:
    json.dump(found, file)
"""
# Parts of the names of files that belong to another task, form of dataset or way of running.
OTHERS = ("joint", "skeleton", "pose", "box3d", "boxes3d", "kitti", "camera", "voc", "corner")
OTHERS_RUN = ("predictor", "inference/", "seeds", "lazy", "benchmark", "analysis/", "shapes")
MOST_CALLED = 75


def test_two_steps_call_the_files_of_their_own_task(config, tmp_path):
    file, report = tmp_path / "small.yaml", tmp_path / "report.json"
    file.write_text(config("SOLVER.MAX_ITER", 2, "DATASETS.TEST", ()).dump())
    command = [sys.executable, "-c", PROGRAM, str(report), "--config-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(report.read_text())
    print("\n".join(["called:", *found["functions"], "imported:", *found["imported"]]))
    wrong = {f for f in found["called"] if any(part in f for part in (*OTHERS, *OTHERS_RUN))}
    assert not wrong
    assert len(found["called"]) <= MOST_CALLED
    needless = (
        "engine/lazy",
        "engine/seeds",
        "engine/user_modules",
        "engine/evaluate",
        "inference/",
    )
    assert [f for f in found["imported"] if f.startswith(needless)] == []
