"""A small folder of KITTI's form for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

FOCAL, CENTER = 700.0, (600.0, 180.0)
PROJECTION = [[FOCAL, 0, CENTER[0], 45.0], [0, FOCAL, CENTER[1], 0.2], [0, 0, 1, 0.003]]
CALIBRATION = (
    "P0: 1 0 0 0 0 1 0 0 0 0 1 0\n"
    + "P2: "
    + " ".join(f"{value:.12e}" for row in PROJECTION for value in row)
    + "\nR0_rect: 1 0 0 0 1 0 0 0 1\n\n"
)
CAR = "Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57"
PEDESTRIAN = (
    "Pedestrian 0.10 2 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 8.41 0.01"
)
VAN = "Van 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 5.34 0.47 1.49 69.44 -1.56"
SITTING = "Person_sitting 0.00 0 0.5 10.0 156.4 29.75 189.25 1.2 0.6 0.8 -20.0 1.49 30.0 0.2"
TRAM = "Tram 0.00 0 -1.57 99.41 156.40 129.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56"
DONT_CARE = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"
BEHIND = "Car 0.90 0 1.85 0.0 181.54 100.0 300.0 1.67 1.87 3.69 -6.53 2.39 -0.49 1.57"


def write_kitti(
    folder: Path,
    frames: Mapping[str, Sequence[str]],
    *,
    lists: Mapping[str, Sequence[str]],
    size: tuple[int, int] = (1242, 375),
    part: str = "training",
) -> Path:
    """Write frames (name -> label rows) and split lists (path under the folder -> names)."""
    for name in ("image_2", "calib", "label_2"):
        (folder / part / name).mkdir(parents=True, exist_ok=True)
    width, height = size
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for name, rows in frames.items():
        cv2.imwrite(str(folder / part / "image_2" / f"{name}.png"), image)
        (folder / part / "calib" / f"{name}.txt").write_text(CALIBRATION)
        (folder / part / "label_2" / f"{name}.txt").write_text("".join(f"{r}\n" for r in rows))
    for path, names in lists.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("".join(f"{name}\n" for name in names))
    return folder
