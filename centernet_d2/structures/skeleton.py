"""Which joints a dataset has: names, which of them a flip exchanges, limbs, tolerances.

A dataset brings all of it in its metadata, under detectron2's names: `keypoint_names`,
`keypoint_flip_map` (pairs of names), `keypoint_connection_rules` (name, name, RGB colour); and
`keypoint_oks_sigmas` (one per joint).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

# detectron2's records and detections count joints from the left and upper edge of the first pixel,
# everything else here (COCO's files, network frame) from its middle.
HALF_PIXEL = 0.5

COCO_JOINTS = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)
# Standard deviations of human annotators, in square roots of the person's area (COCO's evaluation).
COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
DEFAULT_SIGMA = 0.05  # of joints for which nothing is known; near the middle of COCO's

Pairs = tuple[tuple[str, str], ...]

# The cure where a dataset names no joints.
HOW_TO_NAME_JOINTS = (
    "A COCO JSON that is given as 'coco:<json>:<image dir>' names them in 'keypoints' of its "
    "categories (detectron2's register_coco_instances does not read them there); a dataset that is "
    "registered in code names them as MetadataCatalog.get(name).set(keypoint_names=[...], "
    "keypoint_flip_map=[(left, right), ...])"
)

# RGB of limbs and joints, by `Skeleton.sides`: the body's middle, its left, its right.
SIDE_COLORS = ((90, 220, 90), (255, 140, 0), (0, 140, 255))


@dataclass(frozen=True)
class Skeleton:
    """The J joints of a dataset.

    Raises:
        ValueError: names repeat, or something names a joint that there is not; the message names
            `source` and the key.
    """

    names: tuple[str, ...]
    flip_map: Pairs | None = None  # pairs that a flip exchanges; None: not known
    edges: Pairs = ()  # limbs, for drawing
    oks_sigmas: tuple[float, ...] = ()  # J; (): `default_sigmas`
    source: str = "skeleton"  # where it was read, for messages

    def __post_init__(self) -> None:
        if len(set(self.names)) < len(self.names) or not self.names:
            raise ValueError(
                f"{self.source}: 'keypoint_names' must hold the name of each joint once, it holds "
                f"{list(self.names)}"
            )
        for key, pairs in (("keypoint_flip_map", self.flip_map), ("edges", self.edges)):
            unknown = {name for pair in pairs or () for name in pair} - set(self.names)
            if unknown:
                raise ValueError(
                    f"{self.source}: '{key}' names the joints {sorted(unknown)}, which are none of "
                    f"{list(self.names)}. Correct the names"
                )
        swapped = [name for pair in self.flip_map or () for name in pair]
        if len(set(swapped)) < len(swapped):
            raise ValueError(
                f"{self.source}: 'keypoint_flip_map' has a joint in two pairs: {self.flip_map}. "
                "Name each pair once, and no joint with itself"
            )
        if not self.oks_sigmas:
            object.__setattr__(self, "oks_sigmas", default_sigmas(self.names))
        if len(self.oks_sigmas) != len(self.names) or min(self.oks_sigmas) <= 0:
            raise ValueError(
                f"{self.source}: 'keypoint_oks_sigmas' must be {len(self.names)} positive numbers, "
                f"one per joint, got {list(self.oks_sigmas)}"
            )

    @classmethod
    def from_metadata(cls, metadata: Any, dataset_name: str) -> Self | None:
        """Return the skeleton in detectron2's metadata; None where it names no joints.

        A flip map that is not given is derived from the names.
        """
        names = tuple(metadata.get("keypoint_names") or ())
        if not names:
            return None
        flip_map = metadata.get("keypoint_flip_map")
        return cls(
            names=names,
            flip_map=derive_flip_map(names) if flip_map is None else _pairs(flip_map),
            edges=_pairs(metadata.get("keypoint_connection_rules") or ()),
            oks_sigmas=tuple(metadata.get("keypoint_oks_sigmas") or ()),
            source=f"metadata of dataset '{dataset_name}'",
        )

    @classmethod
    def from_saved(cls, content: Mapping[str, Any], source: str) -> Self | None:
        """Return the skeleton in a checkpoint, see `saved`; None where it names no joints.

        Of a checkpoint with names alone the flip map is derived from these.
        """
        names = tuple(content.get("joint_names") or ())
        if not names:
            return None
        pairs = content.get("joint_flip_map", derive_flip_map(names))
        try:
            flip_map = None if pairs is None else _pairs(pairs)
            edges = _pairs(content.get("joint_edges") or ())
        except (TypeError, IndexError, KeyError) as error:
            raise ValueError(
                f"{source}: 'joint_flip_map' and 'joint_edges' must be lists of two names each, "
                f"got {pairs!r:.80} and {content.get('joint_edges')!r:.80}. Save them so"
            ) from error
        return cls(names, flip_map, edges, source=source)

    def saved(self) -> dict[str, Any]:
        """Return what a checkpoint says of the joints, and a file of predictions: plain values."""
        flip_map = self.flip_map
        return {
            "joint_names": list(self.names),
            "joint_flip_map": None if flip_map is None else [list(pair) for pair in flip_map],
            "joint_edges": [list(pair) for pair in self.edges],
        }

    def flip_indices(self) -> list[int]:
        """Return for each joint the index of the one that takes its place in a flipped image.

        Raises:
            ValueError: the pairs are not known.
        """
        if self.flip_map is None:
            raise ValueError(missing_flip_map(self.source, self.names))
        partner = dict(self.flip_map) | {b: a for a, b in self.flip_map}
        return [self.names.index(partner.get(name, name)) for name in self.names]

    def edge_indices(self) -> list[tuple[int, int]]:
        """Return the limbs as pairs of joint indices."""
        return [(self.names.index(a), self.names.index(b)) for a, b in self.edges]

    def sides(self) -> list[int]:
        """Return 0 for each joint that a flip leaves, 1 and 2 for the two of each pair."""
        side = {name: k for pair in self.flip_map or () for k, name in enumerate(pair, start=1)}
        return [side.get(name, 0) for name in self.names]

    def metadata(self) -> dict[str, Any]:
        """Return what `MetadataCatalog.get(name).set(...)` takes."""
        side = dict(zip(self.names, self.sides(), strict=True))
        fields = {
            "keypoint_names": list(self.names),
            "keypoint_connection_rules": [
                (a, b, SIDE_COLORS[edge_side(side[a], side[b])]) for a, b in self.edges
            ],
            "keypoint_oks_sigmas": list(self.oks_sigmas),
        }
        if self.flip_map is not None:
            fields["keypoint_flip_map"] = [tuple(pair) for pair in self.flip_map]
        return fields


def check_flip_indices(
    flip_indices: Sequence[int], num_joints: int, name: str = "flip_indices"
) -> None:
    """Raise ValueError unless () or J indices of which each one's partner points back at it."""
    indices = list(flip_indices)
    if indices and (
        sorted(indices) != list(range(num_joints))
        or any(indices[indices[joint]] != joint for joint in range(num_joints))
    ):
        raise ValueError(
            f"{name} must name for each of {num_joints} joints the one that takes its place "
            f"in a flipped image, got {indices}; [] takes them from the dataset's metadata"
        )


