"""One word chooses the test protocol, and nothing contradicts it in silence."""

from __future__ import annotations

import logging
import re

import pytest
from detectron2.modeling import META_ARCH_REGISTRY, build_model

from centernet_d2.config import KEYS, value_of
from centernet_d2.config.protocols import (
    CANVASES,
    PROTOCOLS,
    apply_protocol,
    check_protocol,
    protocol_values,
)
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.progress import tell_once

BOX2D, CORNERS, TRIPLET = (
    "MODEL.POINTS_CENTERNET.BOX2D",
    "MODEL.CORNERNET",
    "MODEL.TRIPLET_CENTERNET",
)
PUBLISHED, CLEAN = ("TEST.PROTOCOL", "published"), ("TEST.PROTOCOL", "clean")
ODDITIES = {  # published, clean
    "TEST.SOFT_NMS.MODE": ("reference", "clean"),
    "TEST.SOFT_NMS.EXTENT": ("inclusive", "continuous"),
    "TEST.ROUND_RESULTS": (2, 0),
    "TEST.VOC.FILE_OFFSET": ("all", "left_top"),
    "TEST.VOC.ROUND": (True, False),
    "TEST.KITTI.ROUND_RESULTS": (2, 0),
    f"{BOX2D}.SIZE_AS_POINT": (False, False),
    f"{CORNERS}.FLIP_CONVENTION": ("edge", "pixel"),
    f"{TRIPLET}.CENTER_CHOICE": ("first", "best"),
}


@pytest.fixture(autouse=True)
def _nothing_said(caplog):
    tell_once.cache_clear()
    caplog.set_level(logging.WARNING)


def values(cfg, keys=ODDITIES):
    return {key: value_of(cfg, key) for key in keys}


def config(config_root, name, *overrides):
    return load_config(str(config_root / f"{name}.yaml"), ["MODEL.DEVICE", "cpu", *overrides])


@pytest.mark.parametrize(
    "name", ["Base-PointsCenterNet", "Base-CornerNet", "Base-TripletCenterNet"]
)
def test_a_word_sets_all(config_root, caplog, name):
    for column, word in enumerate((PUBLISHED, CLEAN)):
        cfg = setup(config(config_root, name, *word))
        assert values(cfg) == {key: pair[column] for key, pair in ODDITIES.items()}
        check_protocol(cfg)
    assert "TEST.PROTOCOL 'published' sets TEST.SOFT_NMS.MODE 'clean' -> 'reference'" in caplog.text
    assert "TEST.PROTOCOL 'clean' sets TEST.SOFT_NMS.EXTENT 'inclusive' -> 'cont" in caplog.text


VOC, KITTI = ["TEST.VOC.FILE_OFFSET", "TEST.VOC.ROUND"], ["TEST.KITTI.ROUND_RESULTS"]


@pytest.mark.parametrize(
    ("name", "datasets", "told"),
    [
        ("PointsCenterNet", ("coco:a.json:b", "coco_2017_val"), []),
        ("CornerNet", ("kitti:a:b",), [*KITTI, f"{CORNERS}.FLIP_CONVENTION"]),
        (
            "TripletCenterNet",
            ("voc_2007_test",),
            [*VOC, f"{CORNERS}.FLIP_CONVENTION", f"{TRIPLET}.CENTER_CHOICE"],
        ),
        ("PointsCenterNet", ("mine",), [*VOC, *KITTI]),
        ("PointsCenterNet", ("coco:a.json:b", "voc:a"), [*VOC, *KITTI]),
    ],
)
def test_only_keys_that_may_be_read_are_told(config_root, name, datasets, told):
    cfg = config(config_root, f"Base-{name}", *CLEAN, "DATASETS.TEST", datasets)
    changed = apply_protocol(cfg)
    assert re.findall(r"[\w.]+\.[A-Z_]+", changed)[1:] == ["TEST.SOFT_NMS.EXTENT", *told]
    assert cfg.TEST.VOC.ROUND is False  # set all the same


def test_3d_boxes_have_sizes_as_points(config_root):
    cfg = config(config_root, "KITTI-Detection3D/points_dla34_3dop", *PUBLISHED)
    apply_protocol(cfg)
    assert cfg.MODEL.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT
    cfg = config(config_root, "Shapes/box3d_tiny", *PUBLISHED)  # which chose an NMS of its own
    with pytest.raises(ValueError, match=r"BOX2D\.NMS is 'hard', but .*'published' means 'none'"):
        apply_protocol(cfg)


