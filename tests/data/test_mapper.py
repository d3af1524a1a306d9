"""Dataset record -> network input: boxes go where the pixels go, and seeds repeat."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import BoxMode
from PIL import Image

from centernet_d2.config import add_centernet_config
from centernet_d2.data.color import RandomColor
from centernet_d2.data.datasets.coco_json import load_coco_records
from centernet_d2.data.mapper import DetectionMapper, build_augmentations
from centernet_d2.data.transforms import RandomCenterCrop, RandomFlip


def config(*overrides):
    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.INPUT.FORMAT = "BGR"
    cfg.merge_from_list([*("INPUT.TRAIN_SIZE", [96, 128]), *overrides])
    return cfg


GEOMETRY_ONLY = ("INPUT.COLOR_JITTER", 0.0, "INPUT.PCA_LIGHTING", 0.0)
PLAIN = (*GEOMETRY_ONLY, "INPUT.FLIP_PROBABILITY", 0.0, "INPUT.CENTER_CROP.MODE", "none")


@pytest.fixture
def record(tmp_path):
    """A gray picture of 200 x 100 with two annotated bright rectangles and a crowd."""
    image = np.full((100, 200, 3), 40, dtype=np.uint8)
    image[20:50, 30:70] = 220
    image[60:90, 120:190] = 160
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), image)

    def annotation(box, category, crowd=0):
        mode = BoxMode.XYWH_ABS
        return {"bbox": box, "bbox_mode": mode, "category_id": category, "iscrowd": crowd}

    return {
        "file_name": str(path),
        "image_id": 5,
        "height": 100,
        "width": 200,
        "annotations": [
            annotation([30, 20, 40, 30], 1),
            annotation([120, 60, 70, 30], 4),
            annotation([0, 0, 20, 15], 2, crowd=1),
        ],
    }


def test_training_output(record):
    np.random.seed(0)
    result = DetectionMapper(config(), is_train=True)(record)
    assert set(result) == {"file_name", "image_id", "height", "width", "image", "instances"}
    assert result["image"].shape == (3, 96, 128)
    assert result["image"].dtype == torch.float32  # colour is jittered
    assert result["instances"].image_size == (96, 128)
    assert result["image"].permute(1, 2, 0).is_contiguous()  # as on the canvas: a plain copy
    assert result["instances"].gt_boxes.tensor.dtype == torch.float32
    assert result["instances"].gt_classes.dtype == torch.int64
    assert (result["height"], result["width"]) == (100, 200)


def test_boxes_by_hand(record):
    # 200 x 100 into 128 x 96: scale 0.64, shift (0, 16).
    result = DetectionMapper(config(*PLAIN), is_train=True)(record)
    assert result["image"].dtype == torch.uint8
    np.testing.assert_allclose(
        result["instances"].gt_boxes.tensor,
        [[19.2, 28.8, 44.8, 48], [76.8, 54.4, 121.6, 73.6], [0, 16, 12.8, 25.6]],
        atol=1e-4,
    )
    assert result["instances"].gt_classes.tolist() == [1, 4, 2]


def test_corner_configs_crop_as_published():
    """Sides of 511 times the scale in images of any size; colours as in the points recipe."""
    cfg = config()
    cfg.merge_from_file(str(Path(__file__).parents[2] / "configs" / "Base-CornerNet.yaml"))
    flip, crop, color = build_augmentations(cfg)
    for size in ((427, 640), (120, 90), (1200, 1600)):
        np.random.seed(0)
        image = np.zeros((*size, 3), dtype=np.uint8)
        transforms = [crop.get_transform(image) for _ in range(200)]
        sides = sorted({round(511 / transform.scale, 6) for transform in transforms})
        assert sides == [306, 357, 408, 459, 511, 562, 613, 664]
    assert (flip.probability, flip.convention) == (0.5, "pixel")
    assert (color.jitter, color.lighting) == (0.4, 0.1)
    assert {transform.output_size for transform in transforms} == {(511, 511)}


@pytest.mark.parametrize("base", ["image", "output"])
def test_boxes_follow_the_pixels(record, base):
    """Through random flips and crops, the bright rectangles lie in their boxes."""
    mapper = DetectionMapper(config(*GEOMETRY_ONLY, "INPUT.CENTER_CROP.BASE", base), is_train=True)
    np.random.seed(3)
    compared = 0
    for _ in range(60):
        result = mapper(record)
        image = result["image"].numpy()[0]
        instances = result["instances"]
        for box, kind in zip(instances.gt_boxes.tensor.numpy(), instances.gt_classes, strict=True):
            if kind == 2:
                continue
            (x1, y1), (x2, y2) = np.ceil(box[:2]).astype(int), np.floor(box[2:]).astype(int)
            level = 220 if kind == 1 else 160
            inside = image[max(y1 + 2, 0) : max(y2 - 2, 0), max(x1 + 2, 0) : max(x2 - 2, 0)]
            if inside.size < 20:
                continue
            compared += 1
            assert (inside == level).all()
            left = image[max(y1 + 2, 0) : max(y2 - 2, 0), max(x1 - 3, 0) : max(x1 - 2, 0)]
            assert (left <= 41).all()
    assert compared > 40


def test_boxes_are_cut_by_the_crop_but_not_clipped(record):
    mapper = DetectionMapper(config(*GEOMETRY_ONLY), is_train=True)
    np.random.seed(0)
    boxes = torch.cat([mapper(record)["instances"].gt_boxes.tensor for _ in range(60)])
    assert (boxes[:, 0] < 128).all()
    assert (boxes[:, 1] < 96).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes < 0).any()
    assert (boxes[:, 2] > 128).any()


def test_evaluation_leaves_the_image_as_it_is(record):
    result = DetectionMapper(config(), is_train=False)(record)
    assert "instances" not in result
    assert "annotations" not in result
    expected = cv2.imread(record["file_name"]).transpose(2, 0, 1)
    assert result["image"].dtype == torch.uint8
    np.testing.assert_array_equal(result["image"], expected)
    assert (result["height"], result["width"]) == (100, 200)


@pytest.mark.parametrize("given", [{"annotations": []}, {}])
def test_images_without_objects_are_kept(record, given):
    del record["annotations"]
    record |= given
    result = DetectionMapper(config(), is_train=True)(record)
    assert len(result["instances"]) == 0
    assert result["instances"].gt_boxes.tensor.shape == (0, 4)
    assert result["instances"].gt_classes.dtype == torch.int64


def test_equal_seeds_give_equal_samples_and_the_record_is_not_edited(record):
    mapper = DetectionMapper(config(), is_train=True)
    before = copy.deepcopy(record)

    def run(seed):
        np.random.seed(seed)
        return mapper(record)

    first, second = run(11), run(11)
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["instances"].gt_boxes.tensor, second["instances"].gt_boxes.tensor)
    assert record == before
    assert any(not torch.equal(first["image"], run(seed)["image"]) for seed in (12, 13))


def test_a_box_of_no_width_is_left_out_and_a_size_taken_from_the_file(record):
    record["annotations"][0]["bbox"] = [30, 20, 0, 30]
    del record["height"], record["width"]
    result = DetectionMapper(config(*PLAIN), is_train=True)(record)
    assert (result["height"], result["width"]) == (100, 200)
    assert result["instances"].gt_classes.tolist() == [4, 2]


def test_augmentations_follow_the_config():
    kinds = [type(item) for item in build_augmentations(config())]
    assert kinds == [RandomFlip, RandomCenterCrop, RandomColor]
    assert [type(item) for item in build_augmentations(config(*PLAIN))] == [RandomCenterCrop]
    flip, crop, color = build_augmentations(
        config(
            *("INPUT.FLIP_CONVENTION", "edge", "INPUT.FLIP_PROBABILITY", 0.2),
            *("INPUT.CENTER_CROP.SCALES", [1.0], "INPUT.CENTER_CROP.BORDER", 64),
            *("INPUT.COLOR_JITTER", 0.3),
        )
    )
    assert (flip.convention, flip.probability) == ("edge", 0.2)
    assert (crop.output_size, crop.scales, crop.border) == ((96, 128), (1.0,), 64)
    assert (color.jitter, color.lighting) == (0.3, 0.1)


def test_plain_python_builds_the_same_mapper(record):
    built = DetectionMapper(
        is_train=True,
        augmentations=[RandomCenterCrop((96, 128), mode="none")],
        crowd_as_objects=False,
    )
    configured = DetectionMapper(config(*PLAIN, "INPUT.CROWD_AS_OBJECTS", False), is_train=True)
    assert torch.equal(built(record)["image"], configured(record)["image"])
    for mapper in (built, configured):
        assert mapper(record)["instances"].gt_classes.tolist() == [1, 4]


def test_exif_rotated_file_with_upright_annotations(record):
    """Boxes were drawn on the upright picture: the file's orientation flag changes nothing."""
    upright = Image.open(record["file_name"])
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # rotate by 270 degrees to stand upright
    turned.save(record["file_name"], exif=exif)
    result = DetectionMapper(config(*PLAIN), is_train=True)(record)
    image = result["image"].numpy()[0]
    assert (image[31:46, 22:42] == 220).all()


