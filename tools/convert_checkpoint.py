#!/usr/bin/env python3
"""Convert published weights into a detectron2 file and the config that belongs to it.

    tools/convert_checkpoint.py ctdet_coco_dla_2x.pth dla34.pth          # also writes dla34.yaml
    tools/convert_checkpoint.py published_name_or_address dla34.pth --arch dla_34

INPUT is a file, an address, or a name of the model zoo. Source and architecture are detected from
the keys; --arch only checks them. Then, for example:

    tools/predict.py --config-file dla34.yaml --weights dla34.pth --input photos/ --output found
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import centernet_d2  # noqa: F401  (registers what a config can name)
from centernet_d2.atomic_write import atomic_write
from centernet_d2.checkpoint.files import read_tensors
from centernet_d2.checkpoint.matching_config import as_yaml, matching_config
from centernet_d2.checkpoint.published import Converted, convert, is_detectron2_file
from centernet_d2.model_zoo.path_handlers import published_file
from centernet_d2.text_files import expanded, expanded_output


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "input", type=expanded, help="published file, its address, or a name of the model zoo"
    )
    parser.add_argument(
        "output",
        type=lambda given: Path(expanded_output(given)),
        help="the .pth to write; the .yaml goes beside it",
    )
    parser.add_argument("--arch", help="fail unless the weights are this, e.g. resdcn_18, dla_34")
    parser.add_argument(
        "--voc-size",
        type=int,
        choices=(384, 512),
        help="fixed input of Pascal VOC weights, which the file does not say (default 384, or 512 "
        "where the input's name contains it)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert; return the exit status."""
    args = parse_arguments(arguments)
    try:
        if args.output.suffix != ".pth":
            raise ValueError(f"'{args.output}' must end in .pth, by which detectron2 knows it.")
        converted = load(args.input, args.arch)
        voc_size = args.voc_size or (512 if "512" in Path(args.input).name else 384)
        config = args.output.with_suffix(".yaml")
        write(converted, args.output, config, source=args.input, voc_size=voc_size)
    except (ValueError, OSError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    print(converted.report())
    if converted.found.dataset == "voc":
        print(
            f"20 classes: taken for Pascal VOC at {voc_size} x {voc_size} (see --voc-size); "
            "for other data set MODEL.PIXEL_MEAN, PIXEL_STD and TEST.RESOLUTION in the config"
        )
    print(f"weights: {args.output}\nconfig:  {config}")
    return 0


def load(name: str, architecture: str | None) -> Converted:
    """Read and convert; raise ValueError where it is not the expected architecture."""
    checkpoint = read_tensors(published_file(name))
    if is_detectron2_file(checkpoint):
        raise ValueError(f"'{name}' is a detectron2 file already; use it as MODEL.WEIGHTS.")
    converted = convert(checkpoint, name)
    if architecture and architecture != converted.found.architecture.partition(",")[0]:
        raise ValueError(
            f"'{name}' is not {architecture}: it is {converted.found.describe()}. Leave out "
            "--arch to convert it as that."
        )
    return converted


def write(converted: Converted, weights: Path, config: Path, *, source: str, voc_size: int) -> None:
    """Write both files, each whole or not at all."""
    content = converted.file_content()
    keys = matching_config(converted.found, voc_size=voc_size)
    keys |= {"MODEL.WEIGHTS": str(weights.absolute())}
    text = as_yaml(keys, f"{converted.found.describe()}, converted from {Path(source).name}.")
    with atomic_write(weights) as stream:
        torch.save(content, stream)
    with atomic_write(config, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    sys.exit(main())
