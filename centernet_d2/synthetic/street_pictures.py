"""Street scene -> picture and labels, by casting one ray through the middle of each pixel.

A ray is `origin + t * direction` with directions whose z is 1, so that t is a depth. What is to be
found is colourful and everything else is gray; the colours say which face of an object is seen, as
a ship's lights do, and nothing about its class.
"""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np

from ..data.datasets.kitti_labels import KittiObject
from .streets import CAMERA_HEIGHT, COVER, HEIGHT, PROJECTION, WIDTH, Seen, Solid, occlusion_of, see

_FAR = 1e6
# Brightness of a cover's faces at the two ends of each axis: along (rear, front), down (top,
# bottom), across (left, right).
_SHADES = np.array(((0.7, 1.15), (1.25, 0.5), (0.8, 0.9)))
# Colours (BGR) of an object's faces in the same order.
_FACES = np.array(
    [
        [(60, 50, 200), (70, 215, 235)],  # red, yellow
        [(225, 225, 225), (30, 30, 30)],
        [(80, 180, 60), (215, 110, 50)],  # green, blue
    ],
    dtype=np.float64,
)
_WINDOW, _WHEEL = (70, 50, 40), 25


def render_street(
    solids: Sequence[Solid], random: np.random.RandomState
) -> tuple[np.ndarray, list[KittiObject]]:
    """Draw a scene as (H, W, 3) uint8 BGR; label objects and covers ("Misc") that a pixel shows."""
    image = _background(solids, random)
    nearest = np.full((HEIGHT, WIDTH), _FAR, dtype=np.float32)
    owner = np.full(nearest.shape, -1, dtype=np.int16)
    views = []  # (seen, index, pixels that it would have if it stood alone)
    for index, solid in enumerate(solids):
        if (seen := see(solid)) is None:
            continue
        window, depth, colors = _cast(seen, _faces(solid, random))
        hit = depth < _FAR
        drawn = depth < nearest[window]
        image[window][drawn] = colors[drawn[hit]]
        nearest[window][drawn] = depth[drawn]
        owner[window][drawn] = index
        views.append((seen, index, np.count_nonzero(hit)))
    visible = np.bincount(owner[owner >= 0].ravel(), minlength=len(solids))
    labels = []
    for seen, index, alone in views:
        if alone > 0 and visible[index] > 0:
            solid, hidden = seen.solid, occlusion_of(1 - visible[index] / alone)
            kind = "Misc" if solid.kind == COVER else solid.kind
            place = (solid.dimensions, solid.location, solid.rotation_y)
            labels.append(KittiObject(kind, seen.truncated, hidden, solid.alpha, seen.box, *place))
    return np.clip(np.round(image), 0, 255).astype(np.uint8), labels


@cache
def _rays() -> tuple[np.ndarray, np.ndarray]:
    """Directions (H, W, 3) float32 through the pixels, and the origin (3,), in the camera frame."""
    inverse = np.linalg.inv(PROJECTION[:, :3])
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    pixels = np.stack([columns, rows, np.ones_like(columns)], axis=-1)
    return (pixels @ inverse.T).astype(np.float32), -inverse @ PROJECTION[:, 3]


