"""Scene -> picture and annotations; the colours say nothing about the class."""

from __future__ import annotations

import cv2
import numpy as np

from .scenes import Scene, SceneObject, clipped_box, visible_part

_CONTRAST = (
    80.0  # least distance of a colour to those it must stand out from, grey levels in BGR space
)


def render(scene: Scene, side: int, random: np.random.RandomState) -> np.ndarray:
    """Draw a scene as a (side, side, 3) uint8 BGR picture."""
    base = random.uniform(30, 225, size=3)
    image = _background(base, side, random)
    used = [base]
    for item in scene.objects:
        if item.role == "background":
            color = base + random.uniform(-45, 45, size=3)
        else:
            color = _standing_out(used, random)
            used = [base, *used[1:][-3:], color]
        _blend(image, item, color, random)
    image += random.normal(0, 3, size=image.shape).astype(np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def annotate(scene: Scene, side: int) -> list[dict]:
    """Return COCO annotations (without ids) of a scene.

    The box is the tight box of the whole outline, clipped to the picture, also where something
    covers a part of it. "visible" is the share of the object inside the picture that is not
    covered.
    """
    items = [item for item in scene.objects if item.role == "object"]
    records = [
        {**_box_fields(item.layer.box, side), "kind": item.kind, "iscrowd": 0, **_more(item)}
        for item in items
    ]
    if scene.crowd_box is not None:
        fields = _box_fields(scene.crowd_box, side)
        records.append({**fields, "kind": scene.crowd_kind, "iscrowd": 1, "visible": 1.0})
    return records


def _more(item: SceneObject) -> dict:
    return {"visible": round(float(item.visible), 4), **item.extra}


def _box_fields(box: tuple[float, float, float, float], side: int) -> dict:
    x1, y1, x2, y2 = clipped_box(box, side)
    width, height = x2 - x1, y2 - y1
    return {
        "bbox": [round(value, 3) for value in (x1, y1, width, height)],
        "area": round(width * height, 3),
    }


def _background(base: np.ndarray, side: int, random: np.random.RandomState) -> np.ndarray:
    """Smooth blotches at three scales, each with its own colours, around a base colour."""
    image = np.tile(base.astype(np.float32), (side, side, 1))
    for cells, amplitude in ((3, 22), (9, 14), (32, 9)):
        grid = random.uniform(-amplitude, amplitude, size=(cells, cells, 3)).astype(np.float32)
        image += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    return image


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
    image: np.ndarray, item: SceneObject, color: np.ndarray, random: np.random.RandomState
) -> None:
    """Lay one object over the picture, in place, with a slight texture of its own."""
    rows, columns, alpha = visible_part(item.layer, image.shape[0])
    grid = random.uniform(-16, 16, size=(3, 3, 1)).astype(np.float32)
    if alpha.size == 0:
        return
    texture = cv2.resize(grid, (alpha.shape[1], alpha.shape[0]))[:, :, None]
    filled = np.clip(color.astype(np.float32) + texture, 0, 255)
    image[rows, columns] += alpha[:, :, None] * (filled - image[rows, columns])
