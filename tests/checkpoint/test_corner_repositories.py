"""Files of CornerNet's and the triplet's repositories, and mmdetection's CornerNet."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from published_networks import corner_shapes, on_meta

from centernet_d2 import Predictor
from centernet_d2.checkpoint.detect_source import UnknownWeightsError, detect_source
from centernet_d2.checkpoint.matching_config import config_node, matching_config
from centernet_d2.checkpoint.published import convert, model_names
from centernet_d2.checkpoint.rename import RenameError

ENTRIES = {"CornerNet": 1128, "CenterNet-52": 630, "CenterNet-104": 1260}


@pytest.mark.parametrize("network", ENTRIES)
@pytest.mark.parametrize("counters", [True, False])
def test_every_key_of_a_published_file_has_one_place(network, counters):
    state = on_meta(corner_shapes(network))
    if not counters:  # torch 0.4.0 had none
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    converted = convert({f"module.{key}": value for key, value in state.items()})
    assert len(converted.renamed.state_dict) == len(state)
    assert not converted.renamed.dropped
    assert len(converted.renamed.kept) == ENTRIES[network] - len(state)
    assert converted.state_dict.keys() == model_names(converted.found).keys()
    assert converted.found.num_classes == 80


def test_what_the_config_says_of_each():
    cornernet, single, double = (detect_source(on_meta(corner_shapes(name))) for name in ENTRIES)
    assert cornernet.source == "CornerNet"
    assert single.source == double.source == "triplet CenterNet"
    stacks = [f.model["MODEL.HOURGLASS.STACKS"] for f in (cornernet, single, double)]
    assert stacks == [2, 1, 2]
    cfg = config_node(matching_config(cornernet))
    assert (cfg.MODEL.HEATMAP.RADIUS_RULE, cfg.MODEL.HEATMAP.MIN_OVERLAP) == ("exact", 0.3)
    assert (cfg.MODEL.HEATMAP.TOP_K, cfg.MODEL.CORNERNET.POOLING) == (100, "corner")
    cfg = config_node(matching_config(single))
    assert (cfg.MODEL.HEATMAP.RADIUS_RULE, cfg.MODEL.HEATMAP.MIN_OVERLAP) == ("legacy", 0.7)
    assert (cfg.MODEL.HEATMAP.TOP_K, cfg.MODEL.CORNERNET.POOLING) == (70, "cascade")
    assert (cfg.MODEL.CORNERNET.OUTSIDE_MARGIN, cfg.TEST.CANVAS, cfg.TEST.FLIP) == (5, "odd", True)


def test_a_key_too_many_or_too_few_is_an_error():
    state = on_meta(corner_shapes("CenterNet-52"))
    with pytest.raises(RenameError, match=r"known to no rule \(1\): ct_tags.0.1.weight"):
        convert(state | {"ct_tags.0.1.weight": torch.empty(1, 256, 1, 1, device="meta")})
    del state["tl_cnvs.0.P2_look_conv.weight"]
    with pytest.raises(RenameError, match=r"missing .*look_merge.1.weight"):
        convert(state)


# Written out by hand, the other way round than the package's tables.
PUBLISHED = [
    (r"backbone\.stem\.0\.0\.(.+)", r"pre.0.conv.\1"),
    (r"backbone\.stem\.0\.1\.(.+)", r"pre.0.bn.\1"),
    (r"backbone\.stem\.1\.(.+)", r"pre.1.\1"),
    (r"backbone\.hourglasses\.(.+)", r"kps.\1"),
    (r"backbone\.outputs\.(\d)\.0\.(.+)", r"cnvs.\1.conv.\2"),
    (r"backbone\.outputs\.(\d)\.1\.(.+)", r"cnvs.\1.bn.\2"),
    (r"backbone\.merged\.(.+)", r"inters.\1"),
    (r"backbone\.merge_input\.(.+)", r"inters_.\1"),
    (r"backbone\.merge_output\.(.+)", r"cnvs_.\1"),
]
MODULE = {
    "branches.0.0": "p1_conv1.conv",
    "branches.0.1": "p1_conv1.bn",
    "branches.1.0": "p2_conv1.conv",
    "branches.1.1": "p2_conv1.bn",
    "merge.0": "p_conv1",
    "merge.1": "p_bn1",
    "shortcut.0": "conv1",
    "shortcut.1": "bn1",
    "output.0": "conv2.conv",
    "output.1": "conv2.bn",
    "look.0.0": "look_conv1.conv",
    "look.0.1": "look_conv1.bn",
    "look.1.0": "look_conv2.conv",
    "look.1.1": "look_conv2.bn",
    "look_merge.0": "P1_look_conv",
    "look_merge.1": "P2_look_conv",
}
SHORT = {"top_left": "tl", "bottom_right": "br", "center": "ct"}
BRANCH = {"heatmap": "heats", "embedding": "tags", "offset": "regrs"}


def published_name(name: str) -> str:
    for pattern, replacement in PUBLISHED:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    stack, keypoint, part, rest = re.fullmatch(
        r"head\.stacks\.(\d)\.(\w+)\.(\w+)\.(.+)", name
    ).groups()
    layer, _, parameter = rest.rpartition(".")
    if part == "pooling":
        return f"{SHORT[keypoint]}_cnvs.{stack}.{MODULE[layer]}.{parameter}"
    return (
        f"{SHORT[keypoint]}_{BRANCH[part]}.{stack}.{ {'0': '0.conv', '2': '1'}[layer] }.{parameter}"
    )


MMDETECTION = [
    (r"pre\.(.*)", r"backbone.stem.\1"),
    (r"kps\.(.*)", r"backbone.hourglass_modules.\1"),
    (r"cnvs\.(.*)", r"backbone.out_convs.\1"),
    (r"inters\.(.*)", r"backbone.inters.\1"),
    (r"inters_\.(\d)\.0\.(.*)", r"backbone.conv1x1s.\1.conv.\2"),
    (r"inters_\.(\d)\.1\.(.*)", r"backbone.conv1x1s.\1.bn.\2"),
    (r"cnvs_\.(\d)\.0\.(.*)", r"backbone.remap_convs.\1.conv.\2"),
    (r"cnvs_\.(\d)\.1\.(.*)", r"backbone.remap_convs.\1.bn.\2"),
    (r"(tl|br)_cnvs\.(\d)\.p([12])_conv1\.(.*)", r"bbox_head.\1_pool.\2.direction\3_conv.\4"),
    (r"(tl|br)_cnvs\.(\d)\.p_conv1\.(.*)", r"bbox_head.\1_pool.\2.aftpool_conv.conv.\3"),
    (r"(tl|br)_cnvs\.(\d)\.p_bn1\.(.*)", r"bbox_head.\1_pool.\2.aftpool_conv.bn.\3"),
    (r"(tl|br)_cnvs\.(\d)\.conv1\.(.*)", r"bbox_head.\1_pool.\2.conv1.conv.\3"),
    (r"(tl|br)_cnvs\.(\d)\.bn1\.(.*)", r"bbox_head.\1_pool.\2.conv1.bn.\3"),
    (r"(tl|br)_cnvs\.(\d)\.conv2\.(.*)", r"bbox_head.\1_pool.\2.conv2.\3"),
]
for _theirs, _here in (("heats", "heat"), ("tags", "emb"), ("regrs", "off")):
    MMDETECTION += [
        (rf"(tl|br)_{_theirs}\.(\d)\.0\.conv\.(.*)", rf"bbox_head.\1_{_here}.\2.0.conv.\3"),
        (rf"(tl|br)_{_theirs}\.(\d)\.1\.(.*)", rf"bbox_head.\1_{_here}.\2.1.conv.\3"),
    ]


def mmdetection_name(name: str) -> str:
    """mmdetection's name of a key of CornerNet's repository."""
    found = [m.expand(new) for old, new in MMDETECTION if (m := re.fullmatch(old, name))]
    assert len(found) == 1, name
    renamed = found[0].replace(".skip.", ".downsample.")
    return renamed.replace("backbone.stem.1.", "backbone.stem.1.0.")


def narrow_model(detector: str, **changes):
    torch.manual_seed(0)
    keys = {
        "MODEL.META_ARCHITECTURE": detector,
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NAME": "build_centernet_hourglass_backbone",
        "MODEL.HOURGLASS.STACKS": 2,
        "MODEL.HOURGLASS.STEM_CHANNELS": 16,
        "MODEL.HOURGLASS.CHANNELS": [16, 16, 24, 24],
        "MODEL.HOURGLASS.BLOCKS": [2, 1, 1, 2],
        "MODEL.HOURGLASS.OUT_CHANNELS": 16,
        "MODEL.HEATMAP.IN_FEATURES": ["stack1", "stack2"],
        "MODEL.HEATMAP.NUM_CLASSES": 80,
        "MODEL.CORNERNET.HEAD_CHANNELS": 16,
        "MODEL.CORNERNET.POOL_CHANNELS": 8,
        "MODEL.CORNERNET.POOLING": "cascade" if detector == "TripletCenterNet" else "corner",
        "TEST.CANVAS": "odd",
        "TEST.FLIP": True,
    }
    return build_model(config_node(keys | changes)).eval()


def legacy_file(path, model):
    """What the authors' training writes: an ordered dict, in the format of torch before 1.6."""
    state = {f"module.{published_name(k)}": v for k, v in model.state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)


