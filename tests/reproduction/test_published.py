"""The published weights scored: which evaluations, their records, going on, what is recorded."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from published_networks import points_shapes, recorded
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet_d2 import cli
from centernet_d2.engine.model_config import read_model_config
from centernet_d2.model_zoo import ENTRIES, lookup
from centernet_d2.model_zoo.entries import Entry, Location
from centernet_d2.model_zoo.measured import IMAGES, add_measured, read_measured, tell_scores
from centernet_d2.reproduction import published

RESNET18, POINTS = "COCO-Detection/points_resnet18_dcn_140e", (0.5, 0.75, 1.0, 1.25, 1.5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of weights that holds one file; no network; nothing is known of earlier tests."""
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "_unreachable", lambda server: f"{server}: no network")
    for function in (published.count_images, published.find_weights):
        function.cache_clear()
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    (folder / "points_resnet18_dcn_140e.pth").write_bytes(b"weights")
    return folder


@pytest.fixture
def evaluated(monkeypatch):
    """What stands in for `centernet-d2 evaluate`: the commands, and by view its AP or status."""
    commands, answers = [], {"False": 28.12, "True": 30.4}

    def run_child(command, *, output):
        commands.append(command)
        args = cli.parse("evaluate", command[4:])
        given = dict(zip(args.opts[::2], args.opts[1::2], strict=True))
        answer = answers[given["TEST.FLIP"]]
        if isinstance(answer, int):
            output.write("something\ncenternet-d2 evaluate: Why.\n")
            return answer
        folder = Path(given["OUTPUT_DIR"], "inference")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").write_text(json.dumps({"bbox": {"AP": answer, "AP50": 1.0}}))
        (folder / "coco_scores.json").write_text(json.dumps({"protocol": "published: x"}))
        return 0

    monkeypatch.setattr(published, "run_child", run_child)
    monkeypatch.setattr(published, "count_images", lambda name: (IMAGES[name], ""))
    return commands, answers


def run(output, *options) -> int:
    models = ["--models", "points_resnet18_dcn_140e", "--device", "cpu"]
    return cli.main(["reproduce", "published", "--output", str(output), *models, *options])


def test_every_published_number_is_measured_by_one_evaluation():
    found = list(published.evaluations())
    for entry in ENTRIES:
        numbers = [each.published for each in found if each.entry is entry]
        beside = [n for n in numbers if "flip val2017" in n]
        assert {k: v for n in numbers if n not in beside for k, v in n.items()} == entry.published
        is_test_dev = bool(entry.benchmark) and entry.benchmark.metric.endswith("test-dev")
        assert len(beside) == is_test_dev
    by_name = {f"{each.entry.short_name} {each.name}": each for each in found}
    assert len(by_name) == len(found) == 41
    ms = by_name["points_dla34_140e ms"]
    assert (ms.dataset, ms.flip, ms.scales) == ("coco_2017_val", True, POINTS)
    ms = by_name["triplet_hourglass52 ms"]  # the scales of the triplet paper, section 4.2
    assert (ms.dataset, ms.scales) == ("coco_2017_test-dev", (0.6, 1.0, 1.2, 1.5, 1.8))
    assert by_name["triplet_hourglass52 flip val2017"].published == {"flip val2017": 41.3}
    assert by_name["points_dla34_subcnn cars"].dataset == "kitti_subcnn_val"
    assert {each.dataset for each in found} == set(IMAGES)
    # Two views of all pixels, and of the pixels of five scales.
    assert ms.work / by_name["triplet_hourglass52 flip"].work == pytest.approx(8.29)


