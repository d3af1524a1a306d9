"""The joints of a COCO JSON: the skeleton of its categories, one row of joints per annotation."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...structures.skeleton import Skeleton, derive_flip_map
from ..checks import LARGEST, TOLERANCE, DatasetError
from .columns import Table

logger = logging.getLogger(__name__)

# Share of labelled joints far outside their object's box from which on the file is suspected.
_FAR_SHARE = 0.1
# Types of what stands in 'keypoints'; null is fine where a joint is not labelled.
_NUMBERS = frozenset({int, float, bool, type(None)})
FLIP_MAP, LIMBS, SIGMAS = "keypoint_flip_map", "skeleton", "keypoint_oks_sigmas"
# Key of a category -> field of its skeleton, and what is compared of it: in which order the limbs
# stand, or the two of a pair, says nothing.
_FIELDS: dict[str, tuple[str, Callable[[Skeleton], Any]]] = {
    "keypoints": ("names", lambda skeleton: skeleton.names),
    FLIP_MAP: ("flip_map", Skeleton.flip_indices),
    LIMBS: ("edges", lambda skeleton: {frozenset(limb) for limb in skeleton.edges}),
    SIGMAS: ("oks_sigmas", lambda skeleton: skeleton.oks_sigmas),
}


def read_pose(
    categories: Table,
    annotations: Table,
    *,
    boxes: np.ndarray,
    image_sizes: np.ndarray,
    skeleton: Skeleton | None = None,
) -> dict[str, Any]:
    """Return the fields `skeleton`, `pose_categories` and `joints` of a `CocoFile`.

    `joints` are as in the file; unlabelled ones are 0, 0, 0, and so are all of annotations without
    'keypoints'. Labelled joints of categories without a skeleton are not read, which a warning
    says; where no category has one, `skeleton` is that of all whose annotations have joints, or of
    all. boxes (N, 4) and image_sizes (N, 2) are those of `check_boxes`.
    """
    records = annotations.records
    found, having = read_skeleton(categories.records, annotations.source)
    if found is None and skeleton is not None:
        found = skeleton
        having = sorted({r["category_id"] for r in records if r.get("keypoints")})
        having = having or sorted(record["id"] for record in categories.records)
    rows = [record.get("keypoints") or () for record in records]
    named = np.isin([record["category_id"] for record in records], having)
    unnamed = np.flatnonzero(~named)
    for row in unnamed:
        named[row] = not (isinstance(rows[row], list) and any(rows[row][2::3]))
        rows[row] = ()
    annotations.warn(
        ~named,
        "label joints in 'keypoints', but their category does not name them, so that they are not "
        "read",
        'Add "keypoints": [names] to the category',
        lambda row: f"category id {records[row]['category_id']} in ",
    )
    joints = None
    if found is not None:
        joints = _checked_joints(rows, len(found.names), annotations)
        counts = (joints[..., 2] > 0).sum(axis=1).tolist()
        stated = [record.get("num_keypoints") for record in records]
        annotations.warn(
            [n not in (None, count) for n, count in zip(stated, counts, strict=True)],
            "have a 'num_keypoints' that is not the number of their labelled joints",
            "The joints are counted; correct the number or leave it out",
            lambda row: f"{stated[row]!r} beside {counts[row]} in ",
        )
        _warn_of_far_joints(joints, boxes, image_sizes, annotations)
    return {"skeleton": found, "pose_categories": tuple(having), "joints": joints}


def _checked_joints(rows: Sequence[Sequence[float]], count: int, annotations: Table) -> np.ndarray:
    """(N, J, 3) float64 of x, y, visibility of `count` joints one after the other, or ()."""

    def refuse(wrong: Iterable[bool] | np.ndarray, cure: str) -> None:
        annotations.refuse(wrong, "keypoints", cure)

    form = "x, y, visibility of one joint after the other"
    refuse((not isinstance(row, (list, tuple)) for row in rows), f"it must be a list, {form}")
    refuse(
        (len(row) not in (0, 3 * count) for row in rows),
        f"a wrong number of joints; the category names {count} joints of three numbers: {form}",
    )
    refuse(
        (not _NUMBERS.issuperset(map(type, row)) for row in rows),
        f"it must be numbers, {form}, without quotes and inner lists",
    )
    values = [row or [0] * (3 * count) for row in rows]
    try:
        joints = np.array(values, dtype=np.float64).reshape(len(rows), count, 3)
        too_large: Iterable = (np.abs(joints) > LARGEST).any(axis=(1, 2))
    except OverflowError:  # of a number of 309 digits
        too_large = (any(value is not None and abs(value) > LARGEST for value in v) for v in values)
    refuse(too_large, "numbers beyond 1e12; correct them")
    refuse(
        ~np.isin(joints[..., 2], (0, 1, 2)).all(axis=1),
        "every third number is a visibility and must be 0 (unlabelled), 1 (covered) or 2 (visible)."
        " Scores have no place there; write 2 for joints that are in the image",
    )
    joints[joints[..., 2] == 0] = 0
    refuse(
        ~np.isfinite(joints).all(axis=(1, 2)),
        "a labelled joint at NaN or infinity; correct it, or give it visibility 0",
    )
    return joints


def _warn_of_far_joints(
    joints: np.ndarray, boxes: np.ndarray, sizes: np.ndarray, annotations: Table
) -> None:
    """Suspicions about labelled joints: outside the image, or nowhere near their own box."""
    labelled, points = joints[..., 2] > 0, joints[..., :2]
    over = (points < -TOLERANCE) | (points > sizes[:, None] - 1 + TOLERANCE)
    start, side = boxes[:, None, :2], boxes[:, None, 2:]
    far = (points < start - side / 2) | (points > start + 1.5 * side)
    over, far = (outside.any(axis=-1) & labelled for outside in (over, far))
    annotations.warn(
        over.any(axis=1),
        f"have labelled joints outside their image ({over.sum()} of {labelled.sum()} joints)",
        "They are learned where a crop reaches over the image; give joints that are not in the "
        "image visibility 0",
    )
    annotations.warn(
        far.any(axis=1) & (far.sum() >= _FAR_SHARE * labelled.sum()),
        "have labelled joints more than half a box outside the box of their object "
        f"({far.sum()} of {labelled.sum()} joints)",
        "Are 'keypoints' x, y, visibility in pixels of the image (not shares, not y, x), and "
        "'bbox' [x, y, width, height]?",
    )


def read_skeleton(categories: Sequence[dict], source: str) -> tuple[Skeleton | None, list[int]]:
    """Return the skeleton of a JSON's categories and the ids of those that have it.

    Read are COCO's `keypoints` (names) and `skeleton` (limbs, joints counted from 1), and beside
    them `keypoint_flip_map` (pairs of names; derived from left and right in the names where it is
    missing) and `keypoint_oks_sigmas`. What one category leaves out another may give; DatasetError
    where they contradict. (None, []) where no category has joints.
    """
    having = [record for record in categories if record.get("keypoints")]
    if not having:
        return None, []
    skeletons = [_skeleton(record, f"'{source}': category '{record['name']}'") for record in having]
    merged = skeletons[0]
    for key, (field, compared) in _FIELDS.items():
        giving = [
            (record["name"], skeleton)
            for record, skeleton in zip(having, skeletons, strict=True)
            # An empty flip map says that no joint changes.
            if record.get(key) or (key == FLIP_MAP and record.get(key) is not None)
        ]
        for name, skeleton in giving[1:]:
            if compared(skeleton) != compared(giving[0][1]):
                raise DatasetError(
                    f"'{source}': categories '{giving[0][0]}' and '{name}' have different '{key}'. "
                    "One dataset has one skeleton: give both the same (joints that one of them "
                    "lacks have visibility 0)"
                )
        if giving:
            merged = replace(merged, **{field: getattr(giving[0][1], field)})
    return merged, [int(record["id"]) for record in having]


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
