"""The queue: goes on where it was, keeps rows, refuses another study, outlives a failing run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from centernet_d2.reproduction.page import Page
from centernet_d2.reproduction.queue import lock, made_with, read_rows, run_all, time_left
from centernet_d2.reproduction.report import Finding, speed_points, summary, write_report
from centernet_d2.reproduction.table import Claim, read_table

TABLE = """
version: 7
speed_on: "shapes_val"
rules: "AP50 {learned:g}."
learned: 50.0
same_within: 1.0
scales:
  cpu: {factor: 1, keys: {SOLVER.IMS_PER_BATCH: 2}}
  gpu: {factor: 3, keys: {SOLVER.IMS_PER_BATCH: 8}}
keys: {LOGGING.REPORT: False}
variants:
  base: {config: "Shapes/points_tiny", steps: 10, minutes: 1.5, gpu: {MODEL.DEVICE: "cuda"}}
  other: {of: "base", keys: {MODEL.HEATMAP.FOCAL_BETA: 3.0}}
  flip: {weights: "other", keys: {TEST.FLIP: True}}
  cells: {of: "base", needs: "bccd", keys: {DATASETS.TRAIN: ["voc:{bccd}:train"]}}
claims:
  - {id: "one", paper: "P", table: "1", says: "s.", pair: ["base", "other"], published: [3, 1]}
  - {id: "two", paper: "P", table: "2", says: "s.", pair: ["flip", "other"], metric: "bbox/FD"}
  - {id: "three", paper: "P", table: "3", says: "s.", pair: ["cells", "base"], expect: "same"}
