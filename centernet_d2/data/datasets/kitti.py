"""KITTI's object benchmark from its own files: no conversion, calibration and 3-D boxes included.

Records are detectron2's standard ones and say in addition

- per image `projection`: 3 x 4, camera frame in metres -> pixels of the file (`P2`);
- per object `dimensions` (height, width, length), `location` (x, y, z of the bottom centre),
  `rotation_y`, `alpha`, `truncated`, `occluded`, as in the label file;
- of a region that is neither object nor background `ignored` True (and `iscrowd` 1, by which
  detectron2's own loader leaves it out of its counts), with the class that it concerns as
  category_id, or `EVERY_CLASS`, and no 3-D box.

A dataset of another camera needs such records and nothing else.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from ..checks import DatasetError, drop_useless_boxes
from ..images import image_sizes
from . import kitti_folder
from .choices import is_chosen
from .folders import CLASS_FILE, read_class_names
from .from_files import FileDataset, split_folder
from .kitti_labels import NEUTRAL_TYPES, KittiObject, read_labels, read_projection

EVERY_CLASS = -1  # category_id of a region that is ignored whatever is found in it


@dataclass(frozen=True)
class ClassRules:
    """What becomes of the types in label files."""

    classes: tuple[str, ...]  # objects, in the order of their category ids
    # type -> the class in which it is neither object nor background; None: in every class
    ignored: Mapping[str, str | None]
    background: tuple[str, ...]  # as if they were not there
    # ignored types that are background to the scores: what is found there is false
    only_in_training: tuple[str, ...] = ()

    def category(self, kind: str) -> int:
        """Category id of a class or of an ignored type."""
        name = self.ignored.get(kind, kind)
        return EVERY_CLASS if name is None else self.classes.index(name)

    def neutral_types(self) -> dict[str, str | None]:
        """The ignored types that are ignored in the scores too."""
        return {k: name for k, name in self.ignored.items() if k not in self.only_in_training}


# As published: nothing is merged into another class. The scores know less than training does.
KITTI_RULES = ClassRules(
    classes=("Pedestrian", "Car", "Cyclist"),
    ignored={**NEUTRAL_TYPES, "Truck": "Car"},
    background=("Tram", "Misc"),
    only_in_training=("Truck",),
)


def folder_rules(folder: str) -> ClassRules:
    """The rules of a folder: KITTI's, or of the classes that its `classes.txt` names.

    KITTI's other types keep what they mean beside those (Van is ignored for Car, DontCare for all)
    or are background; any other type in a label file is an error.
    """
    classes = read_class_names(folder)
    if classes is None:
        return KITTI_RULES
    counts = Counter(name.lower() for name in classes)
    for name in classes:
        if len(name.split()) != 1 or name == "DontCare" or counts[name.lower()] > 1:
            raise DatasetError(
                f"'{os.path.join(folder, CLASS_FILE)}' names '{name}': a type in label files is a "
                "word without blanks; DontCare marks regions, not objects, and KITTI's scores do "
                "not tell apart what differs in capital letters alone. Rename or remove it"
            )
    known = {*KITTI_RULES.classes, *KITTI_RULES.ignored, *KITTI_RULES.background} - {*classes}
    ignored = {k: of for k, of in KITTI_RULES.ignored.items() if of is None or of in classes}
    ignored = {kind: of for kind, of in ignored.items() if kind in known}
    return ClassRules(
        classes=tuple(classes),
        ignored=ignored,
        background=tuple(sorted(known - {*ignored})),
        only_in_training=tuple(kind for kind in KITTI_RULES.only_in_training if kind in ignored),
    )


def read_form(spec: str) -> FileDataset:
    """Read `kitti:<folder>:<split>`; see `from_files.register_dataset_form`."""
    folder, split = split_folder(spec, holds="ImageSets and training (or testing)")

    def register(name: str) -> None:
        kitti_folder.read_split(folder, split)  # a wrong folder or split is said now
        labels = os.path.join(kitti_folder.part_folder(folder, split), kitti_folder.LABEL_FOLDER)
        how = {"labelled": PathManager.isdir(labels), "rules": folder_rules(folder)}
        register_kitti_split(name, folder, split, **how)

    stem = f"{os.path.basename(folder)}_{split.removesuffix('.txt')}"
    return FileDataset(stem, (folder, split), register)


def register_kitti_split(
    name: str,
    folder: str,
    split: str,
    *,
    labelled: bool | None = None,
    rules: ClassRules = KITTI_RULES,
) -> None:
    """Register one split, see `kitti_folder.read_split`, of a folder of KITTI's form.

    Its frames have label files if `labelled`; None: all splits but "test" do. `rules` say what
    becomes of the types in the label files, in training and in the scores.
    """
    if labelled is None:
        labelled = kitti_folder.split_parts(split)[1] != kitti_folder.TEST_SPLIT
    how = {"labelled": labelled, "rules": rules}
    DatasetCatalog.register(name, partial(load_kitti_records, folder, split, name=name, **how))
    MetadataCatalog.get(name).set(**split_metadata(folder, split, **how))


def split_metadata(
    folder: str, split: str, *, labelled: bool, rules: ClassRules = KITTI_RULES
) -> dict[str, Any]:
    """Return what the metadata of a split says: classes, folders of its files, neutral types."""
    part = kitti_folder.part_folder(folder, split)
    return {
        "thing_classes": list(rules.classes),
        "evaluator_type": "kitti",
        "image_dir": os.path.join(part, kitti_folder.IMAGE_FOLDER),
        "calib_dir": os.path.join(part, kitti_folder.CALIBRATION_FOLDER),
        "label_dir": os.path.join(part, kitti_folder.LABEL_FOLDER) if labelled else None,
        "neutral_types": rules.neutral_types(),
    }


def load_kitti_records(
    folder: str,
    split: str,
    *,
    labelled: bool = True,
    allow_missing: bool = False,
    rules: ClassRules = KITTI_RULES,
    name: str = "",
) -> list[dict]:
    """Return the records of a split (see the module), in the order of its list.

    Keys: file_name, image_id (the frame's name, "000007"), height, width, as_stored (True: pixels
    are not turned, since the calibration is of the file's), projection where there are calibrations
    and, in a labelled split, annotations. Boxes without area or outside their image are left out
    with a warning. Objects keep KITTI's marks of what is not known (`structures.box3d_records`).

    Frames may be missing where that is allowed, or was for the dataset `name`. FileNotFoundError
    (see `find_frames`) or ValueError names a file that cannot be used.
    """
    allow_missing |= is_chosen(name, "missing_frames")
    records = []
    wanted = {"labelled": labelled, "allow_missing": allow_missing}
    frames = kitti_folder.find_frames(folder, split, **wanted)
    sizes = image_sizes({frame.image: False for frame in frames})
    for frame in frames:
        width, height = sizes[frame.image]
        record = {"file_name": frame.image, "image_id": frame.name, "height": height}
        record |= {"width": width, "as_stored": True}
        if frame.calibration is not None:
            record["projection"] = read_projection(frame.calibration).tolist()
        if frame.label is not None:
            record["annotations"] = _read_annotations(frame.label, rules)
        records.append(record)
    if not labelled:
        return records
    labels = os.path.join(kitti_folder.part_folder(folder, split), kitti_folder.LABEL_FOLDER)
    drop_useless_boxes(records, source=labels, describe=lambda k: f"'{records[k]['image_id']}.txt'")
    return records


def annotation_of(item: KittiObject, rules: ClassRules = KITTI_RULES) -> dict:
    """Return the annotation of a label row whose type is a class or an ignored type."""
    annotation = {"bbox": list(item.box), "bbox_mode": BoxMode.XYXY_ABS}
    annotation["category_id"] = rules.category(item.type)
    if item.type in rules.ignored:
        return {**annotation, "ignored": True, "iscrowd": 1}
    scalars = ("rotation_y", "alpha", "truncated", "occluded")
    values = {name: getattr(item, name) for name in scalars}
    box = {"dimensions": list(item.dimensions), "location": list(item.location)}
    return {**annotation, "iscrowd": 0, **box, **values}


def _read_annotations(path: str, rules: ClassRules) -> list[dict]:
    """Read a label file; the background's rows are left out."""
    objects = read_labels(path)
    known = {*rules.classes, *rules.ignored, *rules.background}
    for number, item in enumerate(objects, start=1):
        if item.type not in known:
            raise DatasetError(
                f"'{path}', object {number} has the type '{item.type}', which is none of "
                f"{sorted(known)}: correct it (capital letters count), or list classes of your own "
                f"in '{CLASS_FILE}' in the dataset's folder, one per line"
            )
    return [annotation_of(item, rules) for item in objects if item.type not in rules.background]
