"""What is generated: the settings of the three worlds, and the splits that are registered."""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class ShapeSettings:
    """Shares and sizes of scenes of shapes, in pixels of a square picture."""

    # Of the generator: raise it whenever equal settings give other pictures or annotations. It is
    # part of the folder's name.
    version: ClassVar[int] = 1

    side: int = 128
    classes: tuple[str, ...] = ("disk", "ring", "square", "diamond", "triangle")
    # Tight boxes of objects have both sides in one of these ranges (low, high): under 1/8, 1/8 to
    # 1/4, over 1/4.
    size_ranges: tuple[tuple[float, float], ...] = ((8.2, 15.8), (16.2, 31.8), (32.2, 64.0))
    max_aspect: float = 1.2
    max_tilt: float = math.radians(8)  # keeps squares and diamonds apart
    objects_per_image: tuple[int, int] = (1, 6)  # of images that have any
    covered_share: float = 0.25
    covered_visibility: tuple[float, float] = (0.65, 0.9)  # visible share of a covered object
    empty_share: float = 0.1
    crowd_share: float = 0.04  # of all images
    truncated_share: float = 0.08  # of objects that may reach over the border
    max_background_bars: int = 2


@dataclass(frozen=True)
class FigureSettings:
    """Shares and sizes of scenes of stick figures, in pixels of a square picture."""

    version: ClassVar[int] = 1

    side: int = 128
    classes: tuple[str, ...] = ("figure",)
    heights: tuple[float, float] = (36.0, 92.0)  # standing straight
    figures_per_image: tuple[int, int] = (1, 4)  # of images that have any
    max_lean: float = math.radians(30)
    empty_share: float = 0.06  # of images: other shapes only
    truncated_share: float = 0.15  # of figures that may reach over the border
    occluded_share: float = 0.4  # of figures that something is laid over
    least_visible: float = 0.7  # share of a figure that must not be covered
    least_joints: int = 6  # of a figure, visible
    max_overlap: float = 0.25  # intersection over union of two figures' boxes
    max_distractors: int = 3
    max_background_bars: int = 2


@dataclass(frozen=True)
class StreetSettings:
    """Sizes, distances and shares of street scenes, in metres."""

    version: ClassVar[int] = 1
    classes: ClassVar[tuple[str, ...]] = ("Pedestrian", "Car", "Cyclist")  # KITTI's order

    # class -> (low, high) of height, width, length
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
class SplitSettings:
    """A split: how many pictures, from which seed, of which world."""

    images: int
    seed: int
    scenes: ShapeSettings | FigureSettings | StreetSettings = field(default_factory=ShapeSettings)


# Objects whose corners lie far from them, as in photographs.
_LARGE = ShapeSettings(
    size_ranges=((20.2, 31.8), (32.2, 55.8), (56.2, 100.0)),
    objects_per_image=(2, 5),
    crowd_share=0.0,
    truncated_share=0.0,
)
SPLITS = {
    "shapes_train": SplitSettings(images=4000, seed=20190417),
    "shapes_val": SplitSettings(images=400, seed=20190418),
    "shapes_large_train": SplitSettings(images=2000, seed=20190421, scenes=_LARGE),
    "shapes_large_val": SplitSettings(images=400, seed=20190422, scenes=_LARGE),
    "shapes_pose_train": SplitSettings(images=4000, seed=20190419, scenes=FigureSettings()),
    "shapes_pose_val": SplitSettings(images=400, seed=20190420, scenes=FigureSettings()),
    "shapes3d_train": SplitSettings(images=3000, seed=20190417, scenes=StreetSettings()),
    "shapes3d_val": SplitSettings(images=200, seed=20190418, scenes=StreetSettings()),
}


def split_stamp(split: SplitSettings) -> str:
    """Return a folder name that changes with the generator's version and with every setting."""
    version, settings = split.scenes.version, json.dumps(asdict(split), sort_keys=True)
    digest = hashlib.sha256(f"{version} {settings}".encode()).hexdigest()[:8]
    return f"v{version}-{digest}"


def split_folder(name: str, root: str) -> str:
    """Return where split `name` lies under a datasets root: `shapes/pose_val-v1-0123abcd`."""
    folder, _, part = name.partition("_")
    return os.path.join(root, folder, f"{part}-{split_stamp(SPLITS[name])}")
