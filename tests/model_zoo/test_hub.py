"""Pushing a model and fetching it again, against a stand-in for the Hugging Face Hub."""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from centernet_d2 import Predictor, cli, model_zoo
from centernet_d2.checkpoint.download import DownloadError
from centernet_d2.checkpoint.files import read_tensors
from centernet_d2.checkpoint.model_info import BLOCK, ModelInfo, config_text, read_model_info
from centernet_d2.model_zoo.hub import results_beside
from centernet_d2.model_zoo.model_card import describe, model_card

from .hub_server import TOKEN, serve

REPOSITORY = "someone/bright-and-dark"
GIVEN = {"licence": "CC-BY-4.0", "data": "Two plates: 10 images"}
SCORES = {"bbox": {"AP": 41.25, "AP50": 63.0, "APl": None}}
USE = ["MODEL.DEVICE", "cpu"]


@pytest.fixture
def hub(monkeypatch):
    """The class of the stand-in that HF_ENDPOINT names."""
    pytest.importorskip("huggingface_hub", "1.0")
    constants = importlib.import_module("huggingface_hub.constants")
    pytest.importorskip("safetensors")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with serve() as (handler, address):
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield handler


@pytest.fixture
def trained(tiny_config, tmp_path):
    """What a training leaves: model_final.pth and the results beside it."""
    cfg = tiny_config("MODEL.HEATMAP.NUM_CLASSES", 2, "OUTPUT_DIR", str(tmp_path / "run"))
    torch.manual_seed(3)
    info = ModelInfo(
        version="0.1.0",
        config=config_text(cfg),
        protocol="no augmentation / keep_res",
        training={"train": ["plates_train"], "iterations": 40, "best": {"metric": "bbox/AP"}},
    )
    content = {
        "model": build_model(cfg).state_dict(),
        "class_names": ["bright", "dark"],
        "joint_names": [],
        BLOCK: info.block(),
        "trainer": {"iteration": 39},
    }
    file = tmp_path / "run" / "model_final.pth"
    file.parent.mkdir()
    torch.save(content, file)
    file.with_name("results.json").write_text(json.dumps(SCORES))
    return file


def test_round_trip(hub, trained, cache, tmp_path):
    address = model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN)
    commit = address.rpartition("/")[2]
    assert address.endswith(f"/{REPOSITORY}/commit/{commit}")
    pushed = hub.repositories[REPOSITORY]["main"]
    assert sorted(pushed) == ["README.md", "model.safetensors"]
    assert not [name for name, content in pushed.items() if str(tmp_path).encode() in content]
    assert not hub.private

    file = model_zoo.from_hub(REPOSITORY)
    assert file.name == "model.safetensors"
    assert file.is_relative_to(cache)
    ours, theirs = read_tensors(trained), read_tensors(file)
    assert ours["model"].keys() == theirs["state_dict"].keys()
    for name, tensor in ours["model"].items():
        assert torch.equal(tensor, theirs["state_dict"][name])
    assert "trainer" not in theirs
    info = read_model_info(file)
    assert info.class_names == ("bright", "dark")
    assert info.block() == ours[BLOCK]
    assert model_zoo.from_hub(f"hub:{REPOSITORY}@{commit}") == file  # a revision


def test_it_predicts_by_its_name_alone(hub, trained):
    model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN, private=True)
    assert hub.private == [REPOSITORY]
    image = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    expected = Predictor(trained, USE)(image)["instances"]
    found = Predictor(f"hub:{REPOSITORY}", USE)
    assert found.class_names == ["bright", "dark"]
    assert torch.equal(found(image)["instances"].scores, expected.scores)
    assert len(expected) > 0
    # In a config, and by detectron2's own checkpointer.
    cfg = found.cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.HEATMAP.NUM_CLASSES = f"hub:{REPOSITORY}", 0
    again = Predictor(cfg)
    assert again.class_names == ["bright", "dark"]
    assert torch.equal(again(image)["instances"].scores, expected.scores)
    model = build_model(found.cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    state = read_tensors(trained)["model"]
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)


def test_a_second_push_is_another_commit(hub, trained):
    first = model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN)
    file = model_zoo.from_hub(REPOSITORY)
    content = torch.load(trained, weights_only=True)
    content["class_names"] = ["light", "dark"]
    torch.save(content, trained)
    second = model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN)
    assert first != second
    assert read_model_info(model_zoo.from_hub(REPOSITORY)).class_names == ("light", "dark")
    old = model_zoo.from_hub(f"{REPOSITORY}@{first.rpartition('/')[2]}")
    assert old == file


def test_a_fetched_model_needs_no_server(hub, trained, monkeypatch):
    model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN)
    file = model_zoo.from_hub(REPOSITORY)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert model_zoo.from_hub(REPOSITORY) == file


def header_of(card):
    _, header, text = card.split("---\n", 2)
    return yaml.safe_load(header), text


