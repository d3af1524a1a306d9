"""`setup`: files become datasets, classes are found and compared, values are checked."""

from __future__ import annotations

import json
import re

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

import centernet_d2
from centernet_d2.config.files import merge_config_file
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.setup import load_config, setup

from .small_world import CLASSES, small_config, write_dataset


def test_files_get_a_short_name_that_the_saved_config_knows(config, dataset, tmp_path):
    cfg = setup(config())
    (name,) = cfg.DATASETS.TRAIN
    assert re.fullmatch(r"[\w.-]+", name)
    assert (name,) == cfg.DATASETS.TEST
    assert [dataset] == cfg.DATASETS.FROM_FILES
    assert MetadataCatalog.get(name).thing_classes == list(CLASSES)
    assert cfg.MODEL.HEATMAP.NUM_CLASSES == 2

    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    again = load_config(str(file))
    DatasetCatalog.remove(name)  # as in a new process
    assert (name,) == setup(again).DATASETS.TRAIN
    assert len(DatasetCatalog.get(name)) == 10


def test_second_call_changes_nothing_and_frozen_stays_frozen(config):
    cfg = config()
    cfg.freeze()
    assert setup(cfg) is cfg
    assert cfg.is_frozen()
    once = cfg.dump()
    assert setup(cfg).dump() == once


def test_public_name():
    assert centernet_d2.setup is setup


def test_paths_with_blank_and_colon(tmp_path):
    spec = write_dataset(tmp_path / "two words: and a colon")
    cfg = setup(small_config(spec, tmp_path / "run"))
    assert len(DatasetCatalog.get(cfg.DATASETS.TRAIN[0])) == 10


def test_wrong_number_of_classes_names_both_and_the_cure(config):
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 80.*2 classes: bright, dark.*to 0"):
        setup(config("MODEL.HEATMAP.NUM_CLASSES", 80))


@pytest.mark.parametrize(
    ("classes", "words"),
    [(("bright", "grey"), "class 1 is 'dark'"), (("bright", "dark", "grey"), "2 classes .* 3")],
)
def test_datasets_with_different_classes(config, tmp_path, classes, words):
    other = write_dataset(tmp_path / "other", classes=classes)
    with pytest.raises(ValueError, match=rf'{words}.*or set DATASETS\.TEST "\(\)"'):
        setup(config("DATASETS.TEST", (other,)))
    setup(config("DATASETS.TRAIN", (other,), "DATASETS.TEST", "()"))


def test_names_that_are_set_on_load_are_found(config):
    def load():
        MetadataCatalog.get("named_on_load").thing_classes = ["one", "two", "three"]
        return [{"file_name": "x", "image_id": 0}]

    DatasetCatalog.register("named_on_load", load)
    try:
        cfg = setup(config("DATASETS.TRAIN", ("named_on_load",), "DATASETS.TEST", ()))
        assert cfg.MODEL.HEATMAP.NUM_CLASSES == 3
    finally:
        DatasetCatalog.remove("named_on_load")


def test_dataset_without_names_says_how_to_set_them(config):
    DatasetCatalog.register("nameless", lambda: [{"file_name": "x", "image_id": 0}])
    try:
        with pytest.raises(ValueError, match=r"'nameless' has no class names.*thing_classes"):
            setup(config("DATASETS.TRAIN", ("nameless",), "DATASETS.TEST", ()))
    finally:
        DatasetCatalog.remove("nameless")


def test_application_without_the_dataset_takes_the_names_from_the_checkpoint(config, tmp_path):
    model = torch.nn.Linear(1, 1)
    Checkpointer(model, str(tmp_path), class_names=["one", "two", "three"]).save("weights")
    datasets = ["DATASETS.TRAIN", ("gone_train",), "DATASETS.TEST", ("gone_val",)]
    weights = ["MODEL.WEIGHTS", str(tmp_path / "weights.pth")]
    cfg = setup(config(*datasets, *weights))
    assert cfg.MODEL.HEATMAP.NUM_CLASSES == 3
    assert MetadataCatalog.get("gone_val").thing_classes == ["one", "two", "three"]


def test_nothing_known_about_the_classes(config):
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 0.*gone_before.*DATASETS\.TRAIN"):
        setup(config("DATASETS.TRAIN", ("gone_before",), "DATASETS.TEST", ()))


