"""Datasets named by their files, registered without code: an open registry of forms.

A specification is `<prefix>:<what the form reads>`, behind which a share of the images may stand,
`:train80` (see `selection.py`). The forms of the table at the end are built in, their readers are
imported when they are first used; `register_dataset_form` adds others.
"""

import hashlib
import logging
import os
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.utils.file_io import PathManager

from ...checked_values import nearest
from ...progress import say

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileDataset:
    """What a reader makes of a specification; classes and records are only read by `register`.

    The name is made of `stem` and a hash of `parts`; `<prefix>:<part>:<part>` is kept as the
    specification in saved configs.
    """

    stem: str
    parts: tuple[str, ...]  # as after the prefix, paths made absolute
    # Takes the name; registers records with DatasetCatalog, classes and evaluator_type with
    # MetadataCatalog. Errors say what is wrong with the files.
    register: Callable[[str], None]


Reader = Callable[[str], FileDataset]


@dataclass(frozen=True)
class DatasetForm:
    """One form of specifications."""

    prefix: str  # what stands before the first colon
    # Takes the whole specification; ValueError says what is wrong with it (see `split_paths`,
    # `split_folder`, `form_error`). As "package.module:function" it is imported at its first use.
    reader: Reader | str
    pattern: str  # what follows the prefix, for messages: "<json>:<image dir>"
    example: str  # a whole specification, for messages
    evaluator_type: str = ""  # of the metadata, by which datasets registered in code are known too
    location: str = "file_spec"  # key of the metadata that says where the files are, for messages
    also: str = ""  # another pattern that it reads

    @property
    def usage(self) -> str:
        """How such a specification is written: "voc:<folder>:<split>"."""
        return f"{self.prefix}:{self.pattern}"


_forms: dict[str, DatasetForm] = {}
_read: dict[str, str] = {}  # name -> what its files said of it, when it was registered last
lost_specs: set[str] = set()  # of saved configs, whose files are not here


def register_dataset_form(prefix: str, reader: Reader | str, **options: str) -> None:
    """Add a `DatasetForm`, so that DATASETS.TRAIN and TEST take `<prefix>:...`, a free word."""
    if not re.fullmatch(r"[\w-]+", prefix) or prefix in _forms:
        raise ValueError(
            f"dataset form '{prefix}': the prefix must be a word that is none of {sorted(_forms)}"
        )
    _forms[prefix] = DatasetForm(prefix, reader, **options)


def is_file_spec(name: str) -> bool:
    """Whether a name that is not registered is meant as files: by a colon or as a bare path."""
    is_path = name.endswith(".json") or os.path.exists(os.path.expanduser(name))
    return name not in DatasetCatalog and (":" in name or is_path)


def form_of(metadata: Metadata) -> DatasetForm:
    """Return the form of a dataset: by its specification, else its evaluator, else COCO's."""
    prefix = str(metadata.get("file_spec", "")).partition(":")[0]
    kind = metadata.get("evaluator_type")
    by_kind = (form for form in _forms.values() if kind and form.evaluator_type == kind)
    return _forms.get(prefix) or next(by_kind, _forms["coco"])


def register_from_files(spec: str, classes: Sequence[str] = ()) -> str:
    """Register a specification and return the short name that it is registered under.

    A path without a prefix is recognised where only one form can be meant, which a line says. A
    split such as ":train80" behind it (where no path has that name) takes a share of the images,
    and `classes` choose, merge and rename (see `selection.class_members`); of a registered name as
    well.

    The name is safe as a folder name and equal in every process; calling it again returns the same,
    and registers it anew where its files say something else than before: then what was added to its
    metadata since is gone. Classes are known now, records are only read when the dataset is used.
    The metadata keeps the specification with absolute paths as `file_spec`. ValueError lists what
    was tried where it names no known form or no existing files.
    """
    base, share = spec, ""
    parts = spec.split(",")
    if any(part.strip().partition(":")[0] in _forms and ":" in part for part in parts[1:]):
        several = tuple(part.strip() for part in parts)
        raise ValueError(f"'{spec}' is several datasets: write them as \"{several}\"")
    try:
        name, whole = _register_whole(spec)
    except (ValueError, OSError):
        from .selection import SHARE

        base, _, share = spec.rpartition(":")
        if not base or not SHARE.fullmatch(share):
            raise
        try:
            name, whole = _register_whole(base)
        except (ValueError, OSError) as error:
            form = _forms.get(spec.partition(":")[0])
            how = f", written '{form.usage}:{share}'" if form else ""
            told = f"'{share}' at the end is a share of what stands before it{how}"
            error.args = (f"{str(error).rstrip('.')}. {told}",)
            raise
    if not share and not classes:
        return name
    from .selection import Selection

    stem = name if name == whole else name.rpartition("_")[0]
    stem, whole = (f"{stem}_{share}", f"{whole}:{share}") if share else (stem, whole)
    chosen = dataset_name(stem, whole, *classes)
    selection = Selection(name, share, tuple(classes))
    _register(chosen, FileDataset("", (), selection.register), whole)
    return chosen