def test_card(hub, trained):
    from huggingface_hub import ModelCard

    model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN)
    card = hub.repositories[REPOSITORY]["main"]["README.md"].decode()
    header, text = header_of(card)
    assert header == {
        "license": "cc-by-4.0",
        "library_name": "centernet_d2",
        "pipeline_tag": "object-detection",
        "tags": ["centernet_d2", "detectron2", "object-detection", "pointscenternet"],
        "model-index": [
            {
                "name": "bright-and-dark",
                "results": [
                    {
                        "task": {"type": "object-detection"},
                        "dataset": {"type": "two-plates-10-images", "name": GIVEN["data"]},
                        "metrics": [
                            {"type": "ap", "name": "bbox/AP", "value": 41.25},
                            {"type": "ap50", "name": "bbox/AP50", "value": 63.0},
                        ],
                    }
                ],
            }
        ],
    }
    parsed = ModelCard(card).data  # by the library's own rules
    assert [(r.metric_type, r.metric_value) for r in parsed.eval_results] == [
        ("ap", 41.25),
        ("ap50", 63.0),
    ]
    for said in (
        "| classes | bright, dark |",
        f"centernet-d2 predict --weights hub:{REPOSITORY} --input photo.jpg --output found",
        "Test protocol: no augmentation / keep_res.",
        "| bbox | AP | 41.25 |",
        "| training | train: plates_train; iterations: 40",
        "| version | centernet_d2 0.1.0 |",
        "Licence of the weights: CC-BY-4.0.",
    ):
        assert said in text
    assert "APl" not in card


def test_scores_are_never_invented(trained):
    pytest.importorskip("huggingface_hub")
    info = read_model_info(trained)
    header, text = header_of(model_card(info, "a/b", **GIVEN, scores={}))
    assert "model-index" not in header
    assert "## Scores\n\nNone are given." in text
    assert results_beside(trained) == SCORES
    assert results_beside(trained.with_name("model_best.pth")) == {}  # of other weights
    trained.with_name("results.json").unlink()
    assert results_beside(trained) == {}
    header, _ = header_of(
        model_card(info, "a/b", **GIVEN, scores={"bbox": {"AP": np.float64(30.12346)}})
    )
    assert header["model-index"][0]["results"][0]["metrics"][0]["value"] == 30.1235
    other, text = header_of(model_card(info, "a/b", licence="Mine, ask me", data="d", scores={}))
    assert (other["license"], other["license_name"]) == ("other", "mine-ask-me")


def test_joints_make_it_a_keypoint_detector(trained):
    content = torch.load(trained, weights_only=True) | {"joint_names": ["head", "tail"]}
    info = ModelInfo.of(content | {"guessed": ["joint_names"]}, "fish.pth")
    header, text = header_of(model_card(info, "a/b", **GIVEN, scores={}))
    assert header["pipeline_tag"] == "keypoint-detection"
    assert "| joints | head, tail (a guess from their number) |" in text
    assert describe(info)["joints"] == "head, tail (a guess from their number)"


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        ({BLOCK: {}}, {}, "carries no config.*centernet-d2 convert"),
        ({BLOCK: {"config": "model:\n  _target_: a\n"}}, {}, "carries no config that builds"),
        ({}, {"licence": " "}, "The licence is empty"),
        ({}, {"data": ""}, "The data is empty"),
        ({}, {"repo_id": "name"}, "'name' is no repository: write user/name"),
    ],
)
def test_what_nobody_could_use_is_not_pushed(hub, trained, change, given, said):
    torch.save(torch.load(trained, weights_only=True) | change, trained)
    with pytest.raises(ValueError, match=said):
        model_zoo.push_to_hub(trained, **{"repo_id": REPOSITORY} | GIVEN | given)
    assert not hub.asked


def test_refusals_are_one_sentence(hub, trained, monkeypatch, capsys):
    for name, why in (
        ("nobody/nothing", "404"),
        (f"{REPOSITORY}@v9", "404"),
        ("no name at all", "[Rr]epo"),
    ):
        hub.repositories[REPOSITORY] = {"main": {}}
        with pytest.raises(DownloadError, match=rf"^'hub:{name}' could not be fetched: .*{why}"):
            model_zoo.from_hub(name)
        assert not PathManager.isfile(f"hub:{name}")
    with pytest.raises(DownloadError, match=f"^'{REPOSITORY}' was not pushed: .*401"):
        model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN, token="hf_wrong")
    assert cli.main(["models", "download", "hub:nobody/nothing"]) == 1
    assert capsys.readouterr().err.startswith("centernet-d2 models: 'hub:nobody/nothing' could not")


def test_the_library_is_asked_for(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (
        lambda: model_zoo.from_hub(REPOSITORY),
        lambda: model_zoo.push_to_hub(trained, REPOSITORY, **GIVEN),
        lambda: Predictor(f"hub:{REPOSITORY}"),
    ):
        with pytest.raises(
            ImportError, match=r"at the Hugging Face Hub .*pip install huggingface_hub"
        ):
            call()


def test_commands(hub, trained, tmp_path, capsys):
    options = ["--licence", "MIT", "--data", "plates"]
    assert cli.main(["models", "push", str(trained), REPOSITORY, *options]) == 0
    assert f"/{REPOSITORY}/commit/" in capsys.readouterr().out
    output = tmp_path / "new" / "mine.safetensors"
    assert cli.main(["models", "download", f"hub:{REPOSITORY}", "--output", str(output)]) == 0
    assert capsys.readouterr().out.endswith(f"{output}\n")
    assert output.read_bytes() == hub.repositories[REPOSITORY]["main"]["model.safetensors"]
    assert cli.main(["convert", f"hub:{REPOSITORY}", str(tmp_path / "again.pth")]) == 0
    assert read_model_info(tmp_path / "again.pth").class_names == ("bright", "dark")
    capsys.readouterr()
    assert cli.main(["models", "show", f"hub:{REPOSITORY}", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"file": f"hub:{REPOSITORY}"} | describe(read_model_info(trained))
