"""The verb `convert`: published weights into a detectron2 file and its config."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from ..atomic_write import atomic_write
from ..checkpoint.detect_source import UnknownWeightsError
from ..checkpoint.files import read_tensors
from ..checkpoint.matching_config import as_yaml, matching_config
from ..checkpoint.published import Converted, convert
from ..checkpoint.unwrap import UnwrapError
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.datasets.skeletons import skeleton_of
from ..engine.class_names import dataset_class_names
from ..model_zoo.path_handlers import published_file
from ..structures.skeleton import Skeleton, derive_flip_map
from ..text_files import read_text


def run(args: argparse.Namespace) -> int:
    """Convert; return the exit status."""
    if args.output.suffix != ".pth":
        raise ValueError(f"'{args.output}' must end in .pth, by which detectron2 knows it.")
    converted = with_names(load(args.input, args.arch), args.classes, args.joints)
    voc_size = args.voc_size or (512 if "512" in Path(args.input).name else 384)
    config = args.output.with_suffix(".yaml")
    write(converted, args.output, config, source=args.input, voc_size=voc_size)
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
