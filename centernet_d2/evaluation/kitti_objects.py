"""Objects of many frames as flat arrays: what KITTI's scores are computed from."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ..structures.box3d_records import NO_ANGLE

DONT_CARE = -1  # label of a region that counts for no class


@dataclass(frozen=True)
class KittiTruth:
    """N labelled objects, ordered by frame and within a frame as in the file."""

    frame: np.ndarray  # (N,) int64, index of the frame, ascending
    label: np.ndarray  # (N,) int64 class index; DONT_CARE
    neighbor: np.ndarray  # (N,) bool: like the class, neither to be found nor wrong (Van for Car)
    boxes: np.ndarray  # (N, 4) float64 XYXY pixels
    boxes3d: np.ndarray  # (N, 8) float64 as `Boxes3D.tensor`; NO_BOX3D
    truncated: np.ndarray  # (N,) float64, 0 to 1
    occluded: np.ndarray  # (N,) int64, 0 to 3

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def headed(self) -> np.ndarray:
        """(N,) bool: whose observation angle is known."""
        return self.boxes3d[:, 7] != NO_ANGLE

    @property
    def in_space(self) -> np.ndarray:
        """(N,) bool: whose 3-D box is known."""
        return (self.boxes3d[:, 3] > 0) & (self.boxes3d[:, 6] != NO_ANGLE)


@dataclass(frozen=True)
class KittiDetections:
    """N detections, ordered likewise; between equal scores and overlaps the earlier one wins."""

    frame: np.ndarray  # (N,) int64, ascending
    label: np.ndarray  # (N,) int64 class index
    boxes: np.ndarray  # (N, 4) float64 XYXY pixels
    boxes3d: np.ndarray  # (N, 8) float64 as `Boxes3D.tensor`; NO_BOX3D
    scores: np.ndarray  # (N,) float64

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class OverlapPairs:
    """P pairs of an object and a detection of its frame, sorted by object, then detection."""

    truth: np.ndarray  # (P,) int64 row of the object
    detection: np.ndarray  # (P,) int64 row of the detection
    overlap: np.ndarray  # (P,) float64

    def __getitem__(self, rows: np.ndarray) -> Self:
        return OverlapPairs(self.truth[rows], self.detection[rows], self.overlap[rows])
