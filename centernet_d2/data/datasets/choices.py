"""How datasets are read, where the config has a choice."""

from collections.abc import Iterable

from detectron2.data import MetadataCatalog

_chosen: set[tuple[str, str]] = set()  # dataset, choice


def choose(names: Iterable[str], choice: str, made: bool) -> None:
    """Say how these datasets are read, in this process and from the next loading on.

    Choices: "missing_frames" may be left out (`DATASETS.KITTI.ALLOW_MISSING`); images
    "without_xml" are negatives (`DATASETS.VOC.MISSING_XML`); pixels are taken "as_stored"
    (`INPUT.EXIF_ORIENTATION`).
    """
    found = set(names)
    found |= {m.selection.base for m in map(MetadataCatalog.get, found) if m.get("selection")}
    pairs = {(name, choice) for name in found}
    _chosen.difference_update(pairs)
    _chosen.update(pairs if made else ())


def is_chosen(name: str, choice: str) -> bool:
    """Whether a dataset is read so; see `choose`."""
    return (name, choice) in _chosen
