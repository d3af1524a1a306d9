"""Detect in picture files: python -m centernet_d2_runtime model.onnx picture.jpg ..."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from .detections import Detections
from .detector import FIELDS, Detector


def main() -> int:
    """Print a line of JSON per picture; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="file of `centernet-d2 export`, .onnx or .xml")
    parser.add_argument("pictures", nargs="+", help="picture files")
    parser.add_argument("--score-threshold", type=float, default=0.3, help="default: 0.3")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    args = parser.parse_args()
    import cv2

    try:
        detector = Detector(args.model, threads=args.threads)
        for file in args.pictures:
            picture = cv2.imread(file)
            if picture is None:
                raise ValueError(f"'{file}' is no picture that OpenCV can read")
            found = detector(picture).above(args.score_threshold)
            print(json.dumps({"file": file, "detections": list(rows(found))}))
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def rows(found: Detections) -> Iterator[dict[str, Any]]:
    """Each detection as plain values, numbers rounded to four digits."""
    names = [name for name in FIELDS if getattr(found, name) is not None]
    for row, label in enumerate(found.labels()):
        values = {name: getattr(found, name)[row].astype(float).round(4).tolist() for name in names}
        yield {"class": label, "score": round(float(found.scores[row]), 4), **values}


if __name__ == "__main__":
    sys.exit(main())
