"""Every known network is detected from its keys, and its table is a bijection."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torchvision
from published_networks import mmdetection_shapes, on_meta, points_shapes

from centernet_d2.checkpoint.detect_source import (
    DetectedSource,
    UnknownWeightsError,
    detect_source,
)
from centernet_d2.checkpoint.matching_config import matching_config
from centernet_d2.checkpoint.published import Converted, convert, model_names
from centernet_d2.checkpoint.rename import RenameError
from centernet_d2.data.datasets.kitti import KITTI_RULES
from centernet_d2.structures.skeleton import COCO_JOINTS, Skeleton, derive_flip_map

POINTS = {  # architecture, task -> classes and joints, parameters dropped, tensors of the model
    "res_18 box2d": (80, 0, 0, 150),
    "res_50 box2d": (80, 0, 0, 348),
    "resdcn_18 box2d": (80, 0, 0, 177),
    "resdcn_101 box2d": (80, 0, 0, 681),
    "dla_34 box2d": (80, 0, 14, 386),
    "dlav0_34 box2d": (80, 0, 14, 312),
    "hourglass box2d": (80, 0, 0, 984),
    "dla_34 pose": (1, 17, 14, 398),
    "hourglass pose": (1, 17, 0, 1008),
    "dla_34 box3d": (3, 0, 14, 398),
}
EXTREME_HEADS = ("t_heats", "l_heats", "b_heats", "r_heats", "ct_heats")
EXTREME_OFFSETS = ("t_regrs", "l_regrs", "b_regrs", "r_regrs")
CONVERTED_NAMES = {  # by the points repository's own converter
    **{f"{side}_heats": f"hm_{side}" for side in "tlbr"},
    **{f"{side}_regrs": f"reg_{side}" for side in "tlbr"},
    "ct_heats": "hm_c",
}


def whole(shapes) -> Converted:
    """What becomes of the whole of a published file, which is all that its model has."""
    converted = convert({"epoch": 140, "state_dict": on_meta(shapes)})
    assert converted.state_dict.keys() == model_names(converted.found).keys()
    return converted


@pytest.mark.parametrize("network", POINTS)
def test_points_repository(network):
    classes, joints, dropped, tensors = POINTS[network]
    architecture, task = network.split()
    shapes = points_shapes(architecture, task)
    converted = whole(shapes)
    found = converted.found
    assert found.architecture.partition(",")[0] == architecture
    assert (found.task, found.num_classes, found.num_joints) == (task, classes, joints)
    assert len(converted.renamed.dropped) == dropped
    assert not converted.renamed.kept
    assert len(converted.state_dict) == tensors == len(shapes) - dropped
    content = converted.file_content()
    assert len(content["class_names"]) == classes
    assert content["joint_names"] == list(COCO_JOINTS[:joints])


@pytest.mark.parametrize(
    ("network", "lacks", "reads"),
    [
        ("res_18 box2d", "num_batches_tracked", 23),  # of torch before 0.4.1
        *(
            (f"{network} {task}", "reg.", 0)
            for network in ("dla_34", "hourglass")
            for task in ("box2d", "pose")
        ),
    ],
)
def test_what_a_points_network_may_lack(network, lacks, reads):
    shapes = points_shapes(*network.split())
    converted = whole({key: s for key, s in shapes.items() if lacks not in key})
    assert len(converted.renamed.kept) == reads
    assert all(lacks in key for key in converted.renamed.kept)
    says = converted.found.model.get("MODEL.POINTS_CENTERNET.OFFSET", True)
    assert says == (lacks != "reg.")  # --not_reg_offset


def test_what_is_known_of_published_poses():
    converted = convert(on_meta(points_shapes("dla_34", "pose")))
    assert converted.found.describe().endswith("points repository, pose, 1 class, 17 joints")
    keys, content = matching_config(converted.found), converted.file_content()
    assert content["class_names"] == ["person"]
    assert keys["MODEL.POINTS_CENTERNET.TASKS"] == ["box2d", "pose"]
    assert keys["DATASETS.TEST"] == ["keypoints_coco_2017_val"]
    assert keys["DATALOADER.FILTER_EMPTY_ANNOTATIONS"]
    # What a flip exchanges is a guess, as the names are: the dataset says it, or the checkpoint.
    assert "MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES" not in keys
    assert content["guessed"] == ["class_names", "joint_names"]
    skeleton = Skeleton.from_saved(content, "file")
    derived = Skeleton(COCO_JOINTS, derive_flip_map(COCO_JOINTS))
    assert skeleton.flip_indices() == derived.flip_indices()
    assert ("left_knee", "left_ankle") in {tuple(sorted(edge)[::-1]) for edge in skeleton.edges}


def test_variants_of_a_pose_network():
    shapes = points_shapes("dla_34", "pose")
    for head, convolution in (("hm_hp", 0), ("hm_hp", 2), ("hp_offset", 0), ("hp_offset", 2)):
        del shapes[f"{head}.{convolution}.weight"], shapes[f"{head}.{convolution}.bias"]
    shapes |= {"hps.2.weight": (22, 256, 1, 1), "hps.2.bias": (22,)}
    shapes |= {"hm.2.weight": (3, 256, 1, 1), "hm.2.bias": (3,)}
    converted = convert(on_meta(shapes))  # --not_hm_hp, 11 joints, 3 classes
    found = converted.found
    assert (found.num_classes, found.num_joints) == (3, 11)
    assert not any("joint_heatmap" in key for key in converted.state_dict)
    assert "MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES" not in found.model
    assert "DATASETS.TEST" not in matching_config(found)
    assert converted.file_content()["class_names"] == []
    assert converted.file_content()["joint_names"] == []


def test_what_is_known_of_published_3d_boxes():
    converted = convert(on_meta(points_shapes("dla_34", "box3d")))
    assert converted.found.describe().endswith("points repository, box3d, 3 classes")
    branches = {key.split(".")[3] for key in converted.state_dict if key.startswith("head.")}
    assert branches == {"heatmap", "offset", "size", "depth", "dimensions", "orientation"}
    assert converted.file_content()["class_names"] == ["Pedestrian", "Car", "Cyclist"]
    keys = matching_config(converted.found)
    assert keys["MODEL.POINTS_CENTERNET.TASKS"] == ["box2d", "box3d"]
    # Fixed 384 x 1280 of the image's whole width, ImageNet's statistics (RGB, on BGR pixels).
    assert keys["TEST.RESOLUTION"] == "fixed"
    assert (keys["TEST.FIXED_SIZE"], keys["TEST.FIXED_FIT"]) == ([384, 1280], "width")
    mean = [value / 255 for value in keys["MODEL.PIXEL_MEAN"]]
    assert mean == pytest.approx([0.485, 0.456, 0.406])


def test_variants_of_a_3d_box_network():
    """Of five classes and one convolution per head."""
    heads = ("hm", "wh", "reg", "dep", "rot", "dim")
    shapes = points_shapes("resdcn_18")
    shapes = {key: shape for key, shape in shapes.items() if key.partition(".")[0] not in heads}
    for head, channels in {"hm": 5, "wh": 2, "reg": 2, "dep": 1, "rot": 8, "dim": 3}.items():
        shapes |= {f"{head}.weight": (channels, 64, 1, 1), f"{head}.bias": (channels,)}
    converted = convert(on_meta(shapes))
    found = converted.found
    assert (found.architecture, found.task, found.num_classes) == ("resdcn_18", "box3d", 5)
    assert matching_config(found)["MODEL.POINTS_CENTERNET.TASKS"] == ["box2d", "box3d"]
    assert converted.file_content()["class_names"] == []
    without_sizes = {key: s for key, s in shapes.items() if not key.startswith("wh.")}
    with pytest.raises(UnknownWeightsError, match=r"3-D boxes without sizes .*--not_reg_bbox"):
        convert(on_meta(without_sizes))


@pytest.mark.parametrize(
    ("name", "without_bias"), [("centernet_resnet18_dcnv2", 3), ("centernet_resnet18", 0)]
)
def test_mmdetection(name, without_bias):
    shapes = mmdetection_shapes(name)
    assert len(shapes) == {"centernet_resnet18_dcnv2": 174, "centernet_resnet18": 168}[name]
    converted = whole(shapes)
    assert converted.found.architecture == name
    assert not converted.renamed.dropped
    assert len(converted.renamed.kept) == without_bias
    assert len(converted.renamed.state_dict) == len(shapes)
    assert all(not tensor.any() for tensor in converted.renamed.filled.values())


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("names", [{}, CONVERTED_NAMES])
def test_extremenet_gives_its_hourglass_only(prefix, names):
    hourglass = points_shapes("hourglass")
    trunk = {key: s for key, s in hourglass.items() if not key.startswith(("hm.", "wh.", "reg."))}
    state = dict(trunk)
    for head in (*EXTREME_HEADS, *EXTREME_OFFSETS):
        for stack in (0, 1):
            channels = 80 if head in EXTREME_HEADS else 2
            state[f"{names.get(head, head)}.{stack}.0.conv.weight"] = (256, 256, 3, 3)
            state[f"{names.get(head, head)}.{stack}.0.conv.bias"] = (256,)
            state[f"{names.get(head, head)}.{stack}.1.weight"] = (channels, 256, 1, 1)
            state[f"{names.get(head, head)}.{stack}.1.bias"] = (channels,)
    converted = convert({f"{prefix}{key}": value for key, value in on_meta(state).items()})
    assert converted.found.task == "start"
    assert converted.found.architecture == "hourglass, 2 stacks"
    assert len(converted.state_dict) == len(trunk) == 960
    assert len(converted.renamed.dropped) == 9 * 2 * 4
    assert all(key.startswith("head.") for key in converted.renamed.kept)
    assert converted.file_content()["class_names"] == []


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_imagenet_file_of_torchvision(depth):
    with torch.device("meta"):
        state = getattr(torchvision.models, f"resnet{depth}")(weights=None).state_dict()
    converted = convert(state)
    assert converted.found.architecture == f"resnet{depth}"
    assert converted.renamed.dropped.keys() == {"fc.weight", "fc.bias"}
    assert len(converted.state_dict) == len(state) - 2
    assert all(key.startswith("backbone.") for key in converted.state_dict)
    own = ("backbone.deconv_layers", "head")
    assert all(key.startswith(own) for key in converted.renamed.kept)


def test_imagenet_file_of_dla():
    trunk = {
        key.removeprefix("base."): shape
        for key, shape in points_shapes("dla_34").items()
        if key.startswith("base.")
    }
    converted = convert(on_meta(trunk))
    assert converted.found.architecture == "dla34"
    assert len(converted.renamed.dropped) == 14
    assert len(converted.state_dict) == len(trunk) - 14


def test_variants_of_a_network():
    shapes = points_shapes("resdcn_18")
    shapes |= {"hm.2.weight": (20, 64, 1, 1), "hm.2.bias": (20,)}
    shapes |= {"wh.2.weight": (40, 64, 1, 1), "wh.2.bias": (40,)}
    found = convert(on_meta(shapes)).found
    assert found.num_classes == 20
    assert found.model["MODEL.POINTS_CENTERNET.BOX2D.CLASS_SPECIFIC_SIZE"]
    plain = {
        k: s
        for k, s in points_shapes("resdcn_18").items()
        if k.partition(".")[0] not in ("hm", "wh", "reg")
    }
    plain |= {"hm.weight": (80, 64, 1, 1), "hm.bias": (80,), "wh.weight": (2, 64, 1, 1)}
    plain |= {"wh.bias": (2,), "reg.weight": (2, 64, 1, 1), "reg.bias": (2,)}
    assert convert(on_meta(plain)).found.model["MODEL.POINTS_CENTERNET.HEAD_CHANNELS"] == 0


def test_missing_or_misshaped_tensors_name_the_network():
    shapes = points_shapes("dla_34")
    del shapes["ida_up.node_1.conv.weight"]
    shapes["wh.2.bias"] = (7,)
    with pytest.raises(RenameError, match=r"dla_34 of the points repository") as caught:
        convert(on_meta(shapes))
    assert caught.value.problems == {
        "shape differs": ["wh.2.bias -> head.stacks.0.size.2.bias (7,), model (2,)"],
        "missing from the checkpoint": ["backbone.ida_up.node.1.0.weight"],
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["tl_cnvs.0.p1_conv1.conv.weight", "kps.0.up1.0.conv1.weight"], "nothing known"),
        (["tl_heats.0.0.conv.weight"], "a corner detector"),
        (["roi_heads.box_head.fc1.weight"], "two-stage detector of detectron2"),
        (["bbox_head.conv_cls.weight"], "another detector of mmdetection"),
        (["head.stacks.0.heatmap.0.weight"], "a model of this package"),
        (["layer1.0.conv1.weight"], "a part of a ResNet"),
        (["encoder.weight"], "nothing known"),
    ],
)
def test_unknown_weights_say_what_they_look_like(keys, message):
    with pytest.raises(UnknownWeightsError, match=message):
        detect_source(on_meta(dict.fromkeys(keys, (2, 2))))


@pytest.mark.parametrize(
    ("network", "extra", "message"),
    [
        (
            "dla_34",
            {"hm_t.0.weight": (256, 64, 3, 3), "hm_t.2.weight": (80, 256, 1, 1)},
            "dla_34 of the points repository for extreme points",
        ),
        ("resdcn_18", {"layer1.2.conv1.weight": (64, 64, 3, 3)}, r"\(3, 2, 2, 2\) blocks"),
    ],
)
def test_other_tasks_and_depths_are_named(network, extra, message):
    with pytest.raises(UnknownWeightsError, match=message):
        detect_source(on_meta(points_shapes(network) | extra))


@pytest.mark.parametrize(
    ("task", "numbers", "dataset", "first"),
    [
        ("box2d", (80, 0), "coco", ["person", "bicycle"]),
        ("box2d", (20, 0), "voc", ["aeroplane"]),
        ("pose", (1, 17), "coco_person", ["person"]),
        ("box3d", (3, 0), "kitti", list(KITTI_RULES.classes)),
        *((task, numbers, "", []) for task, numbers in [("box2d", (3, 0)), ("box3d", (5, 0))]),
        *((task, numbers, "", []) for task, numbers in [("pose", (1, 11)), ("start", (None, 0))]),
    ],
)
def test_class_names_are_known_by_number_where_they_are(task, numbers, dataset, first):
    classes, joints = numbers
    found = DetectedSource("", "", task, None, {}, num_classes=classes, num_joints=joints)
    assert found.dataset == dataset
    names = found.names
    assert names["class_names"][: len(first)] == first
    assert bool(names["class_names"]) == bool(first)
    assert bool(names["joint_names"]) == (joints == 17)
    guessed = {"class_names": bool(first), "joint_names": joints == 17}
    assert names["guessed"] == [key for key, is_guess in guessed.items() if is_guess]
    given = dataclasses.replace(found, given={"class_names": ["mine"] * (classes or 0)})
    assert given.dataset == ""
    assert given.names["class_names"] == ["mine"] * (classes or 0)
    assert "class_names" not in given.names["guessed"]
