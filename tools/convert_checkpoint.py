#!/usr/bin/env python3
"""Convert published weights into a detectron2 file and the config that belongs to it.

    tools/convert_checkpoint.py ctdet_coco_dla_2x.pth dla34.pth          # also writes dla34.yaml
    tools/convert_checkpoint.py published_name_or_address dla34.pth --arch dla_34

INPUT is a file, an address, or a name of the model zoo. Source and architecture are detected from
the keys; --arch only checks them. Such files hold no names: without --classes and --joints they are
guessed from their number (80: COCO's, 20: Pascal VOC's ...), and marked as a guess. Then:

    tools/predict.py --config-file dla34.yaml --weights dla34.pth --input photos/ --output found
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

import centernet_d2  # noqa: F401  (registers what a config can name)
from centernet_d2.atomic_write import atomic_write
from centernet_d2.checkpoint.detect_source import UnknownWeightsError
from centernet_d2.checkpoint.files import read_tensors
from centernet_d2.checkpoint.matching_config import as_yaml, matching_config
from centernet_d2.checkpoint.published import Converted, convert
from centernet_d2.checkpoint.unwrap import UnwrapError
from centernet_d2.data.datasets.from_files import is_file_spec, register_from_files
from centernet_d2.data.datasets.skeletons import skeleton_of
from centernet_d2.engine.class_names import dataset_class_names
from centernet_d2.model_zoo.path_handlers import published_file
from centernet_d2.structures.skeleton import Skeleton, derive_flip_map
from centernet_d2.text_files import expanded, expanded_output, read_text


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
    names = "a dataset (its name, or coco:<json>:<images> ...), a file with one name in a line, or "
    parser.add_argument("--classes", help=f"names of the classes: {names}a,b,c")
    parser.add_argument(
        "--joints", help=f"names of the joints, whose sides say what a flip exchanges: {names}a,b,c"
    )
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
        converted = with_names(load(args.input, args.arch), args.classes, args.joints)
        voc_size = args.voc_size or (512 if "512" in Path(args.input).name else 384)
        config = args.output.with_suffix(".yaml")
        write(converted, args.output, config, source=args.input, voc_size=voc_size)
    except (ValueError, OSError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    print(converted.report())
    for key in converted.found.names["guessed"]:
        print(f"{key} are a guess from their number: give them by --{GIVEN_BY[key]}")
    if converted.found.dataset == "voc" and not args.classes:
        print(
            f"20 classes: taken for Pascal VOC at {voc_size} x {voc_size} (see --voc-size); "
            "for other data set MODEL.PIXEL_MEAN, PIXEL_STD and TEST.RESOLUTION in the config"
        )
    print(f"weights: {args.output}\nconfig:  {config}")
    return 0


def load(name: str, architecture: str | None) -> Converted:
    """Read and convert; raise ValueError where it is not the expected architecture."""
    checkpoint = read_tensors(published_file(name))
    try:
        converted = convert(checkpoint, name)
    except (UnknownWeightsError, UnwrapError) as error:
        if "model" not in checkpoint:
            raise
        raise ValueError(
            f"'{name}' is a detectron2 file already; use it as MODEL.WEIGHTS ({error})."
        ) from error
    if architecture and architecture != converted.found.architecture.partition(",")[0]:
        raise ValueError(
            f"'{name}' is not {architecture}: it is {converted.found.describe()}. Leave out "
            "--arch to convert it as that."
        )
    return converted


GIVEN_BY = {"class_names": "classes", "joint_names": "joints"}


def with_names(converted: Converted, classes: str | None, joints: str | None) -> Converted:
    """Give names instead of guesses.

    Raises:
        ValueError: there are not as many as classes or joints.
    """
    found, given, keys = converted.found, {}, {}
    for option, text, count in (
        ("--classes", classes, found.num_classes or 0),
        ("--joints", joints, found.num_joints),
    ):
        if text is None:
            continue
        names, skeleton = read_names(text, joints=option == "--joints")
        if len(names) != count:
            raise ValueError(
                f"{option} '{text}' gives {len(names)} names ({', '.join(names[:3])} ...), the "
                f"weights have {count}: give one for each, in the order of training."
            )
        if option == "--classes":
            given["class_names"] = names
            continue
        skeleton = skeleton or Skeleton(tuple(names), derive_flip_map(names), source=option)
        given |= skeleton.saved()
        if skeleton.flip_map is not None:
            keys["MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES"] = skeleton.flip_indices()
    return replace(converted, found=replace(found, given=given, model=found.model | keys))


def read_names(given: str, *, joints: bool) -> tuple[list[str], Skeleton | None]:
    """Names from a dataset, a text or JSON file, or a list; of a dataset's joints all it says."""
    is_dataset = is_file_spec(given) and not Path(given).is_file()
    name = register_from_files(given) if is_dataset else given
    if name in DatasetCatalog:
        classes = dataset_class_names(name)  # reads the files that say them
        skeleton = skeleton_of(name) if joints else None
        return (list(skeleton.names) if skeleton else [] if joints else classes), skeleton
    if not Path(given).is_file():
        return [part.strip() for part in given.split(",") if part.strip()], None
    text = read_text(given)
    if not given.endswith(".json"):
        return [line.strip() for line in text.splitlines() if line.strip()], None
    try:
        names = json.loads(text)
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
        raise ValueError(
            f'\'{given}\' is no list of names, ["a", "b"]; a dataset\'s annotations are named '
            f"as coco:{given}:<image folder>."
        )
    return names, None


def write(converted: Converted, weights: Path, config: Path, *, source: str, voc_size: int) -> None:
    """Write both files, each whole or not at all."""
    content = converted.file_content()
    keys = matching_config(converted.found, voc_size=voc_size)
    keys |= {"MODEL.WEIGHTS": str(weights.absolute())}
    comment = f"{converted.found.describe()}, converted from {Path(source).name}."
    if content["guessed"]:
        comment += f"\nGuessed from their number: {', '.join(content['guessed'])} in the weights."
    text = as_yaml(keys, comment)
    with atomic_write(weights) as stream:
        torch.save(content, stream)
    with atomic_write(config, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    sys.exit(main())
