"""CornerNet and triplet CenterNet as wholes: what both must do, then what each does alone."""

from __future__ import annotations

import copy
import itertools
import logging
import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Instances
from small_detector import boxes_input, image_input, rows

from centernet_d2.config import add_centernet_config
from centernet_d2.modeling.canvas import warn_of_border
from centernet_d2.modeling.fast_inference import make_fast
from centernet_d2.modeling.heads.corner_head import CornerHead

BOTH = ("CornerNet", "TripletCenterNet")
KEYPOINTS = {
    "CornerNet": ("top_left", "bottom_right"),
    "TripletCenterNet": ("top_left", "bottom_right", "center"),
}
# An untrained detector's corners hardly make boxes, nor lie centers in their middle third.
MANY = (
    *("MODEL.HEATMAP.TOP_K", 200, "MODEL.CORNERNET.MAX_PAIRS", 2000),
    *("MODEL.TRIPLET_CENTERNET.REGION_PARTS", [1, 1]),
)
SIDE = 127  # of a training crop; the stride-4 map has 32 cells


def config(architecture: str, *overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    # 16, as torch 2.15 corrupts memory in the backward of channels-last 1x1 convolutions 8 -> 8 of
    # stride 2.
    hourglass = {"STACKS": 2, "STEM_CHANNELS": 16, "CHANNELS": [16, 16, 16, 16]}
    cfg.merge_from_list(
        [
            *("MODEL.META_ARCHITECTURE", architecture, "MODEL.DEVICE", "cpu"),
            *("MODEL.BACKBONE.NAME", "build_centernet_hourglass_backbone"),
            *(
                item
                for key, value in hourglass.items()
                for item in (f"MODEL.HOURGLASS.{key}", value)
            ),
            *("MODEL.HOURGLASS.BLOCKS", [1, 1, 1, 1], "MODEL.HOURGLASS.OUT_CHANNELS", 8),
            *("MODEL.HEATMAP.IN_FEATURES", ["stack1", "stack2"]),
            *("MODEL.HEATMAP.NUM_CLASSES", 5, "MODEL.HEATMAP.TOP_K", 40),
            *("MODEL.CORNERNET.HEAD_CHANNELS", 8, "MODEL.CORNERNET.POOL_CHANNELS", 4),
            *("INPUT.TRAIN_SIZE", [SIDE, SIDE], "TEST.CANVAS", "odd"),
            # An untrained detector's embeddings differ at random.
            *("MODEL.CORNERNET.EMBEDDING_THRESHOLD", 10.0),
            *overrides,
        ]
    )
    return cfg


def built(architecture: str, *overrides, seed: int = 0):
    torch.manual_seed(seed)
    return build_model(config(architecture, *overrides))


def training_input(boxes, classes, seed: int = 0, side: int = SIDE):
    return boxes_input(boxes, classes, seed, side)


def varied(model):
    """Untrained branches say nearly the same everywhere; these do not."""
    for part in model.head.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.normal_(part.weight, std=0.2)
    return model


def detect(model, *entries):
    with torch.no_grad():
        return [result["instances"] for result in model.eval()(list(entries))]


@pytest.mark.parametrize("architecture", BOTH)
def test_losses_are_named_finite_and_reach_every_parameter(architecture):
    model = built(architecture)
    losses = model(
        [training_input([[4, 4, 40, 30], [50, 20, 120, 90]], [0, 3]), training_input([], [], 1)]
    )
    expected = {"loss_pull", "loss_push"}
    for name in KEYPOINTS[architecture]:
        expected |= {f"loss_heatmap_{name}", f"loss_offset_{name}"}
    assert set(losses) == expected
    assert set(model.heatmap_losses) == {name for name in expected if "heatmap" in name}
    assert all(loss.isfinite() for loss in losses.values())
    assert all(losses[name] > 0 for name in expected - {"loss_push"})
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[10, 10, 60, 60]],
        [[10, 10, 60, 60], [10, 10, 90, 90]],  # two objects on one top-left cell
        [[float(k % 10), float(k // 10), 60.0 + k % 7, 70.0 + k % 11] for k in range(150)],
        [[-30, -20, 500, 400]],  # cut on all sides
    ],
)
def test_any_number_of_objects_in_one_image(architecture, boxes):
    model = built(architecture)
    entry = training_input(boxes, [k % 5 for k in range(len(boxes))])
    losses = model([entry])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    if not boxes:
        assert model([{**entry, "instances": Instances((SIDE, SIDE))}]) == losses


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("label", [2, -1])
def test_ignored_objects_are_left_out(architecture, label):
    """These detectors have no rule for them; -1 stands for all classes."""
    model = built(architecture)
    boxes = [[10.0, 20, 60, 90], [40, 30, 100, 80]]
    mixed, alone = training_input(boxes, [label, 1]), training_input(boxes[1:], [1])
    mixed["instances"].gt_ignored = torch.tensor([True, False])
    with torch.no_grad():
        found, expected = model([mixed]), model([alone])
        both = model([training_input(boxes, [2, 1])])
    assert {name: loss.item() for name, loss in found.items()} == {
        name: loss.item() for name, loss in expected.items()
    }
    assert any(found[name] != both[name] for name in found)
    assert len(mixed["instances"]) == 2  # not changed


@pytest.mark.parametrize("architecture", BOTH)
def test_training_crops_are_the_network_frame(architecture):
    model = built(architecture)
    images = model.training_images([training_input([], [])])
    assert images.tensor.shape == (1, 3, SIDE, SIDE)
    assert model.predict(images)[0].map_size == (32, 32)
    fitting = built(architecture, "TEST.CANVAS", "fit")
    assert fitting.training_images([training_input([], [], side=128)]).tensor.shape[-1] == 128


@pytest.mark.parametrize(
    ("canvas", "side", "better"),
    [
        ("odd", 128, "[127, 127] or [159, 159]"),
        ("odd", 70, "[63, 63] or [95, 95]"),
        ("odd", 9, "[31, 31] or [31, 31]"),
        ("fit", 130, "[128, 128] or [160, 160]"),
        ("odd", 127, None),
        ("fit", 128, None),
    ],
)
def test_crops_that_need_a_border_are_told_once(canvas, side, better, caplog):
    warn_of_border.cache_clear()
    model = built("CornerNet", "TEST.CANVAS", canvas)
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            model.training_images([training_input([], [], seed, side=side)])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (better is not None)
    if better:
        assert better in told[0]
        assert f"{side} x {side}" in told[0]


@pytest.mark.parametrize("architecture", BOTH)
def test_a_batch_gives_what_single_images_give(architecture):
    model = varied(built(architecture, "TEST.FLIP", True, "TEST.SCALES", [0.7, 1.0], *MANY))
    entries = [image_input(90, 120, 1), image_input(120, 90, 2), image_input(90, 120, 3)]
    together = detect(model, *entries)
    assert all(len(found) for found in together)
    for entry, found in zip(entries, together, strict=True):
        torch.testing.assert_close(rows(found), rows(detect(model, entry)[0]), atol=1e-4, rtol=1e-4)


def test_detections_are_pairs_of_corners_within_the_image():
    found = detect(built("CornerNet"), image_input(90, 120))[0]
    boxes = found.pred_boxes.tensor
    assert 0 < len(found) <= 100
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 120).all()
    assert (boxes[:, 3] <= 90).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert (found.scores[1:] <= found.scores[:-1]).all()
    assert found.corner_scores.shape == (len(found), 2)


