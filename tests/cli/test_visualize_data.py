from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances, Keypoints

from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.registration import ANNOTATION_FILE, IMAGE_FOLDER
from centernet_d2.synthetic.settings import FigureSettings, SplitSettings, StreetSettings
from centernet_d2.visualization import training_samples

from .conftest import CORNER_OVERRIDES

SHAPES = Path(__file__).resolve().parents[2] / "configs" / "Shapes"
PLAIN = ["INPUT.CENTER_CROP.MODE", "none"]
for key in ("FLIP_PROBABILITY", "COLOR_JITTER", "PCA_LIGHTING"):
    PLAIN += [f"INPUT.{key}", "0.0"]


@pytest.fixture
def draw(verb, monkeypatch, tmp_path):
    """A function that runs the tool with a config of Shapes: pictures, and calls of functions."""

    def run(config, *arguments, spied=(), output="out"):
        tool, calls = verb("visualize-data"), {name: [] for name in spied}
        for name in spied:
            original = getattr(training_samples, name)

            def spy(*given, name=name, original=original, **options):
                calls[name].append((*given, options))
                return original(*given, **options)

            monkeypatch.setattr(training_samples, name, spy)
        needed = ["--config-file", str(SHAPES / config), "--output", str(tmp_path / output)]
        assert tool.main([*needed, *arguments]) == 0
        files = sorted((tmp_path / output).iterdir())
        return {file.name: cv2.imread(str(file)) for file in files}, calls

    return run


@pytest.mark.parametrize("heatmaps", [False, True])
def test_draws_augmented_samples(draw, tiny_overrides, heatmaps):
    arguments = ["--count", "2", "--repeat", "2", *(["--heatmaps"] if heatmaps else [])]
    found, _ = draw("points_tiny.yaml", *arguments, *tiny_overrides)
    assert list(found) == ["0000_0.jpg", "0001_0.jpg", "0002_1.jpg", "0003_1.jpg"]
    first, second, *_ = found.values()
    assert first.shape[1] == (64 + 4 + 64 if heatmaps else 64)
    assert (first != second).any()  # two augmentations of one image


def test_same_seed_same_pictures(draw, tiny_overrides):
    a, b = (
        draw("points_tiny.yaml", "--count", "2", *tiny_overrides, output=name)[0] for name in "ab"
    )
    assert list(a) == list(b)
    for name, picture in a.items():
        np.testing.assert_array_equal(picture, b[name])


def test_own_data_with_a_config_whose_test_data_has_other_classes(draw, squares):
    config = "../COCO-Detection/points_resnet18_dcn_140e.yaml"
    own = ["--count", "1", "DATASETS.TRAIN", squares, "MODEL.HEATMAP.NUM_CLASSES", "0"]
    assert len(draw(config, *own)[0]) == 1


def test_heatmaps_lie_on_the_networks_own_canvas(draw, tiny_overrides):
    """A crop of 60 x 60 stands in the middle of 64 x 64, and the boxes with it."""
    overrides = ["--count", "1", "--heatmaps", *tiny_overrides, "INPUT.TRAIN_SIZE", "[60, 60]"]
    names = ("draw_truth", "draw_heatmap")
    _, calls = draw("points_tiny.yaml", *overrides, *PLAIN, spied=names)
    ((image, heatmap, _, options),) = calls["draw_heatmap"]
    assert image.shape == (64, 64, 3)
    assert not image[:2].any()
    assert not image[:, -2:].any()
    assert image[2:62, 2:62].min() >= 39  # the picture's gray, after the way through the network
    # The square from (8, 10) to (28, 30), scaled by 60 / 64 and moved by 2.
    box = np.array([8, 10, 28, 30]) * 60 / 64 + 2
    drawn = calls["draw_truth"][0][1].gt_boxes.tensor.numpy()
    np.testing.assert_allclose(drawn, [box], rtol=0, atol=1e-4)
    assert options["scale"] == (4, 4)
    row, column = np.unravel_index(int(heatmap[0].argmax()), heatmap.shape[1:])
    assert (column, row) == (int((box[0] + box[2]) / 8), int((box[1] + box[3]) / 8))


def test_corner_targets_stand_beside_each_other(draw, tiny_overrides):
    """The square from (8, 10) to (28, 30) on a canvas of 63 pixels and a map of 16 cells."""
    overrides = [*tiny_overrides, *CORNER_OVERRIDES, "INPUT.TRAIN_SIZE", "[63, 63]"]
    overrides = ["--count", "1", "--heatmaps", *overrides, *PLAIN, "TEST.CANVAS", "odd"]
    found, calls = draw("triplet_tiny.yaml", *overrides, spied=["draw_heatmap"])
    (picture,) = found.values()
    assert picture.shape[1] == 4 * 63 + 3 * 4  # the sample and three heatmaps
    box = np.array([8, 10, 28, 30]) * 63 / 64 * 16 / 63
    expected = [box[:2], box[2:], (box[:2] + box[2:]) / 2]
    for (_, heatmap, *_, options), point in zip(calls["draw_heatmap"], expected, strict=True):
        assert options["scale"] == (63 / 16, 63 / 16)
        row, column = np.unravel_index(int(heatmap[0].argmax()), heatmap.shape[1:])
        assert (column, row) == tuple(point.astype(int))


