"""The models inside the package: they work at once, on real pictures, and their cards are true."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import logging
import re
import shlex
import socket
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from centernet_d2 import Predictor, config_of, load_config, model_zoo
from centernet_d2.checkpoint.files import read_tensors
from centernet_d2.checkpoint.model_info import read_model_info
from centernet_d2.config import flattened
from centernet_d2.engine.model_config import named_weights
from centernet_d2.engine.saved_names import saved_names
from centernet_d2.model_zoo.lookup import UnknownModelError, shipped_card, shipped_models
from centernet_d2.model_zoo.path_handlers import local_file, published_file

README = Path(__file__).resolve().parents[2] / "README.md"
CLASSES = ["Platelets", "RBC", "WBC"]
SEED = 0  # of the image below


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty current folder, and no network."""

    def refuse(*given, **options):
        raise AssertionError(f"the network is asked for {given}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def image() -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", shipped_models())
def test_it_is_small_and_has_a_card(name):
    file = shipped_models()[name]
    assert 1e5 < file.stat().st_size <= 2e6
    header, text = shipped_card(name)
    assert header.keys() == {"licence", "data", "metric", "scores", "threshold"}
    for part in ("## Data", "## Recipe", "## Scores", "## Limits"):
        assert part in text


def test_it_needs_no_network_no_cache_and_no_file(elsewhere, cache):
    predictor = Predictor("bccd")
    assert predictor.class_names == CLASSES
    assert predictor.guessed == []
    assert sum(p.numel() for p in predictor.model.parameters()) == 684_823
    assert not cache.exists()
    assert not list(elsewhere.iterdir())
    found = predictor(image())["instances"]
    assert {"pred_boxes", "scores", "pred_classes"} == set(found.get_fields())
    theirs = DefaultPredictor(config_of("bccd"))(image())["instances"]  # detectron2's own
    assert torch.equal(theirs.pred_boxes.tensor, found.pred_boxes.tensor)


@pytest.mark.parametrize("name", ["bccd", "published:bccd"])
def test_every_way_to_name_it(elsewhere, name):
    file = shipped_models()["bccd"]
    state = {k: v.float() for k, v in read_tensors(file)["state_dict"].items()}
    assert local_file(name) == published_file(name) == file
    assert named_weights(name) == str(file)
    info = saved_names(name)
    assert (list(info.class_names), info.training["object_size"] > 30) == (CLASSES, True)
    assert info.training["image_size"] == [480, 640]  # height, width; --tiles and its hint take it
    model = Predictor(load_config("Own/points_small", ["MODEL.WEIGHTS", name])).model
    loaded = model.state_dict()
    assert [key for key in state if not torch.equal(loaded[key].cpu().float(), state[key])] == []


def test_in_the_functions_of_the_zoo(elsewhere):
    assert model_zoo.get_checkpoint_url("bccd") == "published:bccd"
    assert model_zoo.names()[0] == "bccd"
    cfg = model_zoo.get_config("bccd", trained=True)
    assert (cfg.MODEL.WEIGHTS, cfg.MODEL.HEATMAP.NUM_CLASSES) == ("published:bccd", 3)
    assert model_zoo.get_config("bccd").MODEL.WEIGHTS == ""
    model = model_zoo.get("bccd", trained=True, device="cpu")
    assert model.training
    ours = Predictor("bccd", ["MODEL.DEVICE", "cpu"])(image())["instances"]
    found = model.eval()([{"image": torch.as_tensor(image().transpose(2, 0, 1).copy())}])
    assert torch.allclose(found[0]["instances"].scores, ours.scores, atol=1e-6)
    untrained = model_zoo.get("bccd", device="cpu").eval()
    assert len(list(untrained.parameters())) == len(list(model.parameters()))
    assert not torch.equal(*(next(each.parameters()) for each in (model, untrained)))
    with pytest.raises(UnknownModelError, match=r"no config 'bccc' \(nearest: bccd"):
        model_zoo.get("bccc", trained=True)
    with pytest.raises(FileNotFoundError, match=r"no 'BCCD' \(nearest: bccd"):
        Predictor("BCCD")
    with pytest.raises(FileNotFoundError, match="'bccd' carries its own: name it as weights"):
        load_config("bccd")


@pytest.mark.parametrize("known", ["bccd", "points_dla34_140e"])
def test_an_own_file_comes_first_and_a_folder_does_not(elsewhere, caplog, known):
    caplog.set_level(logging.WARNING, "centernet_d2")
    (elsewhere / known).mkdir()
    (elsewhere / known / "model_final.pth").touch()
    expected = str(shipped_models().get(known, f"published:COCO-Detection/{known}"))
    assert [named_weights(known) for _ in range(2)] == [expected] * 2
    told = f"'{known}' is the model of that name, not the folder {elsewhere / known}: "
    assert [told in message for message in caplog.messages] == [True]  # once
    (elsewhere / known).rename(elsewhere / "own")
    (elsewhere / known).write_bytes(b"PK")
    assert named_weights(known) == known
    assert str(published_file(known)) == known
    assert f"'{known}' is the file {elsewhere / known}, not the model" in caplog.messages[1]
    assert len(caplog.messages) == 2