@pytest.mark.parametrize("architecture", BOTH)
def test_more_corners_than_cells(architecture):
    # More than the 5 x 8 x 8 cells of the map.
    keys = (*MANY, "MODEL.HEATMAP.TOP_K", 6000, "MODEL.CORNERNET.MAX_PAIRS", 50)
    (found,) = detect(varied(built(architecture, *keys)), image_input(20, 20))
    assert 0 < len(found) <= 50


@pytest.mark.parametrize("architecture", BOTH)
def test_no_images(architecture):
    assert detect(built(architecture)) == []


def test_triplet_needs_scale_one_or_centers_of_all():
    with pytest.raises(
        ValueError, match=r"TEST\.SCALES is \[0\.5, 2\.0\].*add 1\.0.*CENTER_SCALES"
    ):
        built("TripletCenterNet", "TEST.SCALES", [0.5, 2.0])
    keys = ("TEST.SCALES", [0.5, 2.0], "MODEL.TRIPLET_CENTERNET.CENTER_SCALES", "all")
    detect(built("TripletCenterNet", *keys), image_input(60, 60))
    detect(built("CornerNet", "TEST.SCALES", [0.5, 2.0]), image_input(60, 60))


def test_centers_of_other_scales_count_only_when_asked():
    entry = image_input(100, 100)
    counts = {}
    for scales in ("original", "all"):
        model = built(
            "TripletCenterNet",
            *("TEST.SCALES", [0.6, 1.0], "MODEL.TRIPLET_CENTERNET.CENTER_SCALES", scales),
        ).eval()
        with torch.no_grad():
            views = [model.candidates([entry], zoom)[0] for zoom in (0.6, 1.0)]
        counts[scales] = [len(view.centers) for view in views]
    assert counts == {"original": [0, 40], "all": [40, 40]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.CORNERNET.POOLING", "center"),
        ("MODEL.CORNERNET.POOL_CHANNELS", 0),
        ("MODEL.CORNERNET.HEAD_CHANNELS", 0),
        ("MODEL.CORNERNET.NORM_INIT", "zeros"),
        ("MODEL.CORNERNET.EMBEDDING_THRESHOLD", -0.5),
        ("MODEL.CORNERNET.MAX_PAIRS", 0),
        ("MODEL.CORNERNET.MERGE_EXPONENT", -1.0),
        ("MODEL.HOURGLASS.NORM_INIT", "zeros"),
        ("MODEL.HEATMAP.RADIUS_RULE", "largest"),
        ("MODEL.HEATMAP.PEAK_KERNEL", 2),
        ("MODEL.HEATMAP.TOP_K", 0),
        ("MODEL.HEATMAP.TOP_K", -1),
        ("MODEL.TRIPLET_CENTERNET.CENTER_CHOICE", "max"),
        ("MODEL.TRIPLET_CENTERNET.REGION_PARTS", [3, 4]),
        ("MODEL.TRIPLET_CENTERNET.REGION_PARTS", [3]),
        ("MODEL.TRIPLET_CENTERNET.REGION_SIDE", -150.0),
        ("MODEL.TRIPLET_CENTERNET.CENTER_SIGMA_DIVISOR", 0.0),
        ("MODEL.CORNERNET.EMBEDDING_REDUCTION", "max"),
        ("MODEL.CORNERNET.STACK_REDUCTION", "max"),
        ("MODEL.CORNERNET.CASCADE_ORDER", "both"),
        ("MODEL.CORNERNET.SIGMA_RULE", "third"),
        ("MODEL.CORNERNET.OFFSET_LOSS", "l2"),
        ("MODEL.HEATMAP.FOCAL_NORMALIZER", "image"),
        ("MODEL.CORNERNET.FLIP_CONVENTION", "none"),
        ("MODEL.CORNERNET.MERGE_BOXES", "yes"),
        ("MODEL.TRIPLET_CENTERNET.POOLING", "corner"),
        ("MODEL.TRIPLET_CENTERNET.CENTER_SCALES", "some"),
    ],
)
def test_a_value_of_no_use_names_its_key_before_training(key, value):
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        built("TripletCenterNet", key, value)


