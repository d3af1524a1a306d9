from __future__ import annotations

import csv
import json
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from centernet_d2.inference import video as video_module
from centernet_d2.inference.records import Recorder
from centernet_d2.inference.video import Video
from centernet_d2.inference.video_files import predict_videos, video_places
from centernet_d2.visualization.results import draw_result


def make_video(path: Path, count: int = 12, size=(64, 48), codec: str = "MJPG", fps=20.0) -> str:
    """Frame k is gray of value 10 k, but for its upper left corner, which is white."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    for number in range(count):
        image = np.full((size[1], size[0], 3), 10 * number, np.uint8)
        image[:16, :16] = 255
        writer.write(image)
    writer.release()
    return str(path)


def detect(files, images):
    """A box whose left side is the frame's gray value."""
    results = []
    for image in images:
        found, gray = Instances(image.shape[:2]), float(image[30:, 30:].mean())
        found.pred_boxes = Boxes(torch.tensor([[gray / 10, 5.0, gray / 10 + 20, 30.0]]))
        found.scores, found.pred_classes = torch.tensor([0.9]), torch.tensor([0])
        results.append({"instances": found})
    return results


@pytest.fixture
def predict(tmp_path):
    """Predict videos; return how many failed."""

    def run(
        *sources, predict=detect, chosen=(None,) * 3, track=False, with_csv=False, **how
    ) -> int:
        recorder, places = Recorder(["thing"]), video_places(sources, str(tmp_path / "out"))
        heading = recorder.heading | {"frames": list(chosen), "track": track, "csv": with_csv}
        return predict_videos(predict, places, recorder, heading, **{"draw": draw_result, **how})

    return run


def written(tmp_path, name="clip") -> dict:
    return json.loads((tmp_path / "out" / f"{name}.frames.json").read_text())


def frames_of(path) -> list[np.ndarray]:
    capture, found = cv2.VideoCapture(str(path)), []
    while (frame := capture.read()[1]) is not None:
        found.append(frame)
    return found


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [(slice(None), [*range(12)]), (slice(2, 9, 3), [2, 5, 8]), (slice(10, None), [10, 11])],
)
@pytest.mark.parametrize("codec", ["MJPG", "mp4v"])
def test_frames_come_in_order_with_number_and_time(tmp_path, codec, chosen, numbers):
    path = make_video(tmp_path / ("clip.avi" if codec == "MJPG" else "clip.mp4"), codec=codec)
    video = Video(path)
    frames = list(video.frames(chosen, waiting=2))
    assert (video.fps, video.count, video.live) == (20, 12, False)
    assert [frame.number for frame in frames] == numbers
    assert [frame.time for frame in frames] == pytest.approx([n / 20 for n in numbers], abs=1e-3)
    grays = [frame.image[30:, 30:].mean() for frame in frames]
    assert grays == pytest.approx([10 * n for n in numbers], abs=5)


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_records_and_video_are_as_picture_by_picture(predict, tmp_path, batch_size, caplog):
    path = make_video(tmp_path / "clip.avi")
    with caplog.at_level("INFO", "centernet_d2"):
        assert predict(path, batch_size=batch_size, with_csv=True) == 0
    content, images = written(tmp_path), frames_of(path)
    expected = [detect([], [image])[0]["instances"].pred_boxes.tensor for image in images]
    boxes = [record["detections"][0]["box"] for record in content["images"]]
    np.testing.assert_allclose(boxes, torch.cat(expected), atol=1e-3)
    assert [record["frame"] for record in content["images"]] == [*range(12)]
    assert content["images"][7]["time"] == pytest.approx(7 / 20, abs=1e-3)
    assert (content["frame_count"], content["stopped"], content["dropped"]) == (12, None, 0)
    with open(tmp_path / "out" / "clip.frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["frame"]), float(row["left"])) for row in rows] == [
        (frame, box[0]) for frame, box in enumerate(boxes)
    ]
    drawn = cv2.VideoCapture(content["drawn"])
    assert drawn.get(cv2.CAP_PROP_FPS) == 20
    pictures = frames_of(content["drawn"])
    assert (len(pictures), pictures[0].shape) == (12, (48, 64, 3))
    seen = draw_result(images[3], detect([], [images[3]])[0], ["thing"])
    assert np.abs(pictures[3].astype(int) - seen).mean() < 25  # lossy
    assert "12 detections in 12 frames at threshold 0.3" in caplog.text
    assert "frames per second; of the work decode" in caplog.text