def test_the_card_states_what_the_file_says():
    info, (header, text) = read_model_info(shipped_models()["bccd"]), shipped_card("bccd")
    command = next(line for line in text.splitlines() if "centernet-d2 train" in line)
    _, _, _, config, *overrides = shlex.split(command)
    given = dict(zip(overrides[::2], overrides[1::2], strict=True))
    data = re.sub(r"[^:]*[/\\]", "", given["DATASETS.TRAIN"])  # a file says no folders
    assert (int(given["SEED"]), [data]) == (info.training["seed"], info.training["train"])
    recipe = json.loads(json.dumps(flattened(load_config(config, overrides))))  # lists of tuples
    saved = info.config_values()
    chosen = {*saved["AUTO.CHOSEN"], "MODEL.HEATMAP.NUM_CLASSES"} - {*given}
    keys = [key for key in saved if key.startswith(("MODEL.", "INPUT.", "TEST.", "SOLVER.BASE_LR"))]
    keys = [key for key in (*keys, "SOLVER.OPTIMIZER") if key not in chosen]
    assert {key: recipe[key] for key in keys} == {key: saved[key] for key in keys}
    assert "{} x {}".format(*saved["INPUT.TRAIN_SIZE"]) in text
    row = " | ".join(map(str, header["scores"].values()))
    assert f"| this file | {row} |" in text


@pytest.mark.data
def test_the_first_lines_of_the_readme(test_data, elsewhere, capsys):
    program = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    picture = test_data / "bccd" / "JPEGImages" / "BloodImage_00007.jpg"
    (elsewhere / "smear.jpg").write_bytes(picture.read_bytes())
    exec(program, {})
    assert {"RBC", "WBC"} <= {*ast.literal_eval(capsys.readouterr().out)} <= {*CLASSES}


def true_boxes(folder, name):
    """Class and box (x, y, width, height) of an XML file, whose first pixel is 1."""
    for entry in ElementTree.parse(folder / "Annotations" / f"{name}.xml").iter("object"):
        corners = [float(entry.find(f"bndbox/{c}").text) for c in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = corners
        yield entry.find("name").text, [left - 1, top - 1, right - left + 1, bottom - top + 1]


@pytest.mark.data
@pytest.mark.parametrize(
    ("step", "floor", "off"),
    [(6, 0.9, 0.3), pytest.param(1, 0.985, 0.2, marks=pytest.mark.slow)],
)
def test_on_real_pictures(test_data, step, floor, off):
    """pycocotools' AP of test pictures is the card's; as many cells are found as there are."""
    folder = test_data / "bccd"
    names = (folder / "ImageSets/Main/test.txt").read_text().split()[::step]
    header, _ = shipped_card("bccd")
    predictor = Predictor("bccd")
    results = predictor.batch([folder / "JPEGImages" / f"{name}.jpg" for name in names])
    assert min(found["instances"].scores.max() for found in results) > header["threshold"]
    truth, detections = [], []
    counts = dict.fromkeys(CLASSES, 0)
    for number, (name, found) in enumerate(zip(names, results, strict=True)):
        for label, box in true_boxes(folder, name):
            kind = {"image_id": number, "category_id": CLASSES.index(label), "iscrowd": 0}
            truth.append({"id": len(truth) + 1, "bbox": box, "area": box[2] * box[3], **kind})
            counts[label] -= 1
        rows = found["instances"]
        sizes = (rows.pred_boxes.tensor[:, 2:] - rows.pred_boxes.tensor[:, :2]).tolist()
        starts, scores = rows.pred_boxes.tensor[:, :2].tolist(), rows.scores.tolist()
        for start, size, score, kind in zip(starts, sizes, scores, rows.pred_classes, strict=True):
            entry = {"image_id": number, "category_id": int(kind), "bbox": start + size}
            detections.append(entry | {"score": score})
            counts[CLASSES[kind]] += score > header["threshold"]
    total = {label: sum(CLASSES[t["category_id"]] == label for t in truth) for label in CLASSES}
    assert {k: v for k, v in counts.items() if abs(v) > max(2, off * total[k])} == {}
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        images = [{"id": number} for number in range(len(names))]
        kinds = [{"id": number, "name": label} for number, label in enumerate(CLASSES)]
        known.dataset = {"images": images, "annotations": truth, "categories": kinds}
        known.createIndex()
        scored = COCOeval(known, known.loadRes(detections), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    for metric, value in zip(("AP", "AP50"), 100 * scored.stats[:2], strict=True):
        assert value > floor * header["scores"][metric]
        assert step > 1 or value < header["scores"][metric] / floor
