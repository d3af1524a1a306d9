from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from torch import nn

from centernet_d2.config import add_centernet_config
from centernet_d2.engine.setup import load_config
from centernet_d2.evaluation import EVALUATOR_REGISTRY, CocoEvaluator, build_evaluator
from centernet_d2.evaluation.build import told_by_model
from centernet_d2.modeling.fast_inference import make_fast

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
    evaluator = build_evaluator(cfg, name, protocol="no augmentation / keep_res")
    assert isinstance(evaluator, CocoEvaluator)
    assert evaluator.round_results == 2
    assert evaluator.backend == "pycocotools"
    assert evaluator.output_folder == "some_folder/inference"
    assert evaluator.protocol == "no augmentation / keep_res / rounded to 2 decimals"


def test_two_test_datasets_do_not_share_a_folder(cfg, registered, dataset):
    cfg.OUTPUT_DIR = "some_folder"
    names = [registered(dataset, name) for name in ("first_test_set", "second_test_set")]
    cfg.DATASETS.TEST = names
    folders = [build_evaluator(cfg, name).output_folder for name in names]
    assert folders == [f"some_folder/inference/{name}" for name in names]


def test_unregistered_dataset_is_named(cfg):
    with pytest.raises(ValueError, match=r"'no_such_set' is not registered.*coco:<json>"):
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


class Given(DatasetEvaluator):
    """Keeps what an entry was given, and has results."""

    def __init__(self, *arguments, results=None, **context):
        self.arguments, self.context, self.results = arguments, context, results

    def process(self, inputs, outputs):
        self.seen = inputs

    def evaluate(self):
        return self.results


@pytest.fixture
def entries():
    """Register entries under names, and a dataset "mine" whose evaluator_type is the first."""

    def register(**functions):
        for name, function in functions.items():
            function.__name__ = name
            EVALUATOR_REGISTRY.register(function)
            names.append(name)
        DatasetCatalog.register("mine", lambda: [])
        MetadataCatalog.get("mine").evaluator_type = names[0]

    names = []
    yield register
    DatasetCatalog.remove("mine")
    MetadataCatalog.remove("mine")
    for name in names:
        EVALUATOR_REGISTRY._obj_map.pop(name)


def test_users_add_their_own_type(cfg, entries):
    def plain(cfg, dataset_name, output_folder):
        return Given(dataset_name, output_folder)

    entries(type_of_this_test=plain)
    evaluator = build_evaluator(cfg, "mine", "out", protocol="p", outputs=("pred_masks",))
    assert evaluator.arguments == ("mine", "out")


def test_entries_hear_of_the_model_what_they_ask_for(cfg, entries):
    def some(cfg, dataset_name, output_folder, *, outputs):
        return Given(outputs=outputs)

    def everything(cfg, dataset_name, output_folder, **context):
        return Given(**context)

    entries(asks_for_some=some, asks_for_all=everything)
    evaluator = build_evaluator(cfg, "mine", "out", protocol="p", outputs=["pred_masks"])
    assert evaluator.context == {"outputs": ("pred_masks",)}
    del MetadataCatalog.get("mine").evaluator_type
    MetadataCatalog.get("mine").evaluator_type = "asks_for_all"
    evaluator = build_evaluator(cfg, "mine", "out", protocol="p", outputs=["pred_masks"])
    assert evaluator.context == {"protocol": "p", "outputs": ("pred_masks",)}


def test_evaluators_of_the_model_score_beside_that_of_the_dataset(cfg, entries, caplog):
    def own(cfg, dataset_name, output_folder):
        return Given(output_folder, results={"bbox": {"AP": 1.0}})

    def further(cfg, dataset_name, output_folder):
        return Given(output_folder, results={"bbox": {"AP": 9.0, "AP-x": 2.0}, "angle": {"E": 3.0}})

    def on_another_process(cfg, dataset_name, output_folder):
        return Given(output_folder)

    entries(own=own, further=further, another=on_another_process)
    names = ("further", "own", "further", "another")
    evaluator = build_evaluator(cfg, "mine", "out", evaluators=names)
    assert evaluator.evaluate() == {"bbox": {"AP": 1.0, "AP-x": 2.0}, "angle": {"E": 3.0}}
    assert "bbox/AP of Given were given already" in caplog.text
    evaluator.process([{"image_id": 1}], [{}])
    assert all(e.seen == [{"image_id": 1}] for e in evaluator._evaluators)
    folders = [e.arguments[0] for e in evaluator._evaluators]
    assert folders == ["out", "out/further", "out/another"]
    assert isinstance(build_evaluator(cfg, "mine", "out", evaluators=["own"]), Given)
    with pytest.raises(ValueError, match=r"evaluators \['nobody'\].*known: .*coco.*EVALUATOR_REGI"):
        build_evaluator(cfg, "mine", "out", evaluators=["nobody"])


