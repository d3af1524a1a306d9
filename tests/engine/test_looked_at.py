"""What a run will need is looked at before its first step, of DATASETS.TEST as well."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultTrainer
from PIL import Image

from centernet_d2.data import image_files
from centernet_d2.data.image_files import find_faults, missing_files
from centernet_d2.detectron2_versions import launch
from centernet_d2.engine import parts
from centernet_d2.engine.evaluate import evaluate_only
from centernet_d2.engine.trainer import Trainer

from .small_world import small_config, write_dataset


@pytest.fixture
def spoilt(tmp_path):
    """A function (edit of the JSON) -> spec of a small dataset."""

    def make(edit=lambda content: None) -> str:
        spec = write_dataset(tmp_path / "other")
        file = Path(spec.split(":")[1])
        content = json.loads(file.read_text())
        edit(content)
        file.write_text(json.dumps(content))
        return spec

    return make


def folder_of(spec: str) -> Path:
    return Path(spec.split(":")[2])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"bbox": [1, 1, -5, 5]}, "negative width"), ({"area": "large"}, "area")],
)
def test_bad_test_annotations_are_found_before_training(config, spoilt, wrong, words):
    spec = spoilt(lambda content: content["annotations"][3].update(wrong))
    with pytest.raises(ValueError, match=words) as caught:
        Trainer(config("DATASETS.TEST", (spec,)))
    assert "boxes.json" in str(caught.value)


@pytest.mark.parametrize("key", ["DATASETS.TRAIN", "DATASETS.TEST"])
@pytest.mark.parametrize("cut", [False, True])
def test_bad_image_files_are_found_before_training(config, spoilt, tmp_path, key, cut):
    spec = spoilt()
    file = folder_of(spec) / "0008.png"
    file.write_bytes(file.read_bytes()[:200]) if cut else file.unlink()
    kind, what = (ValueError, "cannot be used") if cut else (FileNotFoundError, "do not exist")
    with pytest.raises(kind) as caught:
        Trainer(config(key, (spec,)))
    said = str(caught.value)
    assert said.startswith(f"{key} boxes_")
    assert f"1 of 10 image files {what}" in said
    assert str(file) in said
    assert ("SKIP_UNREADABLE" in said) == (key == "DATASETS.TRAIN")
    assert not list((tmp_path / "run").glob("*.pth"))


def test_unreadable_training_images_are_left_out_before_the_schedule(config, spoilt, caplog):
    spec = spoilt()
    (folder_of(spec) / "0008.png").unlink()
    (folder_of(spec) / "0002.png").write_bytes(b"")
    skip = ["DATASETS.SKIP_UNREADABLE", True, "SOLVER.EPOCHS", 3, "SOLVER.IMS_PER_BATCH", 3]
    trainer = Trainer(config("DATASETS.TRAIN", (spec,), "DATASETS.TEST", (), *skip))
    assert trainer.schedule.dataset_size == len(trainer.data_loader.dataset) == 8
    assert trainer.max_iter == 6
    assert "All 2 are left out" in caplog.text
    trainer.train()


@pytest.mark.parametrize("key", ["DATASETS.TRAIN", "DATASETS.TEST"])
def test_sizes_are_compared_before_training(config, spoilt, key):
    spec = spoilt(lambda content: content["images"][4].update(width=47))
    Trainer(config(key, (spec,), "DATASETS.CHECK_IMAGES", "exist"))
    with pytest.raises(ValueError, match=rf"{key}.*0005\.png' has .*\(31, 33\).*says \(47, 33\)"):
        Trainer(config(key, (spec,)))


def test_suspicions_are_told_or_stop_a_training(config, spoilt, caplog):
    def edit(content):
        content["annotations"] += [{**content["annotations"][0], "id": 99}]
        content["categories"][0]["name"] = "Dark "

    spec, twice = spoilt(edit), "1 of 16 boxes have the class and the place of another one"
    names = "1 of 2 class names are another's but for case, blanks or marks: 'dark'"
    data = ["DATASETS.TRAIN", (spec,), "DATASETS.TEST", (), "DATASETS.CHECK_RECORDS"]
    Trainer(config(*data, "none"))
    assert twice not in caplog.text
    Trainer(config(*data, "warn"))
    assert twice in caplog.text
    assert names in caplog.text
    with pytest.raises(ValueError, match=rf"^DATASETS\.TRAIN boxes_\w+: {twice}.*'warn' goes on"):
        Trainer(config(*data, "stop"))


def test_a_dataset_without_evaluator_type_is_found_before_training(config, dataset):
    cfg = config("DATASETS.TEST", ())
    records = DatasetCatalog.get(Trainer(cfg).cfg.DATASETS.TRAIN[0])
    name = "looked_at_without_type"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).thing_classes = ["bright", "dark"]
    try:
        with pytest.raises(ValueError, match=r"evaluator_type None.*Set MetadataCatalog"):
            Trainer(config("DATASETS.TEST", (name,)))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


MISSPELT = [
    ("coco_2017_trian", "coco_2017_train, "),
    ("COCO_2017_VAL", "coco_2017_val, "),
    ("voc2007_trainval", "voc_2007_trainval, "),
]


@pytest.mark.parametrize("key", ["DATASETS.TRAIN", "DATASETS.TEST"])
@pytest.mark.parametrize(("name", "near"), [*MISSPELT, ("zzz", "")])
def test_a_misspelt_dataset_gets_the_nearest_before_the_model_is_built(
    config, monkeypatch, key, name, near
):
    monkeypatch.setattr(Trainer, "build_model", None)  # not reached
    said = re.escape(f"{key}: dataset '{name}' is not registered{' (nearest: ' * bool(near)}{near}")
    with pytest.raises(KeyError, match=f"^{said}"):
        Trainer(config(key, (name,)))
    if key == "DATASETS.TEST":
        cfg = config(key, (name,), "MODEL.WEIGHTS", "any.pth")
        with pytest.raises(ValueError, match=rf"how many classes.*of {name} none.*here.*{near}"):
            evaluate_only(cfg)
        cfg.MODEL.HEATMAP.NUM_CLASSES = 2
        with pytest.raises(ValueError, match=f"^{said}"):
            evaluate_only(cfg)


class OwnDatasets(Trainer):
    @classmethod
    def load_dataset(cls, cfg):
        raise NotImplementedError("reached")

    @classmethod
    def build_test_loader(cls, cfg, dataset_name):
        return []


def test_a_subclass_may_load_by_names_of_its_own(config):
    names = ["DATASETS.TRAIN", ("mine",), "DATASETS.TEST", ("mine",)]
    with pytest.raises(NotImplementedError, match="reached"):
        OwnDatasets(config(*names, "MODEL.HEATMAP.NUM_CLASSES", 2))


class OwnEvaluator(Trainer):
    calls: list = []

    @classmethod
    def build_evaluator(cls, cfg, dataset_name):  # detectron2's form
        cls.calls.append(dataset_name)
        raise ValueError("no such measure")


class OwnTest(OwnEvaluator):
    @classmethod
    def test(cls, cfg, model, evaluators=None):
        return {}


def test_a_subclass_sees_its_own_errors_early_and_may_test_in_its_own_way(config, caplog):
    with pytest.raises(ValueError, match="no such measure"):
        OwnEvaluator(config())
    OwnTest(config())
    assert "may fail: no such measure" in caplog.text
    (first, second) = OwnEvaluator.calls
    assert first == second
    assert first.startswith("boxes_")


def test_an_evaluation_alone_looks_first(config, spoilt, monkeypatch):
    spec = spoilt()
    (folder_of(spec) / "0008.png").unlink()
    cfg = config("DATASETS.TEST", ())
    Trainer(cfg).train()
    monkeypatch.setattr(DefaultTrainer, "test", None)  # not reached
    weights = ["MODEL.WEIGHTS", f"{cfg.OUTPUT_DIR}/model_final.pth"]
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.TEST boxes_\w+: 1 of 10 image files"):
        evaluate_only(config("DATASETS.TEST", (spec,), *weights))


def test_ten_thousand_files_take_less_than_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_READ_ALL", 0)
    Image.new("RGB", (8, 8)).save(stream := io.BytesIO(), format="jpeg")
    for number in range(2000):
        (tmp_path / f"{number}.jpg").write_bytes(stream.getvalue())
    records = [{"file_name": str(tmp_path / f"{k}.jpg")} for k in range(2000)] * 5
    start = time.process_time()
    assert find_faults(records, "ends") == ([], {})
    assert missing_files(r["file_name"] for r in records) == set()
    assert time.process_time() - start < 2  # on a busy machine


# ----------------------------------------------------------------------------- in several processes
def hear_of_missing_files(cfg, folder: str) -> None:
    looked = []
    original = parts.find_faults
    parts.find_faults = lambda *given: looked.append(1) or original(*given)
    try:
        Trainer(cfg)
    except FileNotFoundError as error:
        from detectron2.utils import comm

        told = {"message": str(error), "looked": len(looked)}
        Path(folder, f"{comm.get_rank()}.json").write_text(json.dumps(told))


@pytest.mark.slow
def test_one_process_looks_and_all_raise_the_same(tmp_path):
    spec = write_dataset(tmp_path / "data")
    (tmp_path / "data" / "pictures" / "0004.png").unlink()
    cfg = small_config(spec, tmp_path / "run", "DATASETS.TEST", ())
    launch(hear_of_missing_files, 2, dist_url="auto", args=(cfg, str(tmp_path)))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["message"] == second["message"]
    assert "1 of 10 image files do not exist" in first["message"]
    assert (first["looked"], second["looked"]) == (1, 0)
