"""Batches from records: equal for any number of workers, and errors that name the image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from centernet_d2.data.loader import (
    build_test_loader,
    build_train_loader,
    check_training_dicts,
    load_dataset_dicts,
    load_training_dicts,
)

BOX = {"bbox": [0, 0, 2, 2], "bbox_mode": 0, "category_id": 0}


def records(count: int) -> list[dict]:
    size = {"height": 4, "width": 5}
    return [{"image_id": i, "file_name": f"folder/{i}.jpg", **size} for i in range(count)]


def draw(record: dict) -> dict:
    """A mapper that draws from the generators that augmentations use."""
    return {**record, "drawn": float(np.random.rand())}


def broken(record: dict) -> dict:
    if record["image_id"] == 2:
        raise OSError("cannot read it")
    return record


def first_batches(*, num_workers=0, start=0, seed=1, count=6):
    loader = build_train_loader(
        records(7), mapper=draw, total_batch_size=3, num_workers=num_workers, seed=seed, start=start
    )
    return list(itertools.islice(iter(loader), count))


def test_workers_and_start_do_not_change_a_sample():
    alone = first_batches()
    assert first_batches(num_workers=2) == alone
    assert first_batches(start=9, count=3) == alone[3:]
    assert first_batches(start=9, count=3, num_workers=3) == alone[3:]


def test_seed_and_epoch_change_the_samples():
    alone = first_batches(count=14)
    assert first_batches(seed=2, count=14) != alone
    drawn = [sample["drawn"] for batch in alone for sample in batch]
    assert len(set(drawn)) == len(drawn)  # the same image is augmented anew in each epoch


def test_nothing_starts_before_the_first_batch_and_position_can_still_be_set():
    loader = build_train_loader(records(7), mapper=draw, total_batch_size=3, seed=1)
    stream = iter(loader)  # what detectron2 0.5 does in its constructor
    loader.set_position(start=9, seed=1)
    assert next(stream) == first_batches(count=4)[3]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_sample_is_an_error_that_names_it(num_workers):
    options = {"total_batch_size": 4, "num_workers": num_workers}
    loader = build_train_loader(records(4), mapper=broken, **options)
    with pytest.raises(OSError, match="cannot read it") as caught:
        next(iter(loader))
    message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "image 2 (folder/2.jpg)" in message


def test_a_mapper_that_returns_none_is_an_error():
    loader = build_test_loader(records(1), mapper=lambda record: None)
    with pytest.raises(ValueError, match=r"image 0 \(folder/0\.jpg\)"):
        next(iter(loader))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_evaluation_reads_each_image_once(batch_size):
    loader = build_test_loader(records(7), mapper=draw, batch_size=batch_size)
    batches = list(loader)
    assert [s["image_id"] for batch in batches for s in batch] == list(range(7))
    assert len(loader) == len(batches)
    assert max(map(len, batches)) == batch_size


@pytest.fixture
def catalog():
    """Registers datasets for one test."""
    names = []

    def register(name: str, dicts) -> str:
        DatasetCatalog.register(name, dicts if callable(dicts) else lambda: dicts)
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)


def test_empty_and_unknown_datasets_name_key_and_cure(catalog):
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty"):
        load_dataset_dicts([])
    with pytest.raises(KeyError, match="'nowhere' is not registered"):
        load_dataset_dicts(["nowhere"])
    with pytest.raises(ValueError, match="'loader_empty' has no images"):
        load_dataset_dicts([catalog("loader_empty", [])])


@pytest.mark.parametrize(
    ("metadata", "form"),
    [
        ({}, "coco:<json>:<image dir>"),
        ({"evaluator_type": "kitti", "image_dir": "here"}, "kitti:<folder>:<split>"),
        ({"evaluator_type": "pascal_voc", "dirname": "here"}, "voc:<folder>:<split>"),
        ({"evaluator_type": "coco", "json_file": "here"}, "coco:<json>:<image dir>"),
    ],
)
@pytest.mark.parametrize("key", ["DATASETS.TRAIN", "DATASETS.TEST"])
def test_missing_files_name_dataset_path_form_and_cure(catalog, metadata, form, key):
    name = f"loader_missing_{metadata.get('evaluator_type')}_{key}"

    def load():
        raise FileNotFoundError("no such file: 'there.json'")

    catalog(name, load)
    MetadataCatalog.get(name).set(**metadata)
    place = r"\(here\)" if metadata else ""
    words = rf"{key}.*'{name}'.*{place}.*there\.json.*DETECTRON2_DATASETS.*'{form}'"
    with pytest.raises(FileNotFoundError, match=words):
        load_dataset_dicts([name], key=key)
    MetadataCatalog.get(name).set(file_spec=form)  # as the user gave them
    words = rf"there\.json.*Put its files there, or correct '{form}' where you give it\.$"
    with pytest.raises(FileNotFoundError, match=words):
        load_dataset_dicts([name], key=key)


@pytest.mark.parametrize(
    ("metadata", "place"),
    [
        ({"evaluator_type": "pascal_voc", "dirname": "here"}, "XML files in 'here/Annotations'"),
        ({"evaluator_type": "kitti", "label_dir": "here"}, "the label files in 'here'"),
        ({"evaluator_type": "kitti", "label_dir": None}, "the label files in 'training/label_2'"),
    ],
)
def test_where_objects_are_looked_for(catalog, tiny_config, metadata, place):
    name = catalog("loader_place", records(2))
    MetadataCatalog.get(name).set(**metadata)
    bare = [{k: v for k, v in r.items() if k != "annotations"} for r in records(2)]
    with pytest.raises(
        ValueError, match=f"no object to learn from. Not one has annotations: look for .*{place}"
    ):
        check_training_dicts(bare, [name])
    MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("flag", "key"),
    [("iscrowd", "CROWD_AS_OBJECTS"), ("difficult", "DIFFICULT_AS_OBJECTS"), (None, None)],
)
def test_training_without_any_object_is_an_error(catalog, tiny_config, flag, key):
    region = [{**BOX, flag: 1}] if flag else []
    name = catalog("loader_no_object", [{**r, "annotations": region} for r in records(2)])
    cfg = tiny_config("DATASETS.TRAIN", (name,), "DATALOADER.FILTER_EMPTY_ANNOTATIONS", False)
    if flag:
        cfg.INPUT[key] = False
    with pytest.raises(ValueError, match=r"2 images of loader_no_object.*Check 'annotations'"):
        load_training_dicts(cfg)
    if flag:
        cfg.INPUT[key] = True
        assert len(load_training_dicts(cfg)) == 2


POSE = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])


@pytest.mark.parametrize(
    ("joints", "labelled"),
    [
        ({}, False),
        ({"keypoints": [0.5, 0.5, 0] * 2}, False),
        ({"keypoints": [3.5, 4.5, 0, 3.5, 4.5, 1]}, True),
        ({"keypoints": np.array([[3.5, 4.5, 2.0], [0.5, 0.5, 0]])}, True),
    ],
)
def test_training_of_joints_without_any_is_an_error(catalog, tiny_config, joints, labelled):
    box = {**BOX, "iscrowd": 0}
    given = ([box], [box, {**box, **joints}], [])
    dicts = [{**r, "annotations": a} for r, a in zip(records(3), given, strict=True)]
    datasets = ("DATASETS.TRAIN", (catalog("loader_joints", dicts),))
    keep_all = ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False)
    assert len(load_training_dicts(tiny_config(*datasets, *keep_all))) == 3
    if labelled:
        assert len(load_training_dicts(tiny_config(*datasets, *keep_all, *POSE))) == 3
        return
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN.*loader_joints has a labelled joint"):
        load_training_dicts(tiny_config(*datasets, *keep_all, *POSE))


def test_ignored_regions_do_not_count(catalog, tiny_config):
    """Without `iscrowd` too: not as objects, and -1 is no class that could be counted."""
    ignored = {**BOX, "category_id": -1, "ignored": True}
    given = ([BOX, ignored], [ignored])
    dicts = [{**r, "annotations": a} for r, a in zip(records(2), given, strict=True)]
    name = catalog("loader_ignored", dicts)
    MetadataCatalog.get(name).thing_classes = ["box"]
    cfg = tiny_config("DATASETS.TRAIN", (name,), "DATALOADER.FILTER_EMPTY_ANNOTATIONS", True)
    (kept,) = load_training_dicts(cfg)
    assert [entry.get("ignored", False) for entry in kept["annotations"]] == [False, True]
    assert dicts[0]["annotations"] == [BOX, ignored]  # what is registered stays as it is
    name = catalog("loader_only_ignored", dicts[1:])
    cfg = tiny_config("DATASETS.TRAIN", (name,), "INPUT.CROWD_AS_OBJECTS", True)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    with pytest.raises(ValueError, match="have no object to learn from"):
        load_training_dicts(cfg)


def test_empty_images_are_kept_or_left_out(catalog):
    with_box = [{**records(1)[0], "annotations": [{**BOX, "iscrowd": 0}]}]
    without = [{**record, "annotations": []} for record in records(2)]
    names = [catalog("loader_with", with_box), catalog("loader_without", without)]
    assert len(load_dataset_dicts(names)) == 3
    assert load_dataset_dicts(names, filter_empty=True) == with_box
    with pytest.raises(ValueError, match="FILTER_EMPTY_ANNOTATIONS False"):
        load_dataset_dicts(["loader_without"], filter_empty=True)