def test_models_of_others_are_described_by_what_they_say():
    assert told_by_model(nn.Linear(1, 1)) == {
        "protocol": "",
        "outputs": ("pred_boxes",),
        "evaluators": (),
    }


@BACKBONE_REGISTRY.register()
class ProtocolTestBackbone(Backbone):
    """Two features, as few weights as can be."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1, stride=4)

    def output_shape(self):
        return dict.fromkeys(("first", "second"), ShapeSpec(channels=4, stride=4))

    def forward(self, images):
        return dict.fromkeys(("first", "second"), self.convolution(images))


def told(cfg, *overrides):
    """What a model of the config says, on a backbone that takes no time."""
    small = (
        *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "ProtocolTestBackbone"),
        *("MODEL.HEATMAP.IN_FEATURES", ["first", "second"], "MODEL.HEATMAP.NUM_CLASSES", 2),
        *("MODEL.POINTS_CENTERNET.HEAD_CHANNELS", 4, "MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS", 3),
        *("MODEL.CORNERNET.HEAD_CHANNELS", 4, "MODEL.CORNERNET.POOL_CHANNELS", 4),
    )
    cfg.merge_from_list([*small, *overrides])
    model = build_model(cfg).eval()
    make_fast(model, fold=False, dtype=cfg.TEST.DTYPE)
    return told_by_model(model)


MS = ("TEST.FLIP", True, "TEST.SCALES", [0.5, 0.75, 1, 1.25, 1.5])
REFERENCE = ("TEST.SOFT_NMS.MODE", "reference")
PUBLISHED = ("TEST.PROTOCOL", "published", "TEST.ROUND_RESULTS", 2, *REFERENCE)
POSE = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "pose"])
BLOCK = "MODEL.POINTS_CENTERNET.POSE"
BOX3D = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"])
BOX3D_BLOCK = "MODEL.POINTS_CENTERNET.BOX3D"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), "no augmentation / keep_res"),
        (("TEST.CANVAS", "fit"), "no augmentation / keep_res / fit canvas"),
        (("TEST.RESOLUTION", "fixed", "TEST.CANVAS", "fit"), "no augmentation / fixed 512x512"),
        (("TEST.FLIP", True), "flip / keep_res"),
        (("TEST.FLIP", True, "TEST.RESOLUTION", "fixed"), "flip / fixed 512x512"),
        ((*MS, *REFERENCE), "ms / keep_res"),
        ((*MS, *REFERENCE, "TEST.RESOLUTION", "fixed"), "ms / fixed 512x512"),
        (MS, "ms / keep_res / clean soft-NMS"),
        ((*MS, "TEST.SOFT_NMS.METHOD", "linear"), "ms / keep_res / clean linear soft-NMS"),
        ((*MS, *REFERENCE, "TEST.FLIP", False), "ms without flip / keep_res"),
        ((*MS, *REFERENCE, "TEST.SCALES", [1.0, 2.0]), "ms (1, 2) / keep_res"),
        (("TEST.SCALES", [0.5]), "no augmentation at scale 0.5 / keep_res"),
        (("MODEL.POINTS_CENTERNET.BOX2D.NMS", "hard"), "no augmentation / keep_res / hard NMS"),
        (
            ("MODEL.POINTS_CENTERNET.BOX2D.NMS", "gaussian", "TEST.ROUND_RESULTS", 2),
            "no augmentation / keep_res / gaussian NMS / rounded to 2 decimals",
        ),
        (("TEST.DTYPE", "bfloat16"), "no augmentation / keep_res / bfloat16"),
        (PUBLISHED, "published: no augmentation / keep_res / rounded to 2 decimals"),
        (
            (*PUBLISHED, *MS, *REFERENCE),
            "published: ms / keep_res / rounded to 2 decimals",
        ),
        (
            ("TEST.RESOLUTION", "fixed", "TEST.FIXED_FIT", "width"),
            "no augmentation / fixed 512x512 by width",
        ),
        ((*BOX3D, f"{BOX3D_BLOCK}.CALIBRATION", "each"), "no augmentation / keep_res"),
        (
            (
                *(*BOX3D, f"{BOX3D_BLOCK}.CALIBRATION", "first"),
                *("MODEL.POINTS_CENTERNET.BOX2D.SIZE_AS_POINT", True),
            ),
            "no augmentation / keep_res / sizes as points / one camera per batch",
        ),
        (POSE, "no augmentation / keep_res"),
        ((*POSE, f"{BLOCK}.SNAPPING", "paper"), "no augmentation / keep_res / paper snapping"),
        (
            (*POSE, f"{BLOCK}.SNAPPING", "none", f"{BLOCK}.CANDIDATES", 50),
            "no augmentation / keep_res / no snapping",
        ),
        (
            (*POSE, f"{BLOCK}.CANDIDATES", 50, f"{BLOCK}.CANDIDATE_SCORE", 0.05),
            "no augmentation / keep_res / 50 candidates / candidates above 0.05",
        ),
        ((*POSE, f"{BLOCK}.SNAP_DISTANCE", 0.5), "no augmentation / keep_res / snap distance 0.5"),
        (
            (*POSE, f"{BLOCK}.SNAP_DISTANCE", 0.5, f"{BLOCK}.SNAPPING", "paper"),
            "no augmentation / keep_res / paper snapping",
        ),
        (
            (*POSE, f"{BLOCK}.JOINT_HEATMAP", False, f"{BLOCK}.SNAPPING", "paper"),
            "no augmentation / keep_res",
        ),
        ((f"{BLOCK}.SNAPPING", "paper"), "no augmentation / keep_res"),
    ],
)
def test_protocol_names(cfg, overrides, name):
    """Rounding is told by the evaluator of a dataset, the rest by the model."""
    cfg.MODEL.META_ARCHITECTURE = "PointsCenterNet"
    model = told(cfg, *overrides)["protocol"]
    rounding = f" / rounded to {cfg.TEST.ROUND_RESULTS} decimals" * bool(cfg.TEST.ROUND_RESULTS)
    assert model + rounding == name


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
def test_each_evaluator_tells_of_its_own_rounding(
    cfg, registered, dataset, monkeypatch, evaluator_type, overrides, name
):
    cfg.merge_from_list(list(overrides))
    records = [{"image_id": 1, "height": 9, "width": 9, "file_name": "1.png"}]
    dataset_name = registered(dataset)
    metadata = MetadataCatalog.get(dataset_name)
    del metadata.evaluator_type
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: records)
    metadata.evaluator_type = evaluator_type
    evaluator = build_evaluator(cfg, dataset_name, "out", protocol="no augmentation / keep_res")
    assert evaluator.protocol == f"no augmentation / keep_res{name}"


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
        ("points_dla34_140e", ("TEST.CANVAS", "odd"), "no augmentation / keep_res / odd canvas"),
        (
            "points_dla34_140e",
            ("TEST.FLIP", True, *TRIPLET_MS),
            "ms (0.6, 1, 1.2, 1.5, 1.8) / keep_res / clean soft-NMS",
        ),
    ],
)
def test_protocol_names_of_each_detector(config, overrides, name):
    cfg = load_config(str(COCO_CONFIGS / f"{config}.yaml"))
    assert told(cfg, *overrides)["protocol"] == name


def test_points_detectors_tell_the_fields_of_their_tasks(cfg):
    cfg.MODEL.META_ARCHITECTURE = "PointsCenterNet"
    assert told(cfg, *POSE)["outputs"] == ("pred_boxes", "pred_keypoints")
    assert told(cfg, *BOX3D)["outputs"] == ("pred_boxes", "pred_boxes3d")


def test_no_evaluator_runs_code_of_another():
    show = "print(*sys.modules)"
    code = f"import centernet_d2.evaluation.build, sys; {show}; "
    code += f"import centernet_d2.evaluation.coco; {show}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    build, with_coco = (
        [name.split(".")[-1] for name in line.split() if "centernet_d2.evaluation." in name]
        for line in done.stdout.splitlines()
    )
    assert [name for name in build if name.startswith(("coco", "voc", "kitti"))] == []
    assert [name for name in with_coco if name.startswith(("voc", "kitti"))] == []