def test_second_run_leaves_what_is_done_and_other_settings_are_not_mixed(predict, tmp_path, caplog):
    path = make_video(tmp_path / "clip.avi")
    never = lambda files, images: pytest.fail("predicted again")  # noqa: E731
    assert predict(path, chosen=(0, 4, 2)) == 0
    assert [record["frame"] for record in written(tmp_path)["images"]] == [0, 2]
    drawn = cv2.VideoCapture(written(tmp_path)["drawn"])
    assert drawn.get(cv2.CAP_PROP_FPS) == 10  # as fast as the other
    assert predict(path, chosen=(0, 4, 2), predict=never) == 0
    assert predict(path, predict=never) == 1
    assert "written with another frames. Give --overwrite" in caplog.text
    assert predict(path, overwrite=True) == 0
    assert len(written(tmp_path)["images"]) == 12


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), ValueError("too large")])
def test_what_is_predicted_before_a_stop_is_kept_and_can_be_played(predict, tmp_path, error):
    path, calls = make_video(tmp_path / "clip.avi"), []

    def stops(files, images):
        calls.append(len(images))
        if len(calls) == 3:
            raise error
        return detect(files, images)

    if isinstance(error, ValueError):
        assert predict(path, predict=stops, batch_size=4) == 1
    else:
        with pytest.raises(type(error)):
            predict(path, predict=stops, batch_size=4)
    content = written(tmp_path)
    assert (len(content["images"]), content["stopped"]) == (8, repr(error))
    assert len(frames_of(content["drawn"])) == 8
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []
    assert predict(path) == 0  # a video that is not finished begins anew
    assert len(written(tmp_path)["images"]) == 12


class Camera:
    """Gives 40 frames, 5 ms apart, as a `cv2.VideoCapture` does."""

    def __init__(self, source):
        self.given = -1

    def isOpened(self):  # noqa: N802
        return True

    def get(self, key):
        return 0.0

    def read(self):
        time.sleep(0.005)
        self.given += 1
        return (
            (True, np.full((48, 64, 3), self.given, np.uint8)) if self.given < 40 else (False, None)
        )

    def release(self):
        pass


def test_a_live_source_gives_its_newest_frame_and_files_their_own_names(
    predict, tmp_path, monkeypatch
):
    monkeypatch.setattr(video_module.cv2, "VideoCapture", Camera)

    def slow(files, images):
        time.sleep(0.04)
        return detect(files, images)

    assert predict("rtsp://me:secret@host/live", predict=slow, draw=None) == 0
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.startswith("rtsp_host_live_20")
    content = json.loads(path.read_text())
    numbers = [record["frame"] for record in content["images"]]
    assert numbers == sorted({*numbers})
    assert len(numbers) + content["dropped"] == 40
    assert 4 <= len(numbers) <= 12
    assert "secret" not in path.read_text()
    times = [record["time"] for record in content["images"]]
    assert times == sorted(times)


