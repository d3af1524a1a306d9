"""Street scene -> picture and labels, by casting one ray through the middle of each pixel.

A ray is `origin + t * direction` with directions whose z is 1, so that t is a depth. What is to be
found is colourful and everything else is gray; the colours say which face of an object is seen, as
a ship's lights do, and nothing about its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..kitti_labels import KittiObject
from .scenes import CAMERA_HEIGHT, Camera, Scene3d, Seen, Solid, occlusion_of, see

_FAR = 1e6
# Brightness of a cover's faces at the two ends of each axis: along (rear, front), down (top,
# bottom), across (left, right).
_SHADES = ((0.7, 1.15), (1.25, 0.5), (0.8, 0.9))
# Colours (BGR) of an object's faces in the same order.
_FACES = np.array(
    [
        [(60, 50, 200), (70, 215, 235)],  # red, yellow
        [(225, 225, 225), (30, 30, 30)],
        [(80, 180, 60), (215, 110, 50)],  # green, blue
    ],
    dtype=np.float64,
)
_COLOR_JITTER = 25.0  # of each object's faces, grey levels
_BRIGHTNESS = (0.7, 1.1)  # of each object


@dataclass(frozen=True)
class Picture3d:
    """A rendered scene."""

    image: np.ndarray  # (H, W, 3) uint8 BGR
    labels: list[KittiObject]  # objects and covers ("Misc") of which a pixel shows


def render3d(scene: Scene3d, random: np.random.RandomState) -> Picture3d:
    """Draw a scene and label what is in it."""
    camera = scene.camera
    image = _background(camera, scene.solids, random)
    nearest = np.full((camera.height, camera.width), _FAR, dtype=np.float32)
    owner = np.full(nearest.shape, -1, dtype=np.int16)
    views = []  # (seen, index, pixels that it would have if it stood alone)
    for index, solid in enumerate(scene.solids):
        seen = see(solid, camera)
        if seen is not None:
            faces = _faces(solid, random)
            views.append((seen, index, _cast(image, nearest, owner, seen, index, camera, faces)))
    visible = np.bincount(owner[owner >= 0].ravel(), minlength=len(scene.solids))
    labels = [
        label_of(seen, 1 - visible[index] / alone)
        for seen, index, alone in views
        if alone > 0 and visible[index] > 0
    ]
    return Picture3d(np.clip(np.round(image), 0, 255).astype(np.uint8), labels)


def label_of(seen: Seen, hidden: float) -> KittiObject:
    """Return the label of a solid of which a share of the pixels is hidden by others."""
    solid = seen.solid
    return KittiObject(
        type=solid.kind if solid.role == "object" else "Misc",
        truncated=seen.truncated,
        occluded=occlusion_of(hidden),
        alpha=solid.alpha,
        box=seen.box,
        dimensions=solid.dimensions,
        location=solid.location,
        rotation_y=solid.rotation_y,
    )


@lru_cache(maxsize=8)
def _rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Directions (H, W, 3) float32 through the pixels, and the origin (3,), in the camera frame."""
    matrix = camera.matrix
    inverse = np.linalg.inv(matrix[:, :3])
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([columns, rows, np.ones_like(columns)], axis=-1)
    return (pixels @ inverse.T).astype(np.float32), -inverse @ matrix[:, 3]


def _cast(
    image: np.ndarray,
    nearest: np.ndarray,
    owner: np.ndarray,
    seen: Seen,
    index: int,
    camera: Camera,
    faces: np.ndarray,
) -> int:
    """Draw a solid where it is the nearest, in place; return the pixels that it covers alone."""
    left, top = (int(np.floor(value)) for value in seen.box[:2])
    right, bottom = (int(np.ceil(value)) + 1 for value in seen.box[2:])
    window = (slice(top, bottom), slice(left, right))
    directions, origin = _rays(camera)
    solid = seen.solid
    half = np.array([solid.dimensions[2], solid.dimensions[0], solid.dimensions[1]]) / 2
    middle = np.array(solid.location) - [0, half[1], 0]
    turn = _turn(solid.rotation_y)
    start = (turn @ (origin - middle)).astype(np.float32)
    rays = directions[window] @ turn.T.astype(np.float32)
    rays = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    first, second = (-half - start) / rays, (half - start) / rays
    entry = np.minimum(first, second)
    depth = entry.max(axis=-1)
    hit = (depth < np.maximum(first, second).min(axis=-1)) & (depth > 0)
    drawn = hit & (depth < nearest[window])
    points = (start + depth[..., None] * rays)[drawn] / half.astype(np.float32)  # each in -1..1
    axis = entry[drawn].argmax(axis=-1)
    image[window][drawn] = _surface(solid, points, axis, faces)
    nearest[window][drawn] = depth[drawn]
    owner[window][drawn] = index
    return int(np.count_nonzero(hit))