@pytest.mark.parametrize("architecture", BOTH)
@pytest.mark.parametrize("pooling", ["corner", "cascade"])
def test_pools_can_be_left_out_at_equal_parameters(architecture, pooling):
    keys = ("MODEL.CORNERNET.POOLING", pooling)
    none = ("MODEL.CORNERNET.POOLS", False, "MODEL.TRIPLET_CENTERNET.POOLING", "none")
    without, with_pools = built(architecture, *keys, *none), built(architecture, *keys)
    without.load_state_dict(with_pools.state_dict())  # same names and shapes
    entry = training_input([[20, 20, 60, 60]], [1])
    assert not torch.allclose(
        with_pools([entry])["loss_heatmap_top_left"], without([entry])["loss_heatmap_top_left"]
    )


def test_embedding_losses_of_a_batch_are_summed_or_averaged():
    entries = [training_input([[9, 9, 50, 50], [60, 60, 99, 120]], [0, 1], seed=s) for s in (1, 2)]
    summed = built("CornerNet")
    averaged = built("CornerNet", "MODEL.CORNERNET.EMBEDDING_REDUCTION", "mean")
    for name in ("loss_pull", "loss_push"):
        ratio = summed(entries)[name] / averaged(entries)[name]
        assert ratio.item() == pytest.approx(2, rel=1e-4)


def test_losses_of_stacks_are_averaged_or_summed():
    entry = training_input([[9, 9, 50, 50]], [0])
    mean, total = (
        built("CornerNet", "MODEL.CORNERNET.STACK_REDUCTION", rule)([entry])
        for rule in ("mean", "sum")
    )
    summed = built("CornerNet", "MODEL.CORNERNET.STACK_REDUCTION", "sum").heatmap_losses
    assert summed == {name: 2 * w for name, w in built("CornerNet").heatmap_losses.items()}
    for name in mean:
        assert total[name].item() == pytest.approx(2 * mean[name].item(), rel=1e-5)