def in_columns(instances):
    return torch.cat([instances.pred_boxes.tensor, instances.scores[:, None]], dim=1)


@pytest.mark.parametrize("detector", ["CornerNet", "TripletCenterNet"])
def test_legacy_pickles_load_in_every_predictor(detector, tmp_path):
    model = narrow_model(detector)
    path = tmp_path / "CornerNet_500000.pkl"
    legacy_file(path, model)
    found = detect_source({published_name(k): v for k, v in model.state_dict().items()})
    keys = matching_config(found) | {"MODEL.DEVICE": "cpu", "MODEL.WEIGHTS": f"published:{path}"}
    keys |= {
        "MODEL.CORNERNET.EMBEDDING_THRESHOLD": 100.0,
        "MODEL.HEATMAP.TOP_K": 1000,
        "DATASETS.TRAIN": [],
        "DATASETS.TEST": [],
    }
    image = np.random.RandomState(0).randint(0, 256, (90, 120, 3), dtype=np.uint8)
    theirs = DefaultPredictor(config_node(keys))(image)["instances"]
    ours = Predictor(config_node(keys | {"MODEL.WEIGHTS": str(path)}))(image)["instances"]
    expected = DefaultPredictor(config_node(keys)).model
    for name, tensor in model.state_dict().items():
        assert torch.equal(expected.state_dict()[name], tensor), name
    torch.testing.assert_close(in_columns(ours), in_columns(theirs))
    if detector == "CornerNet":
        assert len(ours)


