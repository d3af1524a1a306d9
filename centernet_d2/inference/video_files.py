"""Detections of videos: a record for each frame and a drawn video, written as the frames come."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Self

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


class FrameWriter:
    """What is written of one video: `<place>.frames.json`, perhaps `.csv`, and the drawn video.

    A context. However it ends, what was added is written whole, if it is anything.
    """

    def __init__(
        self,
        place: str,
        video: Video,
        recorder: Recorder,
        heading: Mapping[str, Any],
        *,
        draw: Draw | None,
        step: int = 1,
        with_csv: bool = False,
    ) -> None:
        """Open the files; a video of each `step`-th frame plays as fast as the other."""
        self.video, self.recorder, self.heading, self.draw = video, recorder, heading, draw
        self.film, self.tally = VideoFile(place, video.fps / step), Tally()
        self.seconds = {"decode": 0.0, "network": 0.0, "draw": 0.0, "write": 0.0}
        self._files = contextlib.ExitStack()
        endings = [ENDING, *([".frames.csv"] if with_csv else [])]
        self._streams = [self._files.enter_context(atomic_write(place + e, "w")) for e in endings]
        self._streams[0].write(json.dumps(dict(heading))[:-1] + ', "images": [')

    def __enter__(self) -> Self:
        return self

    def add(self, frames: Sequence[Frame], results: Sequence[Mapping[str, Any]]) -> None:
        """Write the records of frames, with "frame" and "time" in seconds, and draw them."""
        for frame, result in zip(frames, results, strict=True):
            times, when = [time.perf_counter()], {"frame": frame.number}
            when |= {"time": round(frame.time, 3)}
            record, shown = self.recorder.of(self.video.name, frame.image, result, **when)
            drawn = self.draw(frame.image, shown) if self.draw else None
            times.append(time.perf_counter())
            if drawn is not None:
                self.film.write(drawn)
            first = not self.tally.pictures
            self._streams[0].write(("\n" if first else ",\n") + json.dumps(record))
            for table in self._streams[1:]:
                table.write(csv_text([record], self.heading, header=first))
            self.tally.add(record)
            self.seconds["draw"] += times[1] - times[0]
            self.seconds["write"] += time.perf_counter() - times[1]

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self.film.close()
        if not self.tally.pictures:
            error = error or ValueError(f"'{self.video.name}' has no such frame that can be read.")
            self._files.__exit__(type(error), error, trace)
            raise error
        found = {"frame_count": self.tally.pictures, "dropped": self.video.dropped}
        found |= {"drawn": self.film.path, "codec": self.film.codec}
        found |= {"stopped": repr(error) if error else None}
        self._streams[0].write("\n], " + json.dumps(found)[1:] + "\n")
        self._files.close()

    def told(self, wall: float) -> str:
        """What was found, frames per second, and the share of each kind of work in all of it."""
        seconds = self.seconds | {"decode": self.video.busy}
        whole = sum(seconds.values()) or 1.0
        shares = ", ".join(f"{work} {100 * s / whole:.0f} %" for work, s in seconds.items())
        found = self.tally.told(self.recorder.threshold, "frame")
        late = f", {self.video.dropped} more came too fast" if self.video.dropped else ""
        rate = self.tally.pictures / max(wall, 1e-9)
        return f"{found}; {wall:.1f} s, {rate:.1f} frames per second{late}; of the work {shares}"


def predict_video(
    predict: Predict, video: Video, writer: FrameWriter, *, chosen: slice, batch_size: int
) -> None:
    """Run the detector over the chosen frames; a batch is written while the next is predicted."""
    size, frames = 1 if video.live else batch_size, video.frames(chosen)
    with (
        writer,
        contextlib.closing(frames),
        ThreadPoolExecutor(max_workers=1) as pool,
        bar(total=video.count or None, what="Frames", unit="frame") as done,
    ):
        writing: Future[None] | None = None
        while batch := list(itertools.islice(frames, size)):
            before = time.perf_counter()
            results = predict([video.name] * len(batch), [frame.image for frame in batch])
            writer.seconds["network"] += time.perf_counter() - before
            if writing:
                writing.result()
            writing = pool.submit(writer.add, batch, results)
            done.update(len(batch))
        if writing:
            writing.result()


def predict_videos(
    predict: Predict,
    sources: Sequence[str],
    recorder: Recorder,
    *,
    folder: str,
    settings: Mapping[str, Any],
    draw: Draw | None,
    chosen: slice = slice(None),
    batch_size: int = 8,
    track: bool = False,
    overwrite: bool = False,
    with_csv: bool = False,
) -> int:
    """Predict videos, say what was found, and return how many failed.

    Files are named as the video below `folder`, those of a live source by the time too. A video
    that an earlier run has finished is left alone, unless `overwrite`; `track` numbers the objects.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are told in our own sentences
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    range_ = [chosen.start or 0, chosen.stop, chosen.step or 1]
    heading = recorder.heading | settings | {"track": track, "frames": range_}
    failed = 0
    for source, place in _places(sources, folder).items():
        began = time.perf_counter()
        try:
            earlier = {} if overwrite else read_earlier(place + ENDING, heading)
            if earlier.get("stopped", 0) is None and (not draw or os.path.isfile(earlier["drawn"])):
                logger.info("'%s' was done before: %s", source, place + ENDING)
                continue
            video = Video(source)
            follow = byte_tracker(recorder.threshold, video.fps / range_[2]) if track else None
            how = {"draw": draw, "step": range_[2], "with_csv": with_csv}
            writer = FrameWriter(place, video, replace(recorder, track=follow), heading, **how)
            try:
                predict_video(predict, video, writer, chosen=chosen, batch_size=batch_size)
            finally:
                if writer.tally.pictures:
                    logger.info("%s: %s", place + ENDING, writer.told(time.perf_counter() - began))
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            failed += 1
            logger.error("%s", error)
    return failed


def _places(sources: Sequence[str], folder: str) -> dict[str, str]:
    """Source -> where its files are written, without their endings."""
    paths = {source: os.path.abspath(source) for source in sources if not is_live(source)}
    root = os.path.commonpath([os.path.dirname(path) for path in paths.values()] or [os.curdir])
    places = dict[str, str]()
    for source in sources:
        name = re.sub(r"\W+", "_", without_login(source)) + time.strftime("_%Y%m%d_%H%M%S")
        if source in paths:
            name = os.path.splitext(os.path.relpath(paths[source], root))[0]
        place = os.path.join(folder, name)
        written = {os.path.abspath(place + ending) for ending in CODECS.values()}
        if place in places.values() or written & {*paths.values()}:
            raise ValueError(
                f"What is written of '{source}' would overwrite another video, or that of one: "
                "rename it, or give an --output of its own."
            )
        places[source] = place
    return places
