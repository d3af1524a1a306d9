"""What the page shows of a picture, and its models, by functions that know nothing of the page."""

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..checkpoint.files import cache_dir
from ..data.images import read_image, read_image_size
from ..engine.model_config import named_weights, read_model_config
from ..inference.predictor import Predictor
from ..inference.records import Recorder
from ..inference.runtime import instances_of
from ..model_zoo.entries import ENTRIES
from ..model_zoo.lookup import shipped_models
from ..modeling.point_tasks import point_task
from ..runtime.detector import FIELDS, Detector
from ..structures.cameras import camera_doubt, checked_projection, looking_at_middle
from ..structures.skeleton import Skeleton
from ..visualization.boxes3d import detections3d_views
from ..visualization.heatmaps import draw_heatmaps
from ..visualization.results import draw_result, enlarged
from ..visualization.skeletons import SkeletonDrawing

MOST_PIXELS = 25_000_000  # of a visitor's picture: a small file can be a picture without end
SIDES = ["left", "top", "right", "bottom"]
ENDINGS = (".onnx", ".xml")  # of exported files


class FilePredictor:
    """A file of `centernet-d2 export` with what the page needs of a `Predictor`, but heatmaps."""

    def __init__(self, file: str) -> None:
        self._detector, self.read = Detector(file), read_image
        said, self.class_names = self._detector.metadata, self._detector.class_names
        self.skeleton = Skeleton.from_saved(said, f"'{file}'")
        self.names = self.skeleton.saved() if self.skeleton else {}
        self.model = SimpleNamespace(output_fields=said["outputs"])
        for task in ("pose", "box3d"):
            point_task(task)  # says how what it finds is recorded

    def __call__(self, picture: np.ndarray, projection: Any = None) -> dict[str, Any]:
        """Detect as `Predictor` does."""
        if has_cameras(self):
            projection = self._detector.camera(projection, picture)
        found = self._detector(picture, projection)
        fields = {"scores": "scores", "classes": "pred_classes", **FIELDS}
        rows = {field: getattr(found, name) for name, field in fields.items()}
        rows = {field: values for field, values in rows.items() if values is not None}
        space = {} if projection is None else {"projection": projection}
        return {"instances": instances_of(rows, picture.shape[:2]), **space}


def has_cameras(predictor: Any) -> bool:
    """Whether it finds boxes in space."""
    return "pred_boxes3d" in getattr(predictor.model, "output_fields", ())


def loader(names: Sequence[str], overrides: Sequence[Any], **more: Any) -> Callable[..., Any]:
    """What loads a model when it is first chosen: weights by `read_model_config`, or a file.

    FileNotFoundError, at once, of one that is not there.
    """
    for name in names:
        named_weights(name)

    @functools.cache
    def load(name: str) -> Any:
        if name not in names:
            raise ValueError(f"there is no model '{name}': choose one of the list")
        if name.endswith(ENDINGS):
            return FilePredictor(name)
        return Predictor(read_model_config("", name, overrides, **more))

    return load


def local_weights() -> list[str]:
    """What needs no download: models of the package, those fetched before, runs below output/."""
    fetched, runs = cache_dir() / "weights", sorted(Path("output").rglob("model_final.pth"))
    known = [entry.name for entry in ENTRIES if (fetched / f"{entry.short_name}.pth").is_file()]
    if found := [*shipped_models(), *known, *map(str, runs)]:
        return found
    raise FileNotFoundError("no weights were found: give --weights or --model")


class Seen(NamedTuple):
    """What a model found in a picture (H, W, 3) uint8 BGR, whatever its score."""

    predictor: Any  # `Predictor` or `FilePredictor`
    name: str  # of the picture
    picture: np.ndarray
    result: dict[str, Any]  # as `Predictor` returns it
    notes: list[str]  # what a visitor should know of it


