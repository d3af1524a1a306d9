"""The records of a registered dataset in one checked form, for loaders and for evaluators.

Records are detectron2's dataset dicts, whoever made them, the same for training and scoring.
"""

import os
from collections.abc import Iterable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ..checked_values import nearest
from .checks import DatasetError
from .datasets.choices import is_chosen
from .datasets.from_files import form_of, places_now

Record = dict[str, Any]


class UnknownDatasetError(DatasetError, KeyError):
    """A dataset is not registered; the message has the nearest names that are."""

    __str__ = Exception.__str__  # KeyError's is in quotes


def require_registered(name: str, *, key: str = "") -> None:
    """Raise UnknownDatasetError if no dataset has this name, which `key` of a config gave."""
    if name not in DatasetCatalog.list():
        told = f"{key}: " * bool(key) + f"dataset '{name}' is not registered"
        told += nearest(name, DatasetCatalog.list(), 3, 0.7)
        raise UnknownDatasetError(
            f"{told}{places_now()}. Correct the name, give your files as 'coco:<json>:<image "
            "dir>' and call centernet_d2.setup(cfg), or register it with detectron2's "
            "DatasetCatalog first."
        )


class CheckedRecords(list[Record]):
    """Records that were checked: here, or by a reader of this package, which knows its files.

    Each has "image_id" (int or str, each once), "file_name" (str) and, where the dataset is
    `labelled`, "height", "width" and "annotations" with "bbox_mode" XYXY_ABS or XYWH_ABS, where
    `ignored` regions have "iscrowd" 1: detectron2's counts know that alone.
    """

    @property
    def labelled(self) -> bool:
        """Whether the records have annotations; all have, or none."""
        return bool(self) and "annotations" in self[0]


def checked_records(name: str, *, key: str = "") -> CheckedRecords:
    """Load the records of a registered dataset and check them; `key` of a config named it.

    Raises:
        UnknownDatasetError: the name is not registered.
        OSError: the files of the dataset are not there or cannot be read.
        DatasetError: records or class names are not what they must be; see `record_checks.py`.
    """
    place = f"{key}: " if key else ""
    require_registered(name, key=key)
    metadata = MetadataCatalog.get(name)
    form = form_of(metadata)
    files = metadata.get(form.location, f"no {form.location} in its metadata")
    try:
        records = DatasetCatalog.get(name)
    except OSError as error:
        cure = (
            "Put its files there or set DETECTRON2_DATASETS to the folder of the datasets "
            f"(see docs/datasets.md of the repository), or give your own files as '{form.usage}'"
        )
        if metadata.get("file_spec"):
            cure = f"Put its files there, or correct '{form.usage}' where you give it"
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        told = f"{place}dataset '{name}' ({files}) cannot be loaded: {error}. {cure}."
        raise kind(told) from error
    except DatasetError:  # names its file
        raise
    except Exception as error:
        error.add_note(f"{place}the function of dataset '{name}' ({files}) raised this: correct it")
        raise
    if (classes := metadata.get("thing_classes")) is not None:  # set by loading at the latest
        classes = len(check_class_names(classes, name))
    as_stored = is_chosen(name, "as_stored")
    function = DatasetCatalog[name]
    module = str(getattr(getattr(function, "func", function), "__module__", None))
    if not module.startswith(f"{__package__}.datasets."):  # no reader of this package
        from .record_checks import check_records  # executed for others' records alone

        what = f"{place}dataset '{name}'"
        records = check_records(records, name=what, num_classes=classes, as_stored=as_stored)
    return CheckedRecords({"as_stored": True, **r} if as_stored else r for r in records)


def annotation_place(name: str) -> str:
    """Say where the annotations of a dataset are to be looked for: its files by their form."""
    metadata = MetadataCatalog.get(name)
    prefix, folder = form_of(metadata).prefix, metadata.get("dirname", "")
    if prefix == "voc":
        return f"the XML files in '{os.path.join(folder, 'Annotations')}'"
    if prefix == "kitti":
        return f"the label files in '{metadata.get('label_dir') or 'training/label_2'}'"
    return "'annotations' of the annotation file"


def check_class_names(names: Any, dataset: str) -> list[str]:
    """Return `thing_classes` of a dataset's metadata as a list.

    Raises:
        DatasetError: it is no list of texts, is empty, or has a name twice (one score of the two
            would be lost).
    """
    found = [] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    texts = [name for name in found if isinstance(name, str)]
    if not found or len(set(texts)) < len(found):
        raise DatasetError(
            f"dataset '{dataset}': thing_classes of its metadata is {names!r:.200}; it must be a "
            "list of texts, each of them once: set it by "
            f"MetadataCatalog.get('{dataset}').set(thing_classes=['first', 'second'])"
        )
    return texts