@pytest.mark.parametrize(
    ("entry", "results", "scores"),
    [
        ("voc_2007_test", {"bbox": {"mAP07": 1.5, "AP50": 9.0}}, {"flip": 1.5}),
        ("keypoints_coco_2017_val", {"bbox": {"AP": 9}, "keypoints": {"AP": 2.0}}, {"flip": 2.0}),
        ("coco_2017_test-dev", {"bbox": {}}, {"flip": None}),
        (
            "kitti_3dop_val",
            {
                "bbox": {"AP11-Car-moderate": 87.0, "AP40-Car-moderate": 9.0},
                "aos": {"AP11-Car-moderate": 84.0},
                "bev_loose": {"AP11-Car-moderate": 30.0},
                "bev": {"AP11-Car-moderate": 9.0},
            },
            {"boxes": 87.0, "orientation": 84.0, "bird's-eye": 30.0},
        ),
    ],
)
def test_scores_of_results(monkeypatch, tmp_path, entry, results, scores):
    each = next(e for e in published.evaluations() if e.dataset == entry)
    each.folder = tmp_path
    commands = []

    def run_child(command, *, output):
        commands.append(command)
        (tmp_path / "inference").mkdir()
        (tmp_path / "inference" / "results.json").write_text(json.dumps(results))
        return 0

    monkeypatch.setattr(published, "run_child", run_child)
    done = published.evaluate(each, ["--num-gpus", "2", "MODEL.DEVICE", "cpu"])
    assert done == {"scores": scores, "protocol": f"published: {each.name}"}
    each.record = {"published": each.published, "dataset": entry, "images": 2} | done
    assert ("scored by COCO's server alone" in each.standing()) == (entry == "coco_2017_test-dev")
    args = cli.parse("evaluate", commands[0][4:])
    cfg = read_model_config("", args.weights, args.opts)
    assert (args.num_gpus, cfg.TEST.PROTOCOL, cfg.DATASETS.TEST) == (2, "published", (entry,))
    assert (cfg.TEST.FLIP, tuple(cfg.TEST.SCALES)) == (each.flip, (1.0,))
    assert f"published:{each.entry.name}" == cfg.MODEL.WEIGHTS


def test_records_are_kept_and_those_of_whole_splits_recorded(evaluated, tmp_path, capsys):
    commands, answers = evaluated
    answers["True"] = 1
    record = ["--record", str(tmp_path / "measured.json")]
    assert run(tmp_path / "zoo", *record) == 1
    told = capsys.readouterr().out
    assert "flip: centernet-d2 evaluate: Why. (exit status 1; all that it said: " in told
    assert f"{tmp_path}/measured.json: 1 records of whole splits." in told
    folder = tmp_path / "zoo" / RESNET18
    saved = json.loads((folder / "none" / "record.json").read_text())
    assert saved["scores"] == {"none": 28.12}
    assert saved["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert saved["versions"].keys() == {"centernet_d2", "detectron2", "torch"}
    assert (saved["images"], saved["protocol"]) == (5000, "published: x")
    assert not (folder / "flip" / "record.json").exists()
    answers["True"] = 30.4
    assert run(tmp_path / "zoo", *record) == 0  # the two that failed, and they alone
    assert len(commands) == 5
    assert read_measured(tmp_path / "measured.json")[RESNET18]["none"] == saved
    assert "  flip 30.0    flip **30.40 (+0.40)**\n" in capsys.readouterr().out
    assert run(tmp_path / "zoo") == 0
    assert len(commands) == 5


@pytest.mark.parametrize("key", ["images", "weights_sha256", "versions"])
def test_what_is_of_others_is_measured_again(evaluated, tmp_path, capsys, key):
    commands, _ = evaluated
    assert run(tmp_path) == 0
    file = tmp_path / RESNET18 / "none" / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: "other"}))
    assert run(tmp_path) == 0
    assert len(commands) == 4
    assert f"none/record.json is of other {key}: to be measured again." in capsys.readouterr().out


def test_what_is_measured_stands_without_weights_and_data(
    evaluated, tmp_path, monkeypatch, capsys, cache
):
    assert run(tmp_path / "zoo") == 0
    (cache / "points_resnet18_dcn_140e.pth").unlink()
    monkeypatch.setattr(published, "count_images", lambda name: (0, "no such data"))
    published.find_weights.cache_clear()
    capsys.readouterr()
    assert run(tmp_path / "zoo", "--list") == 0
    told = capsys.readouterr().out
    assert "none 28.12" in told
    assert "flip **30.40 (+0.40)**" in told
    assert run(tmp_path / "zoo", "--record", str(tmp_path / "measured.json")) == 0
    assert "3 records of whole splits." in capsys.readouterr().out
    assert read_measured(tmp_path / "measured.json")[RESNET18]["none"]["scores"] == {"none": 28.12}


