"""Detect in picture files: python -m centernet_d2_runtime model.onnx picture.jpg ..."""

import argparse
import json
import sys

from .detector import Detector


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
                raise ValueError(
                    f"'{file}' is no picture that OpenCV can read: give picture files, no folders, "
                    "and of a video its frames"
                )
            found = detector(picture).above(args.score_threshold)
            print(json.dumps({"file": file, "detections": found.rows()}))
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