def test_the_default_is_every_key_as_it_is(config_root):
    cfg = config(config_root, "Base-CornerNet", "TEST.ROUND_RESULTS", 3)
    before = str(cfg)
    assert apply_protocol(cfg) == ""
    assert str(cfg) == before
    assert KEYS["TEST.PROTOCOL"].default == ""


def test_published_values_are_those_that_the_table_calls_so():
    for key, value in PROTOCOLS["published"].items():
        assert KEYS[key].rule.accepts(value)
        if isinstance(value, str):
            assert "ublished" in KEYS[key].doc, key


def test_the_word_can_be_changed_in_code(config_root):
    cfg = setup(config(config_root, "Base-TripletCenterNet", *PUBLISHED))
    cfg.TEST.PROTOCOL = "clean"
    assert values(setup(cfg)) == {key: pair[1] for key, pair in ODDITIES.items()}
    cfg.TEST.PROTOCOL = "published"
    assert values(setup(cfg)) == {key: pair[0] for key, pair in ODDITIES.items()}
    cfg.TEST.ROUND_RESULTS = 4  # of neither
    with pytest.raises(ValueError, match=r"^TEST\.ROUND_RESULTS is 4, but TEST\.PROTOCOL 'publi"):
        setup(cfg)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            (*PUBLISHED, "TEST.ROUND_RESULTS", 0),
            "TEST.ROUND_RESULTS is 0, but .*'published' means 2",
        ),
        (("TEST.SOFT_NMS.MODE", "reference", *CLEAN), "MODE is 'reference', but .* means 'clean'"),
        ((*PUBLISHED, "TEST.CANVAS", "fit"), "TEST.CANVAS is 'fit', but .* means 'strict'"),
        ((*PUBLISHED, f"{BOX2D}.NMS", "hard"), "NMS is 'hard', but .* means 'none'"),
        ((*CLEAN, f"{CORNERS}.FLIP_CONVENTION", "edge"), "is 'edge', but .* means 'pixel'"),
    ],
)
def test_a_key_beside_the_word_must_agree(config_root, overrides, told):
    with pytest.raises(ValueError, match=rf"{told}.*Make them agree, or set TEST\.PROTOCOL ''"):
        config(config_root, "Base-PointsCenterNet", *overrides)


def test_files_before_the_word_do_not_contradict_it(config_root, tmp_path):
    voc = "PascalVOC-Detection/Base-Points-VOC"  # says how files are written
    cfg = config(config_root, voc, *CLEAN)
    apply_protocol(cfg)
    assert (cfg.TEST.VOC.FILE_OFFSET, cfg.TEST.VOC.ROUND) == ("left_top", False)
    file = tmp_path / "mine.yaml"
    file.write_text("TEST: {PROTOCOL: published, ROUND_RESULTS: 1}")
    with pytest.raises(ValueError, match=r"mine\.yaml: TEST\.ROUND_RESULTS is 1, but"):
        load_config(str(file))
    file.write_text("TEST: {PROTOCOL: published}")
    assert load_config(str(file), ["TEST.ROUND_RESULTS", 2]).TEST.PROTOCOL == "published"
    with pytest.raises(ValueError, match=r"TEST\.ROUND_RESULTS is 1, but"):
        load_config(str(file), ["TEST.ROUND_RESULTS", 1])
    file.write_text(setup(load_config(str(file), ["MODEL.DEVICE", "cpu"])).dump())
    assert setup(load_config(str(file), CLEAN)).TEST.ROUND_RESULTS == 0  # of a saved config


def test_every_detector_has_its_published_canvas():
    detectors = {n: d for n, d in META_ARCH_REGISTRY if hasattr(d, "published_canvas")}
    assert {name: each.published_canvas for name, each in detectors.items()} == CANVASES


def test_a_model_is_not_built_before_its_protocol_is_set(tiny_config):
    with pytest.raises(ValueError, match=r"MODE is 'clean', but .*centernet_d2\.setup\(cfg\) sets"):
        build_model(tiny_config(*PUBLISHED))
    cfg = tiny_config(*PUBLISHED)
    apply_protocol(cfg)
    assert build_model(cfg).describe_protocol().startswith("published: no augmentation / ")
    assert protocol_values(tiny_config()) == {}
