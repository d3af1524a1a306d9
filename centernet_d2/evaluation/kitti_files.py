"""Result files as KITTI's server and development kit take them: one per frame, even when empty."""

import os
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

import numpy as np

from ..atomic_write import atomic_folder
from .kitti_objects import KittiDetections

# Type; truncation and occlusion, which no detector tells (as published); then numbers.
_ROW = "{} 0.0 0 " + " ".join(["{:.{decimals}f}"] * 13) + "\n"


def rounded(detections: KittiDetections, decimals: int) -> KittiDetections:
    """The detections as files of so many decimals hold them."""
    names = ("boxes", "boxes3d", "scores")
    # Plus zero: none is written as -0.00.
    return replace(detections, **{n: getattr(detections, n).round(decimals) + 0.0 for n in names})


def write_result_files(
    folder: str,
    image_ids: Sequence[str | int],
    class_names: Sequence[str],
    detections: KittiDetections,
    *,
    decimals: int,
) -> None:
    """Write `<image id>.txt` of every frame; the folder is replaced as a whole.

    A row is the type (the class name), 0.0, 0, alpha, left, top, right, bottom, height, width,
    length, x, y, z, rotation_y, score: pixels, metres, radians. Image ids that are whole numbers
    are written with 6 digits. OSError leaves an older folder unchanged.
    """
    names = [result_file_name(image_id) for image_id in image_ids]
    box3d = detections.boxes3d
    parts = (box3d[:, 7:], detections.boxes, box3d[:, 3:6], box3d[:, :3], box3d[:, 6:7])
    table = np.concatenate([*parts, detections.scores[:, None]], axis=1).tolist()
    rows = [
        _ROW.format(class_names[label], *numbers, decimals=decimals)
        for label, numbers in zip(detections.label, table, strict=True)
    ]
    ends = np.searchsorted(detections.frame, np.arange(len(names)), "right")
    with atomic_folder(folder) as temporary:
        for name, begin, end in zip(names, [0, *ends[:-1]], ends, strict=True):
            with open(os.path.join(temporary, name), "w", encoding="utf-8") as file:
                file.writelines(rows[begin:end])


def result_file_name(image_id: str | int) -> str:
    """The name of a frame's result file, or ValueError for an image id that is a path or empty."""
    name = f"{image_id:06d}" if isinstance(image_id, Integral) else str(image_id)
    if not name or name in (".", "..") or os.path.basename(name) != name:
        raise ValueError(
            f"image_id {image_id!r} cannot name a result file: use a number, or a text without "
            "'/' such as '000007'."
        )
    return f"{name}.txt"