def test_the_papers_forms_of_losses_and_targets():
    """Offsets by L1, a sigma of r / 3 and each image's own N, from the maps by plain sums."""
    boxes = [[9.0, 9, 50, 50], [60, 60, 99, 120]]
    entries = [training_input(boxes, [0, 1]), training_input(boxes[:1], [1], 2)]
    paper = {"CORNERNET.SIGMA_RULE": "radius", "CORNERNET.OFFSET_LOSS": "l1"}
    paper |= {"HEATMAP.FOCAL_NORMALIZER": "objects", "HEATMAP.RADIUS_RULE": "fixed"}
    paper |= {"HEATMAP.FIXED_RADIUS": 3, "TRIPLET_CENTERNET.CENTER_SIGMA_DIVISOR": 6.0}
    keys = [each for name, value in paper.items() for each in (f"MODEL.{name}", value)]
    model = built("TripletCenterNet", *keys, "MODEL.CORNERNET.STACK_REDUCTION", "sum")
    losses, images = model(entries), model.training_images(entries)
    expected = dict.fromkeys((name for name in losses if "_center" in name), 0.0)
    # Stride 4 (the map has 32 cells for 127 pixels), at the middle of each box.
    points = [torch.tensor([(b[0] + b[2]) / 2, (b[1] + b[3]) / 2]) * 32 / 127 for b in boxes]
    objects = [(0, 0, points[0]), (0, 1, points[1]), (1, 1, points[0])]
    target = torch.zeros(2, 5, 32, 32)
    for n, c, point in objects:
        for dy, dx in itertools.product(range(-3, 4), repeat=2):
            value = math.exp(-(dx**2 + dy**2) / 2)  # sigma 3 / 3
            target[n, c, int(point[1]) + dy, int(point[0]) + dx] = value
    for stack in model.predict(images):
        for n, _, point in objects:
            told = stack.center.offset[n, :, int(point[1]), int(point[0])]
            expected["loss_offset_center"] += (told - point.frac()).abs().sum().item() / 3
        p = stack.center.heatmap.sigmoid()
        negative = (1 - target) ** 4 * p**2 * -(1 - p).log()
        positive = (1 - p) ** 2 * -p.log()
        cells = torch.where(target == 1, positive, negative).sum((1, 2, 3))
        expected["loss_heatmap_center"] += (cells[0] / 2 + cells[1] / 1).item() / 2
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-3)


def test_the_order_of_cascade_pooling_is_another_network_of_the_same_parameters():
    keys = ("MODEL.CORNERNET.POOLING", "cascade", "MODEL.CORNERNET.CASCADE_ORDER")
    code, paper = (
        varied(built("CornerNet", *keys, order)) for order in ("inside_first", "boundary_first")
    )
    paper.load_state_dict(code.state_dict())
    entry = training_input([[20, 20, 60, 60]], [1])
    assert not torch.allclose(
        code([entry])["loss_heatmap_top_left"], paper([entry])["loss_heatmap_top_left"]
    )


def test_weight_of_the_center():
    entry = training_input([[9, 9, 50, 50]], [0])
    one, half = (
        built("TripletCenterNet", "MODEL.TRIPLET_CENTERNET.CENTER_WEIGHT", weight)([entry])
        for weight in (1.0, 0.5)
    )
    for name in one:
        factor = 0.5 if name.endswith("_center") else 1.0
        assert half[name].item() == pytest.approx(factor * one[name].item(), rel=1e-5)


def flipped_entry(entry):
    flipped = copy.deepcopy(entry)
    flipped["image"] = flipped["image"].flip(2)
    return flipped


@pytest.mark.parametrize(("convention", "shift"), [("pixel", 0.0), ("edge", 1.0)])
def test_boxes_of_the_flip_image_turned_back(convention, shift):
    """The views of an image and of its flipped image are the same two, so the boxes they give are
    each other's reflection: about the canvas' middle pixel, or one pixel beside it."""
    model = built("CornerNet", "TEST.FLIP", True, "MODEL.CORNERNET.FLIP_CONVENTION", convention)
    model.eval()
    entry = image_input(SIDE, SIDE)  # fills its canvas
    with torch.no_grad():
        own = model.candidates([entry], 1.0)[0].pred_boxes.tensor
        flipped = model.candidates([flipped_entry(entry)], 1.0)[0].pred_boxes.tensor
    reflected = torch.stack(
        [SIDE - 1 + shift - own[:, 2], own[:, 1], SIDE - 1 + shift - own[:, 0], own[:, 3]], dim=1
    )
    distance = torch.cdist(reflected, flipped, p=1)
    inside = (own[:, 0] > 2) & (own[:, 2] < SIDE - 3)  # others are cut at the border
    assert inside.sum() > 20
    assert distance[inside].amin(1).max() < 1e-2


