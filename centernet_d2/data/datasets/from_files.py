"""Datasets named by their files, registered without code: an open registry of forms.

A specification is `<prefix>:<what the form reads>`. `coco:<json>:<image dir>`,
`voc:<folder>:<split>` and `kitti:<folder>:<split>` are built in, and their readers are imported
when they are first used. `register_dataset_form` adds others.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileDataset:
    """What a reader makes of a specification; classes and records are only read by `register`.

    The name is made of `stem` and a hash of `parts`; `<prefix>:<part>:<part>` is kept as the
    specification in saved configs.
    """

    stem: str
    parts: tuple[str, ...]  # as after the prefix, paths made absolute (see `absolute`)
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

    @property
    def usage(self) -> str:
        """How such a specification is written: "voc:<folder>:<split>"."""
        return f"{self.prefix}:{self.pattern}"


_forms: dict[str, DatasetForm] = {}
_read: dict[str, str] = {}  # name -> what its files said of it, when it was registered last
_chosen: set[tuple[str, str]] = set()  # dataset, choice


def register_dataset_form(prefix: str, reader: Reader | str, **options: str) -> None:
    """Add a `DatasetForm`, so that DATASETS.TRAIN and TEST take `<prefix>:...`, a free word."""
    if not re.fullmatch(r"[\w-]+", prefix) or prefix in _forms:
        raise ValueError(
            f"dataset form '{prefix}': the prefix must be a word that is none of {sorted(_forms)}"
        )
    _forms[prefix] = DatasetForm(prefix, reader, **options)


def is_file_spec(name: str) -> bool:
    """Whether a name that is not registered is meant as files: by a colon or as a bare path.

    A bare path has no form, which `register_from_files` says.
    """
    return name not in DatasetCatalog and (":" in name or bool(_completed(name)))


def _completed(path: str) -> str:
    """How a JSON file or a folder that was named alone is written; "" if it is neither."""
    if path.endswith(".json"):
        return f"'coco:{path}:<image dir>'"
    is_folder = os.sep in path and os.path.isdir(os.path.expanduser(path))
    return f"'voc:{path}:<split>' or 'kitti:{path}:<split>'" if is_folder else ""


def form_of(metadata: Metadata) -> DatasetForm:
    """Return the form of a dataset: by its specification, else its evaluator, else COCO's."""
    prefix = str(metadata.get("file_spec", "")).partition(":")[0]
    kind = metadata.get("evaluator_type")
    by_kind = (form for form in _forms.values() if kind and form.evaluator_type == kind)
    return _forms.get(prefix) or next(by_kind, _forms["coco"])


def register_from_files(spec: str) -> str:
    """Register a specification and return the short name that it is registered under.

    `coco:` takes classes and joints from the categories of the JSON; `voc:` VOC's classes, or those
    in `classes.txt` in the folder, one per line; `kitti:` KITTI's or likewise, a split such as
    "3dop/train", "train" (of `ImageSets/train.txt`) or "test", or the path of a list that ends in
    ".txt", and labels where there is a folder `training/label_2`.

    The name is safe as a folder name and equal in every process; calling it again returns the same,
    and registers it anew where its files say something else than before: then what was added to its
    metadata since is gone. Classes are known now, records are only read when the dataset is used.
    The metadata keeps the specification with absolute paths as `file_spec`. ValueError lists what
    was tried where it names no known form or no existing files.
    """
    prefix, colon, _ = spec.partition(":")
    form = _forms.get(prefix)
    if form is None or not colon:
        raise form_error(spec)
    reader = pkgutil.resolve_name(form.reader) if isinstance(form.reader, str) else form.reader
    dataset = reader(spec)
    name = dataset_name(dataset.stem, *dataset.parts)
    if name not in DatasetCatalog or name in _read:  # else it is somebody's own
        _register(name, dataset, ":".join([prefix, *dataset.parts]))
    return name


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
            logger.warning(
                "Dataset '%s' has changed and is registered anew (%s), without what was added to "
                "its metadata since",
                *(name, spec),
            )
        _read[name] = read
    finally:
        if same or name not in DatasetCatalog:  # the files cannot be read now: as it was
            for catalog, entry in zip(catalogs, before, strict=True):
                catalog.pop(name, None)
                if entry is not None:
                    catalog[name] = entry


def what_files_say(specs: Iterable[str]) -> tuple[str, ...]:
    """What the metadata of these specifications holds, registered anew where files have changed.

    "" for those that cannot be registered.
    """
    said = []
    for spec in specs:
        try:
            said.append(_read.get(register_from_files(spec), ""))
        except (ValueError, OSError):
            said.append("")
    return tuple(said)


