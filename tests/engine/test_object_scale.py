"""Objects of one size in training and testing: what is measured, what is refused, and its cure."""

from __future__ import annotations

import random
import re
import shlex

import numpy as np
import pytest
import torch
from detectron2.structures import BoxMode

from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.object_scale import (
    Learned,
    check_object_scale,
    median,
    sizes_in_testing,
)
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.modeling.inference_protocol import InferenceProtocol

FRAME = ("INPUT.TRAIN_SIZE", [128, 128], "INPUT.CENTER_CROP.SCALES", [0.5])
FIXED = ("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE")


def records(height: int, width: int, side: float, count: int = 30) -> list[dict]:
    """Images of one size with an object each, and a crowd, which is none."""
    box = {"bbox": [5, 5, side, side], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    crowd = {**box, "bbox": [0, 0, width, height], "iscrowd": 1}
    image = {"height": height, "width": width, "file_name": "", "annotations": [box, crowd]}
    return [dict(image, image_id=number) for number in range(count)]


def made(*overrides, base="Base-PointsCenterNet.yaml"):
    cfg = load_config(base, ["MODEL.DEVICE", "cpu", "MODEL.HEATMAP.NUM_CLASSES", 1, *overrides])
    return cfg, InferenceProtocol.from_config(cfg)


def check(trained, tested, *overrides, learned=None, **options):
    cfg, protocol = made(*overrides, **options)
    learned = learned or Learned.of(trained, DetectionMapper(cfg, is_train=True))
    check_object_scale(cfg, learned, tested, protocol)
    return learned.size


@pytest.mark.parametrize(
    ("overrides", "learned", "tested"),
    [
        # 128 pixels show half of an image's fitting side, 640.
        ([], 40 * 128 / 320, 40),
        ([*FIXED, [256, 256]], 16, 40 * 256 / 640),
        ([*FIXED, [128, 256]], 16, 40 * 128 / 480),  # here the height decides
        ([*FIXED, [128, 256], "TEST.FIXED_FIT", "width"], 16, 40 * 256 / 640),
        (["INPUT.CENTER_CROP.BASE", "output"], 80, 40),  # of 64 pixels of the image
        (["INPUT.CENTER_CROP.MODE", "none"], 40 * 128 / 640, 40),
    ],
)
def test_sizes_are_those_of_the_frames(overrides, learned, tested):
    cfg, protocol = made(*FRAME, *overrides)
    found = Learned.of(records(480, 640, 40), DetectionMapper(cfg, is_train=True))
    assert found.size == pytest.approx(learned)
    assert found.frame == (128, 128)
    assert median(sizes_in_testing(records(480, 640, 40), protocol)) == pytest.approx(tested)


def test_the_random_states_stay_and_the_size_is_repeated():
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    mapper = DetectionMapper(made()[0], is_train=True)
    first, second = (Learned.of(records(480, 640, 40), mapper).sizes for _ in "ab")
    assert len(set(first)) > 3  # the crop's scale is drawn
    assert (first == second).all()
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("side", "base", "overrides", "keys"),
    [
        (4000, "Shapes/points_tiny", [], 'TEST.RESOLUTION fixed TEST.FIXED_SIZE "[128, 128]"'),
        (200, "Shapes/points_tiny", [*FIXED, [512, 512]], 'fixed TEST.FIXED_SIZE "[128, 128]"'),
        (200, "Shapes/cornernet_tiny", [*FIXED, [512, 512]], "TEST.RESOLUTION keep_res"),
        (200, "Shapes/cornernet_tiny", ["INPUT.CENTER_CROP.SCALES", [0.5]], '"[384, 384]"'),
        (400, "Base-CornerNet.yaml", ["INPUT.CENTER_CROP.SCALES", [0.5]], '"[799, 799]"'),
        (
            4000,
            "Shapes/triplet_tiny",
            [],
            "CENTER_CROP.BASE image TEST.RESOLUTION fixed TEST.FIXED",
        ),
    ],
)
def test_other_sizes_are_refused_and_the_told_values_cure_it(side, base, overrides, keys):
    pictures = records(side, side, side / 5)
    with pytest.raises(ValueError, match=re.escape(keys)) as caught:
        check(pictures, {"mine": pictures}, *overrides, base=base)
    message = str(caught.value)
    assert "INPUT.TRAIN_SIZE" in message
    assert message.endswith("INPUT.SCALE_MISMATCH warning.")
    told = re.search(r"(?:Set|there by) (.*?)[.;] ", message)[1]
    check(pictures, {"mine": pictures}, *overrides, *shlex.split(told), base=base)


def test_both_sizes_and_the_dataset_are_told(caplog):
    pictures = records(640, 640, 40)
    args = (pictures, {"mine": pictures}, *FRAME)
    told = "median object is 16 pixels large in training .* and 40 in testing on mine"
    with pytest.raises(ValueError, match=told):
        check(*args)
    check(*args, "INPUT.SCALE_MISMATCH", "warning")
    assert re.search(told, caplog.text)
    check(*args, "TEST.SCALES", [0.4, 1.0])  # one of them agrees


def test_few_or_unknown_objects_leave_it_to_the_training_images():
    few, far = records(640, 640, 400, count=19), [*FRAME, *FIXED, [256, 256]]
    unlabelled = [{"height": 9, "width": 9}]
    for tested in ({}, {"few": few}, {"none": unlabelled}):
        assert check(records(640, 640, 40), tested, *far) == 16
        with pytest.raises(ValueError, match=r"and 40 in testing \(TEST.RESOLUTION keep_res"):
            check(records(640, 640, 40), tested, *FRAME)
    check(unlabelled, {}, *FRAME)  # nothing is known


def test_weights_tell_what_they_learned():
    with pytest.raises(ValueError, match=r"16 pixels large in training \(as MODEL.WEIGHTS tell"):
        check([], {"mine": records(640, 640, 40)}, learned=Learned([16.0], (128, 128)))
    check([], {"mine": records(640, 640, 20)}, learned=Learned([16.0], (128, 128)))
    check([], {"mine": records(640, 640, 20)}, learned=Learned([0.0], (128, 128)))


SHIPPED = {
    "COCO-Detection/points_dla34_140e": (480, 640),
    "COCO-Detection/triplet_hourglass52": (480, 640),
    "COCO-Keypoints/points_dla34_1x": (640, 480),
    "PascalVOC-Detection/points_dla34_384": (375, 500),
    "KITTI-Detection3D/points_dla34_3dop": (375, 1242),
    **{f"Shapes/{name}_tiny": (128, 128) for name in ("points", "cornernet", "triplet", "pose")},
    "Shapes/box3d_tiny": (375, 1242),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_agree_on_their_own_images(name):
    pictures = records(*SHIPPED[name], side=30)
    cfg = setup(load_config(name, ["MODEL.DEVICE", "cpu"]))
    learned = Learned.of(pictures, DetectionMapper(cfg, is_train=True))
    check_object_scale(cfg, learned, {"its own": pictures}, InferenceProtocol.from_config(cfg))


def test_a_mapper_that_tells_no_crop_is_not_compared():
    assert Learned.of(records(9, 9, 3), lambda record: record) is None
    check_object_scale(made()[0], None, {}, made()[1])
