"""Flat scenes: layers in painter's order, how they are composed, drawn and annotated."""

import math
from dataclasses import dataclass, field
from typing import Any

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

    def record(box: Box, kind: str, visible: float, **more: Any) -> dict:
        x1, y1, x2, y2 = clip_box(box, side)
        bbox = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
        area = round((x2 - x1) * (y2 - y1), 3)
        found = {"bbox": bbox, "area": area, "kind": kind, "iscrowd": 0}
        return {**found, "visible": round(float(visible), 4), **more}

    objects = [item for item in scene.objects if item.role == "object"]
    records = [record(o.layer.box, o.kind, o.visible, **o.extra) for o in objects]
    if scene.crowd_box is not None:
        records.append(record(scene.crowd_box, scene.crowd_kind, 1.0, iscrowd=1))
    return records


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
        rows, columns, alpha = item.layer.inside(side)
        grid = random.uniform(-16, 16, size=(3, 3, 1)).astype(np.float32)  # a slight texture
        if alpha.size:
            texture = cv2.resize(grid, (alpha.shape[1], alpha.shape[0]))[:, :, None]
            filled = np.clip(color.astype(np.float32) + texture, 0, 255)
            image[rows, columns] += alpha[:, :, None] * (filled - image[rows, columns])
    image += random.normal(0, 3, size=image.shape).astype(np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _standing_out(others: list[np.ndarray], random: np.random.RandomState) -> np.ndarray:
    """Draw colours until one differs from all others, or the most different of 30."""
    drawn = []
    for _ in range(30):
        color = random.uniform(0, 255, size=3)
        drawn.append((min(float(np.linalg.norm(color - other)) for other in others), color))
        if drawn[-1][0] >= _CONTRAST:
            break
    return max(drawn, key=lambda row: row[0])[1]
