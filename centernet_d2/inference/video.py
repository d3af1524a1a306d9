"""Videos, cameras and streams: frames that are decoded in a thread, and a video that is written.

Frames are (H, W, 3) uint8, channels B, G, R, turned upright as the file says.
"""

import contextlib
import itertools
import logging
import math
import os
import queue
import re
import threading
import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from .find_images import is_live

logger = logging.getLogger(__name__)

# What a video is tried in: most builds of OpenCV have no encoder for the first, all for the last.
CODECS = {"avc1": ".mp4", "mp4v": ".mp4", "MJPG": ".avi"}
_USUAL_FPS = 25.0  # where a camera or a file does not say


def without_login(source: str) -> str:
    """Return the address of a stream without a user's name and password."""
    return re.sub(r"//[^/@]*@", "//", source)


class Frame(NamedTuple):
    """A frame, its number and its time in seconds, both from 0."""

    number: int
    time: float
    image: np.ndarray


class Video:
    """A video file, a camera ("camera:0", "0") or a stream.

    It is `live` where frames come in their own time, so that late ones are `dropped`; decoding has
    been `busy` for so many seconds.
    """

    def __init__(self, source: str) -> None:
        self.name = without_login(source)
        camera = source.removeprefix("camera:")
        self.capture = cv2.VideoCapture(int(camera) if camera.isdigit() else source)
        if not self.capture.isOpened():
            why = "is it there, and not in use" if is_live(source) else "is it empty or damaged"
            raise OSError(f"'{self.name}' cannot be opened as a video: {why}?")
        fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= 1000 else _USUAL_FPS
        self.count = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))  # 0: not known
        self.live = is_live(source) and not self.count  # an address may be that of a file
        self.dropped, self.busy = 0, 0.0

    def frames(self, chosen: slice = slice(None), *, waiting: int = 16) -> Generator[Frame]:
        """Yield the chosen frames, of a live source the newest; `waiting` are decoded ahead."""
        ready: queue.Queue[Frame | Exception | None] = queue.Queue(1 if self.live else waiting)
        over = threading.Event()

        def put(entry: Frame | Exception | None) -> None:
            newest = self.live and isinstance(entry, Frame)
            while not over.is_set():
                with contextlib.suppress(queue.Full):
                    return ready.put(entry, timeout=0.0 if newest else 0.1)
                with contextlib.suppress(queue.Empty):
                    self.dropped += bool(newest and ready.get_nowait())

        def decode() -> None:
            try:
                for frame in itertools.takewhile(lambda _: not over.is_set(), self._read(chosen)):
                    put(frame)
                put(None)
            except Exception as error:
                put(error)

        thread = threading.Thread(target=decode, daemon=True)
        thread.start()
        try:
            while (entry := ready.get()) is not None:
                if isinstance(entry, Exception):
                    raise entry
                yield entry
        finally:
            over.set()
            thread.join(timeout=5)  # a camera that hangs holds up nobody
            if not thread.is_alive():
                self.capture.release()

    def _read(self, chosen: slice) -> Iterator[Frame]:
        start, step, began = chosen.start or 0, chosen.step or 1, time.monotonic()
        for number in itertools.count() if chosen.stop is None else range(chosen.stop):
            before, wanted = time.perf_counter(), number >= start and (number - start) % step == 0
            going, image = self.capture.read() if wanted else (self.capture.grab(), None)
            self.busy += time.perf_counter() - before
            if not going:
                if number < self.count - 1:
                    told = "'%s': no frame can be read after %d of %d; it is cut off or damaged."
                    logger.warning(told, self.name, number, self.count)
                return
            if image is not None:
                told_time = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                passed = told_time if 0 < told_time < math.inf else number / self.fps
                yield Frame(number, time.monotonic() - began if self.live else passed, image)


class VideoFile:
    """A video that takes its place when it is closed, its ending by its codec, of `CODECS`.

    It has the first frame's size; of an odd side the encoders of mp4 cut the last pixels off.
    """

    def __init__(self, stem: str, fps: float) -> None:
        self.stem, self.fps, self.path, self.codec = stem, fps, "", ""
        self._writer: cv2.VideoWriter | None = None

    def write(self, image: np.ndarray) -> None:
        """Add a frame; OSError where no video can be written."""
        folder, name = os.path.split(self.stem)
        for codec, ending in CODECS.items() if self._writer is None else ():
            self._part = os.path.join(folder, f".{name}.part{ending}")
            code, size = cv2.VideoWriter.fourcc(*codec), (image.shape[1], image.shape[0])
            writer = cv2.VideoWriter(self._part, code, self.fps, size)
            if writer.isOpened():
                self._writer, self.path, self.codec = writer, self.stem + ending, codec
                break
        if self._writer is None:
            raise OSError(f"Cannot write a video '{self.stem}': is the disk full?")
        self._writer.write(image)

    def close(self) -> None:
        """Put the file, if there is one, in its place."""
        if self._writer is not None:
            self._writer.release()
            os.replace(self._part, self.path)
