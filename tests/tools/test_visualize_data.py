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

from .conftest import CORNER_OVERRIDES

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("heatmaps", [False, True])
def test_draws_augmented_samples(load_tool, tiny_yaml, tiny_overrides, tmp_path, heatmaps):
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out")]
    arguments += ["--count", "2", "--repeat", "2", *(["--heatmaps"] if heatmaps else [])]
    assert load_tool("visualize_data").main([*arguments, *tiny_overrides]) == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [f.name for f in files] == ["0000_0.jpg", "0001_0.jpg", "0002_1.jpg", "0003_1.jpg"]
    pictures = [cv2.imread(str(file)) for file in files]
    assert pictures[0].shape[1] == (64 + 4 + 64 if heatmaps else 64)
    assert (pictures[0] != pictures[1]).any()  # two augmentations of one image


def test_same_seed_same_pictures(load_tool, tiny_yaml, tiny_overrides, tmp_path):
    tool = load_tool("visualize_data")
    for folder in ("a", "b"):
        arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / folder)]
        tool.main([*arguments, "--count", "2", *tiny_overrides])
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_own_data_with_a_config_whose_test_data_has_other_classes(load_tool, squares, tmp_path):
    config = ROOT / "configs" / "COCO-Detection" / "points_resnet18_dcn_140e.yaml"
    arguments = ["--config-file", str(config), "--output", str(tmp_path / "out"), "--count", "1"]
    arguments += ["DATASETS.TRAIN", squares, "MODEL.HEATMAP.NUM_CLASSES", "0"]
    assert load_tool("visualize_data").main(arguments) == 0
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_heatmaps_lie_on_the_networks_own_canvas(
    load_tool, tiny_yaml, tiny_overrides, tmp_path, monkeypatch
):
    """A crop of 60 x 60 stands in the middle of 64 x 64, and the boxes with it."""
    tool, drawn = load_tool("visualize_data"), {}

    def keep(name):
        original = getattr(tool, name)

        def draw(*arguments, **options):
            drawn[name] = (*arguments, options)
            return original(*arguments, **options)

        monkeypatch.setattr(tool, name, draw)

    keep("draw_truth")
    keep("draw_heatmap")
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out"), "--count", "1"]
    overrides = [*tiny_overrides, "INPUT.TRAIN_SIZE", "[60, 60]", "INPUT.CENTER_CROP.MODE", "none"]
    for key in ("FLIP_PROBABILITY", "COLOR_JITTER", "PCA_LIGHTING"):
        overrides += [f"INPUT.{key}", "0.0"]
    assert tool.main([*arguments, "--heatmaps", *overrides]) == 0
    image, heatmap, _, options = drawn["draw_heatmap"]
    assert image.shape == (64, 64, 3)
    assert not image[:2].any()
    assert not image[:, -2:].any()
    assert image[2:62, 2:62].min() >= 39  # the picture's gray, after the way through the network
    # The square from (8, 10) to (28, 30), scaled by 60 / 64 and moved by 2.
    box = np.array([8, 10, 28, 30]) * 60 / 64 + 2
    np.testing.assert_allclose(
        drawn["draw_truth"][1].gt_boxes.tensor.numpy(), [box], rtol=0, atol=1e-4
    )
    assert options["scale"] == (4, 4)
    row, column = np.unravel_index(int(heatmap[0].argmax()), heatmap.shape[1:])
    assert (column, row) == (int((box[0] + box[2]) / 8), int((box[1] + box[3]) / 8))


def test_corner_targets_stand_beside_each_other(load_tool, tiny_overrides, tmp_path, monkeypatch):
    """The square from (8, 10) to (28, 30) on a canvas of 63 pixels and a map of 16 cells."""
    tool, drawn = load_tool("visualize_data"), []
    original = tool.draw_heatmap

    def draw(image, heatmap, *arguments, **options):
        drawn.append((heatmap, options["scale"]))
        return original(image, heatmap, *arguments, **options)

    monkeypatch.setattr(tool, "draw_heatmap", draw)
    config = ROOT / "configs" / "Shapes" / "triplet_tiny.yaml"
    arguments = ["--config-file", str(config), "--output", str(tmp_path / "out"), "--count", "1"]
    overrides = [*tiny_overrides, *CORNER_OVERRIDES, "INPUT.TRAIN_SIZE", "[63, 63]"]
    overrides += ["INPUT.CENTER_CROP.MODE", "none", "TEST.CANVAS", "odd"]
    for key in ("FLIP_PROBABILITY", "COLOR_JITTER", "PCA_LIGHTING"):
        overrides += [f"INPUT.{key}", "0.0"]
    assert tool.main([*arguments, "--heatmaps", *overrides]) == 0
    (picture,) = (cv2.imread(str(f)) for f in (tmp_path / "out").iterdir())
    assert picture.shape[1] == 4 * 63 + 3 * 4  # the sample and three heatmaps
    box = np.array([8, 10, 28, 30]) * 63 / 64 * 16 / 63
    expected = [box[:2], box[2:], (box[:2] + box[2:]) / 2]
    for (heatmap, scale), point in zip(drawn, expected, strict=True):
        assert scale == (63 / 16, 63 / 16)
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