def dataset_name(stem: str, *parts: str) -> str:
    """Return `stem` in letters, digits, "_", "-" and ".", and eight digits of a hash of `parts`."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._-") or "dataset"
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return f"{safe[:48]}_{digest}"


def choose(names: Iterable[str], choice: str, made: bool) -> None:
    """Say how these datasets are read, in this process and from the next loading on.

    Choices: "missing_frames" may be left out (`DATASETS.KITTI.ALLOW_MISSING`); images
    "without_xml" are negatives (`DATASETS.VOC.MISSING_XML`); pixels are taken "as_stored"
    (`INPUT.EXIF_ORIENTATION`).
    """
    pairs = {(name, choice) for name in names}
    _chosen.difference_update(pairs)
    _chosen.update(pairs if made else ())


def is_chosen(name: str, choice: str) -> bool:
    """Whether a dataset is read so; see `choose`."""
    return (name, choice) in _chosen


def split_paths(spec: str, *, kind: str = "file") -> tuple[str, str]:
    """Split `<prefix>:<file>:<image dir>` into its two paths, which may hold blanks and colons.

    Every colon is tried as the separator; the split whose file and folder exist is taken. "~" is
    the home folder; the paths returned are absolute. `kind` names the file in messages.
    """
    rest = spec.partition(":")[2]
    tried = []
    for colon in re.finditer("(?<=.):(?=.)", rest):
        file = os.path.expanduser(rest[: colon.start()])
        folder = os.path.expanduser(rest[colon.end() :])
        found = [PathManager.isfile(file), PathManager.isdir(folder)]
        if all(found):
            return absolute(file), absolute(folder)
        if PathManager.isdir(file) and PathManager.isfile(folder):
            right = f"{spec.partition(':')[0]}:{folder}:{file}"
            raise ValueError(f"dataset '{spec}' has the folder before the {kind}: write '{right}'")
        states = ["found" if exists else "missing" for exists in found]
        tried.append(f"{kind} '{file}' ({states[0]}), images '{folder}' ({states[1]})")
    if not tried:
        raise form_error(spec)
    raise ValueError(
        f"dataset '{spec}' names no existing {kind} and image folder; tried: "
        f"{'; '.join(tried)}. Paths are relative to '{os.getcwd()}'; correct the part that is "
        "missing"
    )


def split_folder(spec: str, *, holds: str) -> tuple[str, str]:
    """Split `<prefix>:<folder>:<split>` at its last colon into an existing folder and a split.

    `holds` says what is in such a folder, for the message.
    """
    folder, _, split = spec.partition(":")[2].rpartition(":")
    if not folder or not split:
        raise form_error(spec)
    folder = os.path.expanduser(folder)
    if not PathManager.isdir(folder):
        raise ValueError(
            f"dataset '{spec}': folder '{folder}' does not exist. It is the one that holds "
            f"{holds}; paths are relative to '{os.getcwd()}'"
        )
    return absolute(folder), split


def form_error(spec: str) -> ValueError:
    """Return the error for a specification that has no known form, or not that of its prefix."""
    prefix, colon, _ = spec.partition(":")
    forms = " or ".join(f"'{form.usage}', such as '{form.example}'" for form in _forms.values())
    message = f"dataset '{spec}' does not have the form {forms}"
    if not colon and (complete := _completed(spec)):
        message += f". Write {complete}"
    if colon and prefix not in _forms:
        near = difflib.get_close_matches(prefix, _forms, n=1, cutoff=0.5)
        message += f". '{prefix}' is none of the known forms {sorted(_forms)}" + (
            f"; did you mean '{near[0]}'?" if near else ""
        )
    return ValueError(message)


def absolute(path: str) -> str:
    """Return an absolute path; one of detectron2's PathManager ("s3://...") stays as it is."""
    return os.path.abspath(path) if os.path.exists(path) else path


_COCO = "<json>:<image dir>", "coco:annotations/train.json:images/train", "coco", "json_file"
_VOC = "<folder>:<split>", "voc:VOCdevkit/VOC2007:trainval", "pascal_voc", "dirname"
_KITTI = "<folder>:<split>", "kitti:my/kitti:3dop/train", "kitti", "image_dir"
for _module, _form in {"coco_json": _COCO, "voc": _VOC, "kitti": _KITTI}.items():
    _prefix = _module.partition("_")[0]
    _forms[_prefix] = DatasetForm(_prefix, f"{__package__}.{_module}:read_form", *_form)