def _register_whole(spec: str) -> tuple[str, str]:
    """Register what a specification names but no share; return the name, and it with all paths."""
    if spec in DatasetCatalog:
        return spec, MetadataCatalog.get(spec).get("file_spec") or spec
    given = spec
    if given.partition(":")[0] not in _forms:
        from .recognize import recognized

        spec = recognized(given)
    prefix, dataset = spec.partition(":")[0], read_spec(spec)
    if spec != given:
        say(f"'{given}' is read as '{spec}'")
    name = dataset_name(dataset.stem, *dataset.parts)
    absolute_spec = ":".join([prefix, *dataset.parts])
    if name not in DatasetCatalog or name in _read:  # else it is somebody's own
        _register(name, dataset, absolute_spec)
    return name, absolute_spec


def read_spec(spec: str) -> FileDataset:
    """Return what the reader of a specification's form makes of it."""
    form = _forms.get(spec.partition(":")[0])
    if form is None or ":" not in spec:
        raise form_error(spec)
    reader = pkgutil.resolve_name(form.reader) if isinstance(form.reader, str) else form.reader
    return reader(spec)


def _register(name: str, dataset: FileDataset, spec: str) -> None:
    """Let the form register what its files say now; keep what is registered if that is the same."""
    catalogs = (DatasetCatalog, MetadataCatalog)
    before = [catalog.pop(name, None) for catalog in catalogs]
    same = False
    try:
        dataset.register(name)
        MetadataCatalog.get(name).set(file_spec=spec)
        read = repr(MetadataCatalog.get(name).as_dict())
        same = read == _read.get(name) and None not in before
        if not same and name in _read:
            told = "Dataset '%s' has changed and is registered anew (%s), without what was added "
            logger.warning(told + "to its metadata since", name, spec)
        _read[name] = read
    finally:
        if same or name not in DatasetCatalog:  # the files cannot be read now: as it was
            for catalog, entry in zip(catalogs, before, strict=True):
                catalog.pop(name, None)
                if entry is not None:
                    catalog[name] = entry


def what_files_say(specs: Iterable[str], classes: Sequence[str] = ()) -> tuple[str, ...]:
    """What the metadata of these specifications holds, registered anew where files have changed.

    "" for those that cannot be registered.
    """

    def said(spec: str) -> str:
        with suppress(ValueError, OSError):
            return _read.get(register_from_files(spec, classes), "")
        return ""

    return tuple(map(said, specs))


def places_now() -> str:
    """Say of files that saved configs name, and that are not here, how to give them, or ""."""
    moved = {spec: re.sub(r"/[^:]*/", "<new place>/", spec) for spec in sorted(lost_specs)}
    return "".join(f". '{spec}' is not here: give it as '{new}'" for spec, new in moved.items())


