#!/usr/bin/env python3
"""Install opencv where cv2 does not import. A second opencv wheel is never put beside another.

``opencv-python`` and ``opencv-python-headless`` write into the same folder ``cv2``, so two of them
break each other; whichever is there stays.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

WHEELS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def installed_wheels() -> list[str]:
    """The opencv wheels of this environment."""
    present = []
    for name in WHEELS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        present.append(name)
    return present


def import_problem() -> str | None:
    """The last line of what importing cv2 in a fresh process says, or None where it imports."""
    result = subprocess.run([sys.executable, "-c", "import cv2"], capture_output=True, text=True)
    if result.returncode == 0:
        return None
    return (result.stderr.strip().splitlines() or ["it does not import"])[-1]


def main() -> int:
    """Exit status: 0 where cv2 imports in the end."""
    problem = import_problem()
    if problem is None:
        return 0
    present = installed_wheels()
    if present:
        print(
            f"install_opencv: {' and '.join(present)} is installed but cv2 does not import "
            f"({problem}). opencv-python needs the system's OpenGL library; or replace it: "
            f"{sys.executable} -m pip uninstall --yes {' '.join(present)} && "
            f"{sys.executable} -m pip install opencv-python-headless",
            file=sys.stderr,
        )
        return 1
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*command, "opencv-python-headless"]).returncode


if __name__ == "__main__":
    sys.exit(main())
