"""Serve a detector over HTTP, as python -m centernet_d2_runtime.serving model.onnx."""

import argparse
import sys

from ..detector import Detector
from . import Options, serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("model", help="file of `centernet-d2 export`, .onnx or .xml")
    Options.add_to(parser)
    args = parser.parse_args()
    try:
        serve(lambda: Detector(args.model, threads=args.threads), Options.of(args))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