def look(predictor: Any, file: str, camera: str = "") -> Seen:
    """Detect in a picture file; OSError, ValueError: it, or the text of its camera, is no use."""
    (width, height), notes, projection = read_image_size(file), list[str](), None
    if width * height > MOST_PIXELS:
        told = f"the picture has {width} x {height} pixels, more than the {MOST_PIXELS:,} that"
        raise ValueError(f"{told} this page takes: scale it down")
    picture = predictor.read(file)
    with Image.open(file) as image:
        if (frames := getattr(image, "n_frames", 1)) > 1 and image.format != "MPO":
            notes.append(f"Of its {frames} pictures the first one is shown.")
    if has_cameras(predictor):
        projection = camera_of(camera, picture.shape[:2])
        if projection is None:
            notes.append("No camera is given: boxes in space are placed by the model's default.")
        elif doubt := camera_doubt(projection, picture.shape[:2], "the camera"):
            notes.append(f"Is it the camera of this picture? Of its numbers, {doubt}.")
    return Seen(predictor, Path(file).name, picture, predictor(picture, projection), notes)


def camera_of(text: str, size: tuple[int, int]) -> np.ndarray | None:
    """Read a projection (3, 4) to pixels of a picture of (height, width); None of an empty text.

    Nine or twelve numbers are the matrix, row by row; one is the focal length of a camera that
    looks at the middle. ValueError of others.
    """
    words = re.sub(r"[\[\](),;]", " ", text).split()
    try:
        numbers = np.array(words, dtype=np.float64)
    except ValueError:
        raise ValueError(f"the camera must be numbers, not '{text.strip()[:60]}'") from None
    if not words:
        return None
    if len(words) == 1:
        return checked_projection(looking_at_middle(numbers[0], size), "the camera")
    if len(numbers) not in (9, 12):
        told = f"the camera has {len(words)} numbers: give the focal length in pixels alone, or the"
        raise ValueError(f"{told} 9 or 12 numbers of the matrix, row by row")
    return checked_projection(numbers.reshape(3, -1), "the camera")


def show(seen: Seen, score: float) -> tuple[Any, ...]:
    """Choose, draw and list the detections from a score on.

    Returns:
        BGR pictures of the detections and, of boxes in space, from above; a table of "headers" and
        "data", best first; and what `centernet-d2 predict` would write.
    """
    predictor, names = seen.predictor, seen.predictor.class_names
    recorder, above = Recorder(names, score), None
    record, shown = recorder.of(seen.name, seen.picture, seen.result)
    if "projection" in shown:
        given = (seen.picture, shown["instances"], shown["projection"], names, score)
        picture, above = detections3d_views(*given)
    else:
        factor = max(1, round(360 / max(seen.picture.shape)))  # for captions in small pictures
        shown = {"instances": enlarged(shown["instances"], factor)}
        picture = cv2.resize(seen.picture, None, fx=factor, fy=factor)
        drawing = SkeletonDrawing.of(predictor.skeleton)
        picture = draw_result(picture, shown, names, score, drawing=drawing, keypoints=True)
    place = ["right (m)", "down (m)", "ahead (m)"] if above is not None else SIDES
    rows: list[list[Any]] = []
    for entry in sorted(record["detections"], key=lambda entry: -entry["score"]):
        numbers = entry["box"] if above is None else entry["box3d"]["location"]
        rounded = [round(number, 1) for number in numbers]
        rows.append([entry["class_name"], round(entry["score"], 3), *rounded])
    table = {"headers": ["class", "score", *place], "data": rows}
    return picture, above, table, recorder.heading | predictor.names | {"images": [record]}


def heatmaps(seen: Seen) -> np.ndarray | None:
    """Draw where the model sees keypoints; None of a model that does not show it."""
    predictor = seen.predictor
    if isinstance(predictor, FilePredictor) or not hasattr(predictor.model, "decoded_heatmaps"):
        return None
    found, names = predictor.heatmap(seen.picture), SkeletonDrawing.of(predictor.skeleton).names
    how = {"scale": found.scale, "shift": found.shift}
    return draw_heatmaps(seen.picture, found.probabilities, predictor.class_names, names, **how)
