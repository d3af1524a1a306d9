"""The world of streets: solids on the ground before a camera, each seen as well as it shall be.

Everything is in the camera frame (x right, y down, z forward, metres); the ground is the plane
y = `CAMERA_HEIGHT`. A third of the objects each is easy, moderate and hard by KITTI's limits.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ..structures.boxes3d import Boxes3D, project_points
from .composer import Composer, ObjectSpec, Placed, StratifiedSampler
from .layers import Box
from .settings import StreetSettings

CAMERA_HEIGHT = 1.65  # metres, as KITTI's
# KITTI's limits of easy, moderate and hard: height of the 2-D box in pixels, hidden and truncated
# share. KITTI says "partly" and "largely occluded" in words; here they begin at these hidden
# shares.
LEAST_HEIGHT = (40.0, 25.0, 25.0)
HIDDEN_LIMITS = (0.1, 0.35, 0.65)
TRUNCATED_LIMITS = (0.15, 0.3, 0.5)
COVER = "cover"  # kind of a solid that is no object
_MARGIN = 0.04  # of shares, kept from the limits, since placing counts in coarse masks
_MASK_STEP = 4  # pixels per cell of these masks

Triple = tuple[float, float, float]


# Camera of one of KITTI's recording days, pixels. One camera, as on one car: where the ground lies
# in the image is half of what tells a distance.
WIDTH, HEIGHT = 1242, 375
PROJECTION = np.array(
    [
        [721.5377, 0.0, 609.5593, 44.85728],
        [0.0, 721.5377, 172.854, 0.2163791],
        [0.0, 0.0, 1.0, 0.002745884],
    ]
)


class Solid(NamedTuple):
    """A box that stands on the ground; of kind `COVER` it is no object."""

    kind: str
    location: Triple  # bottom centre
    dimensions: Triple  # height, width, length
    rotation_y: float

    @property
    def distance(self) -> float:
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


class Seen(NamedTuple):
    """A solid as a camera sees it."""

    solid: Solid
    outline: np.ndarray  # (8, 2) projected corners, pixels, in the order of `Boxes3D.corners`
    box: Box  # of the outline, clipped to the image's pixels
    truncated: float  # share of the outline's box outside the image

    def level(self, hidden: float = 0.0) -> int:
        """Level of difficulty where a share of it is hidden."""
        return level_of(self.box[3] - self.box[1], hidden, self.truncated)


def see(solid: Solid) -> Seen | None:
    """Project a solid; None where a part of it lies beside the camera or no pixel shows it."""
    row = [*solid.location, *solid.dimensions, solid.rotation_y, solid.alpha]
    corners = Boxes3D(torch.tensor([row], dtype=torch.float64)).corners()[0]
    points, depths = project_points(corners, torch.from_numpy(PROJECTION))
    if float(depths.min()) < 0.5:
        return None
    outline = points.numpy()
    low, high = outline.min(axis=0), outline.max(axis=0)
    limit = np.array([WIDTH - 1, HEIGHT - 1])
    left_top, right_bottom = np.clip(low, 0, limit), np.clip(high, 0, limit)
    inside = np.prod(right_bottom - left_top)
    if inside <= 0:
        return None
    truncated = 1 - float(inside / np.prod(high - low))
    box = (*left_top.tolist(), *right_bottom.tolist())
    return Seen(solid, outline, box, max(truncated, 0.0))


def level_of(height: float, hidden: float, truncated: float) -> int:
    """Index of the first level whose limits an object keeps (easy is 0); 3: of none."""
    limits = zip(LEAST_HEIGHT, HIDDEN_LIMITS, TRUNCATED_LIMITS, strict=True)
    kept = [height >= low and hidden < most and truncated <= cut for low, most, cut in limits]
    return [*kept, True].index(True)


def occlusion_of(hidden: float) -> int:
    """KITTI's occlusion of a hidden share: 0, 1 partly, 2 largely, 3 more than that."""
    return sum(hidden >= limit for limit in HIDDEN_LIMITS)


def street_scenes(
    settings: StreetSettings, images: int, random: np.random.RandomState
) -> Iterator[list[Solid]]:
    """Yield the scenes of a split in order, each the solids in it."""
    specs = [
        ObjectSpec(kind, level)
        for kind, copies in settings.class_weights
        for level, share in enumerate(settings.level_weights)
        for _ in range(copies * share)
    ]
    sampler = StratifiedSampler(specs, random)
    low, high = settings.objects_per_image
    for _ in range(images):
        composer = StreetComposer(settings, random)
        unmet = composer.add_objects(sampler.draw(random.randint(low, high + 1)))
        sampler.returned += unmet
        yield [entry.thing.solid for entry in composer.placed]


