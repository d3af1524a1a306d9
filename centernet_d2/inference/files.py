"""Detections for many image files: pictures and files of all formats, in batches, resumable."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from ..atomic_write import atomic_write, write_json
from ..checked_values import check_value, whole
from ..data.images import read_image
from ..progress import bar
from ..structures.names import counted
from ..text_files import read_text
from ..visualization.canvas import write_picture
from .find_images import WRITABLE_ENDINGS
from .formats import PREDICTION_FORMATS
from .records import Recorder, Tally

logger = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.json"
_SECONDS_BETWEEN_SAVES = 30
_REFUSED_AT_ONCE = 3  # so many first images that the detector refuses end the run


@dataclass
class PredictionReport:
    """What became of the files."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # done by an earlier run
    failed: dict[str, str] = field(default_factory=dict)  # file -> message


@dataclass(eq=False)
class PredictionWriter:
    """The output folder of a run: pictures named as their files, `predictions.json`, other formats.

    An image is done when its record is in the JSON and its pictures, written first, are there.
    Files of other formats are made of the records, and one that an earlier run left is kept.
    ValueError where that had other settings, or a picture's place is taken.
    """

    folder: str
    files: Sequence[str]
    recorder: Recorder
    _: KW_ONLY
    settings: dict[str, object]
    # Makes the picture of an image's result; None: no such pictures.
    draw: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray] | None
    overwrite: bool
    # Makes a second one beside it, named `photo.heatmap.jpg`.
    draw_heatmap: Callable[[np.ndarray, Mapping[str, Any]], np.ndarray] | None = None
    # How pictures are drawn, by key in the record; "": as by default, which is not written.
    drawn: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()  # files that the JSON lists as such
    formats: Sequence[str] = ()  # of `PREDICTION_FORMATS`

    def __post_init__(self) -> None:
        self.heading = self.recorder.heading | self.settings
        os.makedirs(self.folder, exist_ok=True)  # its error comes before the first image
        self.path = os.path.join(self.folder, PREDICTIONS_FILE)
        self.root = os.path.commonpath([os.path.dirname(os.path.abspath(f)) for f in self.files])
        earlier = {} if self.overwrite else read_earlier(self.path, self.heading)
        self.records = {os.path.abspath(r["file"]): r for r in earlier.get("images", ())}
        self._owners = {record["name"]: key for key, record in self.records.items()}
        self._new: set[str] = set()  # images whose own files are to be written
        self.failed: dict[str, str] = {}
        self._saved_at = time.monotonic()
        self._check_names(self.files)

    def _check_names(self, files: Sequence[str]) -> None:
        inputs, names = {os.path.abspath(file) for file in files}, dict[str, str]()
        empty = {"height": 0, "width": 0, "detections": []}
        known = {os.path.abspath(f): {"file": f, "name": self._name(f), **empty} for f in files}
        planned = [(f, name) for f in files for name in self._pictures(f).values()]
        written = self._formatted(list((known | self.records).values()))
        for file, name in planned + [(file, name) for name, _, file in written]:
            if names.setdefault(name, file) != file:  # photo.jpg beside an input photo.heatmap.jpg
                raise ValueError(
                    f"Two files would have one name, '{name}': of '{names[name]}' and of "
                    f"'{file}'. Rename one of them, or give each an --output of its own."
                )
            if (path := os.path.abspath(os.path.join(self.folder, name))) in inputs:
                raise ValueError(
                    f"A file would overwrite the input '{path}': choose an --output folder "
                    "outside the input."
                )

    def _name(self, file: str) -> str:
        """Name of an image below the output folder, of which the names of its files are made.

        The inputs' folders come again. A name that an earlier run gave to another file gets a mark
        of the file's own path.
        """
        path = os.path.abspath(file)
        name = os.path.relpath(path, self.root)
        if self._owners.get(name, path) != path:
            folder, base = os.path.split(name)
            mark = hashlib.sha256(path.encode()).hexdigest()[:8]
            name = os.path.join(folder, f"{mark}_{base}")
        return name

    def _pictures(self, file: str) -> dict[str, str]:
        """Key in the record -> name below the output folder of each picture of a file."""
        name = self._name(file)
        picture = name if name.lower().endswith(WRITABLE_ENDINGS) else f"{name}.jpg"
        stem, ending = os.path.splitext(picture)
        names = {"picture": picture} if self.draw else {}
        return names | ({"heatmap": f"{stem}.heatmap{ending}"} if self.draw_heatmap else {})

    def _formatted(self, records: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
        """Name, text and perhaps image of the files of all formats."""
        for name in self.formats:
            yield from PREDICTION_FORMATS[name](records, self.heading, self.folder)

    def is_done(self, file: str) -> bool:
        record = self.records.get(os.path.abspath(file))
        return record is not None and all(
            kind in record and os.path.isfile(os.path.join(self.folder, record[kind]))
            for kind in self._pictures(file)
        )

    def is_drawn_otherwise(self, file: str) -> bool:
        """Whether pictures of a finished file were drawn with other options."""
        then, now = self.records[os.path.abspath(file)].get("drawn", {}), self.drawn
        return any(then.get(kind, "") != now.get(kind, "") for kind in self._pictures(file))

    def add(self, file: str, image: np.ndarray, result: Mapping[str, Any]) -> None:
        """Write the pictures of an image, (H, W, 3) uint8 BGR, and keep its record.

        `result` is what the detector says of it, "instances" and perhaps its "projection".
        """
        pictures, key = self._pictures(file), os.path.abspath(file)
        marks = {kind: how for kind in pictures if (how := self.drawn.get(kind))}
        more = {"name": self._name(file), **pictures} | ({"drawn": marks} if marks else {})
        record, shown = self.recorder.of(file, image, result, **more)
        for kind, name in pictures.items():
            if kind == "picture" and self.draw:
                drawn = self.draw(image, shown)
            elif self.draw_heatmap:
                drawn = self.draw_heatmap(image, shown)
            write_picture(os.path.join(self.folder, name), drawn)
        self._owners[record["name"]] = key
        self.records[key] = record
        self._new.add(key)
        if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self.save()

    def told(self) -> str:
        """Say what was found in the files of this run, also by an earlier one."""
        tally = Tally()
        for key in {*map(os.path.abspath, self.files)} & self.records.keys():
            tally.add(self.records[key])
        return tally.told(self.recorder.threshold)

    def save(self) -> None:
        """Write `predictions.json` and the other formats, each file whole or not at all."""
        failed = [{"file": file, "error": message} for file, message in self.failed.items()]
        images = [self.records[key] for key in sorted(self.records)]
        for name, text, file in self._formatted(images):
            path = os.path.join(self.folder, name)
            if not file or os.path.abspath(file) in self._new or not os.path.isfile(path):
                with atomic_write(path, "w") as stream:
                    stream.write(text)
        self._new.clear()
        found = {"images": images, "failed": failed, "left_out": list(self.left_out)}
        write_json(self.path, self.heading | found, indent=1)
        self._saved_at = time.monotonic()


def read_earlier(path: str, heading: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an earlier run left in a JSON of predictions; {} where there is none.

    Raises:
        ValueError: it had other settings, or what lies there is something else.
    """
    if not os.path.isfile(path):
        return {}
    try:
        earlier = json.loads(read_text(path))
        [os.path.abspath(record["file"]) for record in earlier["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no result of an earlier run ({type(error).__name__}: {error}): give "
            "--overwrite to replace it, or another --output folder."
        ) from error
    wanted = json.loads(json.dumps(heading))
    if different := [key for key in wanted if earlier.get(key) != wanted[key]]:
        raise ValueError(
            f"{path} was written with another {', '.join(different)}. Give --overwrite to predict "
            "all anew, or another --output folder."
        )
    return earlier


def predict_files(
    predict: Callable[[list[str], list[np.ndarray]], list[dict[str, Any]]],
    files: Sequence[str],
    writer: PredictionWriter,
    *,
    batch_size: int = 8,
    read: Callable[[str], np.ndarray] = read_image,
) -> PredictionReport:
    """Run the detector over files; the next batch is read while one is in the network.

    A file that cannot be read, or that the detector refuses (too large for TEST.MAX_PIXELS or the
    memory), is reported and the rest goes on, unless it refuses the first three images, or all.
    What is done is saved every half minute and at the end, also when the run is interrupted.

    `predict` takes at most `batch_size` files and their BGR images, and returns results with
    "instances" in their pixels, such as those of `Predictor.batch`; `read` is `Predictor.read`.
    """
    check_value("batch_size", batch_size, whole(1))
    report = PredictionReport(skipped=[file for file in files if writer.is_done(file)])
    skipped = set(report.skipped)
    if count := sum(map(writer.is_drawn_otherwise, skipped)):
        told = "Pictures of %s stay as other options drew them; --overwrite draws them anew."
        logger.warning(told, counted(count, "file"))
    todo, refused = [file for file in files if file not in skipped], 0
    try:
        with bar(total=len(todo), what="Images", unit="image") as done:
            for batch in _read_ahead(todo, batch_size, read):
                readable = [(file, image) for file, image in batch if isinstance(image, np.ndarray)]
                results: dict[str, Any] = dict(batch) | dict(_each(predict, readable))
                for file, image in batch:
                    result = results[file]
                    if isinstance(image, np.ndarray) and not isinstance(result, Exception):
                        writer.add(file, image, result)
                        report.done.append(file)
                        continue
                    refused += result is not image
                    if refused >= min(_REFUSED_AT_ONCE, len(todo)) and not report.done:
                        raise result
                    report.failed[file] = writer.failed[file] = str(result)
                    logger.error("%s: %s", file, result)
                done.update(len(batch))
    finally:
        writer.save()
    return report


def _each(
    predict: Callable[[list[str], list[np.ndarray]], list[dict[str, Any]]],
    batch: Sequence[tuple[str, np.ndarray]],
) -> Iterator[tuple[str, dict[str, Any] | Exception]]:
    """Yield (file, result or error) of each image; whose error it is, is found one by one."""
    files = [file for file, _ in batch]
    images = [image for _, image in batch]
    try:
        yield from zip(files, predict(files, images) if files else (), strict=True)
    except (ValueError, MemoryError, RuntimeError) as error:  # torch's lack of memory: the last
        if len(batch) == 1:
            yield files[0], error
            return
        for pair in batch:
            yield from _each(predict, [pair])


def _read_ahead(
    files: Sequence[str], batch_size: int, read: Callable[[str], np.ndarray]
) -> Iterator[list[tuple[str, np.ndarray | Exception]]]:
    """Yield batches of (file, image or the error of reading it); one batch is read in advance."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        waiting: list[tuple[str, Future[np.ndarray | Exception]]] = []
        for start in range(0, len(files) + batch_size, batch_size):
            batch = files[start : start + batch_size]
            following = [(file, pool.submit(_read_or_error, file, read)) for file in batch]
            if waiting:
                yield [(file, future.result()) for file, future in waiting]
            waiting = following


def _read_or_error(file: str, read: Callable[[str], np.ndarray]) -> np.ndarray | Exception:
    try:
        return read(file)
    except (OSError, ValueError, MemoryError) as error:
        return error
