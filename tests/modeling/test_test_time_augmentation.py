"""Flip and scales: what the network sees, how views are united, and that it is all in the model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from small_detector import image_input, rows, small_detector

from centernet_d2.decoding.center_boxes import center_boxes, peak_centers
from centernet_d2.decoding.peaks import top_peaks
from centernet_d2.decoding.soft_nms import SoftNmsRule, soft_nms
from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.backbone import EncoderDecoder
from centernet_d2.modeling.inference_protocol import InferenceProtocol
from centernet_d2.modeling.meta_arch.heatmap_detector import HeatmapDetector
from centernet_d2.modeling.point_tasks.base import Branches, PointTask
from centernet_d2.modeling.point_tasks.box2d import Box2D
from centernet_d2.modeling.test_time_augmentation import (
    average_flipped,
    place_zoomed,
    unite,
    with_flipped_images,
    zoom_image,
)
from centernet_d2.structures.predictions import CenterPredictions

FLIP = ("TEST.FLIP", True)
SCALES = ("TEST.SCALES", [0.5, 0.75, 1.0, 1.25, 1.5])
PROTOCOLS = {"none": (), "flip": FLIP, "ms": (*FLIP, *SCALES), "scales": SCALES}
NORMALIZATION = {"mean": torch.zeros(3), "std": torch.ones(3)}


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return image_input(height, width, seed)["image"]


def built(cfg) -> PointsCenterNet:
    """A detector whose maps are far from constant."""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for name, parameter in model.head.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
def detect(model, *images: torch.Tensor) -> list[Instances]:
    return [found["instances"] for found in model([{"image": image} for image in images])]


# ---- flip ----


@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
def test_flip_is_the_mean_of_both_views_but_for_the_offset(tiny_config, resolution):
    where = ("TEST.RESOLUTION", resolution, "TEST.FIXED_SIZE", [96, 96])
    plain, flip = built(tiny_config(*where)), built(tiny_config(*where, *FLIP))
    image = picture(50, 71)
    with torch.no_grad():
        canvas = plain.protocol.canvas_of((50, 71), plain.divisor)
        images = plain.inference_images([image], canvas)
        own = plain.predict(images)[-1]
        other = plain.predict(replace(images, tensor=images.tensor.flip(3)))[-1]
    heatmap = (own.heatmap.sigmoid() + other.heatmap.sigmoid().flip(3)) / 2
    size = (own.regressions["size"] + other.regressions["size"].flip(3)) / 2
    peaks = top_peaks(heatmap, 100)
    boxes = center_boxes(peaks, peak_centers(peaks, own.offset), size)
    boxes = images.map_to_image(boxes.unflatten(-1, (2, 2)), own.map_size).flatten(-2)
    (found,) = detect(flip, image)
    torch.testing.assert_close(found.scores, peaks.scores[0])
    assert torch.equal(found.pred_classes, peaks.classes[0])
    torch.testing.assert_close(found.pred_boxes.tensor, boxes[0], atol=1e-3, rtol=1e-5)
    (unflipped,) = detect(plain, image)
    assert (found.scores - unflipped.scores).abs().max() > 1e-3


def test_detections_of_a_symmetric_picture_are_symmetric(tiny_config):
    model = built(tiny_config(*FLIP))
    for name, parameter in model.head.named_parameters():
        if ".offset." in name:  # taken from one view only, so it alone need not be symmetric
            torch.nn.init.zeros_(parameter)
    half = picture(64, 40)
    (found,) = detect(model, torch.cat([half, half.flip(2)], dim=2))
    # Cell k of w has its flipped image at w - 1 - k: network pixels 4 k and 4 (w - 1) - 4 k.
    width = model.protocol.canvas_of((64, 80), model.divisor)[1]
    total = width - 4 - 2 * (width - 80) / 2
    flipped = rows(found)
    flipped[:, [2, 4]] = total - flipped[:, [4, 2]]
    ours = rows(found)[:-2]  # the last may lack its equal partner
    distance = torch.cdist(ours, flipped, compute_mode="donot_use_mm_for_euclid_dist")
    assert len(found) > 50
    assert distance.min(dim=1).values.max() < 1e-3
    assert (rows(found) - flipped).abs().max() > 1  # and it is not that nothing moves


def test_both_views_go_through_the_network_together(tiny_config):
    model = built(tiny_config(*FLIP))
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    detect(model, picture(40, 60), picture(40, 60, seed=1))
    (batch,) = seen
    assert batch.shape == (4, 3, 64, 64)
    assert torch.equal(batch[2:], batch[:2].flip(3))


def test_a_task_says_how_its_branches_are_averaged():
    maps = torch.arange(8.0).view(2, 2, 1, 2)  # one image, its flipped image; x and y channels
    own, flip = maps.chunk(2)
    assert torch.equal(average_flipped(maps, lambda flipped: None), own)
    mean = average_flipped(maps, lambda flipped: flipped)
    assert torch.equal(mean, (own + flip.flip(3)) / 2)

    def negate_x(flipped):
        return flipped * torch.tensor([-1.0, 1]).view(1, 2, 1, 1)

    assert average_flipped(maps, negate_x)[0, :, 0].tolist() == [[-2.5, -1.5], [4.5, 4.5]]
    assert Box2D().unflip("size", flip) is flip
    assert PointTask.unflip(Box2D(), "size", flip) is None  # unless a task says so


def test_heatmaps_of_tasks_are_averaged_as_probabilities(tiny_config):
    class Joints(Box2D):
        def branches(self, num_classes):
            return Branches({"size": 2}, {"joints": 2})

        def unflip(self, branch, maps):
            return maps.flip(1) if branch == "joints" else maps  # left and right change places

    model = built(tiny_config(*FLIP))
    model.tasks = [Joints()]
    logits = torch.randn(2, 2, 4, 4)
    last = CenterPredictions(
        torch.randn(2, 5, 4, 4), torch.randn(2, 2, 4, 4), {"size": logits, "joints": logits}
    )
    maps = model.decoded_maps(last, flipped=True)
    expected = (logits[:1].sigmoid() + logits[1:].sigmoid().flip(3).flip(1)) / 2
    assert torch.equal(maps.regressions["joints"], expected)
    assert torch.equal(maps.regressions["size"], (logits[:1] + logits[1:].flip(3)) / 2)
    assert torch.equal(maps.offset, last.offset[:1])
    assert maps.map_size == (4, 4)


# ---- scales ----


# 640 x 480; the published inverse is x = (4 u - canvas width / 2 + new width // 2) / scale.
@pytest.mark.parametrize(
    ("zoom", "canvas", "shift"),
    [
        (0.5, (256, 352), (16, 8)),
        (0.75, (384, 512), (16, 12)),
        (1.0, (512, 672), (16, 16)),
        (1.25, (608, 832), (16, 4)),
        (1.5, (736, 992), (16, 8)),
    ],
)
def test_scales_that_keep_the_resolution(tiny_config, zoom, canvas, shift):
    model = build_model(tiny_config())
    assert model.canvas_of({"image": torch.zeros(3, 480, 640)}, zoom) == canvas
    images = model.inference_images([torch.zeros(3, 480, 640)], canvas, zoom)
    assert images.image_sizes == ((480, 640),)
    assert images.shift.tolist() == [list(map(float, shift))]
    cell = torch.tensor([[[30.0, 20.0]]])
    point = images.map_to_image(cell, (canvas[0] // 4, canvas[1] // 4))[0, 0]
    expected = [(120 - shift[0]) / zoom, (80 - shift[1]) / zoom]
    assert point.tolist() == pytest.approx(expected)


# On a fixed canvas the longer side of the image itself, not of the scaled one, is the measure.
@pytest.mark.parametrize(("zoom", "shift"), [(0.5, (128, 160)), (1.0, (0, 64)), (1.5, (-128, -32))])
def test_scales_at_fixed_resolution(zoom, shift):
    images = place_zoomed(
        [torch.zeros(3, 480, 640)],
        (512, 512),
        zoom,
        InferenceProtocol(resolution="fixed"),
        **NORMALIZATION,
    )
    assert images.image_sizes == ((480, 640),)
    assert images.scale.item() == pytest.approx(0.8 * zoom)
    assert images.shift[0].tolist() == pytest.approx(shift)


# An image of KITTI, 1242 x 375, on 384 x 1280. "width" is what its published networks see: x' =
# 1.0305958 x, y' = 1.0305958 y - 1.236715; "none" is published as --keep_res for that task.
@pytest.mark.parametrize(
    ("fit", "scale", "shift", "inverse"),
    [
        ("width", 1.0305958, (0.0, -1.236715), (3.88125, (0.0, 1.2))),
        ("none", 1.0, (19.0, 4.5), (4.0, (-19.0, -4.5))),
        ("whole", 1.024, (4.096, 0.0), (3.90625, (-4.0, 0.0))),
    ],
)
def test_what_of_an_image_a_fixed_canvas_shows(fit, scale, shift, inverse):
    protocol = InferenceProtocol(resolution="fixed", fixed_size=(384, 1280), fixed_fit=fit)
    canvas = protocol.canvas_of((375, 1242), 32)
    images = place_zoomed([torch.zeros(3, 375, 1242)], canvas, 1.0, protocol, **NORMALIZATION)
    assert images.tensor.shape == (1, 3, 384, 1280)
    assert images.scale.item() == pytest.approx(scale, abs=1e-7)
    assert images.shift[0].tolist() == pytest.approx(shift, abs=1e-5)
    factor, (right, down) = inverse
    cells = torch.tensor([[[0.0, 0.0], [100.0, 40.0], [319.0, 95.0]]])
    found = images.map_to_image(cells, (96, 320))
    expected = factor * cells + torch.tensor([right, down])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("fit", ["width", "none", "whole"])
def test_pixels_of_a_fixed_canvas_lie_where_the_points_do(fit):
    """A gray image of 40 x 100 with a white square, on 80 x 200; then one twice as high."""
    protocol = InferenceProtocol(resolution="fixed", fixed_size=(80, 200), fixed_fit=fit)
    image = torch.full((3, 40, 100), 50, dtype=torch.uint8)
    image[:, 18:23, 68:73] = 255  # around (x, y) = (70, 20)
    placed = place_zoomed([image], (80, 200), 1.0, protocol, **NORMALIZATION)
    ys, xs = torch.nonzero(placed.tensor[0, 0] > 250, as_tuple=True)
    place = torch.tensor([70.0, 20.0]) * placed.scale + placed.shift[0]
    found = torch.stack([xs.float().mean(), ys.float().mean()])
    torch.testing.assert_close(found, place, atol=0.3, rtol=0)
    shown = (placed.tensor[0, 0] > 25).sum(0).max().item()
    assert shown == pytest.approx(min(40 * placed.scale.item(), 80), abs=1)
    # What is too high is cut evenly only where the width alone fits.
    high = torch.full((3, 100, 100), 50, dtype=torch.uint8)
    placed = place_zoomed([high], (80, 200), 1.0, protocol, **NORMALIZATION)
    top, bottom = (placed.shift[0, 1] + placed.scale * torch.tensor([0.0, 100.0])).tolist()
    assert top + bottom == pytest.approx(80)
    assert top == pytest.approx({"width": -60, "none": -10, "whole": 0}[fit])


def test_the_fit_matters_only_on_a_fixed_canvas():
    for fit in ("whole", "width", "none"):
        protocol = InferenceProtocol(fixed_fit=fit)
        canvas = protocol.canvas_of((375, 1242), 32)
        images = place_zoomed([torch.zeros(3, 375, 1242)], canvas, 1.0, protocol, **NORMALIZATION)
        assert images.shift.tolist() == [[3.0, 5.0]]
        assert images.scale.item() == 1


@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
@pytest.mark.parametrize("zoom", [0.5, 0.75, 1.25, 1.5])
def test_pixels_move_with_the_points(resolution, zoom):
    image = torch.zeros(3, 120, 160, dtype=torch.uint8)
    image[:, 48:57, 76:85] = 255  # around (x, y) = (80, 52)
    images = place_zoomed(
        [image], (256, 256), zoom, InferenceProtocol(resolution=resolution), **NORMALIZATION
    )
    weight = images.tensor[0, 0]
    ys, xs = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    found = torch.stack([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
    expected = images.image_to_map(torch.tensor([[80.0, 52.0]]), torch.tensor([0]), (256, 256))
    # cv2.resize keeps pixel *edges* in place, the conversion pixel middles: half a pixel apart at
    # most in the zoomed image, as published.
    half_pixel = 0.5 * abs(zoom - 1) * images.scale.item() / zoom
    assert (found - expected[0]).abs().max() < half_pixel + 0.1


def test_sizes_are_rounded_down_but_never_to_nothing():
    assert zoom_image(torch.zeros(3, 33, 47), 0.75).shape == (3, 24, 35)
    assert zoom_image(torch.zeros(3, 1, 5), 0.5).shape == (3, 1, 2)


def test_scale_one_leaves_the_pixels_alone_and_floats_equal_bytes():
    image = picture(20, 30)
    assert zoom_image(image, 1.0) is image
    assert torch.equal(zoom_image(image, 0.5), zoom_image(image.float(), 0.5))
    assert zoom_image(image, 0.5).dtype == torch.uint8


class Rendering(PointsCenterNet):
    """A detector that sees what it is told: perfect maps of known objects, in every view."""

    truth: list[Instances]
    seen: list[tuple[int, ...]]

    def predict(self, images):
        self.seen.append(tuple(images.tensor.shape))
        height, width = (side // 4 for side in images.tensor.shape[-2:])
        targets = self.targets(replace(images, flipped=False), self.truth, (height, width))
        at = (targets.peaks.image, slice(None), targets.peaks.y, targets.peaks.x)
        offset, size = (torch.zeros(len(images), 2, height, width) for _ in range(2))
        offset[at], size[at] = targets.offset, targets.size
        maps = [torch.logit(targets.heatmap, eps=1e-6), offset, size]
        if images.flipped:
            maps = [torch.cat([entry, entry.flip(3)]) for entry in maps]
        return [CenterPredictions(maps[0], maps[1], {"size": maps[2]})]


def rendering(objects, **protocol) -> Rendering:
    model = small_detector([Box2D()], 3, Rendering, protocol=protocol).eval()
    table = torch.tensor(objects, dtype=torch.float32)
    boxes = Boxes(table[:, 1:])
    model.truth = [Instances((200, 300), gt_boxes=boxes, gt_classes=table[:, 0].long())]
    model.seen = []
    return model


OBJECTS = [(0, 100, 60, 180, 140), (0, 150, 70, 190, 130), (2, 104, 66, 186, 150)]


@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("mode", ["clean", "reference"])
def test_five_scales_of_perfect_maps_give_each_object_once(resolution, flip, mode):
    model = rendering(
        OBJECTS,
        resolution=resolution,
        fixed_size=(320, 320),
        flip=flip,
        scales=(0.5, 0.75, 1.0, 1.25, 1.5),
        soft_nms={"method": "hard", "threshold": 0.7, "mode": mode},
    )
    (found,) = detect(model, torch.zeros(3, 200, 300, dtype=torch.uint8))
    heights = [128, 160, 224, 256, 320] if resolution == "keep_res" else [320] * 5
    assert [shape[2] for shape in model.seen] == heights
    assert {shape[0] for shape in model.seen} == {2 if flip else 1}
    best = rows(found)[found.scores > 0.9]
    if mode == "reference":  # stale copies come on top
        assert len(best) >= 3
    else:
        assert len(best) == 3
    expected = sorted(list(map(float, entry)) for entry in OBJECTS)
    for wanted in expected:
        error = (best[:, 1:] - torch.tensor(wanted)).abs().amax(dim=1)
        assert error.min() < 0.05


def test_union_is_soft_nms_over_the_candidates_of_all_scales(tiny_config):
    scales = [0.5, 1.0, 1.5]
    for mode in ("clean", "reference"):
        model = built(tiny_config("TEST.SCALES", scales, "TEST.SOFT_NMS.MODE", mode))
        image = picture(60, 90)
        alone = [detect(built(tiny_config("TEST.SCALES", [scale])), image)[0] for scale in scales]
        together = Instances.cat(alone)
        expected = soft_nms(
            together.pred_boxes.tensor,
            together.scores,
            together.pred_classes,
            rule=SoftNmsRule(mode=mode),
            limit=100,
        )
        (found,) = detect(model, image)
        assert [len(views) for views in alone] == [100] * 3
        assert len(found) == 100
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.pred_boxes.tensor, expected.boxes)


def test_one_scale_is_a_scaled_picture(tiny_config):
    image = picture(64, 96)
    (found,) = detect(built(tiny_config("TEST.SCALES", [0.5])), image)
    (smaller,) = detect(built(tiny_config()), zoom_image(image, 0.5))
    assert found.image_size == (64, 96)
    torch.testing.assert_close(found.pred_boxes.tensor, 2 * smaller.pred_boxes.tensor)
    assert torch.equal(found.scores, smaller.scores)


# ---- what the ways of predicting have in common ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("resolution", ["keep_res", "fixed"])
def test_a_batch_gives_what_single_images_give(tiny_config, protocol, resolution):
    cfg = tiny_config(
        *PROTOCOLS[protocol], "TEST.RESOLUTION", resolution, "TEST.FIXED_SIZE", [96, 96]
    )
    model = built(cfg)
    images = [
        picture(*size, seed=i) for i, size in enumerate([(50, 70), (64, 64), (50, 70), (31, 90)])
    ]
    for found, image in zip(detect(model, *images), images, strict=True):
        (alone,) = detect(model, image)
        assert len(found) == len(alone) >= 50
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-5, rtol=1e-4)
        if protocol == "none":  # only the order of sums in a convolution may differ
            torch.testing.assert_close(rows(found), rows(alone), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_images_give_no_detections(tiny_config, protocol):
    assert built(tiny_config(*PROTOCOLS[protocol]))([]) == []


def instances(boxes, scores, classes, **fields) -> Instances:
    return Instances(
        (50, 50),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)),
        scores=torch.tensor(scores),
        pred_classes=torch.tensor(classes),
        **fields,
    )


CROWD = ([[0, 0, 20, 20], [1, 1, 21, 21], [1, 1, 21, 21], [30, 30, 40, 40]], [0.9, 0.8, 0.7, 0.05])


def test_further_fields_follow_their_boxes():
    keypoints = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 3)
    found = instances(*CROWD, [0, 0, 1, 0], pred_keypoints=keypoints)
    empty = found[:0]
    first, second, third = unite([found, empty, found[2:]], SoftNmsRule(), limit=3)
    assert first.pred_keypoints[:, 0, 0].tolist() == [0, 2, 1]
    assert first.scores.tolist() == pytest.approx([0.9, 0.7, 0.8 * 0.2522], abs=1e-3)
    assert len(second) == 0
    assert second.has("pred_keypoints")
    assert third.pred_keypoints[:, 0, 0].tolist() == [2, 3]
    assert found.scores.tolist() == pytest.approx(CROWD[1])  # not changed


@pytest.mark.parametrize(
    ("nms", "threshold", "scores"),
    [
        ("none", 0.0, [0.9, 0.8, 0.7, 0.05]),
        ("hard", 0.0, [0.9, 0.7, 0.05]),
        ("hard", 0.1, [0.9, 0.7]),
        ("linear", 0.0, [0.9, 0.7, 0.8 * (1 - 0.8299), 0.05]),
        ("gaussian", 0.0, [0.9, 0.7, 0.8 * 0.2522, 0.05]),
    ],
)
def test_score_threshold_and_nms_at_one_scale(tiny_config, nms, threshold, scores):
    keys = ("MODEL.HEATMAP.SCORE_THRESHOLD", threshold, "MODEL.POINTS_CENTERNET.BOX2D.NMS", nms)
    model = build_model(tiny_config(*keys))
    (found,) = model.finalize([instances(*CROWD, [0, 0, 1, 0])])
    assert found.scores.tolist() == pytest.approx(scores, abs=1e-3)


def test_hard_nms_acts_on_the_union(tiny_config):
    model = build_model(tiny_config(*SCALES, "MODEL.POINTS_CENTERNET.BOX2D.NMS", "hard"))
    (found,) = model.finalize([instances(*CROWD, [0, 0, 1, 0])])
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.05])


@pytest.mark.parametrize(("limit", "count"), [(20, 20), (0, 130)])
def test_detections_of_several_scales_are_limited(tiny_config, limit, count):
    model = build_model(tiny_config(*SCALES, "TEST.DETECTIONS_PER_IMAGE", limit))
    corner = torch.arange(130.0)[:, None].expand(130, 4) * 20
    found = instances((corner + torch.tensor([0.0, 0, 5, 5])).tolist(), [0.5] * 130, [0] * 130)
    found.scores = torch.linspace(0.9, 0.1, 130)
    assert len(model.finalize([found])[0]) == count


class Appending(HeatmapDetector):
    """The other way to unite: candidates of each view, appended (as corner detectors do)."""

    def predict(self, images):
        return images.tensor.shape

    def losses(self, predictions, images, instances):
        raise NotImplementedError

    def propose(self, predictions, images):
        views = 2 if images.flipped else 1
        assert predictions[0] == views * len(images)
        scale = float(images.scale[0])
        one = instances([[0, 0, 9, 9]], [min(scale, 1.9) / 2], [0])
        return [Instances.cat([one] * views) for _ in range(len(images))]

    def finalize(self, candidates):
        self.finalized.append([len(found) for found in candidates])
        return candidates


def test_detectors_may_append_candidates_of_views_and_finalize_once():
    model = Appending(
        backbone=EncoderDecoder(channels=[8, 8, 8, 8], blocks=[1, 1, 1, 1], out_channels=8),
        head=torch.nn.Identity(),
        in_features=["decoder"],
        num_classes=1,
        pixels={"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        protocol=InferenceProtocol(flip=True, scales=(0.5, 1.0, 1.5)),
    ).eval()
    model.finalized = []
    found = detect(model, picture(50, 50), picture(50, 50, seed=1))
    assert model.finalized == [[6, 6]]
    assert found[0].scores.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_flip_images_keep_the_memory_format():
    images = place_zoomed(
        [torch.zeros(3, 20, 30)],
        (32, 32),
        1.0,
        InferenceProtocol(),
        **NORMALIZATION,
        channels_last=True,
    )
    both = with_flipped_images(images)
    assert both.tensor.is_contiguous(memory_format=torch.channels_last)
    assert len(both) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scales": []}, r"^scales .*\[\]"),
        ({"scales": [1.0, 0.0]}, r"^scales"),
        ({"resolution": "huge"}, r"^resolution"),
        ({"fixed_fit": "height"}, r"^fixed_fit .*'width', 'none', got 'height'"),
        ({"soft_nms": {"method": "none"}}, r"^method"),
    ],
)
def test_wrong_protocols_name_their_argument(fields, message):
    with pytest.raises(ValueError, match=message):
        InferenceProtocol(**fields)


def test_a_protocol_from_a_config_file_or_from_plain_values(tiny_config):
    cfg = tiny_config(
        *PROTOCOLS["ms"],
        *("TEST.SOFT_NMS.MODE", "reference", "TEST.SOFT_NMS.SIGMA", 0.4),
        *("TEST.DETECTIONS_PER_IMAGE", 0, "TEST.MAX_PIXELS", 10**6),
        *("TEST.FIXED_FIT", "width"),
    )
    plain = InferenceProtocol(
        flip=True,
        scales=[0.5, 0.75, 1, 1.25, 1.5],
        soft_nms={"mode": "reference", "sigma": 0.4},
        detections_per_image=None,
        max_pixels=10**6,
        fixed_fit="width",
    )
    assert InferenceProtocol.from_config(cfg) == plain
    assert InferenceProtocol.from_config(tiny_config()) == InferenceProtocol()