"""
ORDER = ["base-0", "other-0", "flip-0", "base-1", "other-1", "flip-1"]


@pytest.fixture
def table(tmp_path):
    return read(tmp_path)


def read(folder: Path, scale: str = "cpu", text: str = TABLE, **data):
    file = folder.with_suffix(".yaml")  # beside it: a study takes an empty folder
    file.write_text(text)
    return read_table(scale, data, file=file)


class Child:
    """Stands for the process of a run: writes what a run leaves, or returns a status."""

    def __init__(self, **statuses: int) -> None:
        self.statuses, self.done = statuses, []

    def __call__(self, command, *, output) -> int:
        folder = Path(command[command.index("OUTPUT_DIR") + 1])
        self.done.append(folder.name)
        if status := self.statuses.get(folder.name.replace("-", "_"), 0):
            return status
        variant, seed = folder.name.split("-")
        score = {"base": 60.0, "other": 58.0, "flip": 59.0}[variant] + int(seed) / 10
        scores = {"AP": score, "AP50": score, "FD": 100 - score, "FD5": 9, "FD25": 9, "FD50": 9}
        place = folder / "inference" if variant == "flip" else folder
        place.mkdir(exist_ok=True)
        (place / "results.json").write_text(json.dumps({"bbox": scores}))
        times = {"d": {"ms_per_picture": {"detector": {"median": 9.0 + int(seed)}}}}
        times["d"] |= {"device": "a machine", "batch": 16}
        (place / "timing.json").write_text(json.dumps({"datasets": times}))
        lines = [{"iteration": 4, "time": 6.0, "bbox/AP": 20.0}, {"iteration": 9, "time": 6.0}]
        lines[1]["bbox/AP"] = score
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
        return 0


def change(folder: Path, row: str, **given) -> None:
    """Edit a row; scores of boxes by their names."""
    file = folder / "rows" / f"{row}.json"
    told = json.loads(file.read_text())
    told["scores"]["bbox"] |= {key: given.pop(key) for key in [*given] if key[0].isupper()}
    file.write_text(json.dumps(told | given))


def test_the_runs_of_a_table(table, tmp_path):
    assert [run.name for run in table.runs(2)] == ["base-0", "other-0", "flip-0", *ORDER[3:]]
    other = table.variants["other"]
    assert (other.config, other.steps, other.minutes) == ("Shapes/points_tiny", 10, 1.5)
    assert other.keys == {
        **{"LOGGING.REPORT": False, "SOLVER.IMS_PER_BATCH": 2, "MODEL.HEATMAP.FOCAL_BETA": 3.0}
    }
    flip = next(run for run in table.runs(1) if run.needed)
    assert flip.command("f")[:3] == ["evaluate", "--weights", "f/other-0/model_final.pth"]
    assert "--timing" in flip.command("f")
    assert flip.command("f")[-2:] == ["OUTPUT_DIR", "f/flip-0"]
    assert [claim.id for claim in table.claims] == ["one", "two"]  # no cells
    large = read(tmp_path, "gpu", bccd="/cells")
    assert large.variants["other"].keys["MODEL.DEVICE"] == "cuda"
    assert large.variants["other"].steps == 30
    assert large.variants["cells"].keys["DATASETS.TRAIN"] == ["voc:/cells:train"]
    assert len(large.claims) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('of: "base", keys', 'of: "bas", keys', "What variant other is of must be one of 'base'"),
        ('"flip", "other"]', '"flop", "other"]', "A variant of claim two must be one of 'base', "),
        ("steps: 10", "step: 10", "An entry of variant base must be one of 'config', 'of', "),
        ("published", "publish", "An entry of claim one must be one of 'id', 'paper', "),
        ('expect: "same"', 'expect: "less"', "`expect` of claim three must be one of 'first', "),
    ],
)
def test_a_wrong_name_in_the_table(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text=TABLE.replace(old, new), bccd="here")


def test_a_claim_that_is_not_there(table, tmp_path):
    with pytest.raises(ValueError, match=r"none is 'thre' \(nearest: three\); --list"):
        read_table("cpu", {}, ["thre"], file=tmp_path.with_suffix(".yaml"))
    with pytest.raises(ValueError, match="Claim three needs data: --bccd FOLDER"):
        read_table("cpu", {}, ["one", "three"], file=tmp_path.with_suffix(".yaml"))
    chosen = read_table("cpu", {}, ["two"], file=tmp_path.with_suffix(".yaml"))
    assert [run.name for run in chosen.runs(1)] == ["other-0", "flip-0"]


def test_a_failing_run_is_left_and_the_queue_goes_on(table, tmp_path, caplog):
    child = Child(other_0=1)
    assert run_all(str(tmp_path), table, table.runs(2), run_child=child) == ["other-0", "flip-0"]
    assert child.done == ["base-0", "other-0", "base-1", "other-1", "flip-1"]
    assert "other-0 failed with exit status 1" in caplog.text
    assert "flip-0 is left out, as other-0 failed" in caplog.text
    report = write_report(str(tmp_path), table, 2)
    assert report.startswith("2 claims (1 of 2 seeds: 2)")
    assert "of 2 seeds 2 of base and 1 of other are done" in (tmp_path / "report.md").read_text()
    again = Child()
    assert run_all(str(tmp_path), table, table.runs(2), run_child=again) == []
    assert again.done == ["other-0", "flip-0"]  # and what has a row is kept
    assert run_all(str(tmp_path), table, table.runs(2), run_child=Child(base_0=1)) == []


def test_a_signal_ends_the_queue(table, tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM):
        child = Child(other_0=128 + number)
        with pytest.raises(SystemExit) as stopped:
            run_all(str(tmp_path), table, table.runs(2), run_child=child)
        assert stopped.value.code == 128 + number
        assert child.done[-1] == "other-0"
    assert list(read_rows(str(tmp_path), table, table.runs(2))) == ["base-0"]


def test_another_study_is_refused(table, tmp_path):
    folder = tmp_path / "study"
    run_all(str(folder), table, table.runs(1), run_child=Child())
    large = read(tmp_path, "gpu")
    with pytest.raises(ValueError, match=r"another study \(version 7, scale cpu\): this one \(v"):
        run_all(str(folder), large, large.runs(1), run_child=Child())
    changed = read(tmp_path, text=TABLE.replace("BETA: 3.0", "BETA: 5.0"))
    with pytest.raises(ValueError, match=r"other-0.json' is of a run with other keys .*\(3.0, 5.0"):
        read_rows(str(folder), changed, changed.runs(1))


def test_time_that_is_left():
    assert time_left([1.0, 30.0, 60.0], 0, 0.0) == "1 h 31 min"
    assert time_left([1.0, 30.0, 60.0], 1, 120.0) == "3 h 0 min"  # the first took twice the time
    assert time_left([1.0, 30.0], 1, 30.0) == "15 min"


def test_report_of_a_study_that_is_done(table, tmp_path):
    folder = str(tmp_path)
    run_all(folder, table, table.runs(3), run_child=Child())
    assert write_report(folder, table, 3).startswith("2 claims (holds: 2): ")
    text = (tmp_path / "report.md").read_text()
    # 60.0, 60.1, 60.2 against 58.0, 58.1, 58.2: 2 +- 2.776 sqrt(2 * 0.01 / 3)
    assert "| +2.0 " in text
    assert "+2.0 (+1.8 to +2.2)" in text
    # FD 41.0, 40.9, 40.8 against 42.0, 41.9, 41.8 of the same weights: lower by 1 with every seed
    assert "+1.00 (+1.00 to +1.00)" in text
    assert "| base      | 60.1 ± 0.1 | 3       | 60.0, 60.1, 60.2 |" in text
    assert "centernet-d2 reproduce ablations --output study --claims one`\n" in text
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == 3 == text.count("](report/")
    assert page.count('src="data:image;base64,') == 3
    for name in ("differences", "learning", "false_discovery"):
        assert (tmp_path / f"report/{name}.png").stat().st_size > 5000


def test_rows_alone_make_the_report(tmp_path):
    """A copied study; a row without a time is left out of the figure of speed, in a line."""
    study, copy = tmp_path / "study", tmp_path / "copy"
    keys = '\nkeys: {DATASETS.TEST: ["shapes_val"], '
    table = read(tmp_path, text=TABLE.replace("\nkeys: {", keys))
    run_all(str(study), table, table.runs(2), run_child=Child())
    for name in ("study.json", *(f"rows/{run.name}.json" for run in table.runs(2))):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((study / name).read_bytes())
    row = json.loads((copy / "rows/flip-1.json").read_text())
    assert (row["scores"].pop("speed"), row["timed_on"]) == (
        {"ms": 10.0},
        "a machine, batches of 16",
    )
    (copy / "rows/flip-1.json").write_text(json.dumps(row))
    (point,) = speed_points(Page(str(copy)), table, read_rows(str(copy), table, table.runs(2)))
    told = (point.name, point.ms, point.score, point.variant, point.machine)
    assert told == ("other", 9.0, 59.0, "flip", "a machine, batches of 16")
    write_report(str(copy), table, 2)
    text = (copy / "report.md").read_text()
    assert "flip-1: no time or AP in its row, left out of the figure of speed." in text
    assert "](report/speed.png)" in text


def test_a_folder_of_another_run_is_left_as_it_is(table, tmp_path):
    folder = tmp_path / "training"
    with pytest.raises(ValueError, match=r"training' has no study\.json: there is no study"):
        write_report(str(folder), table, 2)
    assert not folder.exists()
    folder.mkdir()
    (folder / "report.html").write_text("a training's")
    with pytest.raises(ValueError, match=r"training' has no study\.json: there is no study"):
        write_report(str(folder), table, 2)
    with pytest.raises(ValueError, match=r"training' has files but no study\.json: name another"):
        run_all(str(folder), table, table.runs(2), run_child=Child())
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [
        ("report.html", "a training's")
    ]


def test_a_row_of_the_first_table():
    claim = Claim("x", "P", "1", "s.", ("a", "b"), expect="same", published=(1.0, 1.02))
    found = summary(Finding(claim, [], "holds", "", (-0.02, -0.06, 0.001)))
    assert found["claim"] == "[x](#x) (same)"
    assert (found["here (95 %)"], found["the paper's"]) == ("-0.02 (-0.06 to +0.00)", "+0.0")


def test_a_table_links_to_headings(tmp_path):
    page = Page(str(tmp_path))
    page.table([{"claim": "[x](#x) (same)", "here": "+2.0 (-1.8 to +2.2)"}])
    page.add("## x")
    page.write("T")
    text = (tmp_path / "report.html").read_text()
    assert '<td><a href="#x">x</a>&nbsp;(same)</td>' in text
    assert "<td>+2.0&nbsp;(-1.8&nbsp;to&nbsp;+2.2)</td>" in text
    assert '<h2 id="x">x</h2>' in text
    assert "| [x](#x) (same) | +2.0 (-1.8 to +2.2) |" in (tmp_path / "report.md").read_text()


def test_a_run_that_did_not_learn_decides_nothing(tmp_path):
    table = read(tmp_path, text=TABLE.replace("learned: 50.0", "learned: 59.0"))
    run_all(str(tmp_path), table, table.runs(2), run_child=Child())
    assert write_report(str(tmp_path), table, 2).startswith("2 claims (undecided: 2)")
    text = (tmp_path / "report.md").read_text()
    assert "**undecided**: other did not reach AP50 59 with every seed." in text
    assert "flip and other" not in text  # flip has 59.0 and 59.1


def test_two_queues_share_the_runs(table, tmp_path):
    """The first is in base-0 while the second begins and does the others; both see all rows."""
    folder, began, others = str(tmp_path), threading.Event(), threading.Event()
    one, two = Child(), Child()

    def slow(command, *, output):
        began.set()
        assert others.wait(20)
        return one(command, output=output)

    def fast(command, *, output):
        status = two(command, output=output)
        if len(two.done) == 5:
            others.set()
        return status

    first = threading.Thread(target=lambda: run_all(folder, table, table.runs(2), run_child=slow))
    first.start()
    assert began.wait(20)
    assert run_all(folder, table, table.runs(2), run_child=fast) == []
    first.join()
    assert (one.done, two.done) == (["base-0"], ORDER[1:])
    assert sorted(read_rows(folder, table, table.runs(2))) == sorted(ORDER)


def test_a_lock_ends_with_who_holds_it(tmp_path):
    """Also where the queue was killed: what it started holds the lock until it is gone."""
    with (tmp_path / "log").open("a") as mine, (tmp_path / "log").open("a") as other:
        assert lock(mine, wait=False)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, stdout=mine)
        mine.close()
        assert not lock(other, wait=False)
        child.kill()
        child.communicate()
        assert lock(other, wait=False)


@pytest.mark.parametrize(
    ("run", "file", "text"),
    [
        ("base-0", "results.json", None),
        ("base-0", "metrics.json", None),
        ("base-0", "metrics.json", '{"iteration": 4, "total_loss": 6.0}'),
        ("flip-0", "inference/timing.json", "{"),
        ("flip-0", "inference/results.json", "null"),
    ],
)
def test_a_run_without_whole_results_failed(table, tmp_path, caplog, run, file, text):
    whole = Child()

    def child(command, *, output):
        whole(command, output=output)
        if whole.done[-1] == run:
            place = tmp_path / run / file
            place.unlink() if text is None else place.write_text(text)
        return 0

    assert run_all(str(tmp_path), table, table.runs(1), run_child=child) == [run]
    assert whole.done == ORDER[:3]
    assert f"{run} failed with no whole results (" in caplog.text


def test_the_report_names_what_made_the_rows(table, tmp_path):
    run_all(str(tmp_path), table, table.runs(2), run_child=Child())
    change(tmp_path, "base-0", made_with="torch 9 on a toaster")
    file = tmp_path / "rows" / "base-1.json"
    row = json.loads(file.read_text())
    assert row.pop("made_with") == made_with("cpu")
    file.write_text(json.dumps(row))
    write_report(str(tmp_path), table, 2)
    text = (tmp_path / "report.md").read_text()
    assert "torch 9 on a toaster (1 rows)" in text
    assert f"{made_with('cpu')} (4 rows)" in text
    assert "no record of it (1 rows)" in text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_score_that_is_no_number_decides_nothing(table, tmp_path, value):
    run_all(str(tmp_path), table, table.runs(2), run_child=Child())
    change(tmp_path, "base-1", AP=value)
    assert write_report(str(tmp_path), table, 2).startswith("2 claims (undecided: 1, holds: 1)")
    text = (tmp_path / "report.md").read_text()
    assert "**undecided**: bbox/AP is not a number with every seed." in text
    assert f"| 60.0, {'inf' if value == float('inf') else 'nan'} " in text


def test_a_bad_test_of_weights_that_learned_is_decided(table, tmp_path):
    """FD of `flip` is better by 1 with every seed, at an AP50 of 9: the weights reach 58."""
    run_all(str(tmp_path), table, table.runs(2), run_child=Child())
    for seed in range(2):
        change(tmp_path, f"flip-{seed}", AP50=9.0)
    assert write_report(str(tmp_path), table, 2).startswith("2 claims (holds: 2)")