@pytest.fixture
def figures(tmp_path):
    """Overrides for the shipped pose config on four generated figures' pictures."""
    folder = tmp_path / "figures"
    ensure_split(SplitSettings(images=4, seed=1, scenes=FigureSettings()), str(folder))
    registered = set(DatasetCatalog.list())
    yield [
        *("MODEL.DEVICE", "cpu"),
        *("DATASETS.TRAIN", f"coco:{folder / ANNOTATION_FILE}:{folder / IMAGE_FOLDER}"),
    ]
    for name in set(DatasetCatalog.list()) - registered:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name)


@pytest.mark.parametrize("heatmaps", [[], ["--heatmaps"]])
def test_joints_are_drawn(draw, figures, heatmaps):
    _, calls = draw("pose_tiny.yaml", *heatmaps, *figures, spied=["draw_truth"])
    assert len(calls["draw_truth"]) == 4
    for _, instances, names, options in calls["draw_truth"]:
        assert names == ["figure"]
        assert len(options["drawing"].edges) == 10
        assert instances.gt_keypoints.tensor.shape[1:] == (11, 3)
    assert sum(len(instances) for _, instances, *_ in calls["draw_truth"]) > 4


def test_joints_move_with_the_canvas():
    """A crop in the middle of a larger canvas; visibilities stay."""
    instances = Instances(
        (60, 60),
        gt_boxes=Boxes(torch.tensor([[1.0, 2, 3, 4]])),
        gt_classes=torch.tensor([0]),
        gt_keypoints=Keypoints(torch.tensor([[[5.0, 6, 2], [7, 8, 1]]])),
    )
    moved = training_samples.on_canvas(instances, (2.0, 3.0), (64, 64))
    assert moved.image_size == (64, 64)
    assert moved.gt_keypoints.tensor[0].tolist() == [[7, 9, 2], [9, 11, 1]]
    assert moved.gt_boxes.tensor.tolist() == [[3, 5, 5, 7]]


BOX3D_OVERRIDES = [
    *("INPUT.FLIP_PROBABILITY", "0.0", "INPUT.TRAIN_SIZE", "[96, 320]"),
    *("INPUT.COLOR_JITTER", "0.0", "INPUT.PCA_LIGHTING", "0.0", "DATASETS.TEST", "()"),
    *("MODEL.POINTS_CENTERNET.TASKS", "['box2d', 'box3d']", "MODEL.HEATMAP.NUM_CLASSES", "3"),
]


def test_boxes_in_space_stand_beside_their_view_from_above(draw, tmp_path):
    folder = tmp_path / "kitti"
    ensure_split(SplitSettings(2, 1, StreetSettings()), str(folder))
    dataset = ["DATASETS.TRAIN", f"kitti:{folder}:all"]
    pictures, _ = draw("points_tiny.yaml", *BOX3D_OVERRIDES, *dataset)
    assert len(pictures) == 2
    for picture in pictures.values():  # enlarged by 4
        assert picture.shape == (384, 1280 + 4 + 384, 3)
        assert (picture[:, 1284:] > 200).all(axis=2).mean() > 0.8  # the ground from above is light


@pytest.mark.data
def test_real_boxes_in_space_are_drawn(draw, test_data):
    dataset = ["DATASETS.TRAIN", f"kitti:{test_data}/kitti:3dop/val"]
    overrides = [*BOX3D_OVERRIDES, "INPUT.TRAIN_SIZE", "[384, 1280]", *dataset]
    overrides += ["DATASETS.KITTI.ALLOW_MISSING", "True"]
    pictures, _ = draw("points_tiny.yaml", "--count", "3", *overrides)
    assert list(pictures) == ["0000_000001.jpg", "0001_000002.jpg", "0002_000004.jpg"]


def test_ignored_regions_are_no_objects(draw, tmp_path):
    """A car and two regions that are ignored: as a car, and in every class."""
    folder = tmp_path / "kitti"
    ensure_split(SplitSettings(1, 1, StreetSettings()), str(folder))
    (label,) = folder.glob("training/label_2/*.txt")
    label.write_text(
        "Car 0 0 0 500 150 700 250 1.5 1.6 4 0 1.6 20 0\n"
        "Van 0 0 0 900 150 999 250 1.5 1.6 4 8 1.6 20 0\n"
        "DontCare -1 -1 -10 100 150 200 200 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    overrides = [*BOX3D_OVERRIDES, "DATASETS.TRAIN", f"kitti:{folder}:all", "MODEL.DEVICE", "cpu"]
    names = ("draw_heatmap", "side_by_side")
    _, calls = draw("points_tiny.yaml", "--heatmaps", *overrides, spied=names)
    titles = calls["side_by_side"][0][1]
    assert titles == ["given to the model", "target heatmap, 1 of 1 objects"]
    ((_, heatmap, labels, _),) = calls["draw_heatmap"]
    assert labels == ["Pedestrian, ignored", "Car", "Cyclist, ignored"]
    assert heatmap.amax((1, 2)).tolist() == pytest.approx([0.9999, 1, 0.9999])
