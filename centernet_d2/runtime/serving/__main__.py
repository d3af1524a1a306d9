"""Serve a detector over HTTP."""

import argparse
import sys

from ..detector import Detector
from . import Options, serve

if __name__ == "__main__":
    prog = f"python -m {__package__}"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, allow_abbrev=False)
    model = parser.add_mutually_exclusive_group(required=True)
    own, told = model.add_argument, "file of `centernet-d2 export`, .onnx or .xml"
    own("model", nargs="?", default=argparse.SUPPRESS, help=told)
    own("--model", metavar="FILE", help="the same")
    Options.add_to(parser)
    args = parser.parse_args()
    try:
        serve(lambda: Detector(args.model, threads=args.threads), Options.of(args))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