def missing_flip_map(source: str, names: Sequence[str]) -> str:
    """Return the message for joints that cannot be flipped."""
    return (
        f"{source}: a flipped image exchanges left and right joints, but nothing says which of "
        f"{list(names)} belong together ('keypoint_flip_map' is missing, and the names are not "
        "pairs such as 'left_hand' and 'right_hand'). Give the pairs, [] if no joint changes: as "
        "'keypoint_flip_map': [[\"a\", \"b\"], ...] beside 'keypoints' in the category of the "
        "JSON, or as MetadataCatalog.get(name).keypoint_flip_map; or do without flips "
        "in training and in tests"
    )


def default_sigmas(names: Sequence[str]) -> tuple[float, ...]:
    """Return OKS sigmas for a dataset that has none: COCO's for its joints, else DEFAULT_SIGMA.

    The names decide, not their number: animals with 17 joints have no person's tolerances.
    """
    is_person = set(names) == set(COCO_JOINTS)
    known = dict(zip(COCO_JOINTS, COCO_SIGMAS, strict=True)) if is_person else {}
    return tuple(known.get(name, DEFAULT_SIGMA) for name in names)


def derive_flip_map(names: Sequence[str]) -> Pairs | None:
    """Pair the joints whose names differ in left and right ("left_eye", "EyeL", "r_hand") alone.

    None where no name says a side, or one of a side has no partner: then nothing can be concluded.
    """
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        key, side = _without_side(name)
        if side:
            if side in found.setdefault(key, {}):
                return None
            found[key][side] = name
    if not found or any(len(sides) < 2 for sides in found.values()):
        return None
    return tuple((sides["left"], sides["right"]) for sides in found.values())


def edge_side(first: int, second: int) -> int:
    """Return the side of a limb between joints of two sides: theirs, or that of the only one."""
    if first and second:
        return first if first == second else 0
    return first or second


def _without_side(name: str) -> tuple[tuple[str, ...], str]:
    """Split a name into its words without left and right, and the side ("" if there is none)."""
    words, side = [], ""
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name):
        word = word.lower()
        for long in ("left", "right"):
            if not side and (word == long[0] or word.startswith(long)):
                side, word = long, "" if word == long[0] else word.removeprefix(long)
                word = f"*{word}"  # where the side stood is a part of the name
        words.append(word)
    return tuple(words), side


def _pairs(items: Sequence[Sequence[object]]) -> Pairs:
    return tuple((str(item[0]), str(item[1])) for item in items)
