"""Build the source package, the wheel of it, and use the wheel where nothing of the checkout is.

    .venv-ci/bin/python .ci/check_wheel.py            # dependencies are borrowed: a minute
    .venv-ci/bin/python .ci/check_wheel.py --empty    # an empty environment, as a user has it
    .venv-ci/bin/python .ci/check_wheel.py --packages dist    # what a release does: build, no use

Run by the environment of the checkout, with requirements/release.txt in it.
"""

from __future__ import annotations

import argparse
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What setuptools adds to the sources.
GENERATED = {"PKG-INFO", "setup.cfg"}
EGG_INFO = ("PKG-INFO", "SOURCES.txt", "dependency_links.txt", "entry_points.txt")
EGG_INFO += ("requires.txt", "top_level.txt")
GENERATED |= {f"centernet_d2.egg-info/{name}" for name in EGG_INFO}
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def tracked_files() -> list[str]:
    """What git has, and what is new and not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def build(folder: Path) -> tuple[Path, Path]:
    """The source package and the wheel, in `folder`; made of a copy, as a build leaves files."""
    with tempfile.TemporaryDirectory(prefix="centernet-d2-sources-") as copy:
        for name in tracked_files():
            (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, Path(copy) / name)
        (Path(copy) / "output").mkdir()
        (Path(copy) / "output" / "stray.txt").write_text("must not be in any package")
        # Without --sdist or --wheel: the wheel is made of the source package.
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, copy]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return archive, wheel


def check_packages(archive: Path, wheel: Path) -> None:
    """Raises where one of the two is not whole, or would look broken on an index."""
    for command in (
        ("twine", "check", "--strict", archive, wheel),
        ("check_wheel_contents", wheel),
    ):
        subprocess.run([sys.executable, "-m", *command], check=True)
    with tarfile.open(archive) as members:
        packed = {file.name.partition("/")[2] for file in members if file.isfile()}
    differing = packed.symmetric_difference(set(tracked_files()) | GENERATED)
    assert not differing, f"the source package and git differ in {sorted(differing)}"
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(files.read(name))
    links = re.findall(r"\]\(([^)]*)\)", metadata.get_payload())
    relative = [link for link in links if not link.startswith(("https://", "#"))]
    assert links, "the description has no links at all"
    assert not relative, f"links that lead nowhere on an index: {relative}"
    assert metadata["License-Expression"] == "Apache-2.0", metadata["License-Expression"]


def install(wheel: Path, folder: Path, *, empty: bool) -> Path:
    """The Python of a new environment with the wheel, and the dependencies of this one or new."""
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "--python",
        python,
    ]
    own = [] if empty else ["--no-deps", "--no-index"]
    subprocess.run([*pip, "install", *own, wheel], check=True, env=CLEAN)
    if empty:
        subprocess.run([*pip, "install", "pip"], check=True, env=CLEAN)
        source = os.environ.get("DETECTRON2_SOURCE", "auto")
        for arguments in (("install-detectron2", "--source", source), ("check",)):
            command = [python.with_name("centernet-d2"), *arguments]
            subprocess.run(command, check=True, env=CLEAN, cwd=folder)
        return python
    find = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout
    # Path files in the added folder are not read, so the editable install there stays unseen.
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site.strip()) / "dependencies.pth").write_text("\n".join(paths) + "\n")
    return python


def write_published_weights(file: Path) -> None:
    """A file of the published form, with weights that anybody can make again."""
    sys.path.insert(0, str(ROOT / "tests"))
    import torch
    from published_networks import points_shapes, recorded

    torch.save({"epoch": 9, "state_dict": recorded(points_shapes("resdcn_18"))}, file)


def main() -> None:
    """Raises where a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--empty", action="store_true", help="download all dependencies anew")
    parser.add_argument("--packages", type=Path, help="leave the packages here; do not use them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="centernet-d2-wheel-") as name:
        folder = Path(name)
        archive, wheel = build(args.packages or folder)
        check_packages(archive, wheel)
        if args.packages:
            return
        python = install(wheel, folder, empty=args.empty)
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        write_published_weights(elsewhere / "resdcn_18.pth")
        smoke = Path(__file__).with_name("use_wheel.py")
        command = [python, "-I", smoke, python.parent.parent]
        subprocess.run(command, check=True, cwd=elsewhere, env=CLEAN)


if __name__ == "__main__":
    main()
