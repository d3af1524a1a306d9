"""Install detectron2, which is not on the package index, into the Python that runs this.

Nothing of the fetched sources is executed, except where its C++ part is asked for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..missing import explain, is_missing
from . import edits, sources
from .wheel import PURE_TAG, InstallError, apply_edits, select_files, write_wheel

SOURCES = ("auto", "git", "pypi")
NO_PIP = f"{sys.executable} -m ensurepip, or uv pip install pip"
# The commit calls itself 0.6, as the release of 2021 does; the local part tells them apart.
GIT_VERSION = f"0.6+g{sources.COMMIT[:8]}"


def import_problem(with_ops: bool = False) -> str | None:
    """Why detectron2 does not import in a fresh process of this Python, or None where it does."""
    extension = ", detectron2._C" if with_ops else ""
    command = [sys.executable, "-c", f"import detectron2, detectron2.modeling{extension}"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    return (result.stderr.strip().splitlines() or ["it does not import"])[-1]


def choose_source(
    source: str,
    *,
    repository: str,
    with_ops: bool = False,
    installed: Callable[[bool], str | None] = import_problem,
    git: Callable[[str], str | None] = sources.git_problem,
) -> str:
    """Turn ``auto`` into ``installed``, ``git`` or ``pypi``, and say why."""
    if source != "auto":
        return source
    if (problem := installed(with_ops)) is None:
        return "installed"
    print(f"detectron2 in this environment: {problem}")
    if (problem := git(repository)) is None:
        return "git"
    print(f"source git is not to be had: {problem}")
    return "pypi"


def build_from_git(repository: str, with_ops: bool, wheel_dir: Path) -> Path:
    """The wheel of the pinned commit."""
    rows = edits.PKG_RESOURCES_EDITS + (() if with_ops else edits.MAIN_MISSING_OPS_EDITS)
    record = {"source": "git", "repository": repository, "commit": sources.COMMIT}
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        files, tag = sources.read_git(repository, with_ops, Path(folder))
    return _build(files, rows, record, GIT_VERSION, wheel_dir, tag)


def build_from_archive(wheel_dir: Path) -> Path:
    """The wheel of the 0.5 sources on the package index."""
    rows = edits.PKG_RESOURCES_EDITS + edits.RELEASE_05_EDITS
    record = {"source": "pypi", "archive": sources.ARCHIVE_REQUIREMENT}
    record["sha256"] = sources.ARCHIVE_SHA256
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        files = sources.read_archive(sources.download_archive(Path(folder)))
    return _build(files, rows, record, sources.ARCHIVE_NUMBER, wheel_dir)


def _build(
    content: Mapping[str, bytes],
    rows: Iterable[edits.Edit],
    record: Mapping[str, object],
    version: str,
    wheel_dir: Path,
    tag: str = PURE_TAG,
) -> Path:
    files, pure = apply_edits(select_files(content), rows), tag == PURE_TAG
    if pure:
        files[edits.MISSING_OPS_PATH] = edits.MISSING_OPS_TEXT.encode()
    return write_wheel(
        files,
        version=version,
        tag=tag,
        license_text=content["LICENSE"],
        source={**record, "compiled_ops": not pure, "edits": [row.name for row in rows]},
        directory=wheel_dir,
    )


def install_wheel(wheel: Path) -> None:
    """Requirements first, so that a failure among them leaves the environment as it was."""
    # An older build has the same version, so pip would keep it without the force.
    for arguments in (edits.REQUIREMENTS, ("--no-deps", "--force-reinstall", str(wheel))):
        step = [*sources.PIP, "install", "--quiet", *arguments]
        if subprocess.run(step).returncode != 0:
            raise InstallError(f"pip failed: {' '.join(step)}")


def install(
    source: str = "auto",
    *,
    repository: str = sources.REPOSITORY,
    with_ops: bool = False,
    wheel_dir: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Choose, build and install.

    Args:
        source: one of `SOURCES`.
        repository: URL or local path, for git.
        with_ops: compile the C++ part, which git alone has.
        wheel_dir: keep the wheel in this folder.
        dry_run: say what would be done, and stop.

    Raises:
        InstallError: it cannot be had or built, or does not import in the end, with the cure.
    """
    if with_ops and source == "pypi":
        raise InstallError("--with-ops needs --source git: the archive has no C++ sources")
    source = choose_source(source, repository=repository, with_ops=with_ops)
    if source == "installed":
        print("detectron2: what is importable stays; nothing to do")
        return
    if with_ops and source == "pypi":
        raise InstallError("--with-ops needs the git source, which cannot be reached")
    is_git = source == "git"
    pin = f"{repository} at {sources.COMMIT}" if is_git else sources.ARCHIVE_REQUIREMENT
    print(f"detectron2: taking source {source} ({pin})")
    if dry_run:
        return
    if is_missing("pip"):  # as in an environment of uv's
        raise InstallError(f"This environment has no pip, which is needed: {NO_PIP}")
    with tempfile.TemporaryDirectory(prefix="detectron2-wheel-") as folder:
        directory = wheel_dir or Path(folder)
        if is_git:
            wheel = build_from_git(repository, with_ops, directory)
        else:
            wheel = build_from_archive(directory)
        install_wheel(wheel)
    print(f"detectron2: installed {wheel.name} from source {source}")
    if problem := import_problem(with_ops):  # without torch or cv2, which it does not bring
        error = ImportError(problem.partition(": ")[2] or problem)
        raise InstallError(f"It is installed, but {explain('detectron2', error)}")