@pytest.mark.parametrize("heatmaps", [False, True])
def test_joints_are_drawn(load_tool, figures, tmp_path, monkeypatch, heatmaps):
    tool, drawn = load_tool("visualize_data"), []
    original = tool.draw_truth

    def draw(*arguments, **options):
        drawn.append((*arguments, options["drawing"]))
        return original(*arguments, **options)

    monkeypatch.setattr(tool, "draw_truth", draw)
    config = ROOT / "configs" / "Shapes" / "pose_tiny.yaml"
    arguments = ["--config-file", str(config), "--output", str(tmp_path / "out")]
    arguments += ["--heatmaps"] if heatmaps else []
    assert tool.main([*arguments, *figures]) == 0
    assert len(drawn) == 4
    for _, instances, names, drawing in drawn:
        assert names == ["figure"]
        assert len(drawing.edges) == 10
        assert instances.gt_keypoints.tensor.shape[1:] == (11, 3)
    assert sum(len(instances) for _, instances, _, _ in drawn) > 4


def test_joints_move_with_the_canvas(load_tool):
    """A crop in the middle of a larger canvas; visibilities stay."""
    tool = load_tool("visualize_data")
    instances = Instances(
        (60, 60),
        gt_boxes=Boxes(torch.tensor([[1.0, 2, 3, 4]])),
        gt_classes=torch.tensor([0]),
        gt_keypoints=Keypoints(torch.tensor([[[5.0, 6, 2], [7, 8, 1]]])),
    )
    moved = tool.on_canvas(instances, (2.0, 3.0), (64, 64))
    assert moved.image_size == (64, 64)
    assert moved.gt_keypoints.tensor[0].tolist() == [[7, 9, 2], [9, 11, 1]]
    assert moved.gt_boxes.tensor.tolist() == [[3, 5, 5, 7]]


BOX3D_OVERRIDES = [
    *("INPUT.FLIP_PROBABILITY", "0.0", "INPUT.TRAIN_SIZE", "[96, 320]"),
    *("INPUT.COLOR_JITTER", "0.0", "INPUT.PCA_LIGHTING", "0.0", "DATASETS.TEST", "()"),
    *("MODEL.POINTS_CENTERNET.TASKS", "['box2d', 'box3d']", "MODEL.HEATMAP.NUM_CLASSES", "3"),
]


def test_boxes_in_space_stand_beside_their_view_from_above(load_tool, tiny_yaml, tmp_path):
    folder = tmp_path / "kitti"
    split = SplitSettings(2, 1, StreetSettings())
    ensure_split(split, str(folder))
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out")]
    dataset = ["DATASETS.TRAIN", f"kitti:{folder}:all"]
    assert load_tool("visualize_data").main([*arguments, *BOX3D_OVERRIDES, *dataset]) == 0
    pictures = [cv2.imread(str(file)) for file in sorted((tmp_path / "out").iterdir())]
    assert len(pictures) == 2
    for picture in pictures:  # enlarged by 4
        assert picture.shape == (384, 1280 + 4 + 384, 3)
        assert (picture[:, 1284:] > 200).all(axis=2).mean() > 0.8  # the ground from above is light


@pytest.mark.data
def test_real_boxes_in_space_are_drawn(load_tool, tiny_yaml, test_data, tmp_path):
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out"), "--count", "3"]
    dataset = [
        "DATASETS.TRAIN",
        f"kitti:{test_data}/kitti:3dop/val",
        "DATASETS.KITTI.ALLOW_MISSING",
        "True",
    ]
    overrides = [*BOX3D_OVERRIDES, "INPUT.TRAIN_SIZE", "[384, 1280]"]
    assert load_tool("visualize_data").main([*arguments, *overrides, *dataset]) == 0
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["0000_000001.jpg", "0001_000002.jpg", "0002_000004.jpg"]


def test_ignored_regions_are_no_objects(load_tool, tiny_yaml, tmp_path, monkeypatch):
    """A car and two regions that are ignored: as a car, and in every class."""
    tool, labels, titles = load_tool("visualize_data"), [], []
    side_by_side, draw_heatmap = tool.side_by_side, tool.draw_heatmap

    def keep_labels(image, heatmap, names, **options):
        labels.append((names, heatmap.amax((1, 2)).tolist()))
        return draw_heatmap(image, heatmap, names, **options)

    def keep_titles(pictures, names):
        titles.extend(names)
        return side_by_side(pictures, names)

    monkeypatch.setattr(tool, "draw_heatmap", keep_labels)
    monkeypatch.setattr(tool, "side_by_side", keep_titles)
    folder = tmp_path / "kitti"
    ensure_split(SplitSettings(1, 1, StreetSettings()), str(folder))
    (label,) = folder.glob("training/label_2/*.txt")
    label.write_text(
        "Car 0 0 0 500 150 700 250 1.5 1.6 4 0 1.6 20 0\n"
        "Van 0 0 0 900 150 999 250 1.5 1.6 4 8 1.6 20 0\n"
        "DontCare -1 -1 -10 100 150 200 200 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out"), "--heatmaps"]
    overrides = [*BOX3D_OVERRIDES, "DATASETS.TRAIN", f"kitti:{folder}:all", "MODEL.DEVICE", "cpu"]
    assert tool.main([*arguments, *overrides]) == 0
    assert titles == ["given to the model", "target heatmap, 1 of 1 objects"]
    ((names, highest),) = labels
    assert names == ["Pedestrian, ignored", "Car", "Cyclist, ignored"]
    assert highest == pytest.approx([0.9999, 1, 0.9999])
