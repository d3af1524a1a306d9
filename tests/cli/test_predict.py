from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from PIL import Image

from centernet_d2 import Predictor, setup
from centernet_d2.cli.parsers.predict import frames
from centernet_d2.data.images import read_image
from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.setup import load_config
from centernet_d2.inference.cameras import ImageCameras
from centernet_d2.structures.skeleton import Skeleton

from .conftest import CORNER_OVERRIDES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def weights(tiny_yaml, tiny_overrides, tmp_path) -> str:
    """A checkpoint of an untrained tiny detector with its class names, the same in every run."""
    torch.manual_seed(0)
    model = build_model(setup(load_config(tiny_yaml, tiny_overrides)))
    DetectionCheckpointer(model, str(tmp_path)).save("weights", class_names=["square"])
    return str(tmp_path / "weights.pth")


@pytest.fixture
def predict(verb, tiny_yaml, tiny_overrides, weights, tmp_path):
    """A function that predicts a file or folder: exit status and content of the JSON."""

    def run(given, *arguments, options=(), output="out"):
        needed = ["--config-file", tiny_yaml, "--weights", weights, "--input", str(given)]
        needed += ["--output", str(tmp_path / output), "--score-threshold", "0"]
        overrides = ["--opts", *tiny_overrides, *options]
        status = verb("predict").main([*needed, *arguments, *overrides])
        return status, json.loads((tmp_path / output / "predictions.json").read_text())

    return run


@pytest.fixture
def photo(squares) -> Path:
    return Path(squares.split(":")[2]) / "1.png"


def test_predict_images_with_a_broken_one(predict, weights, photo, tmp_path):
    (photo.parent / "broken.png").write_bytes(b"no image")
    status, content = predict(photo.parent, "--batch-size", "3")
    assert (status, len(content["images"])) == (1, 4)
    assert [Path(row["file"]).name for row in content["failed"]] == ["broken.png"]
    assert (content["class_names"], content["weights"]) == (["square"], weights)
    for record in content["images"]:
        assert {d["class_name"] for d in record["detections"]} == {"square"}
        assert (tmp_path / "out" / record["picture"]).is_file()

    (photo.parent / "broken.png").unlink()
    assert predict(photo.parent)[0] == 0
    with pytest.raises(ValueError, match="another config_sha256"):
        predict(photo.parent, options=["MODEL.HEATMAP.PEAK_KERNEL", "5"])


def test_what_is_left_out_is_listed_and_weights_without_names_are_told(
    predict, weights, photo, capsys
):
    torch.save(torch.load(weights, weights_only=True)["model"], weights)
    (clip := photo.parent / "clip.heic").write_bytes(b"...")
    nowhere = ("DATASETS.TRAIN", "()", "DATASETS.TEST", "()", "MODEL.HEATMAP.NUM_CLASSES", "1")
    content = predict(photo.parent, options=nowhere)[1]
    assert (content["left_out"], content["class_names"]) == ([str(clip)], [])
    assert content["images"][0]["detections"][0]["class_name"] == "class 0"
    told = f"'{weights}' holds no class names, and no dataset gives them: objects are called 'clas"
    assert capsys.readouterr().out.count(told) == 1


