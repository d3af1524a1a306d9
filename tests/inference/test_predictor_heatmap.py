"""`Predictor.heatmap`: what the network sees, and where in the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model

from centernet_d2 import Predictor, setup

FIXED = ("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", [64, 64])


def make_predictor(cfg, folder) -> Predictor:
    torch.manual_seed(1)
    model = build_model(setup(cfg))
    # Untrained heads say nearly the same everywhere; these differ from cell to cell.
    for branch in model.head.modules():
        if isinstance(branch, torch.nn.Conv2d):
            torch.nn.init.normal_(branch.weight, std=0.3)
    DetectionCheckpointer(model, str(folder)).save("weights")
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    return Predictor(cfg)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("overrides", "map_size", "scale", "shift"),
    [
        # Canvas 64 x 96; the image starts at (48 - 35, 32 - 25).
        ((), (16, 24), (4, 4), (-13, -7)),
        # 70 pixels become 64, 50 become 45.7, centred.
        (
            ("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", [64, 64]),
            (16, 16),
            (4.375,) * 2,
            (0, -10),
        ),
        # Nothing resizes an image before the model: `setup` sees to it.
        (("INPUT.MIN_SIZE_TEST", 100), (16, 24), (4, 4), (-13, -7)),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_cells_lie_where_the_detections_are(
    tiny_config, tmp_path, image, overrides, map_size, scale, shift, flip
):
    cfg = tiny_config("MODEL.HEATMAP.SCORE_THRESHOLD", 0.0, "TEST.FLIP", flip, *overrides)
    predictor = make_predictor(cfg, tmp_path)
    before = image.copy()
    seen = predictor.heatmap(image)
    np.testing.assert_array_equal(image, before)
    assert list(seen.probabilities) == ["center"]
    probabilities = seen.probabilities["center"]
    assert tuple(probabilities.shape) == (5, *map_size)
    assert probabilities.dtype == torch.float32
    assert seen.scale == pytest.approx(scale)
    assert seen.shift == pytest.approx(shift, abs=1e-5)

    best = predictor(image)["instances"][0]
    peak = int(probabilities.argmax())
    category, cell = divmod(peak, map_size[0] * map_size[1])
    row, column = divmod(cell, map_size[1])
    assert probabilities.max() == pytest.approx(float(best.scores), abs=1e-6)
    assert category == int(best.pred_classes)
    # The box's center is the cell's, plus the predicted offset.
    center = best.pred_boxes.get_centers()[0].double()
    cell = torch.tensor([column * scale[0] + shift[0], row * scale[1] + shift[1]])
    tensor, model = predictor._input(image)["image"], predictor.model
    canvas = model.protocol.canvas_of(tensor.shape[-2:], model.divisor)
    images = model.inference_images([tensor], canvas)
    with torch.no_grad():
        maps = model.decoded_maps(model.predict(images)[-1], flipped=images.flipped)
    assert list(seen.values) == ["offset", "size"]
    torch.testing.assert_close(seen.values["size"], maps.regressions["size"][0])
    offset = maps.offset[0, :, row, column].double() * torch.tensor(scale)
    torch.testing.assert_close(center, cell + offset, atol=1e-3, rtol=0)


def corner_config(tiny_config, architecture, *overrides):
    return tiny_config(
        *("MODEL.META_ARCHITECTURE", architecture),
        *("MODEL.CORNERNET.HEAD_CHANNELS", 8, "MODEL.CORNERNET.POOL_CHANNELS", 4),
        *("MODEL.CORNERNET.EMBEDDING_THRESHOLD", 1e9, "TEST.CANVAS", "odd"),
        *overrides,
    )


@pytest.mark.parametrize(
    ("architecture", "names"),
    [
        ("CornerNet", ["top_left", "bottom_right"]),
        ("TripletCenterNet", ["top_left", "bottom_right", "center"]),
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_corner_detectors_show_each_kind(tiny_config, tmp_path, image, architecture, names, flip):
    cfg = corner_config(tiny_config, architecture, "TEST.FLIP", flip)
    predictor = make_predictor(cfg, tmp_path)
    seen = predictor.heatmap(image)
    assert list(seen.probabilities) == names
    ends = [f"{n}_{e}" for n in names for e in ("offset", "embedding")]
    assert list(seen.values) == [end for end in ends if end != "center_embedding"]
    entry = predictor._input(image)
    # Canvas 63 x 95; the image starts at (47 - 35, 31 - 25).
    images = predictor.model.inference_images([entry["image"]], (63, 95))
    assert seen.scale == pytest.approx((95 / 24, 63 / 16), abs=1e-5)
    assert seen.shift == pytest.approx((-12, -6), abs=1e-5)
    with torch.no_grad():
        last = predictor.model.predict(images)[-1]
    for name in names:
        expected = getattr(last, name).heatmap[0].sigmoid()
        assert expected.shape == (5, 16, 24)
        torch.testing.assert_close(seen.probabilities[name], expected)


def test_other_detectors_say_that_they_have_none(tiny_config, tmp_path, image):
    predictor = make_predictor(tiny_config(), tmp_path)
    predictor.model = torch.nn.Identity()
    with pytest.raises(ValueError, match="Identity has no heatmaps of keypoints"):
        predictor.heatmap(image)


@pytest.mark.parametrize(
    ("overrides", "tolerance"),
    [
        (("TEST.FOLD_NORM", True), 1e-3),
        (("TEST.DTYPE", "bfloat16"), 0.05),
        (("TEST.FOLD_NORM", True, "TEST.DTYPE", "bfloat16"), 0.05),
    ],
)
def test_fast_prediction_sees_the_same_centers(tiny_config, tmp_path, image, overrides, tolerance):
    plain = make_predictor(tiny_config(), tmp_path)
    fast = make_predictor(tiny_config(*overrides), tmp_path)
    expected, found = (p.heatmap(image).probabilities["center"] for p in (plain, fast))
    assert not torch.equal(expected, found)  # the option does something
    assert (expected - found).abs().mean() < tolerance
    norms = [m for m in fast.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert bool(norms) == ("TEST.FOLD_NORM" not in overrides)


def test_depth_and_orientation_are_shown_as_metres_and_angles(tiny_config, tmp_path, image):
    cfg = tiny_config("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"])
    predictor = make_predictor(cfg, tmp_path)
    seen, (entry,) = predictor.heatmap(image).values, [predictor._input(image)["image"]]
    images = predictor.model.inference_images([entry], (64, 96))
    with torch.no_grad():
        depth = predictor.model.predict(images)[-1].regressions["depth"][0]
    # A network that says 0 means 1 m, as 1 / sigmoid(0) - 1.
    torch.testing.assert_close(seen["depth"], depth.neg().exp(), rtol=1e-3, atol=1e-3)
    assert seen["orientation"].shape == depth.shape
    assert seen["orientation"].abs().max() <= np.pi
