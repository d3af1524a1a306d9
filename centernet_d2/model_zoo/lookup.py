"""Finding an entry, its config file and its weights by name."""

import difflib
import importlib.resources
from collections.abc import Iterable
from pathlib import Path

from ..checkpoint.download import DownloadError, download
from ..checkpoint.files import WeightFileError, cache_dir
from .entries import ENTRIES, Entry

ENDINGS = (".yaml", ".pth", ".py")


class UnknownModelError(ValueError):
    """No entry or config has this name. The message lists near ones."""


def find_entry(name: str) -> Entry:
    """The entry with this name: with or without folder and ending, or as its authors call it.

    Raises:
        UnknownModelError: there is none.
    """
    known = known_names()
    if entry := known.get(without_ending(name)):
        return entry
    raise UnknownModelError(
        f"The model zoo has no '{name}'.{near_names(name, known)} All are listed by "
        "`centernet-d2 models list` and centernet_d2.model_zoo.names()."
    )


def known_names() -> dict[str, Entry]:
    """Every name that an entry is found by, and the entry."""
    return {known: entry for entry in ENTRIES for known in names_of(entry)}


def names() -> list[str]:
    """All entries, by full name."""
    return [entry.name for entry in ENTRIES]


def names_of(entry: Entry) -> tuple[str, ...]:
    """Full name, name without folder, and the authors' name."""
    return tuple(dict.fromkeys((entry.name, entry.short_name, entry.published_name)))


def without_ending(name: str) -> str:
    """Drop a file ending."""
    stem, dot, ending = name.rpartition(".")
    return stem if f"{dot}{ending}" in ENDINGS else name


def near_names(name: str, known: Iterable[str]) -> str:
    """A blank and a sentence with the names nearest to `name`; "" where none is near."""
    # The folder would make all names of one folder near.
    by_last = {known_name.rpartition("/")[2]: known_name for known_name in known}
    last = without_ending(name).rpartition("/")[2]
    near = difflib.get_close_matches(last, by_last, n=4, cutoff=0.5)
    return f" Near: {', '.join(by_last[found] for found in near)}." if near else ""


def config_folder() -> Path:
    """The shipped configs: inside an installed package, beside it in a checkout."""
    shipped = Path(str(importlib.resources.files(__package__))) / "configs"
    return shipped if shipped.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def config_names() -> list[str]:
    """All shipped configs that describe a model, as paths with ending."""
    folder = config_folder()
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in (".yaml", ".py")
        and not path.name.startswith(("Base-", "_"))
        and path.relative_to(folder).parts[0] != "common"  # parts of LazyConfigs
    )


def get_config_file(name: str) -> str:
    """The file of a shipped config.

    Args:
        name: a path in the folder of configs, or any name of a zoo entry.

    Raises:
        UnknownModelError: there is none.
    """
    folder = config_folder()
    known = {known: entry.config for known, entry in known_names().items()}
    for config in reversed(config_names()):  # of one short name the first counts
        full = without_ending(config)
        known |= {full.rpartition("/")[2]: config, full: config}
    found = name if (folder / name).is_file() else known.get(without_ending(name))
    if not found:
        raise UnknownModelError(f"There is no config '{name}'.{near_names(name, known)}")
    return str(folder / found)


def fetch_weights(entry: Entry) -> Path:
    """The entry's published file: from the cache, else downloaded into it.

    Raises:
        DownloadError: it cannot be had without a person; the message says what to do.
    """
    file = cache_dir() / "weights" / f"{entry.short_name}.pth"  # or put there by hand
    location = entry.weights
    try:
        return download(location.url, file.parent, name=file.name, sha256=location.sha256)
    except (DownloadError, WeightFileError) as error:
        page = location.page or location.url
        raise DownloadError(
            f"The weights of '{entry.name}' could not be downloaded: {error}\n"
            f"By hand: open {page} in a browser and save the file as {file}, or anywhere and set "
            "MODEL.WEIGHTS published:<file>."
        ) from error