def test_stopped_it_goes_on(evaluated, tmp_path, capsys):
    commands, answers = evaluated
    answers["True"] = 143
    assert run(tmp_path) == 130
    assert f"The same command goes on with {RESNET18}, flip." in capsys.readouterr().out
    assert len(commands) == 2
    answers["True"] = 30.0
    assert run(tmp_path) == 0
    assert len(commands) == 4
    file = tmp_path / RESNET18 / "flip" / "record.json"
    file.write_text(file.read_text()[:-1])  # edited by hand, and wrongly
    assert run(tmp_path) == 1
    assert f"'{file}' is no file of measured scores: " in capsys.readouterr().err


def test_a_part_of_a_split_is_never_recorded(evaluated, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(published, "count_images", lambda name: (79, ""))
    assert run(tmp_path, "--record", str(tmp_path / "measured.json")) == 0
    assert not (tmp_path / "measured.json").exists()
    assert "none 28.12 (79 of 5,000 images)" in capsys.readouterr().out


def test_without_data_and_weights(tmp_path, monkeypatch, capsys, cache):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    # Where that was set when the tests began the data may be there.
    monkeypatch.setattr(published.DatasetCatalog, "get", lambda name: Path(name).read_text())
    options = ["--models", "dla34_512", "hourglass52", "dcn_140e", "--output", "zoo"]
    assert cli.main(["reproduce", "published", *options, "--list"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].endswith("no data")
    assert rows.count("Weights that are not here: a run without --list fetches them.") == 1
    assert max(map(len, rows)) < 110
    where = "looked for in 'datasets', $DETECTRON2_DATASETS; docs/datasets.md."
    assert rows[-1] == f"Data: {where}"
    assert cli.main(["reproduce", "published", *options]) == 1
    told = capsys.readouterr().out
    assert "\ncoco_2017_val: No such file or directory: 'coco_2017_val'" in told
    assert where in told
    assert "By hand" not in told  # what has no data needs no weights
    monkeypatch.setattr(published, "count_images", lambda name: (3, ""))
    assert cli.main(["reproduce", "published", *options[:2], "--output", "zoo"]) == 1
    told = capsys.readouterr().out
    assert "_512: https://drive.usercontent.google.com: no network. By hand: open https" in told
    assert not Path("zoo").exists()


def test_a_file_that_is_not_the_released_one(cache, monkeypatch):
    name = "points_resnet18_conv_mmdetection_140e"
    (cache / f"{name}.pth").write_bytes(b"other")
    digest = hashlib.sha256(b"other").hexdigest()
    problem = published.find_weights(f"COCO-Detection/{name}", True)[1]
    assert f"has SHA-256 {digest}, expected bb5b3bf7: remove it.\nBy hand: open https" in problem
    assert (cache / f"{name}.pth").read_bytes() == b"other"
    released = Location("https://server/file.pth", sha256=digest[:8])
    monkeypatch.setattr(Entry, "weights", released)
    assert lookup.fetch_weights(lookup.find_entry(name)) == cache / f"{name}.pth"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--models", "points_dla35_512"],
            r"no name like 'points_dla35_512' \(nearest: P\w*-D\w*/points_dla34_512",
        ),
        (
            ["--datasets", "kiti_3dop_val"],
            r"no name like 'kiti_3dop_val' \(nearest: kitti_3dop_val[,)]",
        ),
        (["--models", "dla34_512", "--datasets", "kitti"], "None of --models has a published"),
        (["--device", "cuda:9"], "--device cuda:9: this machine, or this torch, does not"),
    ],
)
def test_wrong_arguments(tmp_path, capsys, options, told):
    assert cli.main(["reproduce", "published", "--output", str(tmp_path), *options]) == 1
    assert re.search(told, capsys.readouterr().err)


def test_told_beside_the_published():
    record = {"dataset": "voc_2007_test", "images": 4952, "published": {"a": 30.0, "b": None}}
    assert tell_scores(record | {"scores": {"a": 30.1, "b": 5.0}}) == "a 30.10 (+0.10), b 5.00"
    assert tell_scores(record | {"scores": {"a": 29.89, "b": None}}) == "a **29.89 (-0.11)**, b -"


