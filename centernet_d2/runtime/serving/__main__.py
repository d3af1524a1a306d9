"""Serve a detector over HTTP."""

import argparse
import sys

from ..detector import Detector
from . import Options, serve

if __name__ == "__main__":
    prog = f"python -m {__package__}"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, allow_abbrev=False)
    model = parser.add_mutually_exclusive_group(required=True)
    told = "file of `centernet-d2 export`, .onnx or .xml"
    model.add_argument("model", nargs="?", help=told)
    model.add_argument("--model", dest="file", metavar="FILE", help="the same, by name")
    Options.add_to(parser)
    args = parser.parse_args()
    file = args.model or args.file
    try:
        serve(lambda: Detector(file, threads=args.threads), Options.of(args))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
