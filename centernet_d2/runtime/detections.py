"""What a detector finds in one picture, as arrays; N detections, best first."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

_NAMES = {"scores": "score", "boxes": "box", "keypoints": "keypoints", "boxes3d": "box3d"}
_NAMES |= {"centers": "center", "corner_scores": "corner_scores"}  # of one, as in `rows`


@dataclass(frozen=True)
class Detections:
    """Detections of one picture, in its pixels: (0, 0) is the outer corner of the first pixel.

    What a detector does not find is None.
    """

    scores: np.ndarray
    """(N,) float32, descending."""
    classes: np.ndarray
    """(N,) int64, places in `class_names`."""
    class_names: tuple[str, ...]
    """Of all classes; empty where the file names none."""
    boxes: np.ndarray | None = None
    """(N, 4) float32: left, top, right, bottom."""
    keypoints: np.ndarray | None = None
    """(N, J, 3) float32: x, y and score of each joint."""
    boxes3d: np.ndarray | None = None
    """(N, 8) float32, KITTI's camera axes (x right, y down, z forward), metres and radians: x, y, z
    of the middle of the bottom face; height, width, length; rotation_y; alpha."""
    centers: np.ndarray | None = None
    """(N, 2) float32: the keypoint in the middle, of triplet CenterNet."""
    corner_scores: np.ndarray | None = None
    """(N, 2) float32: of top left and bottom right corner, of both corner detectors."""

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float, most: int | None = None) -> "Detections":
        """Those with a higher score, or the `most` best of them."""
        stays = np.flatnonzero(self.scores > threshold)[:most]
        rows: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        of_each: dict[str, Any] = {
            name: values[stays] for name, values in rows.items() if isinstance(values, np.ndarray)
        }
        return replace(self, **of_each)

    def labels(self) -> list[str]:
        """The class of each detection in words; its number where the file names none."""
        names = self.class_names
        numbers = self.classes.tolist()
        return [names[each] if each < len(names) else str(each) for each in numbers]

    def rows(self) -> list[dict[str, Any]]:
        """Each detection as plain values, numbers rounded to four digits."""
        rows = [{"class_name": name} for name in self.labels()]
        for name, each in _NAMES.items():
            if (values := getattr(self, name)) is not None:
                for row, value in zip(rows, values.astype(float).round(4).tolist(), strict=True):
                    row[each] = value
        return rows
