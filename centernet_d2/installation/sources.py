"""Get the source files of detectron2: from a git repository, or from an archive on the index."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

from .wheel import PURE_TAG, InstallError

REPOSITORY = "https://github.com/facebookresearch/detectron2"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"  # June 2026
ARCHIVE_PROJECT, ARCHIVE_NUMBER = "detectron2-cdo", "0.5"
ARCHIVE_REQUIREMENT = f"{ARCHIVE_PROJECT}=={ARCHIVE_NUMBER}"
ARCHIVE_SHA256 = "53c9e79e9cc943e80419c588ea44b5479507a8628ed14a4e06bd093e29311b18"

REACH_SECONDS = 10  # long enough for a slow answer, short enough to be turned to the index
FETCH_SECONDS = 600
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def _git_environment() -> dict[str, str]:
    """No question on the terminal, and nothing of a repository that this runs inside of."""
    outer = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return environment | {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}


def _problem_of_git(*arguments: str, seconds: float) -> str | None:
    """Run git; what it says where it fails, or None."""
    command = ["git", "-c", "core.autocrlf=false", *arguments]
    ask = functools.partial(subprocess.run, stdin=subprocess.DEVNULL, capture_output=True)
    try:
        result = ask(command, env=_git_environment(), timeout=seconds, text=True)
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds} seconds: git {' '.join(arguments)}"
    if result.returncode == 0:
        return None
    return f"git {' '.join(arguments)}: {result.stderr.strip() or 'no answer'}"


def git_problem(repository: str) -> str | None:
    """Why the repository cannot be fetched from, found out in seconds, or None."""
    if shutil.which("git") is None:
        return "git is not installed"
    return _problem_of_git("ls-remote", "--quiet", repository, "HEAD", seconds=REACH_SECONDS)


def read_git(repository: str, with_ops: bool, folder: Path) -> tuple[dict[str, bytes], str]:
    """Path in the repository -> content, at the pinned commit, and the wheel's platform tag.

    The commit alone is fetched into an empty folder, without its history; with ops it is compiled.
    """
    compiler = require_compiler() if with_ops else None
    problem = git_problem(repository)
    if problem:
        raise InstallError(f"source git is not to be had: {problem}")
    if "://" not in repository and Path(repository).exists():
        repository = str(Path(repository).resolve())  # git runs in another folder
    for step in (
        ("init", "--quiet"),
        ("fetch", "--quiet", "--depth", "1", repository, COMMIT),
        ("checkout", "--quiet", "--detach", COMMIT),
    ):
        problem = _problem_of_git("-C", str(folder), *step, seconds=FETCH_SECONDS)
        if problem:
            raise InstallError(problem)
    paths, tag = [folder / "LICENSE"], PURE_TAG
    for top in ("detectron2", "configs", "projects"):
        files = sorted((folder / top).rglob("*"))
        paths += [path for path in files if path.is_file() and path.suffix in (".py", ".yaml")]
    if compiler:
        print(f"compiling detectron2's C++ part with {compiler}: this takes minutes")
        extension, tag = compile_extension(folder)
        paths.append(extension)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, tag


# pip is the one client that knows the user's index, mirror, proxy and certificates, but before it
# hands over a source archive it asks the archive's build system for metadata, and this archive's
# setup.py imports torch and an old setuptools. So pip is given this answer instead: nothing of the
# archive is run.
_METADATA_STAND_IN = f'''\
from pathlib import Path


class __legacy__:
    @staticmethod
    def prepare_metadata_for_build_wheel(directory, config_settings=None):
        info = Path(directory) / "{ARCHIVE_PROJECT.replace("-", "_")}-{ARCHIVE_NUMBER}.dist-info"
        info.mkdir()
        lines = "Metadata-Version: 2.1", "Name: {ARCHIVE_PROJECT}", "Version: {ARCHIVE_NUMBER}"
        (info / "METADATA").write_text("\\n".join(lines))
        return info.name
'''


def download_archive(folder: Path) -> Path:
    """Let pip download the source archive from its own index; checked against the sha256."""
    stand_in = folder / "stand_in" / "setuptools"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "build_meta.py").write_text(_METADATA_STAND_IN)
    requirements, downloads = folder / "requirements.txt", folder / "downloads"
    requirements.write_text(f"{ARCHIVE_REQUIREMENT} --hash=sha256:{ARCHIVE_SHA256}\n")
    command = [*PIP, "download", "--no-deps", "--no-binary", ARCHIVE_PROJECT, "--use-pep517"]
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
    with tarfile.open(archive) as members:
        opened = {member.name: members.extractfile(member) for member in members}
        return {name.partition("/")[2]: file.read() for name, file in opened.items() if file}


def require_compiler() -> str:
    """The C++ compiler, or an error that says how to go on without one."""
    for candidate in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if candidate and shutil.which(candidate.split()[0]):
            return candidate
    raise InstallError(
        "--with-ops: no C++ compiler found (looked for $CXX, c++, g++, clang++). Install one, or "
        "leave --with-ops out: everything in centernet_d2 runs without the compiled part"
    )


def compile_extension(checkout: Path) -> tuple[Path, str]:
    """Build ``detectron2._C`` in the checkout; gives the file and the wheel's platform tag."""
    # In this environment on purpose: an isolated build would not see the torch it must match.
    build = (sys.executable, "setup.py", "--quiet", "build_ext", "--inplace")
    for command in ((*PIP, "install", "--quiet", "setuptools", "wheel", "ninja"), build):
        result = subprocess.run(
            command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-30:])
            raise InstallError(f"--with-ops: {' '.join(command)} failed:\n{tail}")
    extension = checkout / "detectron2" / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not extension.exists():
        raise InstallError(f"--with-ops: the build left no {extension.name}")
    interpreter = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return extension, f"{interpreter}-{interpreter}-{platform}"
