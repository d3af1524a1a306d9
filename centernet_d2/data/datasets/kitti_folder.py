"""Where the files of a KITTI folder lie: split lists, and image, calibration and label of a frame.

- `<folder>/ImageSets/3dop/train.txt` or `ImageSets_3dop/train.txt`
- `<folder>/training/{image_2,calib,label_2}`
- `<folder>/testing/{image_2,calib}`: its labels are known to the evaluation server alone
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

from detectron2.utils.file_io import PathManager

from .folders import files_by_stem, read_split_list

logger = logging.getLogger(__name__)

IMAGE_FOLDER, CALIBRATION_FOLDER, LABEL_FOLDER = "image_2", "calib", "label_2"
TEST_SPLIT = "test"
# These need no list: without one they are all frames that there are.
WHOLE_SPLITS = ("trainval", TEST_SPLIT)
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


class Frame(NamedTuple):
    """One frame's files."""

    name: str  # "000007"
    image: str
    calibration: str | None = None  # None in a folder without calibrations
    label: str | None = None  # None in a split without labels


def split_parts(split: str) -> tuple[str, str]:
    """Return ("3dop", "train") of "3dop/train" and ("", "train") of "train"."""
    group, _, part = split.rpartition("/")
    return group, part


def part_folder(folder: str, split: str) -> str:
    """Return the folder of the split's frames: `testing` of "test", `training` of all others."""
    part = "" if split.endswith(".txt") else split_parts(split)[1]
    return os.path.join(folder, "testing" if part == TEST_SPLIT else "training")


def list_candidates(folder: str, split: str) -> list[str]:
    """Return the paths where the list of a split may lie, in the order in which they are tried.

    A split that ends in ".txt" is the path of its list, from `folder` or from the current folder.
    """
    if split.endswith(".txt"):
        return [os.path.join(folder, split), os.path.expanduser(split)]
    group, part = split_parts(split)
    # trainval and test are the same frames in every published division.
    groups = ["", "3dop", "subcnn"] if not group and part in WHOLE_SPLITS else [group]
    places = [
        f"ImageSets{join}{name}" for name in groups for join in (("/", "_") if name else ("",))
    ]
    return [os.path.join(folder, place, f"{part}.txt") for place in places]


def read_split(folder: str, split: str) -> list[str]:
    """Return the frames that a split lists, in its order; see `read_split_list`.

    `split` is "3dop/train", "train", "test" or the path of a list, see `list_candidates`;
    "trainval" and "test" without a list are all images that there are.

    Raises:
        FileNotFoundError: there is no such list; the message names where it was looked for.
        DatasetError: it is empty or names a frame twice.
    """
    candidates = list_candidates(folder, split)
    images = files_by_stem(os.path.join(part_folder(folder, split), IMAGE_FOLDER), *_IMAGE_ENDINGS)
    for path in candidates:
        if PathManager.isfile(path):
            return read_split_list(path, known=images, example="000007")
    names = sorted(images) if split in WHOLE_SPLITS else []
    if not names:
        tried = " and ".join(f"'{path}'" for path in candidates)
        raise FileNotFoundError(
            f"the list of split '{split}' is neither of {tried}. '{folder}' must be a KITTI folder "
            "with ImageSets, training and testing (not one of these); the lists of the published "
            "splits (3DOP, SubCNN) are text files with one frame per line that their authors "
            "distribute. The split 'trainval' needs none: it is all frames then"
        )
    message = "%s has no list of split '%s': all its %d frames are taken"
    logger.info(message, folder, split, len(names))
    return names


def find_frames(
    folder: str, split: str, *, labelled: bool = True, allow_missing: bool = False
) -> list[Frame]:
    """Return the files of every frame of a split (see `read_split`).

    Where `labelled`, every frame must have its label file, and its calibration where there is a
    folder of them: boxes in the image need none. `allow_missing` leaves out frames of which a file
    is missing, with a warning.

    Raises:
        FileNotFoundError: files are missing (without `allow_missing`), or no frame is complete;
            the message counts them by folder.
    """
    names = read_split(folder, split)
    part = part_folder(folder, split)
    calibrated = PathManager.isdir(os.path.join(part, CALIBRATION_FOLDER))
    if not calibrated:
        logger.warning("'%s' has no folder %s: no cameras for 3-D boxes", part, CALIBRATION_FOLDER)
    kinds = [IMAGE_FOLDER, *[CALIBRATION_FOLDER] * calibrated, *[LABEL_FOLDER] * labelled]
    found = {
        kind: files_by_stem(
            os.path.join(part, kind), *(_IMAGE_ENDINGS if kind == IMAGE_FOLDER else [".txt"])
        )
        for kind in kinds
    }
    complete = [name for name in names if all(name in files for files in found.values())]
    if len(complete) < len(names):
        missing = {kind: [name for name in names if name not in found[kind]] for kind in kinds}
        counts = [
            f"{len(lost)} have no file in {kind} (such as {lost[0]})"
            for kind, lost in missing.items()
            if lost
        ]
        message = f"'{part}': of the {len(names)} frames of split '{split}', {', '.join(counts)}"
        message += _as_files_are_named(missing[IMAGE_FOLDER], found[IMAGE_FOLDER])
        if not complete:
            raise FileNotFoundError(
                f"{message}; not one is complete. Unpack KITTI's archives of left color images, "
                "labels and camera calibration matrices there"
            )
        if not allow_missing:
            raise FileNotFoundError(
                f"{message}. Unpack the archives again or correct the list (an image without "
                "objects has an empty label file); "
                f"DATASETS.KITTI.ALLOW_MISSING True goes on with the {len(complete)} complete "
                "frames"
            )
        logger.warning("%s; going on with the %d complete frames", message, len(complete))
    files = {kind: [found[kind][name] for name in complete] for kind in kinds}
    none = [None] * len(complete)
    columns = (files.get(kind, none) for kind in (IMAGE_FOLDER, CALIBRATION_FOLDER, LABEL_FOLDER))
    return [Frame(*row) for row in zip(complete, *columns, strict=True)]


def _as_files_are_named(missing: Sequence[str], there: Container[str]) -> str:
    """What the list must say instead where its names have a folder or an ending, or lack zeros."""
    pairs = ((name, meant) for name in missing for meant in (Path(name).stem, name.zfill(6)))
    meant = next((f"'{meant}' for '{name}'" for name, meant in pairs if meant in there), "")
    return f"; the list must have the frames' names, {meant}" if meant else ""