@pytest.mark.parametrize("architecture", BOTH)
def test_fast_prediction_gives_the_same(architecture):
    model = varied(built(architecture, *MANY))
    for entry in range(3):  # running statistics that are not those of the start
        model([training_input([[9, 9, 50, 50]], [0], seed=entry)])
    entry = image_input(90, 120)
    before = detect(model, entry)[0]
    assert len(before) > 0
    fast = make_fast(model.eval())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.head.stacks[-1].modules())
    torch.testing.assert_close(detect(fast, entry)[0].scores, before.scores, atol=1e-4, rtol=1e-4)
    half = detect(make_fast(varied(built(architecture, *MANY)).eval(), dtype="bfloat16"), entry)[0]
    assert len(half) > 0
    assert half.scores.dtype == torch.float32


@pytest.mark.parametrize("mode", ["clean", "reference"])
@pytest.mark.parametrize(
    ("architecture", "broken"),
    [
        *(("CornerNet", name) for name in ("heatmap", "offset", "embedding", "everything")),
        ("TripletCenterNet", "everything"),
    ],
)
def test_nan_stays_visible(architecture, mode, broken):
    """A broken network must not look like one that finds nothing."""
    keys = ("TEST.SOFT_NMS.MODE", mode, "MODEL.CORNERNET.OUTSIDE_MARGIN", 5.0)
    if broken in ("heatmap", "everything"):
        keys += ("MODEL.HEATMAP.SCORE_THRESHOLD", 0.05)
    model = built(architecture, *keys).eval()
    keypoints = model.head.stacks[-1]
    parts = model if broken == "everything" else keypoints["top_left"][broken]
    for parameter in parts.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    found = detect(model, image_input(90, 120))[0]
    assert len(found) > 0
    if broken in ("heatmap", "everything"):
        assert found.scores.isnan().all()
    if broken in ("offset", "everything"):
        assert found.pred_boxes.tensor.isnan().any(1).all()


def test_any_stride_four_backbone_serves():
    keys = (
        "MODEL.BACKBONE.NAME",
        "build_centernet_encoder_decoder_backbone",
        "MODEL.HEATMAP.IN_FEATURES",
        ["decoder"],
    )
    keys += (
        "MODEL.ENCODER_DECODER.CHANNELS",
        [8, 8, 16, 16],
        "MODEL.ENCODER_DECODER.OUT_CHANNELS",
        8,
    )
    model = varied(built("CornerNet", *keys, *MANY))
    losses = model([training_input([[9, 9, 50, 50]], [0])])
    assert all(loss.isfinite() for loss in losses.values())
    assert len(detect(model, image_input(60, 60))[0]) > 0


def test_a_backbone_that_takes_no_odd_canvas_says_what_helps():
    pytest.importorskip("timm")
    keys = (
        "MODEL.BACKBONE.NAME",
        "build_centernet_timm_backbone",
        "MODEL.TIMM.NAME",
        "convnext_atto",
    )
    keys += ("MODEL.HEATMAP.IN_FEATURES", ["timm"], "MODEL.WEIGHTS", "")
    odd = built("CornerNet", *keys)
    message = r"canvas of 127 x 127.*multiples of 32: TEST\.CANVAS 'fit'.*INPUT\.TRAIN_SIZE"
    with pytest.raises(ValueError, match=message):
        odd([training_input([], [])])
    with pytest.raises(ValueError, match="canvas of 127 x 95"):
        detect(odd, image_input(90, 120))
    fit = built("CornerNet", *keys, "TEST.CANVAS", "fit")
    fit([training_input([], [], side=128)])
    detect(fit, image_input(90, 120))


def test_a_map_of_another_size_than_its_stride_says_is_an_error(monkeypatch):
    model = built("CornerNet")
    whole = model.backbone.forward
    monkeypatch.setattr(
        model.backbone,
        "forward",
        lambda images: {name: m[..., :-1] for name, m in whole(images).items()},
    )
    with pytest.raises(ValueError, match=r"no map of stride 4.*TEST\.CANVAS 'fit'"):
        model([training_input([], [])])


def test_norms_of_the_head_start_as_told():
    arguments = {"in_channels": [8], "num_classes": 2, "hidden_channels": 8, "pool_channels": 4}
    for start, low in (("uniform", 0.0), ("ones", 1.0)):
        head = CornerHead(**arguments, norm_init=start)
        weights = torch.cat(
            [m.weight for m in head.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        )
        assert weights.min() >= low
        assert weights.max() <= 1
        assert (weights.std() > 0.2) == (start == "uniform")