def dataset_name(stem: str, *parts: str) -> str:
    """Return `stem` in letters, digits, "_", "-" and ".", and eight digits of a hash of `parts`."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._-") or "dataset"
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return f"{safe[:48]}_{digest}"


def title_of(name: str) -> str:
    """A dataset for a reader: of files "cells/Annotations:train80", without what is above."""
    parts = MetadataCatalog.get(name).get("file_spec", f":{name}").split(":")[1:]
    return ":".join(["/".join(parts[0].split("/")[-2:]), *(p for p in parts[1:] if p[:1] != "/")])


def split_paths(spec: str, *, kind: str = "file") -> tuple[str, str]:
    """Split `<prefix>:<file>:<image dir>` into its two paths, which may hold blanks and colons.

    See `path_and_rest`; `kind` names the file in messages.
    """
    file, rest = path_and_rest(spec, kind)
    folder, more = path_and_rest(spec, "image folder", rest) if rest else ("", "")
    if PathManager.isdir(file) and PathManager.isfile(folder):
        right = f"{spec.partition(':')[0]}:{folder}:{file}"
        raise ValueError(f"dataset '{spec}' has the folder before the {kind}: write '{right}'")
    if more or not (PathManager.isfile(file) and PathManager.isdir(folder)):
        raise form_error(spec, f"'{rest}' is no image folder" if rest else "the image folder lacks")
    return file, folder


def split_folder(spec: str, *, holds: str) -> tuple[str, str]:
    """Split `<prefix>:<folder>:<split>` into an existing folder and a split.

    `holds` says what is in such a folder, for the message.
    """
    folder, split = path_and_rest(spec, "folder", note=f" (it holds {holds})")
    if not split:
        raise form_error(spec, "the split is missing")
    return folder, split


def path_and_rest(spec: str, what: str, text: str = "", note: str = "") -> tuple[str, str]:
    """Split `<prefix>:<path>[:<rest>]`, or `text`, behind the longest leading path that exists.

    "~" is the home folder; the path returned is absolute. `what` says what it is to be, and `note`
    more, for the ValueError where there is none.
    """
    text = text or spec.partition(":")[2]
    ends = [colon.start() for colon in re.finditer("(?<=.):(?=.)", text)]
    for end in (len(text), *reversed(ends)):
        path = os.path.expanduser(text[:end])
        if path and PathManager.exists(path):
            place = os.path.abspath(path) if os.path.exists(path) else path  # else "s3://..."
            return place, text[end + 1 :]
    told = f"{what} '{text[: ends[0]] if ends else text}' does not exist{note}"
    raise form_error(spec, f"{told}; paths are relative to '{os.getcwd()}'")


def form_error(spec: str, what: str = "") -> ValueError:
    """Return the error for a specification of no known form, or of `what` is wrong with it."""
    prefix = spec.partition(":")[0]
    if form := _forms.get(prefix):
        also = f" or '{prefix}:{form.also}'" if form.also else ""
        told = f"the form '{form.usage}'{also}, such as '{form.example}'"
        return ValueError(f"dataset '{spec}': {what or 'it is not as it must be'}. Write {told}")
    near = nearest(prefix, _forms, 1, 0.5)
    told = f"'{prefix}' is none of the known forms {sorted(_forms)}{near}: {known_forms()}"
    return ValueError(f"dataset '{spec}' is not registered and no path, and {told}")


def known_forms() -> str:
    """How specifications of each form are written."""
    return ", ".join(f"'{form.usage}'" for form in _forms.values())


_FORMS = {  # prefix -> module, pattern, example, evaluator_type, location, another pattern
    "coco": (
        *("coco_json", "<json>:<image dir>", "coco:annotations/train.json:images/train"),
        *("coco", "json_file"),
    ),
    "voc": (
        *("voc", "<folder>:<split>", "voc:VOCdevkit/VOC2007:trainval", "pascal_voc", "dirname"),
        "<annotation dir>:<image dir>[:<list>]",
    ),
    "kitti": ("kitti", "<folder>:<split>", "kitti:my/kitti:3dop/train", "kitti", "image_dir"),
    "yolo": ("yolo", "<data.yaml or folder>[:<split>]", "yolo:my/data.yaml:train"),
    "csv": ("label_files", "<csv>:<image dir>", "csv:my/boxes.csv:my/images"),
    "labelme": ("label_files", "<folder>[:<image dir>]", "labelme:my/folder"),
    "cvat": ("label_files", "<xml or folder>[:<image dir>]", "cvat:my/annotations.xml:my/images"),
    "roboflow": ("recognize", "<folder>:<split>", "roboflow:my/export:train"),
}
for _prefix, (_module, *_form) in _FORMS.items():
    _forms[_prefix] = DatasetForm(_prefix, f"{__package__}.{_module}:read_form", *_form)