def test_saved_config_works_where_its_files_are_gone(config, tmp_path):
    spec = write_dataset(tmp_path / "soon gone")
    cfg = setup(config("DATASETS.TRAIN", (spec,), "DATASETS.TEST", ()))
    DatasetCatalog.remove(cfg.DATASETS.TRAIN[0])
    (tmp_path / "soon gone" / "boxes.json").unlink()
    assert setup(cfg).MODEL.HEATMAP.NUM_CLASSES == 2


def test_device_falls_to_the_cpu_and_says_so_once(config, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("centernet_d2.engine.setup._said", set())
    for _ in range(2):
        assert setup(config("MODEL.DEVICE", "cuda")).MODEL.DEVICE == "cpu"
    assert caplog.text.count("torch sees no GPU") == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SOLVER.OPTIMIZER", "Adamm"),
        ("SOLVER.AMP_DTYPE", "float8"),
        ("SOLVER.EMA_DECAY", 1.0),
        ("SOLVER.REFERENCE_WORLD_SIZE", 8),
        ("SOLVER.IMS_PER_BATCH", 0),
        ("TEST.IMS_PER_BATCH", 0),
        ("MODEL.CHECKPOINT_MISMATCH", "ignore"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
        ("TEST.PRECISE_BN.ENABLED", True),
        ("TEST.AUG.ENABLED", True),
        ("INPUT.FORMAT", "RGB"),
        ("MODEL.PIXEL_MEAN", [0.0]),
        ("MODEL.PIXEL_STD", [1.0, 1.0]),
        ("MODEL.PIXEL_STD", [1.0, 0.0, 1.0]),
        ("MODEL.HEATMAP.TOP_K", 0),
        ("MODEL.HEATMAP.RADIUS_RULE", "large"),
        ("MODEL.POINTS_CENTERNET.REGRESSION_LOSS", "l2"),
        ("MODEL.POINTS_CENTERNET.REGRESSION_NORMALIZER", "image"),
        ("MODEL.POINTS_CENTERNET.IGNORED_REGION", "circle"),
        ("INPUT.BOX3D.RESOLUTION", "keep"),
    ],
)
def test_wrong_values_name_their_key(config, key, value):
    with pytest.raises(ValueError, match=rf"^{re.escape(key)} (is|must be) "):
        setup(config(key, value))


def test_weights_of_other_classes_are_told_with_names_and_counts(
    config, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("centernet_d2.engine.setup._said", set())
    checkpointer = Checkpointer(torch.nn.Linear(1, 1), str(tmp_path), class_names=list(CLASSES))
    checkpointer.save("same")
    checkpointer.class_names = ["cat", "dog", "cow"]
    checkpointer.save("other")
    setup(config("MODEL.WEIGHTS", str(tmp_path / "same.pth")))
    assert "was trained on" not in caplog.text
    setup(config("MODEL.WEIGHTS", str(tmp_path / "other.pth")))
    assert "trained on 3 classes (cat, dog, cow)" in caplog.text
    assert "datasets have 2 (bright, dark)" in caplog.text


def test_given_iterations_replace_the_epochs(config):
    assert config("SOLVER.EPOCHS", 5).SOLVER.EPOCHS == 5  # small_config gives MAX_ITER as well
    assert load_config("", ["SOLVER.MAX_ITER", "7"]).SOLVER.EPOCHS == 0
    with pytest.raises(ValueError, match=r"'SOLVER\.BASE_LR' has no value"):
        load_config("", ["SOLVER.BASE_LR"])


def test_one_dataset_name_needs_no_brackets(dataset):
    for given, expected in [
        (dataset, (dataset,)),
        (f"('{dataset}', 'other')", (dataset, "other")),
        ("", ()),
        (("a", "b"), ("a", "b")),
    ]:
        assert expected == load_config("", ["DATASETS.TRAIN", given]).DATASETS.TRAIN


def test_config_merged_by_detectron2_is_equal(config_root):
    path = str(config_root / "COCO-Detection" / "points_resnet18_dcn_140e.yaml")
    cfg = load_config()
    cfg.merge_from_file(path)
    ours = load_config()
    merge_config_file(ours, path)
    assert json.dumps(ours) == json.dumps(cfg)
