"""One file is a model: what it says of itself, and the config that comes out of it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor, default_argument_parser
from published_networks import points_shapes, recorded

from centernet_d2 import Predictor, __version__, config_of, setup
from centernet_d2.checkpoint.files import read_tensors, write_weights
from centernet_d2.checkpoint.model_info import (
    BLOCK,
    NOT_OF_A_MODEL,
    ModelInfo,
    config_text,
    for_use,
    read_model_info,
)
from centernet_d2.config import add_centernet_config, flattened, value_of
from centernet_d2.config.files import Level
from centernet_d2.config.protocols import apply_protocol
from centernet_d2.detectron2_versions import KEYS_OF_MAIN
from centernet_d2.engine.contradictions import differing
from centernet_d2.engine.model_config import read_model_config
from centernet_d2.engine.run import read_job, run
from centernet_d2.engine.setup import load_config
from centernet_d2.engine.trainer import Trainer
from centernet_d2.model_zoo import config_names
from centernet_d2.progress import tell_once

from .small_world import CLASSES, ROOT, small_config

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FRAME = ("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", [64, 96])


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory) -> Path:
    """What a short training leaves, of a frame that is not the default."""
    folder = tmp_path_factory.mktemp("trained")
    best = ("SOLVER.BEST_METRIC", "bbox/AP", "SOLVER.MAX_ITER", 2)
    cfg = small_config(dataset, folder, *FRAME, *best)
    (folder / "config.yaml").write_text(setup(cfg.clone()).dump())
    Trainer(cfg).train()
    return folder / "model_final.pth"


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)


@pytest.fixture
def messages(caplog):
    """A function (level) -> what was told at that level; nothing was told before."""
    tell_once.cache_clear()
    caplog.set_level(logging.INFO, "centernet_d2")
    return lambda level: [r.getMessage() for r in caplog.records if r.levelname == level]


def changed(file: Path, to: Path, **block) -> Path:
    """A copy with other values in its block; None: without it."""
    content = read_tensors(file)
    content[BLOCK] |= block
    write_weights(to, {key: value for key, value in content.items() if key != block.get("without")})
    return to


def boxes(predictor, image) -> torch.Tensor:
    found = predictor(image)["instances"]
    assert len(found) > 0
    return torch.cat([found.pred_boxes.tensor, found.scores[:, None]], dim=1)


# ------------------------------------------------------------------------------- what a file says
def test_a_checkpoint_says_what_it_is(trained, dataset):
    info = read_model_info(trained)
    assert (info.version, info.class_names) == (__version__, CLASSES)
    assert info.protocol == "no augmentation / fixed 64x96"
    training = dict(info.training)
    assert training.pop("date").startswith("20")
    assert training.pop("object_size") == pytest.approx(12.5 * 32 / 48 / 0.95, rel=0.4)
    assert training.pop("image_size") == [40, 40]
    assert training == {
        "train": ["coco:boxes.json:pictures"],
        "test": ["coco:boxes.json:pictures"],
        **{"images": 10, "iterations": 2, "max_iterations": 2, "batch": 4, "seed": 7},
        **{key: __import__(key).__version__ for key in ("detectron2", "torch")},
    }
    best = read_model_info(trained.with_name("model_best.pth")).training["best"]
    assert best == {"metric": "bbox/AP", "value": pytest.approx(0.0, abs=100)}
    # No place of this machine.
    assert re.findall(r".*/.*", info.config) == ["  BEST_METRIC: bbox/AP"]
    assert dataset.split(":")[1] not in str(dict(info.training))


def test_the_config_is_whole_but_for_the_machine(trained):
    values = read_model_info(trained).config_values()
    cfg = get_cfg()
    add_centernet_config(cfg)
    left_out = flattened(cfg).keys() - values.keys()
    assert left_out - set(KEYS_OF_MAIN) == set(NOT_OF_A_MODEL)  # those are at their default
    assert values["MODEL.HEATMAP.NUM_CLASSES"] == 2  # as it was resolved
    assert len(read_model_info(trained).config) < 12_000  # bytes that each file holds more


def test_tensors_stay_on_the_disk(tmp_path):
    file = tmp_path / "big.pth"
    block = ModelInfo(version="0.1.0", protocol="flip").block()
    torch.save({"model": {"a": torch.zeros(30_000_000)}, BLOCK: block}, file)
    pages = Path("/proc/self/statm")
    before = int(pages.read_text().split()[1])
    assert read_model_info(file).protocol == "flip"
    assert (int(pages.read_text().split()[1]) - before) * 4096 < 20e6  # of 120 MB


@pytest.mark.parametrize("entry", [None, 3, [], {"config": 1, "training": "x", "version": None}])
def test_an_entry_of_another_form_says_nothing(entry):
    info = ModelInfo.of({"model": {}, BLOCK: entry}, "w")
    assert (info.config, info.version, dict(info.training), info.newer) == ("", "", {}, "")


def test_a_file_cannot_name_a_place_on_this_machine(trained, tmp_path):
    """Not even one that somebody has made by hand."""
    text = "OUTPUT_DIR: /etc\nMODEL: {WEIGHTS: /etc/x, DEVICE: cuda:7}\nDATASETS: {TRAIN: [a]}\n"
    file = changed(trained, tmp_path / "made.pth", config=text)
    cfg = config_of(file)
    assert ("./output", str(file)) == (cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS)
    assert (tuple(cfg.DATASETS.TRAIN), cfg.MODEL.DEVICE) == ((), DEVICE)
    with pytest.raises(KeyError, match=r"made\.pth': _BASE_ is no key"):
        config_of(changed(trained, file, config="_BASE_: /etc/passwd\n"))
    with pytest.raises(ValueError, match=r"^The config in '.*made\.pth': line 1: could not determ"):
        config_of(changed(trained, file, config="a: !!python/object/apply:os.getcwd []\n"))


def test_a_newer_version_is_told(trained, tmp_path, messages):
    newer = changed(trained, tmp_path / "newer.pth", version="9.1")
    told = f"newer.pth' was written by centernet_d2 9.1, this is {__version__}: what is new there"
    Predictor(newer)
    assert [text for text in messages("WARNING") if told in text] == messages("WARNING")
    config = read_model_info(trained).config + "NEWS: 3\n"
    with pytest.raises(KeyError, match=r"by centernet_d2 9\.1, .*NEWS is no key"):
        config_of(changed(newer, newer, config=config))


# --------------------------------------------------------------------------- from file to detector
@pytest.mark.parametrize("form", ["pth", "safetensors", "published"])
def test_all_predictors_find_the_same(trained, tmp_path, monkeypatch, messages, image, form):
    monkeypatch.setenv("CENTERNET_D2_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # equal to the last bit
    name, config = "here.pth", str(trained.parent / "config.yaml")
    if form == "published":
        torch.save({"state_dict": recorded(points_shapes("resdcn_18"))}, name)
        config, file = "", tmp_path / name
    else:
        name = f"here.{form}"
        write_weights(name, for_use(read_tensors(trained)))
        file = tmp_path / name
    cfg = config_of(name)
    readable = str(file) if form == "pth" else f"published:{file}"  # by detectron2's loader
    assert readable == cfg.MODEL.WEIGHTS
    found = boxes(Predictor(name), image)
    assert torch.equal(boxes(Predictor(Path(name)), image), found)
    assert torch.equal(boxes(Predictor(cfg), image), found)
    assert torch.equal(boxes(DefaultPredictor(cfg), image), found)
    if config:
        expected = Predictor(load_config(config, ["MODEL.WEIGHTS", str(trained)]))
        assert torch.equal(boxes(expected, image), found)
        assert Predictor(name).class_names == list(CLASSES)
        assert messages("WARNING") == []


def test_a_name_of_the_zoo_has_the_protocol_of_its_numbers():
    cfg = config_of("points_dla34_140e")
    assert cfg.MODEL.WEIGHTS == "published:COCO-Detection/points_dla34_140e"
    assert (cfg.TEST.PROTOCOL, cfg.TEST.ROUND_RESULTS) == ("published", 2)
    assert config_of(cfg.MODEL.WEIGHTS) == cfg


def test_overrides_come_over_the_weights_config(trained, messages):
    cfg = Predictor(trained, ["TEST.FIXED_SIZE", [32, 32], "TEST.FLIP", True]).cfg
    assert (cfg.TEST.FIXED_SIZE, cfg.TEST.FLIP) == ([32, 32], True)
    assert messages("WARNING") == []
    (told,) = (text for text in messages("INFO") if text.startswith("Set by hand"))
    assert told.endswith(":\n  TEST.FIXED_SIZE: [64, 96] -> [32, 32]")
    own = config_of(trained)
    own.TEST.FIXED_SIZE = [32, 32]
    assert Predictor(own).cfg.TEST.FIXED_SIZE == [32, 32]
    assert messages("WARNING") == []


@pytest.mark.parametrize(
    ("weights", "error", "says"),
    [
        ("nowhere.pth", FileNotFoundError, "^'nowhere.pth': there is no such file. The model zoo"),
        ("points_dla34_140", FileNotFoundError, "nearest: points_dla34_140e"),
        ("published:points_dla34_140", FileNotFoundError, "nearest: points_dla34_140e"),
        ("torchvision:resnet18", ValueError, "is a start for a training, no detector"),
        ("extremenet_hourglass104", ValueError, "is a start for a training, no detector"),
        ("{folder}", FileNotFoundError, "{folder}' is a folder: name the file in it, such as"),
        ("{folder}/odler.pth", FileNotFoundError, r"no such file \(nearest: older.pth\)\. "),
        ("{folder}/trunk.pth", ValueError, "trunk.pth' is a start for a training"),
        (
            "{folder}/older.pth",
            ValueError,
            "carries no config: .*file {folder}/config.yaml, or",
        ),
        ("{folder}/lazy.pth", ValueError, "from a LazyConfig, .* not run from a file of weights"),
    ],
)
def test_weights_without_a_config_name_the_cure(trained, tmp_path, weights, error, says):
    changed(trained, tmp_path / "older.pth", without=BLOCK)
    (tmp_path / "config.yaml").write_text("MODEL: {}")
    changed(trained, tmp_path / "lazy.pth", config="dataloader: {}\nmodel: {_target_: os.getcwd}\n")
    state = {n: v for n, v in recorded(points_shapes("resdcn_18")).items() if "deconv" not in n}
    torch.save({**state, "fc.weight": torch.ones(3), "layer4.0.conv1.weight": torch.ones(3)}, "x")
    Path("x").rename(tmp_path / "trunk.pth")
    with pytest.raises(error, match=says.format(folder=tmp_path)):
        Predictor(weights.format(folder=tmp_path))
    with pytest.raises(error, match=says.format(folder=tmp_path)):
        read_model_config(weights=weights.format(folder=tmp_path))


# ---------------------------------------------------------------------------- a config beside it
def test_a_config_of_another_frame_is_told(trained, dataset, tmp_path, messages, image):
    cfg = small_config(dataset, tmp_path, "MODEL.WEIGHTS", str(trained), "TEST.FLIP", True)
    cfg.MODEL.PIXEL_MEAN, cfg.SOLVER.BASE_LR = [1.0, 2.0, 3.0], 5.0
    for _ in range(2):
        Predictor(cfg)
    own = load_config(str(trained.parent / "config.yaml")).MODEL.PIXEL_MEAN
    assert messages("WARNING") == [
        f"'{trained}' was trained with another config than is used here: its detections may be "
        "wrong or missing. Its own value -> the one used:\n"
        f"  MODEL.PIXEL_MEAN: {own} -> [1.0, 2.0, 3.0]\n"
        "  TEST.RESOLUTION: 'fixed' -> 'keep_res'\n"
        "To use its own config leave --config-file out, or call centernet_d2.Predictor(file)."
    ]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("TEST.RESOLUTION", "keep_res"), ["TEST.RESOLUTION"]),
        (("TEST.PROTOCOL", "clean"), ["TEST.PROTOCOL"]),
        (("MODEL.HEATMAP.TOP_K", 7), ["MODEL.HEATMAP.TOP_K"]),
        (("MODEL.POINTS_CENTERNET.BOX2D.NMS", "hard"), ["MODEL.POINTS_CENTERNET.BOX2D.NMS"]),
        # What a training reads, and what nothing here does:
        (("MODEL.HEATMAP.MIN_OVERLAP", 0.5, "MODEL.DLA.NORM", "GN", "TEST.FLIP", True), []),
        (("MODEL.CORNERNET.MAX_PAIRS", 5, "MODEL.POINTS_CENTERNET.POSE.CANDIDATES", 5), []),
        (("INPUT.TRAIN_SIZE", [64, 64], "TEST.CANVAS", "fit", "SEED", 3), []),
    ],
)
def test_what_counts_as_a_contradiction(trained, dataset, tmp_path, messages, overrides, told):
    beside = tmp_path / "other.yaml"
    other = small_config(dataset, tmp_path, *FRAME, *overrides)
    apply_protocol(other)
    beside.write_text(other.dump())
    Predictor(load_config(str(beside), ["MODEL.WEIGHTS", str(trained)]))
    lines = [line for text in messages("WARNING") for line in text.split("\n  ")[1:]]
    assert [line.partition(":")[0] for line in lines if "->" in line] == told
    # On the command line it is the user's choice.
    tell_once.cache_clear()
    count = len(messages("WARNING"))
    named = small_config(dataset, tmp_path, *FRAME, *overrides, "MODEL.WEIGHTS", str(trained))
    Predictor(named)
    new = messages("WARNING")[count:]
    assert [text for text in new if "trained with another config" in text] == []


def test_another_network_ends_with_the_list(trained, dataset, tmp_path):
    wider = ("MODEL.ENCODER_DECODER.OUT_CHANNELS", 16, "MODEL.WEIGHTS", str(trained))
    with pytest.raises(ValueError, match=r"another model: only") as caught:
        Predictor(small_config(dataset, tmp_path, *FRAME, *wider))
    assert "than here:\n  MODEL.ENCODER_DECODER.OUT_CHANNELS: 8 -> 16" in str(caught.value)
    classes = ("MODEL.HEATMAP.NUM_CLASSES", 3, "MODEL.WEIGHTS", str(trained))
    cfg = small_config(dataset, tmp_path, *FRAME, *classes, "DATASETS.TEST", ())
    cfg.DATASETS.TRAIN = ("not_registered_here",)
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 3, but .* has 2 classes"):
        Predictor(cfg)


def test_starting_from_a_file_says_nothing_and_resuming_does(trained, dataset, tmp_path, messages):
    start = ("MODEL.WEIGHTS", str(trained), "SOLVER.MAX_ITER", 1, "MODEL.HEATMAP.TOP_K", 9)
    cfg = small_config(dataset, tmp_path / "fine", "DATASETS.TEST", (), *start)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert messages("WARNING") == []
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 2.0]
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    by_hand, told = messages("WARNING")
    assert "PIXEL_STD [1.0, 1.0, 2.0] are set by hand" in by_hand
    assert told.startswith("Resuming with another config. MODEL.PIXEL_STD is [1.0, 1.0, 2.0], the")


# --------------------------------------------------------------------------------- command lines
def evaluate(*arguments: str):
    return run(default_argument_parser().parse_args(["--eval-only", *arguments]))


def test_evaluation_needs_the_file_alone(trained, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = evaluate(
        "--config-file", str(trained.parent / "config.yaml"), "MODEL.WEIGHTS", str(trained)
    )
    copy = tmp_path / "copy.pth"
    copy.write_bytes(trained.read_bytes())
    assert str(evaluate("MODEL.WEIGHTS", str(copy), "DATASETS.TEST", dataset)) == str(expected)
    assert str(evaluate("MODEL.WEIGHTS", str(trained))) == str(expected)  # data of config.yaml
    assert json.loads(Path("output/inference/results.json").read_text()).keys() == {"bbox"}
    told = r"evaluation data \(of its training: coco:boxes.json:pictures\) is .*: add DATASETS.TEST"
    with pytest.raises(ValueError, match=told):
        evaluate("MODEL.WEIGHTS", str(copy))
    with pytest.raises(ValueError, match=r"^Nothing says which model: give --weights"):
        evaluate()


def test_the_config_of_a_command(trained, dataset):
    own = read_model_config(weights=str(trained), overrides=["TEST.FLIP", "True"])
    assert (own.TEST.FIXED_SIZE, own.TEST.FLIP) == ([64, 96], True)
    beside = str(trained.parent / "config.yaml")
    given = read_model_config(beside, str(trained), ["TEST.RESOLUTION", "keep_res"])
    assert (str(trained), "keep_res") == (given.MODEL.WEIGHTS, given.TEST.RESOLUTION)
    assert read_model_config(beside, "points_dla34_140e").MODEL.WEIGHTS.endswith(
        "/points_dla34_140e"
    )


@pytest.mark.parametrize(
    ("file", "weights", "opts", "protocol"),
    [
        ("COCO-Detection/points_dla34_140e", "points_dla34_140e", (), "published"),
        ("", "points_dla34_140e", (), "published"),
        ("Ablations/points_test_384", "ctdet_coco_dla_1x", (), "published"),
        ("Ablations/points_test_384", "", ("MODEL.WEIGHTS", "points_dla34_140e"), "published"),
        ("COCO-Detection/points_dla34_140e", "points_dla34_140e", ("TEST.PROTOCOL", ""), ""),
        ("COCO-Detection/points_dla34_140e", "bccd", (), ""),
        *(
            (file, "points_resnet18_dcn_mmdetection_140e", (), "")
            for file in ("", "COCO-Detection/points_resnet18_dcn_mmdetection_140e")
        ),
    ],
)
def test_a_name_of_the_zoo_means_its_protocol_with_and_without_a_config(
    file, weights, opts, protocol
):
    assert protocol == read_model_config(file, weights, opts).TEST.PROTOCOL


@pytest.mark.parametrize("file", ["", "Ablations/points_test_384"])
@pytest.mark.parametrize(
    ("key", "value", "other"),
    [
        ("TEST.SOFT_NMS.MODE", "clean", "reference"),
        ("MODEL.POINTS_CENTERNET.BOX2D.NMS", "gaussian", "none"),
    ],
)
def test_a_key_of_the_user_wins_over_the_protocol_of_a_name(file, key, value, other, messages):
    cfg = read_model_config(file, "points_dla34_140e", [key, value])
    assert (cfg.TEST.PROTOCOL, value_of(cfg, key)) == ("", value)
    assert [text for text in messages("WARNING") if "TEST.PROTOCOL" in text] == [
        f"TEST.PROTOCOL published of COCO-Detection/points_dla34_140e is not taken, as {key} is "
        f"'{value}': TEST.PROTOCOL published would mean '{other}'."
    ]
    with pytest.raises(ValueError, match=f"{key} is '{value}', but TEST.PROTOCOL 'published' mean"):
        read_model_config(file, "points_dla34_140e", [key, value, "TEST.PROTOCOL", "published"])


def test_a_key_of_a_file_wins_over_the_protocol_of_a_name(tmp_path):
    file = tmp_path / "mine.yaml"
    base = ROOT / "configs/COCO-Detection/points_dla34_140e.yaml"
    file.write_text(f"_BASE_: {base}\nTEST: {{CANVAS: fit}}\n")
    cfg = read_model_config(str(file), "points_dla34_140e")
    assert (cfg.TEST.CANVAS, cfg.TEST.PROTOCOL) == ("fit", "")


@pytest.mark.parametrize(
    ("words", "protocol"),
    [
        (("--config-file", "Shapes/cornernet_tiny", "--weights", "cornernet_hourglass104"), ""),
        (
            (
                *("--config-file", "COCO-Detection/points_dla34_140e"),
                *("MODEL.WEIGHTS", "published:points_dla34_140e"),
            ),
            "",
        ),
        (("--weights", "points_dla34_140e"), ""),
        (("--weights", "points_dla34_140e", "--eval-only"), "published"),
    ],
)
def test_the_protocol_of_a_start_is_none_of_its_training(words, protocol):
    parser = default_argument_parser()
    parser.add_argument("--weights")
    data = ["DATASETS.TEST", "voc_2007_test"]
    assert protocol == read_job(parser.parse_args([*words, *data])).cfg.TEST.PROTOCOL


def test_a_config_text_comes_back_as_it_was(tiny_config):
    cfg = setup(tiny_config("DATASETS.TEST", (), "SOLVER.BASE_LR", 1e-5))
    text = config_text(cfg)
    values = ModelInfo(config=text).config_values()
    ours = {k: v for k, v in flattened(cfg).items() if k not in (*NOT_OF_A_MODEL, *KEYS_OF_MAIN)}
    assert json.dumps(values, sort_keys=True) == json.dumps(ours, sort_keys=True)


@pytest.mark.parametrize(
    "folder", ["COCO-Detection", "COCO-Keypoints", "KITTI-Det", "Pascal", "Shap"]
)
def test_the_text_of_every_shipped_config_is_read_back(folder):
    names = [n for n in config_names() if n.startswith(folder) and n.endswith(".yaml")]
    assert names
    for name in names:
        cfg = load_config(name)
        info = ModelInfo(source="w", config=config_text(cfg))
        again = load_config([Level("", info.config_values(), is_saved=True)])
        assert ModelInfo(config=config_text(again)).config_values() == info.config_values(), name
        assert differing(cfg, ModelInfo("w", config=info.config)) == {}


def test_keys_of_one_detectron2_are_left_out_at_their_default(tiny_config, monkeypatch):
    keys = ("SOLVER.GAMMA", "SOLVER.MOMENTUM", "SOLVER.NOT_HERE")
    monkeypatch.setattr("centernet_d2.checkpoint.model_info.KEYS_OF_MAIN", keys)
    values = ModelInfo(config=config_text(tiny_config("SOLVER.GAMMA", 0.5))).config_values()
    assert (values["SOLVER.GAMMA"], "SOLVER.MOMENTUM" in values) == (0.5, False)
