#!/usr/bin/env python3
"""Install detectron2, which is not on the package index, into the Python that runs this script.

    python tools/install_detectron2.py --source auto|git|pypi [--repository URL_OR_PATH]
                                       [--with-ops] [--wheel-dir DIR] [--dry-run]

auto   what is importable stays; else git; where git or its host is missing, pypi
git    the official repository at one pinned commit, as a pure-Python wheel;
       --with-ops compiles its C++ part too (a compiler is needed, minutes)
pypi   the Python files of release 0.5 from the package index (an archive of a third party, pinned
       by sha256; they are those of the official tag v0.5, byte by byte), with the edits that
       today's Python, numpy and Pillow need

The standard library, pip and (for git) git are all this needs. Nothing of the fetched sources is
executed, except by --with-ops.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import _detectron2_edits as table
import _detectron2_sources as origin
from _detectron2_wheel import PURE_TAG, InstallError, apply_edits, select_files, write_wheel
from install_opencv import import_problem

# The commit calls itself 0.6, as the release of 2021 does; the local part tells them apart.
GIT_VERSION = f"0.6+g{origin.COMMIT[:8]}"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=("auto", "git", "pypi"), default="auto")
    parser.add_argument(
        "--repository", default=origin.REPOSITORY, help="URL or local path, for git"
    )
    parser.add_argument("--with-ops", action="store_true", help="compile the C++ part (git only)")
    parser.add_argument("--wheel-dir", type=Path, help="keep the wheel in this folder")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    return parser.parse_args(arguments)


def installed_problem(with_ops: bool = False) -> str | None:
    """Why the detectron2 of this environment cannot stay, or None where it imports."""
    extension = ", detectron2._C" if with_ops else ""
    return import_problem(f"import detectron2, detectron2.modeling{extension}")


def choose_source(
    options: argparse.Namespace,
    installed: Callable[[bool], str | None] = installed_problem,
    git: Callable[[str], str | None] = origin.git_problem,
) -> str:
    """Turn ``auto`` into ``installed``, ``git`` or ``pypi``, and say why."""
    if options.source != "auto":
        return options.source
    if (problem := installed(options.with_ops)) is None:
        return "installed"
    print(f"detectron2 in this environment: {problem}")
    if (problem := git(options.repository)) is None:
        return "git"
    print(f"source git is not to be had: {problem}")
    return "pypi"


def build_from_git(repository: str, with_ops: bool, wheel_dir: Path) -> Path:
    """The wheel of the pinned commit."""
    edits = table.PKG_RESOURCES_EDITS + (() if with_ops else table.MAIN_MISSING_OPS_EDITS)
    record = {"source": "git", "repository": repository, "commit": origin.COMMIT}
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        sources, tag = origin.read_git(repository, with_ops, Path(folder))
    return _build(sources, edits, record, GIT_VERSION, wheel_dir, tag)


def build_from_archive(wheel_dir: Path) -> Path:
    """The wheel of the 0.5 sources on the package index."""
    edits = table.PKG_RESOURCES_EDITS + table.RELEASE_05_EDITS
    record = {"source": "pypi", "archive": origin.ARCHIVE_REQUIREMENT}
    record["sha256"] = origin.ARCHIVE_SHA256
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        sources = origin.read_archive(origin.download_archive(Path(folder)))
    return _build(sources, edits, record, origin.ARCHIVE_NUMBER, wheel_dir)


def _build(sources, edits, record, version: str, wheel_dir: Path, tag: str = PURE_TAG) -> Path:
    files, pure = apply_edits(select_files(sources), edits), tag == PURE_TAG
    if pure:
        files[table.MISSING_OPS_PATH] = table.MISSING_OPS_TEXT.encode()
    return write_wheel(
        files,
        version=version,
        tag=tag,
        license_text=sources["LICENSE"],
        source={**record, "compiled_ops": not pure, "edits": [edit.name for edit in edits]},
        directory=wheel_dir,
    )


def install_wheel(wheel: Path) -> None:
    """Requirements first, so that a failure among them leaves the environment as it was."""
    # An older build has the same version, so pip would keep it without the force.
    for arguments in (table.REQUIREMENTS, ("--no-deps", "--force-reinstall", str(wheel))):
        step = [*origin.PIP, "install", "--quiet", *arguments]
        if subprocess.run(step).returncode != 0:
            raise InstallError(f"pip failed: {' '.join(step)}")


def run(options: argparse.Namespace) -> None:
    """Choose, build and install."""
    if options.with_ops and options.source == "pypi":
        raise InstallError("--with-ops needs --source git: the archive has no C++ sources")
    source = choose_source(options)
    if source == "installed":
        print("detectron2: what is importable stays; nothing to do")
        return
    if options.with_ops and source == "pypi":
        raise InstallError("--with-ops needs the git source, which cannot be reached")
    is_git = source == "git"
    pin = f"{options.repository} at {origin.COMMIT}" if is_git else origin.ARCHIVE_REQUIREMENT
    print(f"detectron2: taking source {source} ({pin})")
    if options.dry_run:
        return
    with tempfile.TemporaryDirectory(prefix="detectron2-wheel-") as folder:
        wheel_dir = options.wheel_dir or Path(folder)
        if is_git:
            wheel = build_from_git(options.repository, options.with_ops, wheel_dir)
        else:
            wheel = build_from_archive(wheel_dir)
        install_wheel(wheel)
    print(f"detectron2: installed {wheel.name} from source {source}")


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 where detectron2 is installed, 1 with a message where it is not."""
    try:
        run(parse_arguments(arguments))
    except InstallError as error:
        print(f"install_detectron2: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