def test_cornernet_of_mmdetection():
    model = narrow_model("CornerNet")
    published = {published_name(k): v for k, v in model.state_dict().items()}
    state = {mmdetection_name(key): value for key, value in published.items()}
    assert "backbone.hourglass_modules.0.low2.low2.low2.1.conv2.weight" in state
    converted = convert({"meta": {}, "state_dict": state})
    assert converted.found.source == "mmdetection"
    first = "backbone.stem.0.0.weight"
    for name, tensor in model.state_dict().items():
        expected = tensor.flip(1) if name == first else tensor  # R, G, B -> B, G, R
        assert torch.equal(converted.state_dict[name], expected), name
    cfg = config_node(matching_config(converted.found))
    assert cfg.MODEL.PIXEL_MEAN == [103.53, 116.28, 123.675]


def test_full_size_cornernet_of_mmdetection_has_the_published_parameters():
    state = {mmdetection_name(k): v for k, v in on_meta(corner_shapes("CornerNet")).items()}
    converted = convert({"state_dict": state})
    assert converted.state_dict.keys() == model_names(converted.found).keys()
    assert converted.found.architecture == "cornernet, hourglass, 2 stacks"


def test_centripetalnet_is_not_taken_for_cornernet():
    state = {mmdetection_name(k): v for k, v in on_meta(corner_shapes("CornerNet")).items()}
    state = {key: value for key, value in state.items() if "_emb." not in key}
    with pytest.raises(UnknownWeightsError, match="a corner detector of another kind"):
        convert({"state_dict": state})
