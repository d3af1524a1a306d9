#!/usr/bin/env python3
"""Install this checkout with its dev extra; a wheel of opencv that is there stays.

The four wheels of opencv write into one folder, `cv2`. pip knows no "any of these" and puts the
headless one, which this package requires, over another: that one is put back here.
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
HEADLESS = "opencv-python-headless"


def versions() -> dict[str, str]:
    """The opencv wheels of this environment."""
    found = {wheel.name.lower(): wheel.version for wheel in metadata.distributions() if wheel.name}
    return {name: version for name, version in found.items() if name.startswith("opencv-")}


def main() -> None:
    """Raises where pip fails."""
    before = versions()
    subprocess.run([*PIP, "install", "--editable", f"{ROOT}[dev]"], check=True)
    if before and HEADLESS not in before and HEADLESS in versions():
        subprocess.run([*PIP, "uninstall", "--yes", HEADLESS, *before], check=True)
        pins = [f"{name}=={version}" for name, version in before.items()]
        subprocess.run([*PIP, "install", "--no-deps", *pins], check=True)
        print(f"opencv: {' '.join(pins)} stays; pip check will miss {HEADLESS}, which is as good")


if __name__ == "__main__":
    main()