def test_same_detections_as_the_predictor(predict, tiny_yaml, tiny_overrides, weights, photo):
    _, content = predict(photo, "--no-pictures", "--box-format", "xywh")
    predictor = Predictor(load_config(tiny_yaml, [*tiny_overrides, "MODEL.WEIGHTS", weights]))
    expected = predictor(read_image(str(photo)))["instances"].pred_boxes.tensor
    found = torch.tensor([row["box"] for row in content["images"][0]["detections"]])
    assert len(found) > 0
    found[:, 2:] += found[:, :2]
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("choice", "size"), [("apply", [64, 40]), ("ignore", [40, 64])])
def test_records_and_pictures_are_of_the_pixels_that_the_config_asks_for(
    predict, tmp_path, choice, size
):
    """A photo of 64 x 40 stored pixels whose EXIF mark turns it by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 40), (90, 20, 200)).save(tmp_path / "photo.jpg", exif=exif)
    _, content = predict(tmp_path / "photo.jpg", options=["INPUT.EXIF_ORIENTATION", choice])
    (record,) = content["images"]
    assert [record["height"], record["width"]] == size
    with Image.open(tmp_path / "out" / "photo.jpg") as picture:
        assert [picture.height, picture.width] == size
        assert 0x0112 not in picture.getexif()


def test_heatmaps_are_drawn_where_asked_for(predict, photo, tmp_path):
    (record,) = predict(photo, "--heatmap")[1]["images"]
    assert (record["picture"], record["heatmap"]) == ("1.png", "1.heatmap.png")
    height, width, _ = cv2.imread(str(tmp_path / "out" / "1.heatmap.png")).shape
    assert (width, height > 64) == (64, True)  # with the legend
    (record,) = predict(photo, "--heatmap", "maps", "--overwrite")[1]["images"]
    assert record["drawn"] == {"heatmap": "maps"}
    _, width, _ = cv2.imread(str(tmp_path / "out" / "1.heatmap.png")).shape
    assert width == 4 * 320 + 3 * 4  # center, two offsets, two sizes


@pytest.mark.parametrize(("name", "kinds"), [("cornernet_tiny", 2), ("triplet_tiny", 3)])
def test_corner_detectors_show_all_their_heatmaps(
    verb, tiny_overrides, photo, tmp_path, name, kinds
):
    config = str(ROOT / "configs" / "Shapes" / f"{name}.yaml")
    overrides = [*tiny_overrides, *CORNER_OVERRIDES, "MODEL.CORNERNET.EMBEDDING_THRESHOLD", "9.0"]
    model = build_model(setup(load_config(config, overrides)))
    DetectionCheckpointer(model, str(tmp_path)).save("weights", class_names=["square"])
    arguments = ["--config-file", config, "--weights", str(tmp_path / "weights.pth")]
    arguments += ["--input", str(photo), "--heatmap"]
    pictures = []
    for marks in ([], ["--keypoints"]):
        folder = tmp_path / f"out{len(marks)}"
        shown = [*arguments, *marks, "--output", str(folder), "--score-threshold", "0"]
        assert verb("predict").main([*shown, "--opts", *overrides]) == 0
        seen = cv2.imread(str(folder / "1.heatmap.png"))
        assert seen.shape[1] == kinds * 64 + (kinds - 1) * 4
        pictures.append(cv2.imread(str(folder / "1.png")))
        record = json.loads((folder / "predictions.json").read_text())["images"][0]
        assert record["detections"]
    assert (pictures[0] != pictures[1]).any()
    both = []
    for threshold in ("0", "1"):  # all in one, the detections over it
        folder = tmp_path / f"boxes{threshold}"
        shown = [*arguments, "boxes", "--output", str(folder), "--score-threshold", threshold]
        assert verb("predict").main([*shown, "--opts", *overrides]) == 0
        both.append(cv2.imread(str(folder / "1.heatmap.png")))
        assert both[-1].shape[1] == 64
    assert (both[0] != both[1]).any()


def test_predictions_of_other_cameras_are_not_mixed(predict, photo, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no boxes in space: it takes no projection"):
        predict(photo, "--focal-length", "1000", output="flat")
    assert not (tmp_path / "flat").exists()
    monkeypatch.setattr(Predictor, "finds_boxes_in_space", True)
    for given, later in (("1000", None), (None, "1000"), ("1000", "900")):
        first, second = ([] if f is None else ["--focal-length", f] for f in (given, later))
        where = {"output": f"{given}_{later}"}
        assert [predict(photo, *first, **where)[0] for _ in range(2)] == [0, 0]
        with pytest.raises(ValueError, match="another focal_length"):
            predict(photo, *second, **where)


def test_what_is_done_before_a_stop_is_kept_and_said(predict, photo, tmp_path, monkeypatch):
    batches, original = [], Predictor.batch

    def stops(self, images, **given):
        batches.append(len(images))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return original(self, images, **given)

    monkeypatch.setattr(Predictor, "batch", stops)
    with pytest.raises(KeyboardInterrupt) as stopped:
        predict(photo.parent, "--batch-size", "3")
    written = tmp_path / "out" / "predictions.json"
    (note,) = stopped.value.__notes__
    assert note == f"3 of 4 images are in {written}; the same command goes on with the others."
    assert predict(photo.parent, "--batch-size", "3")[0] == 0
    assert batches == [3, 1, 1]  # the three were not predicted again


def test_calibrations_are_read_before_the_network(
    verb, tiny_yaml, tiny_overrides, squares, tmp_path, monkeypatch
):
    """One frame of four has none: nothing is built, nothing is written."""
    calibration = tmp_path / "calib"
    calibration.mkdir()
    for number in (0, 1, 3):
        (calibration / f"{number}.txt").write_text("P2: 60 0 31 0 0 60 31 0 0 0 1 0")
    predict = verb("predict")
    monkeypatch.setattr(predict, "Predictor", lambda cfg: pytest.fail("built the network"))
    arguments = ["--config-file", tiny_yaml, "--output", str(tmp_path / "out")]
    arguments += ["--input", squares.split(":")[2], "--calibration", str(calibration)]
    with pytest.raises(ValueError, match=r"1 of 4 calibration files.*\n.*2\.txt.*2\.png"):
        predict.main([*arguments, "--opts", *tiny_overrides])
    assert not (tmp_path / "out").exists()


def test_images_go_to_the_detector_with_name_and_camera(verb):
    """So that a missing camera is said with the name of a file."""

    class Detector:
        training, protocol = {}, None

        def batch(self, images, **given):
            return given

    predict = verb("predict")
    files, images = ["a.png", "b.png"], [np.zeros((5, 7, 3), np.uint8)] * 2
    given = predict.predict_batch(Detector(), ImageCameras(files), files, images)
    assert (given["file_names"], given["projections"]) == (files, [None, None])
    cameras = ImageCameras(files, focal_length=9.0)
    given = predict.predict_batch(Detector(), cameras, files, images)
    assert [projection[0].tolist() for projection in given["projections"]] == [[9, 0, 3, 0]] * 2


def test_joints_and_guesses_are_in_the_predictions(verb, tiny_yaml, tiny_overrides, tmp_path):
    """Without the dataset: names, limbs and pairs come from the checkpoint, and are drawn."""
    limbs = Skeleton(("tip", "west", "east"), (("west", "east"),), (("tip", "west"),))
    pose = ["MODEL.POINTS_CENTERNET.TASKS", "['box2d', 'pose']", "MODEL.HEATMAP.NUM_CLASSES", "1"]
    options = [*tiny_overrides, *pose, "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"]
    known = {"MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS": 3}
    known |= {"MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES": [0, 2, 1]}
    given = [part for item in known.items() for part in item]
    model = build_model(setup(load_config(tiny_yaml, [*options, *given])))
    Checkpointer(model, str(tmp_path), class_names=["thing"], skeleton=limbs).save("pose")
    content = torch.load(tmp_path / "pose.pth", weights_only=True)
    torch.save(content | {"guessed": ["class_names"]}, tmp_path / "pose.pth")
    cv2.imwrite(str(tmp_path / "1.png"), np.full((64, 64, 3), 40, dtype=np.uint8))
    arguments = ["--config-file", tiny_yaml, "--weights", str(tmp_path / "pose.pth")]
    arguments += ["--input", str(tmp_path / "1.png"), "--score-threshold", "0"]
    predict = verb("predict")
    for _ in range(2):  # the second call finds the same settings
        output = ["--output", str(tmp_path / "out")]
        assert predict.main([*arguments, *output, "--opts", *options]) == 0
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {key: found[key] for key in limbs.saved()} == limbs.saved()
    assert (found["class_names"], found["guessed"]) == (["thing"], ["class_names"])
    assert len(found["images"][0]["detections"][0]["joints"]) == 3


# ------------------------------------------------------------------------- videos, tiles, choices
def test_a_video_gives_what_its_frames_give_as_pictures(predict, tmp_path):
    """Frames are decoded once more by OpenCV and predicted as PNG files."""
    random, path = np.random.RandomState(0), str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for _ in range(5):
        writer.write(cv2.resize(random.randint(0, 256, (8, 12, 3), np.uint8), (96, 64)))
    writer.release()
    (folder := tmp_path / "frames").mkdir()
    capture = cv2.VideoCapture(path)
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), capture.read()[1])
    _, pictures = predict(folder, "--batch-size", "2", output="pictures")
    predict(path, "--batch-size", "2", "--format", "csv", output="pictures")
    video = json.loads((tmp_path / "pictures" / "clip.frames.json").read_text())
    assert [record["frame"] for record in video["images"]] == [*range(5)]
    assert sum(len(record["detections"]) for record in video["images"]) > 5
    for frame, picture in zip(video["images"], pictures["images"], strict=True):
        assert frame["detections"] == picture["detections"]
    assert (tmp_path / "pictures" / "clip.frames.csv").is_file()


def test_a_picture_of_one_tile_is_as_without_tiles(predict, photo, capsys):
    plain = predict(photo, output="plain")[1]["images"][0]
    for tiles in (["--tiles"], ["--tiles", "64", "--tiles-and-whole"]):
        _, content = predict(photo, *tiles, output="tiles" + tiles[-1])
        assert content["images"][0]["detections"] == plain["detections"]
    assert "Tiles of 64 pixels overlap by 16" in capsys.readouterr().out  # INPUT.TRAIN_SIZE
    _, content = predict(photo, "--tiles", "32", output="small")
    assert content["images"][0]["detections"] != plain["detections"]
    assert content["tiles"] == {"tile": 32, "overlap": 8, "whole": False}
    with pytest.raises(ValueError, match="another tiles"):
        predict(photo, "--tiles", "48", output="small")
    fixed = ["TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", "[64, 64]"]
    with pytest.raises(
        ValueError, match=r"--tiles needs a SIZE here.*which its weights do not say"
    ):
        predict(photo, "--tiles", options=fixed, output="fixed")


def test_weights_say_which_tiles_are_needed_and_when(predict, tmp_path, weights, caplog):
    """Frame 32 x 64 of pictures of 30 x 60: a square tile of 30 has their scale, 1.067."""
    content = torch.load(weights, weights_only=True)
    block = content.setdefault("centernet_d2", {})
    block["training"] = {"object_size": 15.0, "image_size": [30, 60]}
    torch.save(content, weights)
    for side in (55, 65):  # objects have half their size from 60 on, 7.5 pixels
        Image.new("RGB", (2 * side, side)).save(tmp_path / f"{side}.png")
    options = ["TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", "[32, 64]"]
    for side, tiles in ((55, []), (65, ["--tiles"]), (65, [])):
        given = [tmp_path / f"{side}.png", *tiles]
        _, content = predict(*given, options=options, output=f"{side}{tiles}")
        is_told = "much larger than the training's (60 x 30)" in caplog.text
        assert is_told == (side == 65 and not tiles)
        assert content["tiles"] == ({"tile": 30, "overlap": 7, "whole": False} if tiles else None)
    assert "(of 30 pixels)" in caplog.text


def test_classes_and_number_are_chosen_and_told(predict, photo, capsys):
    _, content = predict(photo, "--max-detections", "3", "--classes", "square")
    assert len(content["images"][0]["detections"]) == 3
    assert (content["classes"], content["max_detections"]) == ([0], 3)
    assert "\n3 detections in 1 picture at threshold 0\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--classes must be one of 'square', got 'circle'"):
        predict(photo, "--classes", "circle")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--frames", "1:"], "--frames and --track go with a video"),
        (["--track"], "--frames and --track go with a video"),
        (["--tile-overlap", "0"], "--tile-overlap and --tiles-and-whole go with --tiles"),
        (["--image-ids", "a.json"], "--image-ids goes with --format coco"),
        (["--format", "voc"], "--format must be one of 'json', 'coco', 'csv', 'yolo', 'labelme'"),
        (
            ["--input", "clip.mp4", "--format", "yolo"],
            r"json and csv are not of \['clip.mp4'\]; give",
        ),
        (["--input", "clip.mp4", "--heatmap"], "--heatmap and formats but json and csv"),
    ],
)
def test_options_without_use_are_told_before_the_network(predict, photo, given, told, monkeypatch):
    monkeypatch.chdir(photo.parent)
    (photo.parent / "clip.mp4").touch()
    monkeypatch.setattr(Predictor, "__init__", lambda *_: pytest.fail("built a network"))
    with pytest.raises(ValueError, match=told):
        predict(photo, *given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("0:300:2", slice(0, 300, 2)), (":9", slice(None, 9)), ("::5", slice(None, None, 5))]
    + [(wrong, None) for wrong in ("5", "-3:", "1:2:0", "a:b", "1:2:3:4", "")],
)
def test_frames_are_a_slice(given, expected):
    if expected is None:
        with pytest.raises(argparse.ArgumentTypeError, match="give FROM:BEFORE:STEP"):
            frames(given)
    else:
        assert frames(given) == expected


def test_boxes_in_space_have_no_tiles_and_signals_end_a_run(verb):
    predict, args = verb("predict"), argparse.Namespace(tiles=0, tile_overlap=None)
    model = argparse.Namespace(output_fields=("pred_boxes", "pred_boxes3d"))
    with pytest.raises(ValueError, match="--tiles: boxes in space need the whole picture"):
        predict.tile_settings(args, argparse.Namespace(model=model))
    with pytest.raises(SystemExit, match="143"):
        predict.stop(signal.SIGTERM, None)
    with pytest.raises(KeyboardInterrupt):
        predict.stop(signal.SIGINT, None)