@pytest.mark.data
def test_real_images_keep_what_is_in_their_boxes(test_data):
    """The content of each box, cut from the warped image, looks like that of the original."""
    folder = test_data / "coco_mini"
    records = load_coco_records(
        str(folder / "annotations" / "instances_val2017.json"), str(folder / "val2017")
    )
    mapper = DetectionMapper(config(*GEOMETRY_ONLY, "INPUT.TRAIN_SIZE", [512, 512]), is_train=True)
    np.random.seed(0)
    similar = []
    for record in records[:40]:
        record["annotations"] = [
            {**annotation, "category_id": index}
            for index, annotation in enumerate(record["annotations"])
        ]
        original = cv2.imread(record["file_name"])
        result = mapper(record)
        instances = result["instances"]
        warped = np.ascontiguousarray(result["image"].numpy().transpose(1, 2, 0))
        for box, index in zip(instances.gt_boxes.tensor.numpy(), instances.gt_classes, strict=True):
            x, y, width, height = record["annotations"][int(index)]["bbox"]
            inside = box.min() >= 1 and box.max() <= 510
            if not inside or min(width, height) < 24:
                continue
            before = patch(original, (x, y, x + width, y + height))
            after = patch(warped, box)
            # The box may be flipped; a shifted or scaled box would correlate with neither.
            similar.append(max(correlation(before, after), correlation(before[:, ::-1], after)))
    assert len(similar) > 40
    assert np.median(similar) > 0.97
    assert np.mean(np.array(similar) > 0.9) > 0.9


def patch(image: np.ndarray, box) -> np.ndarray:
    """The box's content at 24 x 24."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    part = cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY)
    return cv2.resize(part, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float64)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
