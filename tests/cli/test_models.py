"""`centernet-d2 models`: list, show and download of the zoo; the Hub's are in tests/model_zoo."""

from __future__ import annotations

import json

import pytest
import torch

from centernet_d2 import cli
from centernet_d2.checkpoint.model_info import BLOCK
from centernet_d2.model_zoo import ENTRIES, config_names, shipped_models


def test_list(capsys):
    assert cli.main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    names = [*shipped_models(), *(entry.name for entry in ENTRIES)]
    assert [entry["name"] for entry in listed] == names
    assert cli.main(["models", "list", "DLA34_1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[2:]] == [
        "COCO-Detection/points_dla34_140e",
        "COCO-Keypoints/points_dla34_1x",
    ]
    assert "none 36.3, flip 38.2, ms 40.7" in rows[2]
    assert "box AP, COCO val2017" in rows[2]
    assert cli.main(["models", "list", "COCO-Keypoints/*_1x"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert cli.main(["models", "list", "points_dla35"]) == 1
    assert "has no name like 'points_dla35' (nearest: " in capsys.readouterr().err


def test_configs_are_listed_by_the_names_that_config_file_takes(capsys):
    assert cli.main(["models", "configs", "shapes/points"]) == 0
    assert capsys.readouterr().out == "Shapes/points_tiny.yaml\n"
    assert cli.main(["models", "configs"]) == 0
    assert capsys.readouterr().out.splitlines() == config_names()


def test_show_an_entry(capsys):
    assert cli.main(["models", "show", "ctdet_coco_dla_1x", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["config"] == "COCO-Detection/points_dla34_140e.yaml"
    assert said["weights"] == "published:COCO-Detection/points_dla34_140e"
    assert said["published"] == {"none": 36.3, "flip": 38.2, "ms": 40.7}
    assert (said["licence"], said["protocol"]) == ("MIT", "published")
    assert cli.main(["models", "show", "ctdet_coco_dla_1x"]) == 0
    text = capsys.readouterr().out
    assert "published:     none 36.3, flip 38.2, ms 40.7\n" in text
    assert "parameters:    19,634,164\n" in text
    assert "sha256" not in text  # not known
    assert cli.main(["models", "show", "points_dla34_14e"]) == 1
    assert "(nearest: points_dla34_140e, " in capsys.readouterr().err
    assert cli.main(["models", "show", "mine/model.pth"]) == 1
    assert "mine/model.pth': there is no such file. The model zoo" in capsys.readouterr().err


def test_show_a_model_in_the_package(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["models", "list", "bccd"]) == 0
    assert "AP50" in capsys.readouterr().out.splitlines()[2]
    assert cli.main(["models", "show", "bccd", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["classes"], said["licence"]) == ("Platelets, RBC, WBC", "Apache-2.0")
    assert said["scores"].keys() == {"AP", "AP50", "AP75"}
    assert cli.main(["models", "show", "bccd"]) == 0
    text = capsys.readouterr().out
    assert f"scores:        AP {said['scores']['AP']}, AP50" in text
    assert text.endswith(shipped_models()["bccd"].with_suffix(".md").read_text().split("---\n")[-1])
    assert cli.main(["models", "download", "bccd", "--output", f"{tmp_path}/mine.safetensors"]) == 0
    assert cli.main(["models", "show", "mine.safetensors"]) == 0
    assert "classes:       Platelets, RBC, WBC\n" in capsys.readouterr().out


def test_show_a_file(tmp_path, capsys):
    config = "INPUT:\n  TRAIN_SIZE: [384, 512]\nMODEL:\n  META_ARCHITECTURE: CornerNet\n"
    block = {"version": "0.1.0", "config": config, "protocol": "flip", "training": {"images": 7}}
    content = {"model": {"a": torch.ones(2)}, "class_names": ["cat", "dog"], BLOCK: block}
    torch.save(content, tmp_path / "model.pth")
    assert cli.main(["models", "show", str(tmp_path / "model.pth")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "detector:      CornerNet",
        "config:        2 keys",
        "frame:         384 x 512",
        "classes:       cat, dog",
        "protocol:      flip",
        "training:      images: 7",
        "version:       centernet_d2 0.1.0",
    ]
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pth")
    assert cli.main(["models", "show", str(tmp_path / "other.pth")]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["config:        none"]


def test_download(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path))
    file = tmp_path / "weights" / "points_dla34_140e.pth"  # there already
    file.parent.mkdir()
    torch.save({"state_dict": {}}, file)
    assert cli.main(["models", "download", "points_dla34_140e"]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    folder = ["--output", f"{tmp_path}/new/"]
    assert cli.main(["models", "download", "points_dla34_140e", *folder]) == 0
    copy = tmp_path / "new" / file.name
    assert copy.read_bytes() == file.read_bytes()
    assert cli.main(["models", "download", "points_dla34_140e", *folder]) == 1
    assert f"'{copy}' is there already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["push", "a.pth", "a/b"], ["list", "--all"]])
def test_wrong_usage(arguments):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["models", *arguments])
