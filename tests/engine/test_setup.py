"""`setup`: files become datasets, classes are found and compared, values are checked."""

from __future__ import annotations

import json
import re
import socket

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathHandler, PathManager

import centernet_d2
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.evaluate import load_for_evaluation
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.model_zoo.path_handlers import downloaded_file
from centernet_d2.progress import tell_once

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


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Every connection fails the test, and nothing was downloaded before."""

    def refuse(*arguments, **options):
        raise AssertionError(f"setup opened a connection: {arguments}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("CENTERNET_D2_CACHE", "FVCORE_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


@pytest.fixture
def unseen():
    """Overrides with datasets that are not registered."""
    yield ["DATASETS.TRAIN", ("unseen_train",), "DATASETS.TEST", ("unseen_val",)]
    for name in ("unseen_train", "unseen_val"):
        MetadataCatalog.pop(name, None)


@pytest.mark.parametrize(
    ("weights", "classes"),
    [
        ("published:points_dla34_140e", 80),
        ("published:ctdet_pascal_dla_512.pth", 20),
        ("published:COCO-Keypoints/points_dla34_1x.yaml", 1),
        ("published:KITTI-Detection3D/points_dla34_3dop", 3),
        ("published:extremenet_hourglass104", None),
        ("published:https://unreachable.invalid/weights.pth", None),
        ("https://unreachable.invalid/weights.pth", None),
        ("detectron2://COCO-Detection/weights.pkl", None),
        ("torchvision:resnet18", None),
        ("timm:dla34.in1k", None),
    ],
)
def test_setup_opens_no_connection(config, no_network, unseen, caplog, weights, classes):
    tell_once.cache_clear()
    setup(config("MODEL.WEIGHTS", weights))  # with a dataset of two classes
    assert ("was trained on" in caplog.text) == bool(classes)
    if classes:
        assert f"trained on {classes} classes" in caplog.text
        cfg = setup(config(*unseen, "MODEL.WEIGHTS", weights))
        assert classes == cfg.MODEL.HEATMAP.NUM_CLASSES
    else:
        with pytest.raises(ValueError, match=r"NUM_CLASSES is 0.*has to be downloaded first"):
            setup(config(*unseen, "MODEL.WEIGHTS", weights))
        setup(config(*unseen, "MODEL.WEIGHTS", weights, "MODEL.HEATMAP.NUM_CLASSES", 2))


@pytest.mark.parametrize("published", ["published:", ""])
def test_weights_of_an_address_that_were_downloaded_before_are_read(
    config, no_network, tmp_path, published
):
    url = "https://unreachable.invalid/folder/three.pth"
    file = downloaded_file(url) if published else tmp_path / "FVCORE_CACHE/folder/three.pth"
    names = ["one", "two", "three"]
    Checkpointer(torch.nn.Linear(1, 1), str(file.parent), class_names=names).save(file.stem)
    cfg = config("DATASETS.TRAIN", (), "DATASETS.TEST", (), "MODEL.WEIGHTS", f"{published}{url}")
    assert setup(cfg).MODEL.HEATMAP.NUM_CLASSES == 3


def test_weights_that_come_over_the_net_are_compared_when_they_are_loaded(config, unseen, tmp_path):
    """The same errors, by `load_for_evaluation`, as `setup` gives for a local file."""
    model = torch.nn.Linear(1, 1)
    names = ["one", "two", "three"]
    Checkpointer(model, str(tmp_path), class_names=names).save("three")

    class Store(PathHandler):
        def _get_supported_prefixes(self):
            return ["classstore:"]

        def _get_local_path(self, path, force=False, **kwargs):
            return str(tmp_path / path.rpartition("/")[2])

    PathManager.register_handler(Store(), allow_override=True)
    cfg = setup(config("MODEL.WEIGHTS", "classstore:a/three.pth"))
    with pytest.raises(ValueError, match=r"other classes.*class 0 is 'one'"):
        load_for_evaluation(cfg, model)
    unseen += ["MODEL.HEATMAP.NUM_CLASSES", 2, "MODEL.WEIGHTS"]
    cfg = setup(config(*unseen, "classstore:b/three.pth"))
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 2, but the checkpoint classstore.*has 3"):
        load_for_evaluation(cfg, model)
    cfg = setup(config(*unseen, "classstore:c/three.pth", "MODEL.HEATMAP.NUM_CLASSES", 3))
    assert load_for_evaluation(cfg, model) == names
    assert MetadataCatalog.get("unseen_val").thing_classes == names


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
    monkeypatch.setattr("centernet_d2.engine.setup.NVIDIA_DRIVER", "/")  # so that it is strange
    tell_once.cache_clear()
    for _ in range(2):
        assert setup(config("MODEL.DEVICE", "cuda")).MODEL.DEVICE == "cpu"
    assert caplog.text.count("torch sees no GPU") == 1


@pytest.mark.parametrize("device", ["gpu", "GPU", "", "cuda:x", "cuda:-1", "CPU", " cpu", 0])
def test_what_is_no_device_is_told_before_anything_is_registered(config, dataset, device):
    cfg = config()
    cfg.MODEL.DEVICE = device
    says = f"MODEL.DEVICE is {device!r}; it must be a device of torch, such as 'cuda', 'cuda:1' or "
    with pytest.raises(ValueError, match=f"^{re.escape(says)}'cpu'"):
        setup(cfg)
    assert list(cfg.DATASETS.TRAIN) == [dataset]


def test_a_device_that_is_not_here_names_those_that_are(config, monkeypatch):
    with pytest.raises(ValueError, match=r"'vulkan', which this machine or .* have: use 'cpu'"):
        setup(config("MODEL.DEVICE", "vulkan"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert setup(config("MODEL.DEVICE", "cuda:1")).MODEL.DEVICE == "cuda:1"
    with pytest.raises(ValueError, match=r"'cuda:7'.*use 'cpu', or 'cuda:0' to 'cuda:1'\.$"):
        setup(config("MODEL.DEVICE", "cuda:7"))


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


def test_weights_of_other_classes_are_told_with_names_and_counts(config, tmp_path, caplog):
    tell_once.cache_clear()
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
    assert json.dumps(load_config(path)) == json.dumps(cfg)