def test_what_is_no_video_costs_itself_alone(predict, tmp_path, caplog):
    good = make_video(tmp_path / "clip.avi")
    bad = {"empty.mp4": b"", "text.avi": b"no video", "cut.mp4": Path(good).read_bytes()[:300]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    assert predict(*(str(tmp_path / name) for name in bad), good) == 3
    for name in bad:
        assert caplog.text.count(f"{name}' ") == 1
    assert len(written(tmp_path)["images"]) == 12
    assert predict(good, chosen=(50, None, None), overwrite=True) == 1
    assert "clip.avi' has no such frame that can be read." in caplog.text
    assert len(written(tmp_path)["images"]) == 12  # the older file stays


def test_a_video_that_is_cut_off_is_told(predict, tmp_path, caplog):
    path = make_video(tmp_path / "clip.avi", count=20, size=(320, 240))
    Path(path).write_bytes(Path(path).read_bytes()[: Path(path).stat().st_size // 2])
    assert predict(path) == 0
    count = written(tmp_path)["frame_count"]
    assert 5 < count < 15
    assert f"no frame can be read after {count} of 20; it is cut off or damaged" in caplog.text


def test_a_turned_video_is_upright(predict, tmp_path):
    """The matrix of a phone's video that is turned by a quarter."""
    path = Path(make_video(tmp_path / "clip.mp4", codec="mp4v"))
    content = path.read_bytes()
    plain = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    turned = struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 48 << 16, 0, 0x40000000)
    track = content.index(b"tkhd")
    path.write_bytes(content[:track] + content[track:].replace(plain, turned, 1))
    assert predict(str(path)) == 0
    record = written(tmp_path)["images"][0]
    assert (record["height"], record["width"]) == (64, 48)
    (first, *_) = frames_of(written(tmp_path)["drawn"])
    assert first.shape == (64, 48, 3)
    assert first[:16, 36:].mean() > 120 > 60 > first[-16:, :12].mean()  # white is upper right now


def test_codecs_are_tried_and_places_are_not_shared(predict, tmp_path, monkeypatch):
    path = make_video(tmp_path / "clip.avi", size=(65, 49))  # odd sides
    assert predict(path) == 0
    first = written(tmp_path)
    assert (first["codec"], frames_of(first["drawn"])[0].shape[:2]) in [
        (codec, size) for codec in ("avc1", "mp4v") for size in [(49, 65), (48, 64)]
    ]
    monkeypatch.setattr(video_module, "CODECS", {"none": ".mp4", "MJPG": ".avi"})
    assert predict(path, overwrite=True) == 0
    assert written(tmp_path)["codec"] == "MJPG"
    assert written(tmp_path)["drawn"].endswith("clip.avi")
    twin = make_video(tmp_path / "clip.mp4", codec="mp4v")
    with pytest.raises(ValueError, match="would overwrite another video"):
        predict(path, twin)
    with pytest.raises(ValueError, match="would overwrite another video"):
        video_places([twin], str(tmp_path))


def test_objects_are_numbered(predict, tmp_path):
    pytest.importorskip("trackers")
    path = make_video(tmp_path / "clip.avi")

    def two(files, images):
        """Two objects that move by a pixel a frame, in changing order."""
        results = detect(files, images)
        for result, image in zip(results, images, strict=True):
            gray = float(image[30:, 30:].mean()) / 10
            boxes = torch.tensor([[gray, 5.0, gray + 20, 30], [gray + 30, 5, gray + 50, 30]])
            order = [0, 1] if round(gray) % 2 else [1, 0]
            found = Instances(image.shape[:2], pred_boxes=Boxes(boxes[order]))
            found.scores, found.pred_classes = torch.tensor([0.9, 0.8]), torch.zeros(2).long()
            result["instances"] = found
        return results

    assert predict(path, predict=two, track=True, with_csv=True) == 0
    ids = [
        [row.get("track_id") for row in sorted(record["detections"], key=lambda row: row["box"][0])]
        for record in written(tmp_path)["images"]
    ]
    assert ids[0] == [None, None]
    assert len({tuple(pair) for pair in ids[3:]}) == 1
    assert ids[5][0] != ids[5][1]
    with open(tmp_path / "out" / "clip.frames.csv", newline="") as file:
        assert {row["track_id"] for row in csv.DictReader(file)} == {"", *map(str, ids[5])}