class StreetComposer(Composer):
    """Places solids before the camera so that each is of its level."""

    def add_objects(self, specs: Sequence[ObjectSpec]) -> list[ObjectSpec]:
        # Those that something must cover come first, and an easy object may be what covers them.
        waiting = sorted(specs, key=lambda spec: -spec.stratum)
        unmet = []
        while waiting:
            spec = waiting.pop(0)
            if not any(way(spec, waiting) for way in self._ways(spec.stratum)):
                unmet.append(spec)
        return unmet

    def add(self, entry: Placed) -> bool:
        """As `Composer.add`, if the solid stands clear of all others."""
        one = entry.thing.solid
        for other in (placed.thing.solid for placed in self.placed):
            apart = np.subtract(other.location, one.location)
            if math.hypot(apart[0], apart[2]) < other.radius + one.radius:
                return False
        return super().add(entry)

    def _ways(self, level: int) -> list[Callable[[ObjectSpec, list[ObjectSpec]], bool]]:
        """Return the ways to make an object of a level, in the order in which they are tried."""
        if level == 0:
            return [self._add_free]
        ways = [self._add_covered, self._add_truncated]
        if self.random.rand() < 0.5:
            ways.reverse()
        if level == 1:  # a small one is moderate too, but far away
            ways.insert(0 if self.random.rand() < 0.2 else 2, self._add_free)
        return ways

    def _add_free(self, spec: ObjectSpec, _: list[ObjectSpec]) -> bool:
        """Place an object anywhere, or so far away that its height makes it moderate."""

        def draw() -> Solid:
            far = spec.stratum and self.random.uniform(0.7, 1) * self.settings.depths[1]
            return self._solid(spec.kind, self._place(far or self._depth()))

        return self._add_seen(spec, draw)

    def _add_truncated(self, spec: ObjectSpec, _: list[ObjectSpec]) -> bool:
        """Place an object at the left or right border of the image."""

        def draw() -> Solid:
            side = self.random.randint(2)
            depth = self._depth(largest=20.0)
            solid = self._solid(spec.kind, (0.0, CAMERA_HEIGHT, depth))
            reach = solid.radius * self.random.uniform(0, 1)
            border = _ray(side * (WIDTH - 1)) * depth
            x = border + (reach if side else -reach) * self.random.choice([-0.5, 1])
            return solid._replace(location=(x, CAMERA_HEIGHT, depth))

        return self._add_seen(spec, draw)

    def _add_seen(self, spec: ObjectSpec, draw: Callable[[], Solid]) -> bool:
        """Place the first of the drawn solids that is of the level while nothing hides it."""

        def propose() -> Placed | None:
            seen = see(draw())
            if seen is None or seen.level() != spec.stratum:
                return None
            return _placed(seen, HIDDEN_LIMITS[spec.stratum] - _MARGIN)

        return self.attempt(propose) is not None

    def _add_covered(self, spec: ObjectSpec, others: list[ObjectSpec]) -> bool:
        """Place an object and, before it, an easy one or a cover that hides a part of it."""
        least = HIDDEN_LIMITS[spec.stratum - 1] + _MARGIN
        most = HIDDEN_LIMITS[spec.stratum] - _MARGIN
        for _ in range(4):
            depth = self._depth(smallest=self.settings.depths[0] + 4, largest=30.0)
            seen = see(self._solid(spec.kind, self._place(depth)))
            if seen is None or seen.level(most) != spec.stratum:
                continue
            entry = _placed(seen, 1.0)
            if self.add(entry):
                entry.visible = (1 - most, 1 - least)
                if self._cover(seen.solid, others):
                    return True
                self.placed.remove(entry)
        return False

    def _cover(self, behind: Solid, others: list[ObjectSpec]) -> bool:
        easy = [spec for spec in others if spec.stratum == 0]
        spec = easy[self.random.randint(len(easy))] if easy and self.random.rand() < 0.6 else None

        def propose() -> Placed | None:
            solid = self._solid(spec.kind if spec else COVER, (0.0, CAMERA_HEIGHT, 1.0))
            gap = behind.radius + solid.radius
            distance = behind.distance - gap * self.random.uniform(1, 2.5)
            angle = math.atan2(behind.location[0], behind.location[2])
            angle += self.random.uniform(-1, 1) * gap / max(distance, 1)
            place = (distance * math.sin(angle), CAMERA_HEIGHT, distance * math.cos(angle))
            if place[2] < self.settings.depths[0]:
                return None
            seen = see(solid._replace(location=place))
            if seen is None or (spec and seen.level() != 0):
                return None
            return _placed(seen, HIDDEN_LIMITS[0] - _MARGIN if spec else 1.0)

        covered = self.attempt(propose) is not None
        if covered and spec:
            others.remove(spec)
        return covered

    def _solid(self, kind: str, place: Triple) -> Solid:
        sizes = self.settings.cover_size if kind == COVER else self.settings.sizes[kind]
        height, width, length = (float(self.random.uniform(low, high)) for low, high in sizes)
        heading = float(self.random.uniform(-math.pi, math.pi))
        return Solid(kind, place, (height, width, length), heading)

    def _place(self, depth: float) -> Triple:
        return _ray(self.random.uniform(0, WIDTH - 1)) * depth, CAMERA_HEIGHT, depth

    def _depth(self, smallest: float | None = None, largest: float | None = None) -> float:
        """Draw a depth; equal ratios are equally frequent, so that half are under 14 m."""
        low, high = self.settings.depths
        low, high = smallest or low, largest or high
        return float(np.exp(self.random.uniform(np.log(low), np.log(high))))


def _ray(column: float) -> float:
    """Return x / z of what is seen in a column."""
    return float((column - PROJECTION[0, 2]) / PROJECTION[0, 0])


def _placed(seen: Seen, most_hidden: float) -> Placed:
    """The mask is the outline's convex hull, (H / 4, W / 4)."""
    shape = (-(-HEIGHT // _MASK_STEP), -(-WIDTH // _MASK_STEP))
    canvas = np.zeros(shape, dtype=np.uint8)
    hull = cv2.convexHull((seen.outline / _MASK_STEP).astype(np.float32))
    cv2.fillConvexPoly(canvas, np.round(hull * 16).astype(np.int32), 1, shift=4)
    mask = canvas.astype(bool)
    return Placed(seen, mask, seen.solid.distance, visible=(1 - most_hidden, 1.0))
