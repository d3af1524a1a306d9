"""Finding an entry or a shipped model, its config file and its weights by name."""

import importlib.resources
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..checked_values import nearest
from ..checkpoint.download import DownloadError, download
from ..checkpoint.files import WeightFileError, cache_dir, sha256_of
from ..progress import tell_once
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
        f"The model zoo has no '{name}'{nearest_names(name, [*known, *shipped_models()])}. All are "
        "listed by `centernet-d2 models list` and centernet_d2.model_zoo.names()."
    )


def known_names() -> dict[str, Entry]:
    """Every name that an entry is found by, and the entry."""
    return {known: entry for entry in ENTRIES for known in names_of(entry)}


def names() -> list[str]:
    """All models: those in the package, then the entries by full name."""
    return [*shipped_models(), *(entry.name for entry in ENTRIES)]


def names_of(entry: Entry) -> tuple[str, ...]:
    """Full name, name without folder, and the authors' name."""
    return tuple(dict.fromkeys((entry.name, entry.short_name, entry.published_name)))


def shipped_models() -> dict[str, Path]:
    """The models inside the package, which no network is needed for: name -> file of weights."""
    folder = Path(str(importlib.resources.files(__package__))) / "shipped"
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def shipped_file(name: str) -> Path | None:
    """The file of a shipped model; None of other names, and of one that a file here has."""
    tell_namesake(name)
    file = shipped_models().get(name)
    return None if file and Path(name).is_file() else file


def shipped_card(name: str) -> tuple[dict[str, Any], str]:
    """The card of a shipped model: what its header states, and its text."""
    card = shipped_models()[name].with_suffix(".md").read_text(encoding="utf-8")
    _, header, text = card.split("---\n", 2)
    return yaml.safe_load(header), text.strip()


def tell_namesake(name: str) -> None:
    """Warn where a file or folder here has the name of a model, and say which of the two it is."""
    path = Path(name).absolute()
    if name not in {*known_names(), *shipped_models()} or not path.exists():
        return
    told = f"'{name}' is the model of that name, not the folder {path}: name a file in that."
    if path.is_file():
        told = f"'{name}' is the file {path}, not the model of that name: rename it to have that."
    tell_once(told)


def without_ending(name: str) -> str:
    """Drop a file ending."""
    stem, dot, ending = name.rpartition(".")
    return stem if f"{dot}{ending}" in ENDINGS else name


def nearest_names(name: str, known: Iterable[str]) -> str:
    """`nearest` of names without folder, which would make all of one folder near, and ending."""
    return nearest(
        name, known, 4, 0.5, key=lambda each: without_ending(each).rpartition("/")[2].lower()
    )


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
        near = f"{nearest_names(name, [*known, *shipped_models()])}."
        if name in shipped_models():
            near = f". The model '{name}' carries its own: name it as weights."
        raise UnknownModelError(f"There is no config '{name}'{near}")
    return str(folder / found)


def weights_place(entry: Entry) -> Path:
    """Where the entry's published file is kept, downloaded or put there by hand."""
    return cache_dir() / "weights" / f"{entry.short_name}.pth"


def by_hand(entry: Entry) -> str:
    """How a person brings the entry's file here."""
    page = entry.weights.page or entry.weights.url
    return f"By hand: open {page} in a browser and save the file as {weights_place(entry)}"


def fetch_weights(entry: Entry) -> Path:
    """The entry's published file: from the cache, else downloaded into it.

    Raises:
        DownloadError: it cannot be had without a person, or is another file; with what to do.
    """
    file, location = weights_place(entry), entry.weights
    try:
        download(location.url, file.parent, name=file.name, sha256=location.sha256)
        if location.sha256 and not (found := sha256_of(file)).startswith(location.sha256):
            told = f"'{file}' has SHA-256 {found}, expected {location.sha256}: remove it."
            raise WeightFileError(told)  # it was put there by hand
    except (DownloadError, WeightFileError) as error:
        raise DownloadError(
            f"The weights of '{entry.name}' could not be had: {error}\n"
            f"{by_hand(entry)}, or anywhere and set MODEL.WEIGHTS published:<file>."
        ) from error
    return file