@pytest.mark.parametrize("text", ["[1]", '{"a": 1}', '{"images": {"a": {"id": 1}}}'])
def test_a_file_of_others_is_not_written_over(evaluated, tmp_path, capsys, text):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"mine\.json' is no file of measured scores"):
        add_measured(file, [])
    assert run(tmp_path / "zoo", "--record", str(file)) == 1
    assert "mine.json' is no file of measured scores" in capsys.readouterr().err
    assert not evaluated[0]  # said before hours of work
    assert file.read_text() == text


def test_shipped_file_is_of_whole_splits():
    for name, runs in read_measured().items():
        assert lookup.find_entry(name).name == name
        assert all(record["images"] == IMAGES[record["dataset"]] for record in runs.values())


def small_coco(source: Path, target: Path) -> None:
    """Two pictures of coco_mini at a quarter of their size, as coco_2017_val below a root."""
    for folder in ("annotations", "val2017"):
        (target / "coco" / folder).mkdir(parents=True)
    content = json.loads((source / "annotations" / "instances_val2017.json").read_text())
    content["images"] = [i for i in content["images"] if i["id"] in (549055, 519208)]
    ids = [image["id"] for image in content["images"]]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in ids]
    for image in content["images"]:
        image |= {"width": image["width"] // 4, "height": image["height"] // 4}
        picture = Image.open(source / "val2017" / image["file_name"])
        name = target / "coco" / "val2017" / image["file_name"]
        picture.resize((image["width"], image["height"])).save(name)
    for entry in content["annotations"]:
        entry["bbox"] = [value / 4 for value in entry["bbox"]]
        entry["area"] /= 16
    file = target / "coco" / "annotations" / "instances_val2017.json"
    file.write_text(json.dumps(content))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_end_to_end(test_data, tmp_path, cache):
    """Generated weights that find one elephant; stopped, gone on with; scored by pycocotools."""
    small_coco(test_data / "coco_mini", tmp_path)
    state = recorded(points_shapes("resdcn_18"))
    state["hm.2.bias"].fill_(-9)[20] = 0  # of the elephant
    state["hm.2.weight"][20] = state["hm.2.weight"][56]  # whose peaks lie near its middle
    for head in ("wh", "reg"):
        state[f"{head}.2.weight"].zero_()
    state["wh.2.bias"].copy_(torch.tensor([40.0, 25.0]))  # cells: the whole picture
    torch.save({"state_dict": state}, cache / "points_resnet18_dcn_140e.pth")
    (cache / "points_resnet18_conv_mmdetection_140e.pth").write_bytes(b"another file")
    command = [sys.executable, "-m", "centernet_d2", "reproduce", "published", "--device", "cpu"]
    command += ["--output", "zoo", "--models", "dcn_140e", "conv_mmdetection"]
    places = {"DETECTRON2_DATASETS": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    given = {"cwd": tmp_path, "env": os.environ | places, "text": True, "stdout": subprocess.PIPE}
    folder = tmp_path / "zoo" / RESNET18
    with subprocess.Popen(command, **given) as child:
        said = folder / "flip" / "printed.txt"
        while child.poll() is None and not (said.exists() and said.stat().st_size):
            time.sleep(0.1)  # until the second has begun
        child.send_signal(signal.SIGTERM)
        assert child.wait() == 130
    first = (folder / "none" / "record.json").stat().st_mtime_ns
    done = subprocess.run(command, check=False, **given)
    assert done.returncode == 1  # of the file that is another one
    assert "1 of 2: " in done.stdout
    assert done.stdout.count("expected bb5b3bf7: remove it") == 1
    assert (folder / "none" / "record.json").stat().st_mtime_ns == first
    truth = COCO(tmp_path / "coco" / "annotations" / "instances_val2017.json")
    for view, protocol in (("none", "no augmentation"), ("flip", "flip"), ("ms", "ms")):
        record = json.loads((folder / view / "record.json").read_text())
        results = folder / view / "inference" / "coco_instances_results.json"
        scored = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
        assert record["scores"] == {view: pytest.approx(100 * scored.stats[0])}
        assert f"{view} {100 * scored.stats[0]:.2f} (2 of 5,000 images)" in done.stdout
        assert record["protocol"].startswith(f"published: {protocol} / keep_res")
        assert (record["images"], record["published"].keys()) == (2, {view})
        assert view == "ms" or scored.stats[0] > 0
