"""From the keys of a published file to its source, its architecture, and the config of its network.

Only names and shapes are read. A file of no known source is an error that says what it looks like,
because half-loaded weights run and give poor results.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detectron2.data.datasets.builtin_meta import (
    COCO_CATEGORIES,
    COCO_PERSON_KEYPOINT_FLIP_MAP,
    COCO_PERSON_KEYPOINT_NAMES,
    KEYPOINT_CONNECTION_RULES,
)
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASS_NAMES

from ..structures.names import counted
from . import corner_repositories as corners
from . import imagenet, mmdetection
from .backbones import (
    Overrides,
    State,
    UnknownWeightsError,
    UnsupportedWeightsError,
    read_backbone,
)
from .heads import CLASSES, JOINTS, corner_heads, points_heads
from .points_repository import TABLES
from .rename import RenameTable

POINTS = "the points repository"
MMDETECTION = "mmdetection"
EXTREMENET = "ExtremeNet"
IMAGENET = "ImageNet classification"
CORNERNET = "CornerNet"
TRIPLET = "triplet CenterNet"

# Dataset of published weights -> its classes.
DATASET_CLASSES: dict[str, tuple[str, ...]] = {
    "coco": tuple(category["name"] for category in COCO_CATEGORIES if category["isthing"]),
    "coco_person": ("person",),
    "voc": tuple(VOC_CLASS_NAMES),
    "kitti": ("Pedestrian", "Car", "Cyclist"),
}
# (task, classes, joints) -> the dataset that they tell, as far as numbers can.
DATASETS = {
    ("box2d", 80, 0): "coco",
    ("box2d", 20, 0): "voc",
    ("pose", 1, 17): "coco_person",
    ("box3d", 3, 0): "kitti",
}
# Of COCO's persons, as a checkpoint holds them: names, pairs that a flip exchanges, limbs.
COCO_SKELETON = {
    "joint_names": list(COCO_PERSON_KEYPOINT_NAMES),
    "joint_flip_map": [list(pair) for pair in COCO_PERSON_KEYPOINT_FLIP_MAP],
    "joint_edges": [[first, second] for first, second, _ in KEYPOINT_CONNECTION_RULES],
}


@dataclass(frozen=True)
class DetectedSource:
    """What a published file is."""

    source: str  # who published files of this form
    architecture: str  # the source's own name, e.g. "resdcn_18"
    task: str  # "box2d", "pose", "box3d" (both with boxes), "start": only a part of a detector
    table: RenameTable
    model: Overrides  # that build the matching model
    num_classes: int | None = None  # None where there is no heatmap
    num_joints: int = 0
    # "class_names", or "joint_names" and what belongs to them, as somebody has given them. Without,
    # names are a guess from the numbers: files hold none.
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """A key of `DATASET_CLASSES` where task, classes and joints tell it, else ""."""
        found = DATASETS.get((self.task, self.num_classes or 0, self.num_joints), "")
        given = self.given.get("class_names")
        return found if given is None or tuple(given) == DATASET_CLASSES.get(found) else ""

    @property
    def names(self) -> dict[str, Any]:
        """What a checkpoint says of names; "guessed" lists the entries that nobody has given."""
        names = {"class_names": list(DATASET_CLASSES.get(self.dataset, ()))}
        if "joint_names" not in self.given:
            names |= COCO_SKELETON if self.num_joints == 17 else {"joint_names": []}
        guessed = [key for key, value in names.items() if key.endswith("_names") and value]
        names["guessed"] = [key for key in guessed if key not in self.given]
        return names | dict(self.given)

    def describe(self) -> str:
        """One phrase for messages."""
        if self.task == "start":
            return f"{self.architecture} of {self.source} (a start for training, no detector)"
        classes = counted(self.num_classes or 0, "class")
        joints = f", {counted(self.num_joints, 'joint')}" if self.num_joints else ""
        return f"{self.architecture} of {self.source}, {self.task}, {classes}{joints}"


@dataclass(frozen=True)
class Form:
    """One form of published files."""

    source: str  # who published them
    markers: tuple[str, ...]  # patterns, each of which some key must match
    kind: str  # "points", "corners", "start"
    table: RenameTable | None = None  # None: that of `TABLES` for backbone and task
    # How names begin -> how those of the points and corner repositories do, where they differ.
    names: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""  # from {size} and {dcn}; "": as the repositories call it


_CORNERS = (r"tl_heats\.0\.1\.weight", r"kps\.0\.up1\.0\.conv1\.weight")
# The triplet's table knows the cascade's layers, which a CornerNet may be trained with.
_CASCADE = (*_CORNERS, r"tl_cnvs\.0\.look_conv1\.conv\.weight")

FORMS = (  # the first that fits
    Form(EXTREMENET, (r"(t_heats|hm_t)\.0\.1\.weight",), "start", corners.EXTREMENET_TRUNK),
    Form(TRIPLET, (*_CORNERS, r"ct_heats\.0\.1\.weight"), "corners", corners.TRIPLET),
    Form(CORNERNET, _CASCADE, "corners", corners.TRIPLET),
    Form(CORNERNET, _CORNERS, "corners", corners.CORNERNET),
    Form(
        MMDETECTION,
        (  # without embeddings it is CentripetalNet, a detector of its own
            r"bbox_head\.tl_heat\.0\.1\.conv\.weight",
            r"bbox_head\.tl_emb\.0\.1\.conv\.weight",
            r"backbone\.hourglass_modules\.0\.up1\.0\.conv1\.weight",
        ),
        "corners",
        mmdetection.CORNERNET,
        mmdetection.CORNERNET_NAMES,
        "cornernet, hourglass, {size}",
    ),
    Form(
        POINTS,
        (
            r"hm(\.0\.1|\.2)?\.weight",
            r"(deconv_layers\.0|base\.base_layer\.0|kps\.0\.up1\.0\.conv1)\.weight",
        ),
        "points",
    ),
    Form(
        MMDETECTION,
        (r"bbox_head\.heatmap_head\.2\.weight", r"neck\.deconv_layers\.0\.conv\.weight"),
        "points",
        mmdetection.RESNET_BOX2D,
        mmdetection.POINTS_NAMES,
        "centernet_resnet{size}{dcn}",
    ),
    Form(
        IMAGENET,
        (r"fc\.weight", r"conv1\.weight", r"layer4\.0\.conv1\.weight"),
        "start",
        imagenet.IMAGENET_RESNET,
        architecture="resnet{size}",
    ),
    Form(
        IMAGENET,
        (r"fc\.weight", r"base_layer\.0\.weight", r"level5\.root\.conv\.weight"),
        "start",
        imagenet.IMAGENET_DLA,
        {"": "base."},
        "dla{size}",
    ),
)
# Pattern of some key -> what weights without a table look like, and what can be done.
_RENAME = "rename its tensors to those of `model.state_dict()`"
LOOKS = {
    r"(.*\.)?(tl|br)_heats?\..*": ("a corner detector of another kind than those known", ""),
    r"(proposal_generator|roi_heads)\..*": (
        "a two-stage detector of detectron2",
        "only its trunk is of use here: MODEL.WEIGHTS '<file>?matching_heuristics=True' with the "
        "same trunk",
    ),
    r"bbox_head\..*": ("another detector of mmdetection", ""),
    r"(backbone\.(?!conv1).*|head\..*)": (
        "a model of this package or of detectron2",
        "name it in MODEL.WEIGHTS, without 'published:', with the config that it was trained with",
    ),
    r"(conv1|layer1)\..*": ("a part of a ResNet", _RENAME),
    r"(base|ida_up|dla_up)\..*": ("a part of DLA", _RENAME),
}
KNOWN = (
    "take one of those that are known: detectors of the points repository (res, resdcn, dla, "
    "dlav0, hourglass), CornerNet, triplet CenterNet, mmdetection's centernet_resnet18 and "
    "cornernet, ExtremeNet's hourglass, ImageNet's ResNets and DLA-34"
)
# Way up of a network without deformable convolutions; a start gets the default one.
_PLAIN = {POINTS: "plain", MMDETECTION: "conv"}


def detect_source(state: State) -> DetectedSource:
    """Detect what a published state dict is (without wrapper prefixes: `unwrap`).

    Raises:
        UnknownWeightsError: no known source; the message says what the keys look like.
        UnsupportedWeightsError: a network or task of a known source that has no table.
    """
    form = next((form for form in FORMS if all(_some(state, m) for m in form.markers)), None)
    if form is None:
        raise UnknownWeightsError(f"these weights are not recognised: they {looks_like(state)}")
    try:
        return _source_of(form, state)
    except (KeyError, IndexError) as error:  # a tensor, or one of its sides
        raise UnsupportedWeightsError(
            f"these weights are of {form.source}, but a tensor is missing or has another shape "
            f"({error}): the file is damaged or of a changed network"
        ) from error


def _source_of(form: Form, state: State) -> DetectedSource:
    names = form.names or {"": ""}
    state = {
        ours + key.removeprefix(theirs): value
        for key, value in state.items()
        for theirs, ours in names.items()
        if key.startswith(theirs)
    }
    backbone = read_backbone(state, plain=_PLAIN.get(form.source, "deform"))
    join = ", " if backbone.network == "hourglass" else "_"
    architecture = (form.architecture or f"{backbone.family}{join}{{size}}").format(
        size=backbone.size, dcn="_dcnv2" * (backbone.upsample == "deform")
    )
    task, keys, table = "start", {}, form.table
    if form.kind == "points":
        task, keys = points_heads(state, backbone, f"{architecture} of {form.source}")
    elif form.kind == "corners":
        task, keys = "box2d", corner_heads(state)
    if table is None:
        table = TABLES[backbone.family, task]
    if 0 in (keys.get(CLASSES), keys.get(JOINTS)):
        raise IndexError("a head without channels")
    return DetectedSource(
        source=form.source,
        architecture=architecture,
        task=task,
        table=table,
        model=backbone.keys | keys,
        num_classes=keys.get(CLASSES),
        num_joints=keys.get(JOINTS, 0),
    )


def _some(state: State, pattern: str) -> bool:
    return any(re.fullmatch(pattern, key) for key in state)


def looks_like(state: State) -> str:
    """What weights without a table look like, and what can be done, after "they"."""
    looks, cure = next(
        (found for pattern, found in LOOKS.items() if _some(state, pattern)), ("nothing known", "")
    )
    first = ", ".join(list(state)[:3])
    return f"look like {looks} ({len(state)} tensors: {first} ...); {cure or KNOWN}"