def _cast(seen: Seen, faces: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Cast the rays of a solid's box.

    Returns the window (rows, columns) of the picture, the depth (h, w) of the solid in it, `_FAR`
    where a ray passes, and the colours (P, 3) of the others.
    """
    left, top = (int(np.floor(value)) for value in seen.box[:2])
    right, bottom = (int(np.ceil(value)) + 1 for value in seen.box[2:])
    window = (slice(top, bottom), slice(left, right))
    directions, origin = _rays()
    solid = seen.solid
    height, width, length = solid.dimensions
    half = np.array([length, height, width]) / 2
    middle = np.array(solid.location) - [0, half[1], 0]
    cosine, sine = np.cos(solid.rotation_y), np.sin(solid.rotation_y)
    # Camera frame -> (along the heading, down, across it), as in `Boxes3D.corners`.
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    start = (turn @ (origin - middle)).astype(np.float32)
    rays = directions[window] @ turn.T.astype(np.float32)
    rays = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    first, second = (-half - start) / rays, (half - start) / rays
    entry = np.minimum(first, second)
    depth = entry.max(axis=-1)
    hit = (depth < np.maximum(first, second).min(axis=-1)) & (depth > 0)
    points = (start + depth[..., None] * rays)[hit] / half.astype(np.float32)  # each in -1..1
    colors = _surface(solid, points, entry[hit].argmax(axis=-1), faces)
    return window, np.where(hit, depth, _FAR), colors


def _faces(solid: Solid, random: np.random.RandomState) -> np.ndarray:
    """Draw the colours (3 axes, 2 ends, BGR) of a solid's faces."""
    if solid.kind == COVER:
        return _SHADES[..., None] * _gray(random, 60, 200)
    jitter = random.uniform(-25.0, 25.0, size=_FACES.shape)
    return np.clip((_FACES + jitter) * random.uniform(0.7, 1.1), 0, 255)


def _gray(random: np.random.RandomState, low: float, high: float) -> np.ndarray:
    """Draw a gray (BGR) with a tinge."""
    return random.uniform(low, high) + random.uniform(-12, 12, size=3)


def _surface(solid: Solid, points: np.ndarray, axis: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours (P, 3) of points on a solid: (along, down, across) in -1..1, and the face's axis."""
    along, down, across = points.T
    is_end = points[np.arange(len(points)), axis] > 0
    colors = faces[axis, is_end.astype(int)]
    front, flank = (axis == 0) & is_end, axis == 2
    if solid.kind == "Car":
        window = (down > -0.8) & (down < -0.15)
        colors[window & front & (abs(across) < 0.8)] = _WINDOW
        colors[window & flank & (along > -0.7) & (along < 0.45)] = _WINDOW
    if solid.kind in ("Car", "Cyclist"):
        wheel = np.hypot((abs(along) - 0.6) * solid.dimensions[2] / 2, (down - 0.7) * 0.8) < 0.35
        colors[wheel & flank] = _WHEEL
    return colors


def _background(solids: Sequence[Solid], random: np.random.RandomState) -> np.ndarray:
    """(H, W, 3) float32: sky, walls at the horizon, and ground with a texture and shadows."""
    horizon = PROJECTION[1, 2]
    rows = np.arange(HEIGHT, dtype=np.float32)[:, None, None]
    sky, zenith = _gray(random, 150, 240), _gray(random, 110, 230)
    share = np.clip(rows / horizon, 0, 1)
    image = np.repeat(share * sky + (1 - share) * zenith, WIDTH, axis=1).astype(np.float32)
    for _ in range(random.randint(4, 12)):
        left, width = random.randint(-100, WIDTH), random.randint(30, 300)
        top = int(horizon - random.uniform(5, 110))
        image[top : int(horizon) + 12, max(left, 0) : left + width] = _gray(random, 50, 200)
    _lay_ground(image, random)
    for solid in solids:
        _darken_below(image, solid, random.uniform(0.45, 0.7))
    return image


def _lay_ground(image: np.ndarray, random: np.random.RandomState) -> None:
    """Lay gray ground with blotches of about a metre, up to 120 m away, in place."""
    directions, origin = _rays()
    down = directions[:, 0, 1]
    below = np.flatnonzero(down > CAMERA_HEIGHT / 120)
    top = int(below[0])
    depth = ((CAMERA_HEIGHT - origin[1]) / down[below])[:, None]
    across = directions[top:, :, 0] * depth
    ahead = np.broadcast_to(depth, across.shape)
    noise = random.normal(0, 60, size=(256, 256)).astype(np.float32)
    # Blurred so that it continues over its borders.
    tile = cv2.GaussianBlur(np.pad(noise, 16, mode="wrap"), (0, 0), 3)[16:-16, 16:-16]
    # 8 samples a metre; the texture fades where a pixel shows more than one.
    places = (((axis * 8) % 255).astype(np.float32) for axis in (across, ahead))
    texture = cv2.remap(np.ascontiguousarray(tile), *places, cv2.INTER_LINEAR)
    fade = np.clip(12 / depth, 0, 1)
    image[top:] = _gray(random, 70, 150) + (texture * fade)[..., None]


def _darken_below(image: np.ndarray, solid: Solid, strength: float) -> None:
    """Lay a shadow around a solid's footprint, in place."""
    height, width, length = solid.dimensions
    if (seen := see(solid._replace(dimensions=(height, width * 1.25, length * 1.12)))) is None:
        return
    shadow = np.zeros(image.shape[:2], dtype=np.uint8)
    fixed = np.round(np.clip(seen.outline[:4], -4000, 4000) * 16).astype(np.int32)
    cv2.fillConvexPoly(shadow, fixed, 255, cv2.LINE_AA, 4)
    image *= 1 - (1 - strength) * (shadow.astype(np.float32) / 255)[..., None]
