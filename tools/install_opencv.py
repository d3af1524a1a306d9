#!/usr/bin/env python3
"""Install opencv where cv2 does not import. A second opencv wheel is never put beside another.

``opencv-python`` and ``opencv-python-headless`` write into the same folder ``cv2``, so two of them
break each other; whichever is there stays.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

VARIANTS = ("python", "python-headless", "contrib-python", "contrib-python-headless")
PIP = (sys.executable, "-m", "pip")


def installed_wheels() -> list[str]:
    """The opencv wheels of this environment."""
    names = [f"opencv-{variant}" for variant in VARIANTS]
    return [name for name in names if any(metadata.distributions(name=name))]


def import_problem(statement: str = "import cv2") -> str | None:
    """The last line of what the import in a fresh process says, or None where it works."""
    result = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True)
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
            f"{' '.join(PIP)} uninstall --yes {' '.join(present)} && "
            f"{' '.join(PIP)} install opencv-python-headless",
            file=sys.stderr,
        )
        return 1
    command = [*PIP, "install", "--quiet", "--disable-pip-version-check", "opencv-python-headless"]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
