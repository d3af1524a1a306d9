"""The verb `serve`: a detector over HTTP, of an exported file or of weights."""

import argparse
from typing import Any

from ..checked_values import check_value
from ..config.rules import device_here
from ..runtime import Detector
from ..runtime.serving import Options, serve


def run(args: argparse.Namespace) -> int:
    if args.model and args.opts:
        raise ValueError("--opts goes with --weights: what a file does was fixed at its export.")
    if bool(args.model) == bool(args.weights or args.config_file or args.opts):
        raise ValueError("give one of --model (an exported file) and --weights: one is served.")
    if args.model and args.device != "cpu":
        raise ValueError("--device goes with --weights: exported files run on the CPU.")
    check_value("--device", args.device, device_here)
    serve(lambda: detector_of(args), Options.of(args))
    return 0


def detector_of(args: argparse.Namespace) -> Any:
    """Open the file, or build the detector of weights."""
    if args.model:
        return Detector(args.model, threads=args.threads)
    import torch

    from ..engine.model_config import read_model_config
    from ..engine.user_modules import import_all
    from ..inference.as_runtime import PredictorDetector
    from ..inference.predictor import Predictor

    torch.set_num_threads(args.threads or torch.get_num_threads())
    given = (args.config_file, args.weights, ["MODEL.DEVICE", args.device, *args.opts])
    cfg = read_model_config(*given, add_keys=import_all(args.imports))
    return PredictorDetector(Predictor(cfg))
