"""Build the wheel and use it where nothing else of the checkout can be seen.

Run it by the environment that holds the dependencies. The wheel goes into a second environment,
which finds the dependencies through a path file and the checkout nowhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("centernet_d2", "configs", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md")
SOURCES += ("LICENSE", "NOTICE")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def build(folder: Path) -> Path:
    """The wheel, of a copy of the sources: a build leaves files beside them."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
    subprocess.run([*PIP, "wheel", "--no-deps", "-w", str(folder), str(copy)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """The Python of a new environment with the wheel and the dependencies of this one."""
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    command = [*PIP, "install", "--no-deps", "--no-index", "--target", site, str(wheel)]
    subprocess.run(command, check=True)
    # Path files in the added folder are not read, so the editable install there stays unseen.
    paths = {sysconfig.get_paths()[key] for key in ("purelib", "platlib")}
    (Path(site) / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")
    return python


def main() -> None:
    """Raises where a step fails."""
    with tempfile.TemporaryDirectory(prefix="centernet-d2-wheel-") as name:
        folder = Path(name)
        python = install(build(folder), folder)
        empty = folder / "elsewhere"
        empty.mkdir()
        smoke = Path(__file__).with_name("use_wheel.py")
        subprocess.run([python, "-I", str(smoke), str(folder)], check=True, cwd=empty)


if __name__ == "__main__":
    main()
