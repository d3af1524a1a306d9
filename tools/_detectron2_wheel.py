"""Make a wheel of detectron2 out of its source files, with the standard library only.

The official ``setup.py`` imports torch, compiles C++ and needs setuptools of the right age. A wheel
is a zip file with four small text files, so it is written here directly: nothing is executed,
nothing is compiled, and equal sources give an equal file byte for byte.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from _detectron2_edits import REQUIREMENTS, Edit

SOURCE_RECORD = "centernet_d2_source.json"  # read back by centernet_d2.check

# Official projects that are installed below detectron2.projects, as the official setup.py does it.
_PROJECTS = {
    "projects/PointRend/point_rend/": "detectron2/projects/point_rend/",
    "projects/DeepLab/deeplab/": "detectron2/projects/deeplab/",
    "projects/Panoptic-DeepLab/panoptic_deeplab/": "detectron2/projects/panoptic_deeplab/",
}
_ZOO_CONFIGS = "detectron2/model_zoo/configs/"


class InstallError(RuntimeError):
    """Something that the user has to know; the message is printed without a traceback."""


def wheel_path_of(source_path: str) -> str | None:
    """Where a file of the source tree goes in the wheel, or None for a file that is left out."""
    suffix = PurePosixPath(source_path).suffix
    if source_path.startswith("configs/"):  # the 0.5 archive has them inside the package already
        is_config = suffix in (".yaml", ".py")
        return _ZOO_CONFIGS + source_path.removeprefix("configs/") if is_config else None
    for prefix, destination in _PROJECTS.items():
        if source_path.startswith(prefix) and suffix == ".py":
            return destination + source_path.removeprefix(prefix)
    if not source_path.startswith("detectron2/"):
        return None
    is_zoo_config = source_path.startswith(_ZOO_CONFIGS) and suffix == ".yaml"
    return source_path if suffix == ".py" or is_zoo_config else None


def select_files(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the wheel; an error where they are clearly not detectron2's."""
    files = {}
    for path, content in sources.items():
        destination = wheel_path_of(path)
        if destination is not None:
            files[destination] = content
    if "detectron2/__init__.py" not in files:
        raise InstallError("the sources hold no detectron2/__init__.py: not detectron2?")
    if not any(path.startswith(_ZOO_CONFIGS) for path in files):
        raise InstallError("the sources hold no model-zoo configs: not all of detectron2?")
    return files


def apply_edits(files: Mapping[str, bytes], edits: Iterable[Edit]) -> dict[str, bytes]:
    """A copy of ``files`` with every edit made; an edit that does not apply is an error."""
    edited = dict(files)
    changed: dict[str, list[str]] = {}
    for edit in edits:
        pattern = re.compile(edit.pattern, re.MULTILINE)
        total = 0
        for path in fnmatch.filter(edited, edit.files):
            text, count = pattern.subn(edit.replacement, edited[path].decode("utf-8"))
            if count:
                edited[path] = text.encode("utf-8")
                changed.setdefault(path, []).append(edit.name)
                total += count
        if total < edit.minimum:
            raise InstallError(
                f"edit {edit.name!r} applied {total} times in {edit.files}, expected at least "
                f"{edit.minimum} ({edit.why}). The sources are not the pinned ones; nothing was "
                "installed."
            )
    for path, names in changed.items():  # the licence asks for a notice in each changed file
        notice = f"\n# Changed for centernet_d2 by its install tool: {', '.join(names)}.\n"
        edited[path] += notice.encode("utf-8")
    return edited


def write_wheel(
    files: Mapping[str, bytes],
    *,
    version: str,
    tag: str,
    license_text: bytes,
    source: Mapping[str, object],
    directory: Path,
) -> Path:
    """Write the wheel under its final name; an interrupted run leaves nothing under that name."""
    info = f"detectron2-{version}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": _metadata(version).encode(),
        f"{info}/WHEEL": _wheel_text(tag).encode(),
        f"{info}/top_level.txt": b"detectron2\n",
        f"{info}/licenses/LICENSE": license_text,
        f"{info}/{SOURCE_RECORD}": (json.dumps(source, indent=2, sort_keys=True) + "\n").encode(),
    }
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD").encode()
    directory.mkdir(parents=True, exist_ok=True)
    destination = directory / f"detectron2-{version}-{tag}.whl"
    handle, temporary = tempfile.mkstemp(prefix=".detectron2-", suffix=".part", dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            _write_zip(stream, members)
        os.replace(temporary, destination)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return destination


def _write_zip(stream, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(members):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[path])


def _metadata(version: str) -> str:
    lines = [
        "Metadata-Version: 2.1",
        "Name: detectron2",
        f"Version: {version}",
        "Summary: Detectron2, repackaged from the official sources for centernet_d2",
        "Home-page: https://github.com/facebookresearch/detectron2",
        "License: Apache-2.0",
        "Requires-Python: >=3.9",
        *(f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS),
    ]
    return "\n".join(lines) + "\n"


def _wheel_text(tag: str) -> str:
    pure = "true" if tag.endswith("-none-any") else "false"
    return (
        "Wheel-Version: 1.0\nGenerator: centernet_d2 install_detectron2\n"
        f"Root-Is-Purelib: {pure}\nTag: {tag}\n"
    )


def _record(members: Mapping[str, bytes], own_path: str) -> str:
    rows = []
    for path in sorted(members):
        digest = base64.urlsafe_b64encode(hashlib.sha256(members[path]).digest())
        rows.append(f"{path},sha256={digest.rstrip(b'=').decode()},{len(members[path])}")
    rows.append(f"{own_path},,")
    return "\n".join(rows) + "\n"
