"""The joints of a COCO JSON: the skeleton of its categories, one row of joints per annotation."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...structures.skeleton import Skeleton, derive_flip_map
from ..checks import DatasetError, check_joints

logger = logging.getLogger(__name__)

FLIP_MAP, LIMBS, SIGMAS = "keypoint_flip_map", "skeleton", "keypoint_oks_sigmas"
# Key of a category -> field of its skeleton, and what is compared of it: in which order the limbs
# stand, or the two of a pair, says nothing.
_FIELDS: dict[str, tuple[str, Callable[[Skeleton], Any]]] = {
    FLIP_MAP: ("flip_map", Skeleton.flip_indices),
    LIMBS: ("edges", lambda skeleton: {frozenset(limb) for limb in skeleton.edges}),
    SIGMAS: ("oks_sigmas", lambda skeleton: skeleton.oks_sigmas),
}


def read_pose(
    categories: Sequence[dict], annotations: Sequence[dict], *, source: str, **places: np.ndarray
) -> dict[str, Any]:
    """Return the fields `skeleton`, `pose_categories` and `joints` of a `CocoFile`."""
    skeleton, having = read_skeleton(categories, source)
    names = {record["id"]: record["name"] for record in categories}
    joints = read_joints(annotations, skeleton, having, names=names, source=source, **places)
    return {"skeleton": skeleton, "pose_categories": tuple(having), "joints": joints}


def read_skeleton(categories: Sequence[dict], source: str) -> tuple[Skeleton | None, list[int]]:
    """Return the skeleton of a JSON's categories and the ids of those that have it.

    Read are COCO's `keypoints` (names) and `skeleton` (limbs, joints counted from 1), and beside
    them `keypoint_flip_map` (pairs of names; derived from left and right in the names where it is
    missing) and `keypoint_oks_sigmas`. What one category leaves out another may give. (None, [])
    where no category has joints.

    Raises:
        DatasetError: two categories have different joints or say different things of them, or a
            field contradicts the names.
    """
    having = [record for record in categories if record.get("keypoints")]
    if not having:
        return None, []
    skeletons = [_skeleton(record, f"'{source}': category '{record['name']}'") for record in having]
    for record, skeleton in zip(having, skeletons, strict=True):
        if skeleton.names != skeletons[0].names:
            raise DatasetError(
                f"'{source}': categories '{having[0]['name']}' and '{record['name']}' have "
                f"different 'keypoints': {list(skeletons[0].names)} and {list(skeleton.names)}. "
                "One dataset has one skeleton: list the joints of both in each category, and give "
                "those that a category lacks visibility 0"
            )
    return _merged(having, skeletons, source), [int(record["id"]) for record in having]


def _merged(categories: Sequence[dict], skeletons: Sequence[Skeleton], source: str) -> Skeleton:
    """Take each field from the first category that gives it."""
    merged = skeletons[0]
    for key, (field, compared) in _FIELDS.items():
        pairs = zip(categories, skeletons, strict=True)
        giving = [
            (record["name"], skeleton)
            for record, skeleton in pairs
            # An empty flip map says that no joint changes.
            if record.get(key) or (key == FLIP_MAP and record.get(key) is not None)
        ]
        for name, skeleton in giving[1:]:
            if compared(skeleton) != compared(giving[0][1]):
                raise DatasetError(
                    f"'{source}': categories '{giving[0][0]}' and '{name}' have different '{key}'. "
                    "One dataset has one skeleton: give it to one of them, or the same to both"
                )
        if giving:
            merged = replace(merged, **{field: getattr(giving[0][1], field)})
    return merged


def read_joints(
    annotations: Sequence[dict],
    skeleton: Skeleton | None,
    having: Sequence[int],
    *,
    names: Mapping[int, str],
    boxes: np.ndarray,
    image_sizes: np.ndarray,
    source: str,
) -> np.ndarray | None:
    """Return the joints of N annotations as (N, J, 3) float64 (x, y, visibility), as in the file.

    x and y are pixel indices, as COCO has them. Unlabelled joints are 0, 0, 0; annotations without
    'keypoints' have all joints so. None without a skeleton. Labelled joints of other categories are
    not read, which a warning says.

    `skeleton` and `having` (ids of the categories with joints) are from `read_skeleton`, `names`
    maps every category's id to its name; boxes (N, 4) and image_sizes (N, 2) as in `check_boxes`.

    Raises:
        DatasetError: see `check_joints`.
    """
    has = [record["category_id"] in having for record in annotations]
    rows = [record.get("keypoints") for record in annotations]
    unnamed = Counter(
        record["category_id"]
        for record, own, keypoints in zip(annotations, has, rows, strict=True)
        if not own and isinstance(keypoints, list) and any(keypoints[2::3])
    )
    for category, count in unnamed.items():
        logger.warning(
            "%s: %d annotations of category '%s' label joints in 'keypoints', but the category "
            'does not name them, so that they are not read. Add "keypoints": [names] to the '
            "category",
            *(source, count, names.get(category, category)),
        )
    if skeleton is None:
        return None

    def describe(row: int) -> str:
        return "annotation id {id} of image id {image_id}".format_map(annotations[row])

    joints, messages = check_joints(
        [(keypoints or ()) if own else () for own, keypoints in zip(has, rows, strict=True)],
        len(skeleton.names),
        boxes=boxes,
        image_sizes=image_sizes,
        source=source,
        describe=describe,
    )
    for message in messages:
        logger.warning(message)
    return joints


def _skeleton(record: dict, source: str) -> Skeleton:
    if not isinstance(record["keypoints"], list):
        raise DatasetError(
            f"{source}: 'keypoints' must be the list of the joints' names, it is "
            f"{record['keypoints']!r}. Correct the category"
        )
    names = tuple(str(name) for name in record["keypoints"])
    pairs = record.get(FLIP_MAP)
    try:
        flip_map = None if pairs is None else tuple((str(a), str(b)) for a, b in pairs)
        edges = _edges(record.get(LIMBS) or (), names, source)
        sigmas = tuple(float(value) for value in record.get(SIGMAS) or ())
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"{source}: 'keypoint_flip_map' must be pairs of names, 'skeleton' pairs of numbers, "
            f"'keypoint_oks_sigmas' numbers ({error}). Correct the category"
        ) from error
    try:
        flip_map = derive_flip_map(names) if flip_map is None else flip_map
        return Skeleton(names, flip_map, edges, sigmas, source)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def _edges(
    limbs: Sequence[Sequence[int]], names: Sequence[str], source: str
) -> tuple[tuple[str, str], ...]:
    """Name the ends of limbs; those of unknown joints are left out (parts of COCO keep all 17)."""
    kept = [(a, b) for a, b in limbs if 1 <= min(a, b) <= max(a, b) <= len(names)]
    if len(kept) < len(limbs):
        logger.warning(
            "%s: 'skeleton' has %d of %d limbs between joints that 'keypoints' does not name "
            "(joints count from 1 there); these are not drawn",
            *(source, len(limbs) - len(kept), len(limbs)),
        )
    return tuple((names[a - 1], names[b - 1]) for a, b in kept)
