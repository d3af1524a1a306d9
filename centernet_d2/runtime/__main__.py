"""Detect in picture files, a line of JSON for each; exit status 1 where one could not be used."""

import argparse
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from .detector import Detector


def main() -> int:
    """Print a line of JSON per picture; return the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("model", help="file of `centernet-d2 export`, .onnx or .xml")
    parser.add_argument("pictures", nargs="+", help="picture files")
    parser.add_argument("--score-threshold", type=share, default=0.3, help="default: 0.3")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    args = parser.parse_args()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # the sentences here say more
    try:
        import cv2
    except ImportError:
        cure = "pip install 'centernet-d2-runtime[opencv]'"
        return fault(f"reading pictures needs OpenCV: {cure}")
    try:
        detector = Detector(args.model, threads=args.threads)
    except (ImportError, OSError, ValueError) as error:
        return fault(error)
    status = 0
    for file in args.pictures:
        try:
            found = detector(picture_of(file, cv2)).above(args.score_threshold)
            print(json.dumps({"file": file, "detections": found.rows()}), flush=True)
        except (OSError, TypeError, ValueError, cv2.error) as error:
            status = fault(error)
    return status


def picture_of(file: str, cv2: Any) -> np.ndarray:
    """Read (H, W, 3) uint8, channels B, G, R; OSError or ValueError where it cannot be whole."""
    if not Path(file).exists():
        raise FileNotFoundError(f"there is no file '{file}' (from {Path.cwd()})")
    content = b"" if Path(file).is_dir() else Path(file).read_bytes()
    picture: np.ndarray | None = None
    if content and not is_cut(content):  # imread would fill what is missing
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(
            f"'{file}' is no whole picture that OpenCV can read: give picture files, no folders, "
            "of a video its frames, and of a file that was cut short a new copy"
        )
    return picture


def is_cut(content: bytes) -> bool:
    """Whether a JPEG lacks its end, which OpenCV before 5 does not tell."""
    place = 2
    while content[place : place + 2] not in (b"\xff\xda", b"") and content[:2] == b"\xff\xd8":
        filled = content[place + 1 : place + 2] == b"\xff"
        place += 1 if filled else 2 + int.from_bytes(content[place + 2 : place + 4])
    return content[:2] == b"\xff\xd8" and b"\xff\xd9" not in content[place:]


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    with suppress(ValueError):
        if 0 <= (number := float(text)) <= 1:
            return number
    raise argparse.ArgumentTypeError(f"{text!r}: give a number from 0 to 1")


def fault(told: object) -> int:
    """Say what is wrong; the exit status."""
    print(f"error: {told}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
