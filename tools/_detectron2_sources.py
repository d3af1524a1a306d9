"""Get the source files of detectron2: from a git repository, or from an archive on the index."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path, PurePosixPath

from _detectron2_wheel import InstallError

REPOSITORY = "https://github.com/facebookresearch/detectron2"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # June 2026
ARCHIVE_PROJECT, ARCHIVE_NUMBER = "detectron2-cdo", "0.5"
ARCHIVE_REQUIREMENT = f"{ARCHIVE_PROJECT}=={ARCHIVE_NUMBER}"
ARCHIVE_SHA256 = "53c9e79e9cc943e80419c588ea44b5479507a8628ed14a4e06bd093e29311b18"

REACH_SECONDS = 10  # long enough for a slow answer, short enough to be turned to the index
FETCH_SECONDS = 600


def _git_environment() -> dict[str, str]:
    """No question on the terminal, and nothing of a repository that this runs inside of."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    environment.update(GIT_TERMINAL_PROMPT="0", GIT_SSH_COMMAND="ssh -oBatchMode=yes")
    return environment


def _run_git(arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-c", "core.autocrlf=false", *arguments],
        env=_git_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def git_problem(repository: str) -> str | None:
    """Why the repository cannot be fetched from, found out in seconds, or None."""
    if shutil.which("git") is None:
        return "git is not installed"
    try:
        result = _run_git(["ls-remote", "--quiet", repository, "HEAD"], REACH_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{repository} did not answer within {REACH_SECONDS} seconds"
    if result.returncode != 0:
        return result.stderr.strip() or f"{repository} did not answer"
    return None


def checkout_commit(repository: str, folder: Path) -> Path:
    """Fetch the pinned commit alone, without its history, and check it out below ``folder``."""
    problem = git_problem(repository)
    if problem:
        raise InstallError(f"source git is not to be had: {problem}")
    if "://" not in repository and Path(repository).exists():
        repository = str(Path(repository).resolve())  # git runs in another folder
    checkout = folder / "checkout"
    inside = ["-C", str(checkout)]
    steps = (
        ["init", "--quiet", str(checkout)],
        [*inside, "fetch", "--quiet", "--depth", "1", repository, COMMIT],
        [*inside, "checkout", "--quiet", "--detach", COMMIT],
    )
    for step in steps:
        try:
            result = _run_git(step, FETCH_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"git took longer than {FETCH_SECONDS} seconds: {step}") from error
        if result.returncode != 0:
            raise InstallError(f"git {' '.join(step)}: {result.stderr.strip()}")
    return checkout


def read_tree(checkout: Path) -> dict[str, bytes]:
    """Path relative to the repository -> content, of the folders that can matter."""
    sources = {"LICENSE": (checkout / "LICENSE").read_bytes()}
    for top in ("detectron2", "configs", "projects"):
        for path in sorted((checkout / top).rglob("*")):
            if path.is_file() and path.suffix in (".py", ".yaml"):
                sources[path.relative_to(checkout).as_posix()] = path.read_bytes()
    return sources


# pip is the one client that knows the user's index, mirror, proxy and certificates, but before it
# hands over a source archive it asks the archive's build system for metadata, and this archive's
# setup.py imports torch and an old setuptools. So pip is given this answer instead: nothing of the
# archive is run.
_METADATA_STAND_IN = f'''\
import os


class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(directory, config_settings=None):
        name = "{ARCHIVE_PROJECT.replace("-", "_")}-{ARCHIVE_NUMBER}.dist-info"
        os.mkdir(os.path.join(directory, name))
        with open(os.path.join(directory, name, "METADATA"), "w") as stream:
            stream.write("Metadata-Version: 2.1\\nName: {ARCHIVE_PROJECT}\\n")
            stream.write("Version: {ARCHIVE_NUMBER}\\n")
        return name
'''


def download_archive(folder: Path) -> Path:
    """Let pip download the source archive from its own index; checked against the sha256."""
    stand_in = folder / "stand_in" / "setuptools"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "build_meta.py").write_text(_METADATA_STAND_IN)
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{ARCHIVE_REQUIREMENT} --hash=sha256:{ARCHIVE_SHA256}\n")
    downloads = folder / "downloads"
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", ARCHIVE_PROJECT, "--use-pep517"]
    command += ["--no-build-isolation", "--require-hashes"]
    command += ["-r", str(requirements), "-d", str(downloads)]
    environment = {**os.environ, "PYTHONPATH": str(stand_in.parent)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    archives = sorted(downloads.glob("*.tar.gz"))
    if result.returncode != 0 or len(archives) != 1:
        raise InstallError(
            f"pip could not download {ARCHIVE_REQUIREMENT}:\n{result.stdout}{result.stderr}"
        )
    return archives[0]


def read_archive(archive: Path, sha256: str = ARCHIVE_SHA256) -> dict[str, bytes]:
    """Path without the archive's top folder -> content. Nothing is written to disk."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != sha256:
        raise InstallError(
            f"{archive.name} has sha256 {digest}, expected {sha256}: not the archive that the "
            "edits were written for; nothing was installed"
        )
    sources = {}
    with tarfile.open(archive) as members:
        for member in members:
            stream = members.extractfile(member) if member.isfile() else None
            if stream is not None:
                sources["/".join(PurePosixPath(member.name).parts[1:])] = stream.read()
    return sources


def require_compiler() -> str:
    """The C++ compiler, or an error that says how to go on without one."""
    candidates = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    for candidate in filter(None, candidates):
        if shutil.which(candidate.split()[0]):
            return candidate
    raise InstallError(
        "--with-ops: no C++ compiler found (looked for $CXX, c++, g++, clang++). Install one, or "
        "leave --with-ops out: everything in centernet_d2 runs without the compiled part"
    )


def compile_extension(checkout: Path) -> tuple[Path, str]:
    """Build ``detectron2._C`` in the checkout; gives the file and the wheel's platform tag."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # In this environment on purpose: an isolated build would not see the torch it must match.
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    for command in ([*pip, "setuptools", "wheel", "ninja"], build):
        result = subprocess.run(
            command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-30:])
            raise InstallError(f"--with-ops: {' '.join(command)} failed:\n{tail}")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    extension = checkout / "detectron2" / f"_C{suffix}"
    if not extension.exists():
        raise InstallError(f"--with-ops: the build left no {extension.name}")
    interpreter = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return extension, f"{interpreter}-{interpreter}-{platform}"
