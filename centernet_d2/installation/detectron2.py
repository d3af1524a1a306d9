"""Install detectron2, which is not on the package index, into the Python that runs this.

Nothing of the fetched sources is executed, except where its C++ part is asked for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
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


def build(
    source: str, wheel_dir: Path, *, repository: str = sources.REPOSITORY, with_ops: bool = False
) -> Path:
    """Write the wheel of the pinned commit ("git"), or of the 0.5 sources on the index ("pypi")."""
    rows: tuple[edits.Edit, ...] = edits.RELEASE_05_EDITS
    record = {"archive": sources.ARCHIVE_REQUIREMENT, "sha256": sources.ARCHIVE_SHA256}
    version, tag = sources.ARCHIVE_NUMBER, PURE_TAG
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        if source == "git":
            rows = () if with_ops else edits.MAIN_MISSING_OPS_EDITS
            version, record = GIT_VERSION, {"repository": repository, "commit": sources.COMMIT}
            content, tag = sources.read_git(repository, with_ops, Path(folder))
        else:
            content = sources.read_archive(sources.download_archive(Path(folder)))
    rows, pure = (*edits.PKG_RESOURCES_EDITS, *rows), tag == PURE_TAG
    files = apply_edits(select_files(content), rows)
    if pure:
        files[edits.MISSING_OPS_PATH] = edits.MISSING_OPS_TEXT.encode()
    made = {"source": source, "compiled_ops": not pure, "edits": [row.name for row in rows]}
    return write_wheel(
        files,
        version=version,
        tag=tag,
        license_text=content["LICENSE"],
        source={**record, **made},
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
    pins = {"git": f"{repository} at {sources.COMMIT}", "pypi": sources.ARCHIVE_REQUIREMENT}
    print(f"detectron2: taking source {source} ({pins[source]})")
    if dry_run:
        return
    if is_missing("pip"):  # as in an environment of uv's
        raise InstallError(f"This environment has no pip, which is needed: {NO_PIP}")
    with tempfile.TemporaryDirectory(prefix="detectron2-wheel-") as folder:
        directory = wheel_dir or Path(folder)
        wheel = build(source, directory, repository=repository, with_ops=with_ops)
        install_wheel(wheel)
    print(f"detectron2: installed {wheel.name} from source {source}")
    if problem := import_problem(with_ops):  # without torch or cv2, which it does not bring
        error = ImportError(problem.partition(": ")[2] or problem)
        raise InstallError(f"It is installed, but {explain('detectron2', error)}")
