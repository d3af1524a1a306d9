from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

import centernet_d2.modeling.point_tasks.pose  # noqa: F401 (registers pred_keypoints)
from centernet_d2.inference.files import PredictionWriter, predict_files
from centernet_d2.inference.find_images import find_images, is_live, is_video
from centernet_d2.inference.records import Recorder
from centernet_d2.visualization.results import draw_result


def detect_center(files: list[str], images: list[np.ndarray]) -> list[dict[str, Instances]]:
    """A detector that finds the middle quarter of each image, and something unlikely."""
    results = []
    for image in images:
        height, width = image.shape[:2]
        box = [width / 4, height / 4, width * 3 / 4, height * 3 / 4]
        instances = Instances((height, width))
        instances.pred_boxes = Boxes(torch.tensor([box, [0.0, 0.0, 5.0, 5.0]]))
        instances.scores = torch.tensor([0.9, 0.1])
        instances.pred_classes = torch.tensor([1, 0])
        results.append({"instances": instances})
    return results


def never(files, images):
    raise AssertionError(f"asked for {len(images)} images")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Five images of different sizes in two folders, one of them broken, and a text file."""
    images = tmp_path / "in put"
    (images / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.PNG", "deep/a.jpg", "deep/c.gif")):
        picture = np.full((60 + 20 * number, 100, 3), 100, dtype=np.uint8)
        ok, data = cv2.imencode(".png", picture)
        assert ok
        (images / name).write_bytes(data.tobytes())
    (images / "broken.jpg").write_bytes((images / "a.jpg").read_bytes()[:50])
    (images / "notes.txt").write_text("no image")
    return images


def make_writer(output: Path, files: list[str], **changes) -> PredictionWriter:
    names = {field.name for field in fields(Recorder)}
    chosen = {key: value for key, value in changes.items() if key in names}
    recorder = Recorder(**{"class_names": ["disk", "ring"], **chosen})
    arguments = {"settings": {"weights": "w.pth"}, "draw": draw_result, "overwrite": False}
    arguments |= {key: value for key, value in changes.items() if key not in names}
    return PredictionWriter(str(output), files, recorder, **arguments)


def run(predict, files, writer, **options):
    return predict_files(predict, files, writer, **options)


def written(output: Path) -> dict:
    return json.loads((output / "predictions.json").read_text())


def test_files_folders_and_globs(folder):
    names = [str(folder / n) for n in ("a.jpg", "b.PNG", "broken.jpg", "deep/a.jpg", "deep/c.gif")]
    assert find_images([str(folder)]) == names
    assert find_images([str(folder / "*.jpg")]) == [names[0], names[2]]
    assert find_images([str(folder / "**" / "*.jpg")]) == [names[0], names[2], names[3]]
    assert find_images([names[3], str(folder)]) == [names[3], *names[:3], names[4]]
    assert find_images([str(folder / "notes.txt")]) == [str(folder / "notes.txt")]
    assert len(find_images([str(folder.rename(folder.parent / "set[1]*"))])) == 5


def test_output_is_left_out_only_where_it_lies_below_the_input(folder):
    every = find_images([str(folder)])
    for output in (folder, folder.parent, folder.parent / "out"):  # equal, above, beside
        assert find_images([str(folder)], excluded_folder=str(output)) == every
    inside = [name for name in every if "deep" not in name]
    for given in (folder, folder / "**"):
        assert find_images([str(given)], excluded_folder=str(folder / "deep")) == inside
    pattern = str(folder / "deep" / "*")  # names that very folder
    assert find_images([pattern], excluded_folder=str(folder / "deep")) == every[3:]
    for file in inside:
        Path(file).unlink()
    with pytest.raises(FileNotFoundError, match="names no image besides those of --output"):
        find_images([str(folder)], excluded_folder=str(folder / "deep"))


def test_message_about_a_bad_photo_is_about_photos(folder):
    (folder / "gone.jpg").touch()
    files = find_images([str(folder / "broken.jpg"), str(folder / "gone.jpg")])
    (folder / "gone.jpg").unlink()
    report = run(never, files, make_writer(folder / "out", files))
    assert list(report.failed) == files
    for message in report.failed.values():
        assert "dataset" not in message
        assert "record" not in message


@pytest.mark.parametrize("given", ["nothing", "*.jpeg", "empty"])
def test_input_that_names_nothing(tmp_path, given):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="names no image"):
        find_images([str(tmp_path / given)])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("box_format", ["xyxy", "xywh"])
def test_pictures_and_json_in_spite_of_a_broken_file(folder, tmp_path, batch_size, box_format):
    files = find_images([str(folder)])
    writer = make_writer(tmp_path / "out", files, box_format=box_format)
    report = run(detect_center, files, writer, batch_size=batch_size)
    broken = str(folder / "broken.jpg")
    assert report.done == [file for file in files if file != broken]
    assert list(report.failed) == [broken]
    assert broken in report.failed[broken]

    content = written(tmp_path / "out")
    assert content["box_format"].startswith(box_format.upper())
    assert [row["file"] for row in content["failed"]] == [broken]
    assert {record["file"] for record in content["images"]} == set(report.done)
    record = next(r for r in content["images"] if r["file"].endswith("b.PNG"))
    assert (record["height"], record["width"]) == (80, 100)
    box = [25, 20, 75, 60] if box_format == "xyxy" else [25, 20, 50, 40]
    score = pytest.approx(0.9)
    expected = {"class_name": "ring", "class_index": 1, "score": score, "box": box}
    assert record["detections"] == [expected]

    pictures = {"a.jpg": 60, "b.PNG": 80, "deep/a.jpg": 100, "deep/c.gif.jpg": 120}
    assert sorted(r["picture"] for r in content["images"]) == sorted(pictures)
    for name, height in pictures.items():
        picture = cv2.imread(str(tmp_path / "out" / name))
        assert picture.shape == (height, 100, 3)
        assert (np.abs(picture.astype(int) - 100) > 20).any()


def test_second_run_does_what_is_left(folder, tmp_path):
    files = find_images([str(folder)])
    first = run(detect_center, files[:2], make_writer(tmp_path / "out", files[:2]))
    assert len(first.done) == 2
    second = run(detect_center, files, make_writer(tmp_path / "out", files))
    assert second.skipped == files[:2]
    assert len(second.done) == 2
    assert len(written(tmp_path / "out")["images"]) == 4
    good = [file for file in files if "broken" not in file]
    assert run(never, good, make_writer(tmp_path / "out", good)).skipped == good


def test_lost_picture_is_made_again_and_overwrite_does_all(folder, tmp_path):
    files = [str(folder / "a.jpg"), str(folder / "b.PNG")]
    run(detect_center, files, make_writer(tmp_path / "out", files))
    (tmp_path / "out" / "a.jpg").unlink()
    again = run(detect_center, files, make_writer(tmp_path / "out", files))
    assert again.done == files[:1]
    overwritten = run(detect_center, files, make_writer(tmp_path / "out", files, overwrite=True))
    assert overwritten.done == files


def test_interrupted_run_keeps_what_is_done(folder, tmp_path):
    files = [str(folder / "a.jpg"), str(folder / "b.PNG")]

    def interrupted(now, images):
        if now == files[1:]:
            raise KeyboardInterrupt
        return detect_center(now, images)

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, files, make_writer(tmp_path / "out", files), batch_size=1)
    report = run(detect_center, files, make_writer(tmp_path / "out", files))
    assert (report.skipped, report.done) == (files[:1], files[1:])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"threshold": 0.5}, "score_threshold"),
        ({"clip": False}, "clip_boxes"),
        ({"classes": frozenset([1])}, "classes"),
        ({"most": 3}, "max_detections"),
        ({"settings": {"weights": "other.pth"}}, "weights"),
        ({"box_format": "xywh"}, "box_format"),
    ],
)
def test_results_of_other_settings_are_not_mixed(folder, tmp_path, change, name):
    files = [str(folder / "a.jpg")]
    run(detect_center, files, make_writer(tmp_path / "out", files))
    with pytest.raises(ValueError, match=rf"another {name}.*--overwrite"):
        make_writer(tmp_path / "out", files, **change)


def test_pictures_never_replace_the_input(folder):
    files = [str(folder / "a.jpg")]
    with pytest.raises(ValueError, match=r"a\.jpg.*--output"):
        make_writer(folder, files)
    make_writer(folder, files, draw=None)


def test_without_pictures(folder, tmp_path):
    files = [str(folder / "a.jpg")]
    report = run(detect_center, files, make_writer(tmp_path / "out", files, draw=None))
    assert report.done == files
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["predictions.json"]


def test_unknown_box_format(tmp_path):
    with pytest.raises(ValueError, match="must be one of 'xyxy', 'xywh', got 'cxcywh'"):
        make_writer(tmp_path, ["a.jpg"], box_format="cxcywh")


def test_runs_over_other_inputs_do_not_share_pictures(folder, tmp_path):
    names = ("a.jpg", "deep/a.jpg")  # each alone gives the picture a.jpg
    for name in names:
        files = [str(folder / name)]
        run(detect_center, files, make_writer(tmp_path / "out", files))
    files = [str(folder / name) for name in names]
    assert run(never, files, make_writer(tmp_path / "out", files)).skipped == files
    heights = {
        record["file"]: len(cv2.imread(str(tmp_path / "out" / record["picture"])))
        for record in written(tmp_path / "out")["images"]
    }
    assert heights == {files[0]: 60, files[1]: 100}


def draw_blue(image: np.ndarray, shown: dict) -> np.ndarray:
    assert "instances" in shown
    return np.full_like(image, (255, 0, 0))


@pytest.mark.parametrize("draw", [None, draw_result])
def test_heatmaps_stand_beside_the_detections(folder, tmp_path, draw):
    output = tmp_path / "out"
    files = find_images([str(folder / "a.jpg"), str(folder / "deep")])
    writer = make_writer(output, files, draw=draw, draw_heatmap=draw_blue)
    run(detect_center, files, writer)
    records = written(output)["images"]
    names = ["a.heatmap.jpg", "deep/a.heatmap.jpg", "deep/c.gif.heatmap.jpg"]
    assert [record["heatmap"] for record in records] == names
    for record in records:
        assert ("picture" in record) == (draw is not None)
        assert cv2.imread(str(output / record["heatmap"]))[..., 0].mean() > 200
    again = make_writer(output, files, draw=draw, draw_heatmap=draw_blue)
    assert len(run(never, files, again).skipped) == 3


def test_asking_for_heatmaps_later_makes_them(folder, tmp_path):
    files = [str(folder / "a.jpg")]
    for draw_heatmap, done in ((None, 1), (draw_blue, 1), (draw_blue, 0), (None, 0)):
        writer = make_writer(tmp_path / "out", files, draw_heatmap=draw_heatmap)
        assert len(run(detect_center, files, writer).done) == done


def test_pictures_that_other_options_drew_are_told_of(folder, tmp_path, caplog):
    """They stay: a second prediction would write label files anew, which may be corrected."""
    files, told = [str(folder / "a.jpg")], []
    for marks in ("", "", "keypoints", "keypoints"):
        writer = make_writer(tmp_path / "out", files, drawn={"picture": marks})
        assert writer.is_done(files[0]) == bool(told)
        run(detect_center, files, writer)
        told.append(len(caplog.records))
    assert told == [0, 0, 1, 2]
    assert "Pictures of 1 file stay as other options drew them; --overwrite" in caplog.text
    assert "drawn" not in written(tmp_path / "out")["images"][0]
    writer = make_writer(tmp_path / "out", files, drawn={"picture": "keypoints"}, overwrite=True)
    run(detect_center, files, writer)
    assert written(tmp_path / "out")["images"][0]["drawn"] == {"picture": "keypoints"}


def test_two_pictures_of_one_name_are_refused(folder, tmp_path):
    (folder / "a.heatmap.jpg").write_bytes((folder / "a.jpg").read_bytes())
    files = [str(folder / "a.jpg"), str(folder / "a.heatmap.jpg")]
    make_writer(tmp_path / "out", files)
    names = r"one name, 'a\.heatmap\.jpg': of '.*put/a\.jpg' and of '.*put/a\.heatmap\.jpg'"
    with pytest.raises(ValueError, match=f"Two files would have {names}. Rename"):
        make_writer(tmp_path / "out", files, draw_heatmap=draw_blue)


def test_joints_are_written_as_pixel_indices(folder, tmp_path):
    """`pred_keypoints` have 0.5 on the middle of the first pixel, the file has 0 there."""

    files = [str(folder / "a.jpg")]
    joints = torch.tensor([[[0.5, 20.75, 0.875], [3.5, 4.5, 0.25]]] * 2)
    for name, given, expected in (
        ("joints", joints, [[0, 20.25, 0.875], [3, 4, 0.25]]),
        ("class without joints", torch.zeros(2, 2, 3), None),
        ("boxes", None, None),
    ):

        def detect(files, images, given=given):
            (result,) = detect_center(files, images)
            if given is not None:
                result["instances"].pred_keypoints = given
            return [result]

        run(detect, files, make_writer(tmp_path / name, files))
        (record,) = written(tmp_path / name)["images"]
        assert record["detections"][0].get("joints") == expected


# ------------------------------------------------------------------------ one file, several names
def test_a_file_under_several_names_is_predicted_once_and_told(folder, caplog, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "link.jpg").symlink_to("a.jpg")
    (folder / "hard.jpg").hardlink_to("a.jpg")  # a file of its own, as any copy is
    given = ["a.jpg", "./a.jpg", str(folder / "a.jpg"), "deep/../a.jpg", "link.jpg", "hard.jpg"]
    assert find_images(given) == ["a.jpg", "hard.jpg"]
    (record,) = caplog.records
    assert "predicted once: 4, such as './a.jpg' is 'a.jpg'; " in record.getMessage()
    caplog.clear()
    found = find_images(["b.PNG", ".", "deep/*"])
    assert found[0] == "b.PNG"
    assert sorted(map(str, map(Path, found))) == sorted(
        ["b.PNG", "a.jpg", "hard.jpg", "broken.jpg", "deep/a.jpg", "deep/c.gif"]
    )
    assert "predicted once: 4, such as './b.PNG' is 'b.PNG'" in caplog.text


def test_capitals_differ_only_where_the_disk_says_so(folder, monkeypatch):
    (folder / "A.JPG").write_bytes((folder / "a.jpg").read_bytes())
    both = [str(folder / "a.jpg"), str(folder / "A.JPG")]
    assert find_images(both) == both
    one = (folder / "a.jpg").stat()
    monkeypatch.setattr("centernet_d2.inference.find_images.os.stat", lambda path: one)
    assert find_images(both) == both[:1]


# ------------------------------------------------------------------------- what cannot be predicted
def test_videos_are_found_and_other_photos_are_told(folder, caplog):
    for name in ("clip.mp4", "IMG_1.HEIC", "IMG_2.heic"):
        (folder / name).write_bytes(b"...")
    left_out: list[str] = []
    found = find_images([str(folder), str(folder / "*")], left_out=left_out)
    assert (len(found), [Path(file).name for file in filter(is_video, found)]) == (6, ["clip.mp4"])
    names = ["IMG_1.HEIC", "IMG_2.heic"]
    assert left_out == [str(folder / name) for name in names]
    assert f"({', '.join(left_out)}); convert" in caplog.text
    for told in ("Left out of the input: ", "2 .heic", "convert photos to .jpg"):
        assert told in caplog.text
    with pytest.raises(FileNotFoundError, match=r"names no image.* Not read: 2 \.heic \(.*convert"):
        find_images([str(folder / "*.[hH][eE][iI][cC]")])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("kind", [ValueError, MemoryError, RuntimeError])
def test_an_image_that_the_detector_refuses_costs_itself_alone(folder, tmp_path, batch_size, kind):
    files = [str(folder / name) for name in ("a.jpg", "b.PNG", "deep/a.jpg", "deep/c.gif")]

    def detect(files, images):
        if any(len(image) == 80 for image in images):  # b.PNG
            raise kind("too large")
        return detect_center(files, images)

    for given in (files, files[::-1], [files[1], files[0]]):
        output = tmp_path / f"{given[0][-5:]}{len(given)}"
        report = run(detect, given, make_writer(output, given), batch_size=batch_size)
        assert report.failed == {files[1]: "too large"}
        assert report.done == [file for file in given if file != files[1]]
        assert written(output)["failed"] == [{"file": files[1], "error": "too large"}]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_detector_that_refuses_every_image_ends_the_run(folder, tmp_path, batch_size):
    files = [str(folder / name) for name in ("a.jpg", "b.PNG", "deep/a.jpg", "deep/c.gif")]
    asked = []

    def detect(files, images):
        asked.append(len(images))
        raise ValueError("no camera")

    for given in (files, files[:1]):
        with pytest.raises(ValueError, match=r"^no camera$"):
            run(detect, given, make_writer(tmp_path / "out", given), batch_size=batch_size)
    assert sum(asked) <= 4 + 4 + 1  # 3 of one batch size, else a batch and each image of it


def test_what_is_no_earlier_result_is_told(folder, tmp_path):
    (tmp_path / "predictions.json").write_text("[1")
    with pytest.raises(ValueError, match=r"predictions\.json is no result of .*--overwrite"):
        make_writer(tmp_path, [str(folder / "a.jpg")])
    with pytest.raises(FileExistsError):
        make_writer(folder / "a.jpg", [str(folder / "b.PNG")])


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, None])
def test_numbers_from_python_are_checked(folder, tmp_path, batch_size):
    files = [str(folder / "a.jpg")]
    with pytest.raises(ValueError, match="batch_size must be a whole number, 1 or more, got"):
        run(never, files, make_writer(tmp_path, files), batch_size=batch_size)
    for threshold in (30, -1, float("nan")):
        with pytest.raises(ValueError, match="score_threshold must be a number, 0 or more"):
            make_writer(tmp_path, files, threshold=threshold)


def test_cameras_and_streams_are_inputs_unless_a_file_has_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    live = ["0", "camera:1", "rtsp://me:pass@host/a", "https://host/a.m3u8"]
    assert find_images([*live, "0"]) == live
    for other in ("photo.jpg", "camera:", "clip.mp4", "a0", "1.5"):
        assert not is_live(other)
    (tmp_path / "0").write_bytes(b"an image without an ending")
    assert find_images(["0"]) == ["0"]
    assert not is_video("0")


# ----------------------------------------------------------------------- which detections are given
def detect_in(image: np.ndarray, boxes, scores, classes) -> dict[str, Instances]:
    instances = Instances(image.shape[:2])
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4))
    instances.scores, instances.pred_classes = torch.tensor(scores), torch.tensor(classes)
    return {"instances": instances}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, [[0, 0, 20, 20], [90, 50, 100, 60], [5, 5, 9, 9]]),
        ({"clip": False}, [[-10, -5, 20, 20], [90, 50, 130, 99], [150, 10, 170, 20], [5, 5, 9, 9]]),
        ({"classes": frozenset([1])}, [[90, 50, 100, 60]]),
        ({"most": 2}, [[90, 50, 100, 60], [0, 0, 20, 20]]),  # the best first
        ({"threshold": 0.65}, [[90, 50, 100, 60]]),
    ],
)
def test_choice_of_detections(choice, expected):
    """One box lies outside of the image, one of them scores 0.1."""
    image = np.zeros((60, 100, 3), np.uint8)
    boxes = [[-10, -5, 20, 20], [90, 50, 130, 99], [150, 10, 170, 20], [5, 5, 9, 9], [1, 1, 2, 2]]
    result = detect_in(image, boxes, [0.6, 0.7, 0.5, 0.4, 0.1], [0, 1, 0, 0, 0])
    record, shown = Recorder(["disk", "ring"], **choice).of("a.jpg", image, result)
    assert [found["box"] for found in record["detections"]] == expected
    assert shown["instances"].pred_boxes.tensor.tolist() == expected
    assert record["highest_score"] == pytest.approx(0.7)
    assert result["instances"].pred_boxes.tensor.tolist() == boxes  # the caller's own stay


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([0.9, 0.31], "2 detections in 1 picture at threshold 0.3"),
        ([0.21, 0.1], "0 detections in 1 picture at threshold 0.3; the highest score is 0.21: "
         "--score-threshold 0.2"),
        ([0.0567], "0 detections in 1 picture at threshold 0.3; the highest score is 0.057: "
         "--score-threshold 0.056"),
        ([], "0 detections in 1 picture at threshold 0.3; the highest score is 0"),
    ],
)  # fmt: skip
def test_what_was_found_is_said_also_of_an_earlier_run(folder, tmp_path, scores, told):
    files = [str(folder / "a.jpg")]

    def detect(files, images):
        boxes = [[1.0, 1, 9, 9]] * len(scores)
        return [detect_in(images[0], boxes, scores, [0] * len(scores))]

    for predict in (detect, never):
        run(predict, files, writer := make_writer(tmp_path / "out", files))
        assert writer.told() == told
