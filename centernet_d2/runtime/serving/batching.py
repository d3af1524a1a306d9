"""Pictures of several requests through one detector: who may come in, and who goes together."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from ..detections import Detections
from . import Options

Job = tuple[np.ndarray, Any, asyncio.Future[Detections]]
"""A picture, its projection or None, and who waits for its detections."""


class Batcher:
    """Gives pictures of all requests to the detector, some at once, in a thread of its own.

    `finder.batch` detects as a `Detector`'s, `done` is told the size of each batch, and `taken` are
    the pictures in work, from a request's first byte to its answer.
    """

    def __init__(self, finder: Any, options: Options, done: Callable[[int], None]) -> None:
        self._finder, self._options, self._done = finder, options, done
        self._worker = ThreadPoolExecutor(1, "detector")
        self._waiting: asyncio.Queue[Job] = asyncio.Queue()
        self.taken, self._pixels, self._seconds = 0, 0, 0.1  # the last: of a picture, lately

    @contextmanager
    def places(self, pictures: int = 0, pixels: int = 0) -> Iterator[None]:
        """Hold places for a block; HTTPException (429) where there are none."""
        most = 8 * self._options.max_pixels  # decoded pictures fill the memory
        self.taken, self._pixels = self.taken + pictures, self._pixels + pixels
        try:
            if self.taken > self._options.queue or pixels < self._pixels > most:
                wait = str(max(1, math.ceil(self.taken * self._seconds)))
                told = f"too much is in work already: ask again in {wait} s, or send less"
                raise HTTPException(429, told, {"Retry-After": wait})
            yield
        finally:
            self.taken, self._pixels = self.taken - pictures, self._pixels - pixels

    async def detect(self, pictures: Sequence[np.ndarray], camera: Any) -> list[Detections]:
        """Detect in the pictures of one request; HTTPException where that cannot be."""
        loop = asyncio.get_running_loop()
        found: list[asyncio.Future[Detections]] = [loop.create_future() for _ in pictures]
        for picture, future in zip(pictures, found, strict=True):
            self._waiting.put_nowait((picture, camera, future))
        try:
            return await asyncio.gather(*found)
        finally:
            for future in found:  # of a request that is given up no other picture is detected
                future.cancel()

    async def run(self) -> None:
        """Detect until it is cancelled."""
        loop, size = asyncio.get_running_loop(), self._options.batch_size
        while True:
            jobs = [await self._waiting.get()]
            if self._waiting.qsize() + 1 < min(size, self.taken):  # others are on their way
                await asyncio.sleep(self._options.batch_wait / 1e3)
            while len(jobs) < size and not self._waiting.empty():
                jobs.append(self._waiting.get_nowait())
            # Neighbours of one size go through the network together.
            jobs = sorted((j for j in jobs if not j[2].done()), key=lambda j: j[0].shape)
            if not jobs:
                continue
            began = time.perf_counter()
            results = await loop.run_in_executor(self._worker, self._results, jobs)
            took = (time.perf_counter() - began) / len(jobs)
            self._seconds += 0.2 * (took - self._seconds)
            self._done(len(jobs))
            for (*_, future), result in zip(jobs, results, strict=True):
                if not future.done():  # not given up meanwhile
                    is_fault = isinstance(result, Exception)
                    (future.set_exception if is_fault else future.set_result)(result)

    def _results(self, jobs: Sequence[Job]) -> list[Any]:
        """Of each picture its detections, or what is wrong with it alone."""
        try:
            return [*self._finder.batch([job[0] for job in jobs], [job[1] for job in jobs])]
        except (TypeError, ValueError) as error:  # the detector's sentence on a picture
            fault = HTTPException(422, str(error))
        except Exception:
            logging.getLogger(__name__).exception("a batch of %d pictures failed", len(jobs))
            fault = HTTPException(500, "the detector failed: the log of the server says why")
        return [fault] if len(jobs) == 1 else [r for job in jobs for r in self._results([job])]
