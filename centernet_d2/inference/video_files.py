"""Detections of videos: a record for each frame and a drawn video, written as the frames come."""

import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ..atomic_write import atomic_write
from ..progress import bar
from .adapters import byte_tracker
from .files import read_earlier
from .find_images import is_live
from .formats import csv_text
from .records import Recorder, Tally
from .video import CODECS, Frame, Video, VideoFile, without_login

logger = logging.getLogger(__name__)

ENDING = ".frames.json"
Predict = Callable[[list[str], list[np.ndarray]], list[dict[str, Any]]]
Draw = Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]


@dataclass(eq=False)
class FrameWriter:
    """Writes `<place>.frames.json`, perhaps `.csv`, and the drawn frames of a video as another."""

    place: str
    video: Video
    recorder: Recorder
    heading: Mapping[str, Any]
    draw: Draw | None

    def __post_init__(self) -> None:
        self.film = VideoFile(self.place, self.video.fps / (self.heading["frames"][2] or 1))
        self.tally, self._files = Tally(), ExitStack()
        self.seconds = dict.fromkeys(("decode", "network", "draw", "write"), 0.0)
        places = [self.place + ENDING, *[f"{self.place}.frames.csv"] * self.heading["csv"]]
        self._streams = [self._files.enter_context(atomic_write(each, "w")) for each in places]
        self._streams[0].write(json.dumps(dict(self.heading))[:-1] + ', "images": [')

    def add(self, frames: Sequence[Frame], results: Sequence[Mapping[str, Any]]) -> None:
        """Write the records of frames, with "frame" and "time" in seconds, and draw them."""
        for frame, result in zip(frames, results, strict=True):
            when, begin = {"frame": frame.number, "time": round(frame.time, 3)}, time.perf_counter()
            record, shown = self.recorder.of(self.video.name, frame.image, result, **when)
            drawn = self.draw(frame.image, shown) if self.draw else None
            middle, first = time.perf_counter(), not self.tally.pictures
            if drawn is not None:
                self.film.write(drawn)
            self._streams[0].write(("\n" if first else ",\n") + json.dumps(record))
            for table in self._streams[1:]:
                table.write(csv_text([record], self.heading, header=first))
            self.tally.add(record)
            self.seconds["draw"] += middle - begin
            self.seconds["write"] += time.perf_counter() - middle

    def close(self, error: BaseException | None) -> None:
        """Put the files in their places, and say in the JSON by which error the run ended."""
        self.film.close()
        if not self.tally.pictures:
            error = error or ValueError(f"'{self.video.name}' has no such frame that can be read.")
            self._files.__exit__(type(error), error, None)  # leaves older files as they were
            raise error
        end: dict[str, Any] = {"frame_count": self.tally.pictures, "dropped": self.video.dropped}
        end |= {"drawn": self.film.path, "codec": self.film.codec}
        end |= {"stopped": repr(error) if error else None}
        self._streams[0].write("\n], " + json.dumps(end)[1:] + "\n")
        self._files.close()

    def told(self, wall: float) -> str:
        """What was found, frames per second, and the share of each kind of work in all of it."""
        seconds = self.seconds | {"decode": self.video.busy}
        whole, rate = sum(seconds.values()) or 1.0, self.tally.pictures / max(wall, 1e-9)
        shares = ", ".join(f"{work} {100 * s / whole:.0f} %" for work, s in seconds.items())
        late = f", {self.video.dropped} more came too fast" * bool(self.video.dropped)
        found = self.tally.told(self.recorder.threshold, "frame")
        speed = f"{wall:.1f} s, {rate:.1f} frames per second{late}; of the work {shares}"
        return f"{found}; {speed}" + f"; drawn: {self.film.path}" * bool(self.film.path)


def predict_video(predict: Predict, writer: FrameWriter, chosen: slice, batch_size: int) -> None:
    """Run the detector over the chosen frames; a batch is written while the next is predicted."""
    video = writer.video
    frames, writing = video.frames(chosen), Future[None]()
    writing.set_result(None)
    with (
        closing(frames),
        ThreadPoolExecutor(max_workers=1) as pool,
        bar(total=video.count or None, what="Frames", unit="frame") as done,
    ):
        while batch := list(itertools.islice(frames, 1 if video.live else batch_size)):
            before = time.perf_counter()
            results = predict([video.name] * len(batch), [frame.image for frame in batch])
            writer.seconds["network"] += time.perf_counter() - before
            writing.result()
            writing = pool.submit(writer.add, batch, results)
            done.update(len(batch))
        writing.result()


def predict_videos(
    predict: Predict,
    places: Mapping[str, str],
    recorder: Recorder,
    heading: Mapping[str, Any],
    *,
    draw: Draw | None = None,
    batch_size: int = 8,
    overwrite: bool = False,
) -> int:
    """Predict videos, say what was found, and return how many failed.

    A video that an earlier run has finished is left alone, unless `overwrite`. `heading` stands in
    the JSON; of it "frames" (start, stop, step) chooses frames, and "track" numbers the objects.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are told in our own sentences
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    chosen, failed = slice(*heading["frames"]), 0
    for source, place in places.items():
        began, error = time.perf_counter(), None
        try:
            earlier = {} if overwrite else read_earlier(place + ENDING, heading)
            if earlier.get("stopped", 0) is None and (not draw or os.path.isfile(earlier["drawn"])):
                logger.info("'%s' was done before, or --overwrite: %s", source, place + ENDING)
                continue
            video = Video(source)
            rate = video.fps / (chosen.step or 1)
            track = byte_tracker(recorder.threshold, rate) if heading["track"] else None
            writer = FrameWriter(place, video, replace(recorder, track=track), heading, draw)
            try:
                predict_video(predict, writer, chosen, batch_size)
            except BaseException as stopped:
                error = stopped
                raise
            finally:
                writer.close(error)
                logger.info("%s: %s", place + ENDING, writer.told(time.perf_counter() - began))
        except (OSError, ValueError, RuntimeError, MemoryError) as failure:
            failed += 1
            logger.error("%s", failure)
    return failed


def video_places(sources: Sequence[str], folder: str) -> dict[str, str]:
    """Source -> where its files are written, without endings; ValueError: over other ones."""
    inputs, places = {os.path.abspath(source) for source in sources}, dict[str, str]()
    for source in sources:
        name = os.path.splitext(os.path.basename(source))[0]
        if is_live(source):
            name = re.sub(r"\W+", "_", without_login(source)) + time.strftime("_%Y%m%d_%H%M%S")
        place = os.path.join(folder, name)
        written = {os.path.abspath(place + ending) for ending in CODECS.values()}
        if place in places.values() or written & inputs:
            told = "would overwrite another video, or that of one: rename it, or change --output"
            raise ValueError(f"What is written of '{source}' {told}.")
        places[source] = place
    return places
