"""Flat scenes: layers in painter's order, how they are composed, drawn and annotated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from .composer import Composer, Placed
from .layers import Box, Layer, clip_box, draw_shape
from .settings import FigureSettings, ShapeSettings

_CONTRAST = 80.0  # least distance of a colour to others near it, grey levels in BGR space


@dataclass(eq=False)
class SceneObject:
    """One drawn thing, later ones over earlier ones."""

    kind: str
    layer: Layer
    # "object"; not annotated: "crowd" (a member), "part" (of the object below), "occluder",
    # "distractor", "background".
    role: str = "object"
    marks: Layer | None = None  # a part of another colour, over the layer
    visible: float = 1.0  # share of the mask inside the picture that later things leave visible
    extra: dict = field(default_factory=dict)  # further fields of the annotation


@dataclass
class Scene:
    """Objects in painter's order, and the crowd region if there is one."""

    objects: list[SceneObject] = field(default_factory=list)
    crowd_box: Box | None = None
    crowd_kind: str = ""


class PictureComposer(Composer):
    """What the composers of shapes and of figures share."""

    def __init__(self, settings: ShapeSettings | FigureSettings, random: np.random.RandomState):
        super().__init__(settings, random)
        self.scene = Scene()

    def place(self, item: SceneObject, visible: tuple[float, float] = (0.0, 1.0)) -> Placed:
        """Return an item as the topmost thing of the picture; `add` adds it."""
        return Placed(item, item.layer.mask(self.settings.side), -len(self.placed), visible)

    def add(self, entry: Placed) -> bool:
        """As `Composer.add`; what is added is drawn."""
        if not super().add(entry):
            return False
        self.scene.objects.append(entry.thing)
        if entry.thing.marks:
            self.scene.objects.append(SceneObject("marks", entry.thing.marks, role="part"))
        return True

    def bar(self, length: float, center: np.ndarray) -> Layer:
        """Draw a bar at a random angle."""
        angle = self.random.uniform(0, math.pi)
        along, across = abs(math.cos(angle)), abs(math.sin(angle))
        size = (length * (along + 0.15 * across), length * (across + 0.15 * along))
        return draw_shape("bar", angle, size, center)

    def add_background_bars(self) -> None:
        """Lay bars under everything, so that a bar says nothing about objects."""
        for _ in range(self.random.randint(self.settings.max_background_bars + 1)):
            size = self.random.uniform(0.3, 0.9) * self.settings.side
            layer = self.bar(size, self.random.uniform(0, self.settings.side, size=2))
            self.scene.objects.append(SceneObject("bar", layer, role="background"))

    def finish(self) -> Scene:
        """Write the visible shares into the objects and return the scene."""
        for entry in self.placed:
            if entry.thing is not None:
                entry.thing.visible = 1 - self.hidden_share(entry)
        return self.scene


def chosen_images(images: int, share: float, random: np.random.RandomState) -> set[int]:
    """Draw the indices of a share of the images."""
    return set(random.permutation(images)[: round(share * images)].tolist())


def annotate(scene: Scene, side: int) -> list[dict]:
    """Return COCO annotations (without ids, and `kind` in place of the category) of a scene.

    The box is the tight box of the whole outline, clipped to the picture, also where something
    covers a part of it. "visible" is the share of the object inside the picture that is not
    covered.
    """
    records = [
        {**_box_fields(item.layer.box, side), "kind": item.kind, "iscrowd": 0}
        | {"visible": round(float(item.visible), 4), **item.extra}
        for item in scene.objects
        if item.role == "object"
    ]
    if scene.crowd_box is not None:
        crowd = {"kind": scene.crowd_kind, "iscrowd": 1, "visible": 1.0}
        records.append(_box_fields(scene.crowd_box, side) | crowd)
    return records


def _box_fields(box: Box, side: int) -> dict:
    x1, y1, x2, y2 = clip_box(box, side)
    bbox = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
    return {"bbox": bbox, "area": round((x2 - x1) * (y2 - y1), 3)}


def render(scene: Scene, side: int, random: np.random.RandomState) -> np.ndarray:
    """Draw a scene as a (side, side, 3) uint8 BGR picture; colours say nothing about the class."""
    base = random.uniform(30, 225, size=3)
    image = np.tile(base.astype(np.float32), (side, side, 1))
    for cells, amplitude in ((3, 22), (9, 14), (32, 9)):  # smooth blotches at three scales
        grid = random.uniform(-amplitude, amplitude, size=(cells, cells, 3)).astype(np.float32)
        image += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    used = [base]
    for item in scene.objects:
        if item.role == "background":
            color = base + random.uniform(-45, 45, size=3)
        else:
            color = _standing_out(used, random)
            used = [base, *used[1:][-3:], color]
        _blend(image, item.layer, color, random)
    image += random.normal(0, 3, size=image.shape).astype(np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _standing_out(others: list[np.ndarray], random: np.random.RandomState) -> np.ndarray:
    """Draw colours until one differs from all others, or the most different of 30."""
    best, best_distance = others[0], -1.0
    for _ in range(30):
        color = random.uniform(0, 255, size=3)
        distance = min(float(np.linalg.norm(color - other)) for other in others)
        if distance > best_distance:
            best, best_distance = color, distance
        if best_distance >= _CONTRAST:
            break
    return best


def _blend(
    image: np.ndarray, layer: Layer, color: np.ndarray, random: np.random.RandomState
) -> None:
    """Lay one layer over the picture, in place, with a slight texture of its own."""
    rows, columns, alpha = layer.inside(image.shape[0])
    grid = random.uniform(-16, 16, size=(3, 3, 1)).astype(np.float32)
    if alpha.size:
        texture = cv2.resize(grid, (alpha.shape[1], alpha.shape[0]))[:, :, None]
        filled = np.clip(color.astype(np.float32) + texture, 0, 255)
        image[rows, columns] += alpha[:, :, None] * (filled - image[rows, columns])
