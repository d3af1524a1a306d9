"""The world of shapes: five classes, a third of each size, a quarter partly covered."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from .composer import ObjectSpec, Placed, StratifiedSampler
from .layers import Layer, clip_box, draw_shape
from .pictures import PictureComposer, Scene, SceneObject, chosen_images
from .settings import ShapeSettings

_FREE = (0.99, 1.0)  # visible share of an object that is not meant to be covered


def shape_scenes(
    settings: ShapeSettings, images: int, random: np.random.RandomState
) -> Iterator[Scene]:
    """Yield the scenes of a split in order."""
    empty = chosen_images(images, settings.empty_share, random)
    crowded = chosen_images(images, settings.crowd_share, random) - empty
    specs = [  # a round, in which every class and size range is equally frequent
        ObjectSpec(kind, size_range, covered=copy == 0)
        for kind in settings.classes
        for size_range in range(len(settings.size_ranges))
        for copy in range(round(1 / settings.covered_share))
    ]
    sampler = StratifiedSampler(specs, random)
    for index in range(images):
        composer = ShapeComposer(settings, random)
        composer.add_background_bars()
        if index not in empty:
            if index in crowded:
                composer.add_crowd(settings.classes[random.randint(len(settings.classes))])
            low, high = settings.objects_per_image
            count = random.randint(low, high + 1)
            unmet = composer.add_objects(sampler.draw(count))
            if len(unmet) == count:  # an image that is not meant to be empty gets one more try
                unmet += composer.add_objects(sampler.draw(1))
            sampler.returned += unmet
        yield composer.finish()


class ShapeComposer(PictureComposer):
    """Places shapes so that each keeps its visible share."""

    def add_crowd(self, kind: str) -> None:
        """Fill a region with many small shapes of one class; the region is annotated as a crowd."""
        side = self.settings.side
        width, height = self.random.randint(34, 52, size=2)
        left = int(self.random.randint(2, side - width - 2))
        top = int(self.random.randint(2, side - height - 2))
        layers = []
        for y, x in product(range(0, height - 7, 8), range(0, width - 7, 8)):
            if self.random.uniform() < 0.15:  # gaps, as in a real crowd
                continue
            size = self.random.uniform(6, 8)
            jitter = self.random.uniform(-0.8, 0.8, size=2)
            center = (left + x + 4 + jitter[0], top + y + 4 + jitter[1])
            layers.append(draw_shape(kind, self._tilt(), (size, size), center))
        self.scene.objects += [SceneObject(kind, layer, role="crowd") for layer in layers]
        boxes = np.array([layer.box for layer in layers])
        self.scene.crowd_box = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
        self.scene.crowd_kind = kind
        members = np.logical_or.reduce([layer.mask(side) for layer in layers])
        self.placed.append(Placed(None, members, depth=0, visible=(1.0, 1.0)))

    def add_objects(self, specs: Sequence[ObjectSpec]) -> list[ObjectSpec]:
        """Place objects; returns the specs that found no place (or no cover)."""
        unmet: list[ObjectSpec] = []
        upper = [spec for spec in specs if not spec.covered]
        for spec in specs:
            if spec.covered and not self._add_covered(spec, upper, unmet):
                unmet.append(spec)
        return unmet + [spec for spec in upper if self._add_free(spec) is None]

    def _add_covered(
        self, spec: ObjectSpec, upper: list[ObjectSpec], unmet: list[ObjectSpec]
    ) -> bool:
        """Place an object and something over a part of it: one of the `upper` specs, or a bar."""
        entry = self._add_free(spec)
        if entry is None:
            return False
        entry.visible = self.settings.covered_visibility
        covers: list[ObjectSpec | None] = [None]
        large = [other for other in upper if other.stratum >= spec.stratum]
        if large and self.random.uniform() < 0.5:
            other = large[self.random.randint(len(large))]
            upper.remove(other)
            covers.insert(0, other)
        for cover in covers:
            if self._cover(entry, cover):
                entry.visible = (1 - self.hidden_share(entry) - 0.02, 1.0)
                return True
            unmet += [cover] if cover else []
        self.placed.remove(entry)
        self.scene.objects.remove(entry.thing)
        return False

    def _cover(self, below: Placed, spec: ObjectSpec | None) -> bool:
        """Lay an object (without a spec: a bar) over a part of another one."""
        x1, y1, x2, y2 = below.thing.layer.box
        center, size = np.array([(x1 + x2) / 2, (y1 + y2) / 2]), max(x2 - x1, y2 - y1)

        def propose() -> Placed | None:
            direction = self.random.uniform(0, 2 * math.pi)
            step = np.array([math.cos(direction), math.sin(direction)])
            if spec is None:
                length = size * self.random.uniform(1.0, 1.8)
                place = center + step * size * self.random.uniform(0.1, 0.45)
                # Nothing may lie over a bar: it would uncover what the bar covers.
                return self.place(SceneObject("bar", self.bar(length, place), "occluder"), (1, 1))
            layer = self._shape(spec)
            place = step * (size + max(layer.size)) / 2 * self.random.uniform(0.5, 0.95)
            return self._place_object(spec, layer, center + place)

        return self.attempt(propose) is not None

    def _add_free(self, spec: ObjectSpec) -> Placed | None:
        """Place an object where it covers nothing that must stay visible."""
        layer = self._shape(spec)
        reaches_over = self.random.uniform() < self.settings.truncated_share
        margin = (0.3 if reaches_over else 0.5) * layer.size
        limits = margin, self.settings.side - margin
        return self.attempt(lambda: self._place_object(spec, layer, self.random.uniform(*limits)))

    def _place_object(self, spec: ObjectSpec, layer: Layer, place: np.ndarray) -> Placed | None:
        """Place a layer; None if too little of it is inside or its box leaves its size range."""
        layer = layer.moved(int(place[0]), int(place[1]))
        low, high = self.settings.size_ranges[spec.stratum]
        x1, y1, x2, y2 = clip_box(layer.box, self.settings.side)
        sides = (x2 - x1, y2 - y1)
        if min(sides) < low or max(sides) > high or np.prod(sides) < 0.7 * np.prod(layer.size):
            return None
        return self.place(SceneObject(spec.kind, layer), _FREE)

    def _shape(self, spec: ObjectSpec) -> Layer:
        """Draw an object around the origin, at a random fraction of a pixel."""
        low, high = self.settings.size_ranges[spec.stratum]
        # The smallest are rare, as they are hardest to tell apart: density grows with the size.
        largest = low + (high - low) * math.sqrt(self.random.uniform())
        smallest = max(low, largest / self.random.uniform(1, self.settings.max_aspect))
        size = (largest, smallest) if self.random.uniform() < 0.5 else (smallest, largest)
        return draw_shape(spec.kind, self._tilt(), size, self.random.uniform(0, 1, size=2))

    def _tilt(self) -> float:
        return self.random.uniform(-self.settings.max_tilt, self.settings.max_tilt)
