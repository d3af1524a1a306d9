"""What is in a generated street scene: cameras, solids on the ground, and how well each is seen.

Everything is in the camera frame (x right, y down, z forward, metres); the ground is the plane
y = `CAMERA_HEIGHT`. Nothing here knows colours or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch

from ....structures.boxes3d import Boxes3D, project_points

CAMERA_HEIGHT = 1.65  # metres, as KITTI's
LEVELS = ("easy", "moderate", "hard")
# KITTI's limits of each level: height of the 2-D box in pixels, hidden and truncated share. KITTI
# says "partly" and "largely occluded" in words; here they begin at these hidden shares.
LEAST_HEIGHT = (40.0, 25.0, 25.0)
HIDDEN_LIMITS = (0.1, 0.35, 0.65)
TRUNCATED_LIMITS = (0.15, 0.3, 0.5)
_MASK_STEP = 4  # pixels per cell of the masks by which solids are placed


@dataclass(frozen=True)
class Camera:
    """One of KITTI's cameras: image size in pixels and 3 x 4 projection."""

    width: int
    height: int
    projection: tuple[tuple[float, ...], ...]

    @property
    def matrix(self) -> np.ndarray:
        """(3, 4) float64."""
        return np.array(self.projection)


# Of one of KITTI's recording days. One camera, as on one car: where the ground lies in the image is
# half of what tells a distance.
CAMERA = Camera(
    1242,
    375,
    (
        (721.5377, 0.0, 609.5593, 44.85728),
        (0.0, 721.5377, 172.854, 0.2163791),
        (0.0, 0.0, 1.0, 0.002745884),
    ),
)


@dataclass(frozen=True)
class SceneSettings3d:
    """Sizes, distances and shares of the generated scenes."""

    # class -> (low, high) of height, width, length, metres
    sizes: dict[str, tuple[tuple[float, float], ...]] = field(
        default_factory=lambda: {
            "Car": ((1.6, 1.8), (1.9, 2.1), (4.4, 4.8)),
            "Pedestrian": ((1.7, 1.85), (0.6, 0.8), (0.6, 0.8)),
            "Cyclist": ((1.7, 1.85), (0.6, 0.8), (1.7, 1.9)),
        }
    )
    cover_size: tuple[tuple[float, float], ...] = ((1.2, 2.6), (0.5, 1.6), (0.5, 2.4))
    class_weights: tuple[tuple[str, int], ...] = (("Car", 2), ("Pedestrian", 1), ("Cyclist", 1))
    level_weights: tuple[int, ...] = (5, 5, 5)  # easy, moderate, hard
    depths: tuple[float, float] = (5.0, 40.0)
    objects_per_image: tuple[int, int] = (5, 10)


@dataclass(frozen=True)
class Solid:
    """A box that stands on the ground; role "object", or "cover", which is no object."""

    kind: str
    location: tuple[float, float, float]  # bottom centre
    dimensions: tuple[float, float, float]  # height, width, length
    rotation_y: float
    role: str = "object"

    @property
    def distance(self) -> float:
        """From the camera along the ground, metres."""
        return math.hypot(self.location[0], self.location[2])

    @property
    def radius(self) -> float:
        """Of the circle around its footprint, metres."""
        return math.hypot(self.dimensions[1], self.dimensions[2]) / 2

    @property
    def alpha(self) -> float:
        """Observation angle as KITTI labels it, in [-pi, pi)."""
        angle = self.rotation_y - math.atan2(self.location[0], self.location[2])
        return (angle + math.pi) % (2 * math.pi) - math.pi

    def corners(self) -> np.ndarray:
        """(8, 3), see `Boxes3D.corners`."""
        row = [*self.location, *self.dimensions, self.rotation_y, self.alpha]
        return Boxes3D(torch.tensor([row], dtype=torch.float64)).corners()[0].numpy()


@dataclass(frozen=True)
class Seen:
    """A solid as a camera sees it."""

    solid: Solid
    outline: np.ndarray  # (8, 2) projected corners, pixels
    box: tuple[float, float, float, float]  # of the outline, clipped to the image's pixels
    truncated: float  # share of the outline's box outside the image
    mask: np.ndarray  # (H / 4, W / 4) bool, the outline's convex hull

    @property
    def height(self) -> float:
        """Of the clipped box, pixels."""
        return self.box[3] - self.box[1]


@dataclass
class Scene3d:
    """Solids before a camera, in no order."""

    camera: Camera
    solids: list[Solid] = field(default_factory=list)


def see(solid: Solid, camera: Camera) -> Seen | None:
    """Project a solid; None where a part of it lies beside the camera or no pixel shows it."""
    corners = torch.from_numpy(solid.corners())
    points, depths = project_points(corners, torch.from_numpy(camera.matrix))
    if float(depths.min()) < 0.5:
        return None
    outline = points.numpy()
    low, high = outline.min(axis=0), outline.max(axis=0)
    limit = np.array([camera.width - 1, camera.height - 1])
    left_top, right_bottom = np.clip(low, 0, limit), np.clip(high, 0, limit)
    inside = np.prod(right_bottom - left_top)
    if inside <= 0:
        return None
    box = (*left_top.tolist(), *right_bottom.tolist())
    truncated = 1 - float(inside / np.prod(high - low))
    return Seen(solid, outline, box, max(truncated, 0.0), _mask(outline, camera))


def level_of(height: float, hidden: float, truncated: float) -> int:
    """Index of the first level whose limits an object keeps; `len(LEVELS)`: of none."""
    for level, limits in enumerate(zip(LEAST_HEIGHT, HIDDEN_LIMITS, TRUNCATED_LIMITS, strict=True)):
        least_height, most_hidden, most_truncated = limits
        if height >= least_height and hidden < most_hidden and truncated <= most_truncated:
            return level
    return len(LEVELS)


def occlusion_of(hidden: float) -> int:
    """KITTI's occlusion of a hidden share: 0, 1 partly, 2 largely, 3 more than that."""
    return sum(hidden >= limit for limit in HIDDEN_LIMITS)


def _mask(outline: np.ndarray, camera: Camera) -> np.ndarray:
    shape = (-(-camera.height // _MASK_STEP), -(-camera.width // _MASK_STEP))
    canvas = np.zeros(shape, dtype=np.uint8)
    hull = cv2.convexHull((outline / _MASK_STEP).astype(np.float32))
    cv2.fillConvexPoly(canvas, np.round(hull * 16).astype(np.int32), 1, shift=4)
    return canvas.astype(bool)