def _turn(rotation_y: float) -> np.ndarray:
    """(3, 3): camera frame -> (along the heading, down, across it), as in `Boxes3D.corners`."""
    cosine, sine = np.cos(rotation_y), np.sin(rotation_y)
    return np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])


def _faces(solid: Solid, random: np.random.RandomState) -> np.ndarray:
    """Draw the colours (3 axes, 2 ends, BGR) of a solid's faces."""
    if solid.role == "cover":
        return np.array(_SHADES)[..., None] * _gray(random, 60, 200)
    jitter = random.uniform(-_COLOR_JITTER, _COLOR_JITTER, size=_FACES.shape)
    return np.clip((_FACES + jitter) * random.uniform(*_BRIGHTNESS), 0, 255)


def _gray(random: np.random.RandomState, low: float, high: float) -> np.ndarray:
    """Draw a gray (BGR) with a tinge."""
    return random.uniform(low, high) + random.uniform(-12, 12, size=3)


def _surface(solid: Solid, points: np.ndarray, axis: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours (P, 3) of points on a solid: (along, down, across) in -1..1, and the face's axis."""
    along, down, across = points.T
    face = points[np.arange(len(points)), axis] > 0
    colors = faces[axis, face.astype(int)]
    if solid.role == "cover":
        return colors
    front, flank = (axis == 0) & face, axis == 2
    if solid.kind == "Car":
        window = (down > -0.8) & (down < -0.15)
        colors[window & front & (abs(across) < 0.8)] = (70, 50, 40)
        colors[window & flank & (along > -0.7) & (along < 0.45)] = (70, 50, 40)
    if solid.kind != "Pedestrian":
        wheel = np.hypot((abs(along) - 0.6) * solid.dimensions[2] / 2, (down - 0.7) * 0.8) < 0.35
        colors[wheel & flank] = 25
    return colors


def _background(camera: Camera, solids: list[Solid], random: np.random.RandomState) -> np.ndarray:
    """(H, W, 3) float32: sky, walls at the horizon, and ground with a texture and shadows."""
    directions, origin = _rays(camera)
    horizon = camera.matrix[1, 2]
    rows = np.arange(camera.height, dtype=np.float32)[:, None, None]
    sky, zenith = _gray(random, 150, 240), _gray(random, 110, 230)
    share = np.clip(rows / horizon, 0, 1)
    image = np.repeat(share * sky + (1 - share) * zenith, camera.width, axis=1).astype(np.float32)
    for _ in range(random.randint(4, 12)):
        left, width = random.randint(-100, camera.width), random.randint(30, 300)
        top = int(horizon - random.uniform(5, 110))
        image[top : int(horizon) + 12, max(left, 0) : left + width] = _gray(random, 50, 200)
    down = directions[:, 0, 1]
    below = np.flatnonzero(down > CAMERA_HEIGHT / 120)  # the ground ends 120 m away
    top = int(below[0])
    depth = (CAMERA_HEIGHT - origin[1]) / down[below]
    across = directions[top:, :, 0] * depth[:, None]
    ahead = np.broadcast_to(depth[:, None], across.shape)
    tile = _noise_tile(random)
    # 8 samples a metre; the texture fades where a pixel shows more than one.
    texture = cv2.remap(
        tile,
        ((across * 8) % 255).astype(np.float32),
        ((ahead * 8) % 255).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    fade = np.clip(12 / depth, 0, 1)[:, None]
    ground = _gray(random, 70, 150)
    image[top:] = ground + (texture * fade)[..., None]
    for solid in solids:
        _darken_below(image, solid, camera, random.uniform(0.45, 0.7))
    return image


def _noise_tile(random: np.random.RandomState) -> np.ndarray:
    """(256, 256) float32 that continues over its borders: blotches of about a metre."""
    tile = random.normal(0, 60, size=(256, 256)).astype(np.float32)
    wrapped = np.pad(tile, 16, mode="wrap")
    return np.ascontiguousarray(cv2.GaussianBlur(wrapped, (0, 0), 3)[16:-16, 16:-16])


def _darken_below(image: np.ndarray, solid: Solid, camera: Camera, strength: float) -> None:
    """Lay a shadow around a solid's footprint, in place."""
    height, width, length = solid.dimensions
    wider = Solid(
        solid.kind, solid.location, (height, width * 1.25, length * 1.12), solid.rotation_y
    )
    seen = see(wider, camera)
    if seen is None:
        return
    shadow = np.zeros(image.shape[:2], dtype=np.uint8)
    fixed = np.round(np.clip(seen.outline[:4], -4000, 4000) * 16).astype(np.int32)
    cv2.fillConvexPoly(shadow, fixed, 255, cv2.LINE_AA, 4)
    image *= 1 - (1 - strength) * (shadow.astype(np.float32) / 255)[..., None]
