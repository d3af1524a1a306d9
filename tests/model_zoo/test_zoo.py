"""The entries, their configs, and the functions in detectron2's form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from detectron2.modeling import build_model
from published_networks import points_shapes, recorded

from centernet_d2 import model_zoo
from centernet_d2.model_zoo import ENTRIES, UnknownModelError, lookup, path_handlers

ROOT = Path(__file__).resolve().parents[2]
MODELS = [entry for entry in ENTRIES if entry.config]
VIEWS = {"none", "flip", "ms"}
RESNET18 = "COCO-Detection/points_resnet18_dcn_140e"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(url, *arguments, **options):
        raise lookup.DownloadError(f"Could not download {url}: no network in this test.")

    for module in (lookup, path_handlers):
        monkeypatch.setattr(module, "download", refuse)


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.name)
def test_config_and_parameters(entry):
    cfg = model_zoo.get_config(entry.config)
    resolution = cfg.TEST.RESOLUTION
    assert resolution == entry.benchmark.resolution
    if entry.name.startswith("PascalVOC"):
        assert entry.name.endswith(str(cfg.TEST.FIXED_SIZE[0]))
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == entry.parameters
    trained = model_zoo.get_config(entry.config, trained=True)
    assert f"published:{entry.name}" == trained.MODEL.WEIGHTS
    # The numbers of mmdetection come from its own code, all others from the authors'.
    is_authors = "mmdetection" not in entry.name
    assert ("published" if is_authors else "") == trained.TEST.PROTOCOL
    assert ("reference" if is_authors else "clean") == trained.TEST.SOFT_NMS.MODE
    assert (2 if is_authors else 0) == trained.TEST.ROUND_RESULTS
    assert ("KITTI" in entry.name) == trained.MODEL.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT
    if is_authors:  # all that a config is trained with stays
        trained.TEST, trained.MODEL.WEIGHTS = cfg.TEST, cfg.MODEL.WEIGHTS
        trained.MODEL.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT = False
        trained.MODEL.DEVICE = "meta"
        assert trained == cfg


def test_entries_are_consistent():
    names = [name for entry in ENTRIES for name in lookup.names_of(entry)]
    assert len(set(names)) == len(names)
    assert len({entry.weights.url for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert entry.weights.url.startswith("https://")
        assert entry.licence
    for entry in MODELS:
        views = {"boxes", "orientation", "bird's-eye"} if "KITTI" in entry.name else VIEWS
        assert entry.published.keys() <= views
        assert all(0 < value < 100 for value in entry.published.values())
        comment = (ROOT / "configs" / entry.config).read_text()
        assert str(next(iter(entry.published.values()))) in comment


def test_every_published_coco_and_voc_row_is_there():
    points = [e for e in MODELS if e.name.startswith("COCO-Detection/points")]
    assert len([e for e in points if e.benchmark.metric.endswith("val2017")]) == 7
    assert len([e for e in MODELS if e.name.startswith("COCO-Keypoints")]) == 4
    assert len([e for e in MODELS if e.name.startswith("PascalVOC")]) == 6
    assert len([e for e in MODELS if e.name.startswith("KITTI")]) == 2
    assert len([e for e in MODELS if "mmdetection" in e.name]) == 3
    corners = {e.short_name: e.published for e in MODELS if e.benchmark.metric.endswith("test-dev")}
    assert corners == {
        "cornernet_hourglass104": {"flip": 40.6, "ms": 42.2},
        "triplet_hourglass52": {"flip": 41.6, "ms": 43.5},
        "triplet_hourglass104": {"flip": 44.9, "ms": 47.0},
    }


@pytest.mark.parametrize(
    "name",
    [
        RESNET18,
        f"{RESNET18}.yaml",
        "points_resnet18_dcn_140e",
        "points_resnet18_dcn_140e.yaml",
        "ctdet_coco_resdcn18",
        "ctdet_coco_resdcn18.pth",
    ],
)
def test_names(name):
    assert model_zoo.get_checkpoint_url(name) == f"published:{RESNET18}"
    assert model_zoo.get_config_file(name) == str(ROOT / "configs" / f"{RESNET18}.yaml")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("COCO-Detection/points_resnet18_140e.yaml", "points_resnet18_dcn_140e"),
        ("points_dla34_140ep", "points_dla34_140e"),
        ("ctdet_coco_dla", "ctdet_coco_dla_1x"),
    ],
)
def test_near_names_are_listed(name, near):
    for function in (
        model_zoo.get_config,
        model_zoo.get,
        model_zoo.get_checkpoint_url,
        model_zoo.find_entry,
    ):
        with pytest.raises(UnknownModelError, match=rf"{name}.*nearest: .*{near}"):
            function(name)


def test_config_without_published_weights():
    assert model_zoo.get_config("Shapes/points_tiny.yaml").MODEL.WEIGHTS == ""
    with pytest.raises(UnknownModelError, match="no 'Shapes/points_tiny"):
        model_zoo.get_config("Shapes/points_tiny.yaml", trained=True)
    lazy = model_zoo.get_config("lazy/points_centernet.py")
    assert "model" in lazy


def test_get_untrained_starts_from_what_the_config_names(monkeypatch, tmp_path):
    trunk = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(trunk, tmp_path / "their.pth")
    monkeypatch.setattr(path_handlers, "fetched_file", lambda source: tmp_path / "their.pth")
    model = model_zoo.get("PascalVOC-Detection/points_resnet18_dcn_384", device="cpu")
    assert model.training
    assert torch.equal(model.backbone.conv1.weight, trunk["conv1.weight"])


def test_get_trained(cache, monkeypatch):
    with pytest.raises(OSError, match=r"By hand: open https://drive(.|\n)*dcn_140e\.pth") as caught:
        model_zoo.get(RESNET18, trained=True)
    place = cache / "weights" / "points_resnet18_dcn_140e.pth"
    assert str(place) in str(caught.value)

    monkeypatch.undo()  # the network is not asked where a person has put the file
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(cache))
    state = recorded(points_shapes("resdcn_18"))
    place.parent.mkdir(parents=True)
    torch.save({"epoch": 140, "state_dict": state}, place)
    model = model_zoo.get(RESNET18, trained=True, device="cpu")
    assert model.training
    assert torch.equal(model.backbone.conv1.weight, state["conv1.weight"])
    place.rename(place.with_name("points_dla34_140e.pth"))  # the wrong file in a place
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*dla_up"):
        model_zoo.get("points_dla34_140e", trained=True, device="cpu")


def test_configs_are_in_the_wheel(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    shipped = tmp_path / "lib" / "centernet_d2" / "model_zoo" / "configs"
    for name in model_zoo.config_names():
        assert (shipped / name).is_file()
    for file in model_zoo.shipped_models().values():
        copy = shipped.with_name("shipped") / file.name
        assert copy.read_bytes() == file.read_bytes()
        assert copy.with_suffix(".md").is_file()
    program = "from centernet_d2.model_zoo.lookup import config_folder; print(config_folder())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "lib"), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(shipped)
