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
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from .edits import REQUIREMENTS, Edit

PURE_TAG = "py3-none-any"
SOURCE_RECORD = "centernet_d2_source.json"  # read back by centernet_d2.check
_ZOO_CONFIGS = "detectron2/model_zoo/configs/"
# Path in the sources -> path in the wheel; what fits none is left out. The 0.5 archive has the
# configs inside the package already. The projects are those that the official setup.py installs.
_PLACES = (
    (r"configs/(.+\.(?:yaml|py))", rf"{_ZOO_CONFIGS}\1"),
    (rf"({_ZOO_CONFIGS}.+\.yaml|detectron2/.+\.py|detectron2/_C\.(?!py$).+)", r"\1"),
    (r"projects/[^/]+/((?:point_rend|deeplab|panoptic_deeplab)/.+\.py)", r"detectron2/projects/\1"),
)

_METADATA = """\
Metadata-Version: 2.1
Name: detectron2
Version: {version}
Summary: Detectron2, repackaged from the official sources for centernet_d2
Home-page: https://github.com/facebookresearch/detectron2
License: Apache-2.0
Requires-Python: >=3.9{requirements}
"""
_WHEEL = """\
Wheel-Version: 1.0
Generator: centernet_d2 install_detectron2
Root-Is-Purelib: {pure}
Tag: {tag}
"""


class InstallError(OSError):
    """Something that the user has to know; the message is printed without a traceback."""


def select_files(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of the wheel; an error where they are clearly not detectron2's."""
    files = {}
    for path, content in sources.items():
        for pattern, place in _PLACES:
            if match := re.fullmatch(pattern, path):
                files[match.expand(place)] = content
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
        total = 0
        for path in fnmatch.filter(edited, edit.files):
            text = edited[path].decode("utf-8")
            text, count = re.subn(edit.pattern, edit.replacement, text, flags=re.MULTILINE)
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
    requirements = "".join(f"\nRequires-Dist: {requirement}" for requirement in REQUIREMENTS)
    pure = str(tag.endswith("-none-any")).lower()
    members = {
        **files,
        f"{info}/METADATA": _METADATA.format(version=version, requirements=requirements).encode(),
        f"{info}/WHEEL": _WHEEL.format(pure=pure, tag=tag).encode(),
        f"{info}/top_level.txt": b"detectron2\n",
        f"{info}/licenses/LICENSE": license_text,
        f"{info}/{SOURCE_RECORD}": f"{json.dumps(source, indent=2, sort_keys=True)}\n".encode(),
    }
    record = "".join(f"{path},{_digest(members[path])}\n" for path in sorted(members))
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    directory.mkdir(parents=True, exist_ok=True)
    destination = directory / f"detectron2-{version}-{tag}.whl"
    partial = destination.with_suffix(".part")
    try:
        _write_zip(partial, members)
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return destination


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(content)}"


def _write_zip(file: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(members):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, members[path])
