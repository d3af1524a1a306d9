"""Detect in picture files, a line of JSON for each; exit status 1 where one could not be used."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .detector import Detector


def main() -> int:
    """Print a line of JSON per picture; return the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("model", help="file of `centernet-d2 export`, .onnx or .xml")
    parser.add_argument("pictures", nargs="+", help="picture files")
    parser.add_argument("--score-threshold", type=float, default=0.3, help="default: 0.3")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    args = parser.parse_args()
    if not 0 <= args.score_threshold <= 1:
        parser.error(f"--score-threshold is {args.score_threshold}: give a number from 0 to 1")
    status = 0
    try:
        import cv2
    except ImportError:
        cure = "pip install 'centernet-d2-runtime[opencv]'"
        sys.exit(f"error: reading pictures needs OpenCV: {cure}")
    try:
        detector = Detector(args.model, threads=args.threads)
        for file in args.pictures:
            try:
                found = detector(picture_of(file, cv2)).above(args.score_threshold)
            except (OSError, TypeError, ValueError, cv2.error) as error:
                print(f"error: {error}", file=sys.stderr)
                status = 1
            else:
                print(json.dumps({"file": file, "detections": found.rows()}), flush=True)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    return status


def picture_of(file: str, cv2: Any) -> Any:
    """Read (H, W, 3) uint8, channels B, G, R; OSError or ValueError where it is not whole."""
    content = Path(file).read_bytes()
    coded = np.frombuffer(content, np.uint8)  # imread would fill what is missing
    if is_cut(content) or (picture := cv2.imdecode(coded, cv2.IMREAD_COLOR)) is None:
        raise ValueError(
            f"'{file}' is no whole picture that OpenCV can read: give picture files, of a video "
            "its frames, and of a file that was cut short a new copy"
        )
    return picture


def is_cut(content: bytes) -> bool:
    """Whether it is empty or a JPEG without its end, which OpenCV before 5 does not tell."""
    if content[:2] != b"\xff\xd8":
        return not content
    place = 2
    while content[place : place + 2] not in (b"\xff\xda", b""):  # segments before the pixels
        filled = content[place + 1 : place + 2] == b"\xff"
        place += 1 if filled else 2 + int.from_bytes(content[place + 2 : place + 4])
    return b"\xff\xd9" not in content[place:]


if __name__ == "__main__":
    sys.exit(main())
