"""Where the files of a KITTI folder lie: split lists, and image, calibration and label of a frame.

- `<folder>/ImageSets/3dop/train.txt` or `ImageSets_3dop/train.txt`
- `<folder>/training/{image_2,calib,label_2}`
- `<folder>/testing/{image_2,calib}`: its labels are known to the evaluation server alone
"""

import logging
import os
from typing import NamedTuple

from detectron2.utils.file_io import PathManager

from ...progress import SHOWN
from .folders import as_files_are_named, files_by_stem, read_split_list

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
    names = [join + name for name in groups for join in (("/", "_") if name else ("",))]
    return [os.path.join(folder, f"ImageSets{name}", f"{part}.txt") for name in names]


def read_split(folder: str, split: str) -> list[str]:
    """Return the frames that a split lists, in its order; see `read_split_list`.

    `split` is "3dop/train", "train", "test" or the path of a list, see `list_candidates`;
    "trainval" and "test" without a list are all images that there are. FileNotFoundError names
    where a list was looked for.
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
            "with ImageSets, training and testing (not one of these); a list is a text file with "
            "one frame per line. The split 'trainval' needs none: it is all frames then"
        )
    message = "%s has no list of split '%s': all its %d frames are taken"
    logger.info(message, folder, split, len(names), extra=SHOWN)
    return names


def find_frames(
    folder: str, split: str, *, labelled: bool = True, allow_missing: bool = False
) -> list[Frame]:
    """Return the files of every frame of a split (see `read_split`).

    Where `labelled`, every frame must have its label file, and its calibration where there is a
    folder of them: boxes in the image need none. Where a file is missing, FileNotFoundError counts
    them by folder; `allow_missing` leaves such frames out, with a warning, if any is complete.
    """
    names = read_split(folder, split)
    part = part_folder(folder, split)
    calibrated = PathManager.isdir(os.path.join(part, CALIBRATION_FOLDER))
    if not calibrated:
        logger.warning("'%s' has no folder %s: no cameras for 3-D boxes", part, CALIBRATION_FOLDER)
    wanted = {IMAGE_FOLDER: _IMAGE_ENDINGS}
    wanted |= {CALIBRATION_FOLDER: (".txt",)} if calibrated else {}
    wanted |= {LABEL_FOLDER: (".txt",)} if labelled else {}
    found = {kind: files_by_stem(os.path.join(part, kind), *wanted[kind]) for kind in wanted}
    missing = {kind: [n for n in names if n not in files] for kind, files in found.items()}
    complete = [name for name in names if all(name in files for files in found.values())]
    if len(complete) < len(names):
        told = [
            f"{len(n)} have no file in {kind} (such as {n[0]})" for kind, n in missing.items() if n
        ]
        message = f"'{part}': of the {len(names)} frames of split '{split}', {', '.join(told)}"
        message += as_files_are_named(missing[IMAGE_FOLDER], found[IMAGE_FOLDER])
        going_on = f"goes on with the {len(complete)} complete frames"
        if not (complete and allow_missing):
            choice = f"DATASETS.KITTI.ALLOW_MISSING True {going_on}"
            choice = choice if complete else "not one is complete"
            raise FileNotFoundError(
                f"{message}; {choice}. Unpack KITTI's archives of left color images, labels and "
                "camera calibration matrices there, or correct the list (an image without objects "
                "has an empty label file)"
            )
        logger.warning("%s; %s", message, going_on)
    kinds = [IMAGE_FOLDER, CALIBRATION_FOLDER, LABEL_FOLDER]
    return [Frame(name, *(found.get(kind, {}).get(name) for kind in kinds)) for name in complete]
