from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator

from centernet_d2.config import add_centernet_config
from centernet_d2.engine.setup import load_config
from centernet_d2.evaluation import EVALUATOR_REGISTRY, CocoEvaluator, build_evaluator
from centernet_d2.evaluation.build import protocol_name

COCO_CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "COCO-Detection"


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_centernet_config(cfg)
    return cfg


def test_coco_datasets_get_the_coco_evaluator(cfg, registered, dataset):
    cfg.TEST.ROUND_RESULTS = 2
    cfg.OUTPUT_DIR = "some_folder"
    name = registered(dataset)
    evaluator = build_evaluator(cfg, name)
    assert isinstance(evaluator, CocoEvaluator)
    assert evaluator.round_results == 2
    assert evaluator.backend == "pycocotools"
    assert evaluator.output_folder == "some_folder/inference"
    assert evaluator.protocol == "none / keep_res / rounded to 2 decimals"


def test_two_test_datasets_do_not_share_a_folder(cfg, registered, dataset):
    cfg.OUTPUT_DIR = "some_folder"
    names = [registered(dataset, name) for name in ("first_test_set", "second_test_set")]
    cfg.DATASETS.TEST = names
    folders = [build_evaluator(cfg, name).output_folder for name in names]
    assert folders == [f"some_folder/inference/{name}" for name in names]


def test_unregistered_dataset_is_named(cfg):
    with pytest.raises(ValueError, match=r"'no_such_set' is not registered.*coco:<annotations"):
        build_evaluator(cfg, "no_such_set", "out")


@pytest.mark.parametrize("evaluator_type", [None, "panoptic"])
def test_unknown_type_names_dataset_type_known_types_and_cure(
    cfg, registered, dataset, evaluator_type
):
    name = registered(dataset)
    metadata = MetadataCatalog.get(name)
    del metadata.evaluator_type
    if evaluator_type:
        metadata.evaluator_type = evaluator_type
    with pytest.raises(ValueError, match=rf"{name}.*EVALUATOR_REGISTRY") as caught:
        build_evaluator(cfg, name, "out")
    for part in (repr(evaluator_type), "known: coco", "evaluator_type = ..."):
        assert part in str(caught.value)


def test_users_add_their_own_type(cfg):
    class Mine(DatasetEvaluator):
        def __init__(self, cfg, dataset_name, output_folder):
            self.arguments = (dataset_name, output_folder)

    def type_of_this_test(cfg, dataset_name, output_folder):
        return Mine(cfg, dataset_name, output_folder)

    EVALUATOR_REGISTRY.register(type_of_this_test)
    DatasetCatalog.register("mine", lambda: [])
    MetadataCatalog.get("mine").evaluator_type = "type_of_this_test"
    try:
        assert build_evaluator(cfg, "mine", "out").arguments == ("mine", "out")
    finally:
        DatasetCatalog.remove("mine")
        MetadataCatalog.remove("mine")
        EVALUATOR_REGISTRY._obj_map.pop("type_of_this_test")


MS = ("TEST.FLIP", True, "TEST.SCALES", [0.5, 0.75, 1, 1.25, 1.5])
REFERENCE = ("TEST.SOFT_NMS.MODE", "reference")
POSE = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])
BLOCK = "MODEL.POINTS_CENTERNET.POSE"
BOX3D = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"])
BOX3D_BLOCK = "MODEL.POINTS_CENTERNET.BOX3D"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), "none / keep_res"),
        (("TEST.CANVAS", "fit"), "none / keep_res / fit canvas"),
        (("TEST.RESOLUTION", "fixed", "TEST.CANVAS", "fit"), "none / fixed 512x512"),
        (("TEST.FLIP", True), "flip / keep_res"),
        (("TEST.FLIP", True, "TEST.RESOLUTION", "fixed"), "flip / fixed 512x512"),
        ((*MS, *REFERENCE), "ms / keep_res"),
        ((*MS, *REFERENCE, "TEST.RESOLUTION", "fixed"), "ms / fixed 512x512"),
        (MS, "ms / keep_res / clean soft-NMS"),
        ((*MS, "TEST.SOFT_NMS.METHOD", "linear"), "ms / keep_res / clean linear soft-NMS"),
        ((*MS, *REFERENCE, "TEST.FLIP", False), "ms without flip / keep_res"),
        ((*MS, *REFERENCE, "TEST.SCALES", [1.0, 2.0]), "ms (1, 2) / keep_res"),
        (("TEST.SCALES", [0.5]), "none at scale 0.5 / keep_res"),
        (("MODEL.POINTS_CENTERNET.BOX2D.NMS", "hard"), "none / keep_res / hard NMS"),
        (
            ("MODEL.POINTS_CENTERNET.BOX2D.NMS", "gaussian", "TEST.ROUND_RESULTS", 2),
            "none / keep_res / gaussian NMS / rounded to 2 decimals",
        ),
        (("TEST.DTYPE", "bfloat16"), "none / keep_res / bfloat16"),
        (
            ("TEST.RESOLUTION", "fixed", "TEST.FIXED_FIT", "width"),
            "none / fixed 512x512 by width",
        ),
        ((*BOX3D, f"{BOX3D_BLOCK}.CALIBRATION", "each"), "none / keep_res"),
        (
            (
                *(*BOX3D, f"{BOX3D_BLOCK}.CALIBRATION", "first"),
                *("MODEL.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT", True),
            ),
            "none / keep_res / sizes as points / one camera per batch",
        ),
        (POSE, "none / keep_res"),
        ((*POSE, f"{BLOCK}.SNAPPING", "paper"), "none / keep_res / paper snapping"),
        (
            (*POSE, f"{BLOCK}.SNAPPING", "none", f"{BLOCK}.CANDIDATES", 50),
            "none / keep_res / no snapping",
        ),
        (
            (*POSE, f"{BLOCK}.CANDIDATES", 50, f"{BLOCK}.CANDIDATE_SCORE", 0.05),
            "none / keep_res / 50 candidates / candidates above 0.05",
        ),
        ((*POSE, f"{BLOCK}.SNAP_DISTANCE", 0.5), "none / keep_res / snap distance 0.5"),
        (
            (*POSE, f"{BLOCK}.SNAP_DISTANCE", 0.5, f"{BLOCK}.SNAPPING", "paper"),
            "none / keep_res / paper snapping",
        ),
        ((*POSE, f"{BLOCK}.JOINT_HEATMAP", False, f"{BLOCK}.SNAPPING", "paper"), "none / keep_res"),
        ((f"{BLOCK}.SNAPPING", "paper"), "none / keep_res"),
    ],
)
def test_protocol_names(cfg, overrides, name):
    cfg.merge_from_list(list(overrides))
    assert protocol_name(cfg) == name


@pytest.mark.parametrize(
    ("evaluator_type", "overrides", "name"),
    [
        ("coco", ("TEST.KITTI.ROUND_RESULTS", 0, "TEST.VOC.ROUND", False), ""),
        ("pascal_voc", ("TEST.ROUND_RESULTS", 2), ""),
        ("pascal_voc", ("TEST.VOC.ROUND", False), " / unrounded"),
        ("kitti", ("TEST.ROUND_RESULTS", 3), ""),
        ("kitti", ("TEST.KITTI.ROUND_RESULTS", 0), " / unrounded"),
        ("kitti", ("TEST.KITTI.ROUND_RESULTS", 4), " / rounded to 4 decimals"),
    ],
)
def test_each_evaluator_tells_of_its_own_rounding(cfg, evaluator_type, overrides, name):
    cfg.merge_from_list(list(overrides))
    assert protocol_name(cfg, evaluator_type) == f"none / keep_res{name}"


CORNER_MS = ("TEST.SCALES", [0.5, 0.75, 1, 1.25, 1.5])
TRIPLET_MS = ("TEST.SCALES", [0.6, 1, 1.2, 1.5, 1.8])


@pytest.mark.parametrize(
    ("config", "overrides", "name"),
    [
        ("cornernet_hourglass104", (), "flip / keep_res / clean soft-NMS"),
        ("cornernet_hourglass104", REFERENCE, "flip / keep_res"),
        ("triplet_hourglass104", REFERENCE, "flip / keep_res"),
        ("cornernet_hourglass104", (*CORNER_MS, *REFERENCE), "ms / keep_res"),
        ("triplet_hourglass104", (*TRIPLET_MS, *REFERENCE), "ms / keep_res"),
        (
            "triplet_hourglass104",
            (*CORNER_MS, *REFERENCE),
            "ms (0.5, 0.75, 1, 1.25, 1.5) / keep_res",
        ),
        (
            "cornernet_hourglass104",
            (*TRIPLET_MS, *REFERENCE),
            "ms (0.6, 1, 1.2, 1.5, 1.8) / keep_res",
        ),
        (
            "cornernet_hourglass104",
            ("TEST.SOFT_NMS.METHOD", "hard"),
            "flip / keep_res / clean hard soft-NMS",
        ),
        (
            "cornernet_hourglass104",
            ("MODEL.POINTS_CENTERNET.BOX2D.NMS", "hard", *REFERENCE),
            "flip / keep_res",
        ),
        (
            "cornernet_hourglass104",
            ("TEST.CANVAS", "fit", *REFERENCE),
            "flip / keep_res / fit canvas",
        ),
        (
            "cornernet_hourglass104",
            ("MODEL.CORNERNET.MERGE_BOXES", "always", *REFERENCE),
            "flip / keep_res / boxes always merged",
        ),
        (
            "triplet_hourglass104",
            ("MODEL.CORNERNET.MERGE_BOXES", "always", *TRIPLET_MS, *REFERENCE),
            "ms / keep_res",
        ),
        (
            "triplet_hourglass104",
            ("MODEL.CORNERNET.MERGE_BOXES", "never", *TRIPLET_MS, *REFERENCE),
            "ms / keep_res / boxes never merged",
        ),
        ("points_dla34_140e", ("TEST.CANVAS", "odd"), "none / keep_res / odd canvas"),
        (
            "points_dla34_140e",
            ("TEST.FLIP", True, *TRIPLET_MS),
            "ms (0.6, 1, 1.2, 1.5, 1.8) / keep_res / clean soft-NMS",
        ),
    ],
)
def test_protocol_names_of_each_detector(config, overrides, name):
    cfg = load_config(str(COCO_CONFIGS / f"{config}.yaml"), overrides)
    assert protocol_name(cfg) == name
