"""The verb `convert`: published weights into a detectron2 file and its config."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.data import DatasetCatalog
from torch import Tensor

from ..atomic_write import atomic_write
from ..checkpoint.detect_source import UnknownWeightsError
from ..checkpoint.files import check_ending, read_tensors, write_weights
from ..checkpoint.matching_config import as_yaml, matching_config
from ..checkpoint.model_info import BLOCK, for_use
from ..checkpoint.published import Converted, convert, detectron2_form, published_info
from ..checkpoint.unwrap import UnwrapError
from ..config import flattened
from ..data.datasets.from_files import is_file_spec, register_from_files
from ..data.datasets.skeletons import skeleton_of
from ..engine.class_names import dataset_class_names
from ..engine.setup import load_config
from ..model_zoo.path_handlers import published_file
from ..progress import clock
from ..structures.skeleton import Skeleton, derive_flip_map
from ..text_files import read_text

GIVEN_BY = {"class_names": "classes", "joint_names": "joints"}


def run(args: argparse.Namespace) -> int:
    check_ending(args.output)
    file = published_file(args.input)
    if args.output.exists() and args.output.samefile(file):
        raise FileExistsError(f"'{args.output}' is the input itself: name another file.")
    if args.output.exists() and not args.overwrite:
        told = f"'{args.output}' is there already: name another file, or give --overwrite."
        raise FileExistsError(told)
    checkpoint = read_tensors(file)
    try:
        with clock(f"Converting {args.input}"):
            converted = convert(checkpoint, args.input)
    except (UnknownWeightsError, UnwrapError):
        if "model" not in checkpoint and BLOCK not in checkpoint:
            raise
        return convert_own(checkpoint, file, args)
    if args.config_file:
        told = "it becomes that of the weights. Leave out --config-file"
        raise ValueError(f"'{args.input}' is published, and its config is known: {told}.")
    if args.arch and args.arch != converted.found.architecture.partition(",")[0]:
        raise ValueError(
            f"'{args.input}' is not {args.arch}: it is {converted.found.describe()}. Leave out "
            "--arch to convert it as that."
        )
    converted = with_names(converted, args.classes, args.joints)
    voc_size = args.voc_size or (512 if "512" in Path(args.input).name else 384)
    if args.half:
        converted = replace(converted, state_dict=halved(converted.state_dict))
    config = write(converted, args.output, source=args.input, voc_size=voc_size)
    print(converted.report())
    for key in converted.found.names["guessed"]:
        print(f"{key} are a guess from their number: give them by --{GIVEN_BY[key]}")
    if converted.found.dataset == "voc" and not args.classes:
        print(
            f"20 classes: taken for Pascal VOC at {voc_size} x {voc_size} (see --voc-size); "
            "for other data set MODEL.PIXEL_MEAN, PIXEL_STD and TEST.RESOLUTION in the config"
        )
    print(f"weights: {args.output}\nconfig:  {config}, also in the weights")
    return 0


def convert_own(checkpoint: dict[str, Any], file: Path, args: argparse.Namespace) -> int:
    """Write a file of this package in the other form, or smaller, or with its config."""
    if args.arch or args.classes or args.joints or args.voc_size:
        told = "leave out --arch, --classes, --joints and --voc-size, which are for files of others"
        raise ValueError(f"'{args.input}' is a file of this package: {told}.")
    content = for_use(detectron2_form(checkpoint, args.input))
    if args.config_file:
        if BLOCK in content:
            raise ValueError(f"'{args.input}' carries its config: leave out --config-file.")
        keys = flattened(load_config(args.config_file, ["DATASETS.TRAIN", (), "DATASETS.TEST", ()]))
        content[BLOCK] = published_info(keys, args.input).block()
    print(f"{args.input}: {file.stat().st_size:,} bytes")
    content["model"] = halved(content["model"]) if args.half else content["model"]
    write_weights(args.output, content)
    print(f"{args.output}: {args.output.stat().st_size:,} bytes")
    if left_out := [k for k in checkpoint if k not in (*content, "state_dict", "format")]:
        print(f"left out, as only its training needs it: {', '.join(left_out)}")
    if BLOCK not in content:
        print("it carries no config, as it was saved before files did: add it by --config-file")
    return 0


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of floating-point numbers in 16 bits, those of whole numbers as they are.

    Raises:
        ValueError: a number is too large for them.
    """
    result = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    for name, tensor in result.items():
        if not torch.equal(tensor.isinf(), state[name].isinf()):
            raise ValueError(f"'{name}' has numbers too large for 16 bits: leave out --half.")
    return result


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


def write(converted: Converted, weights: Path, *, source: str, voc_size: int) -> Path:
    """Write the weights, and beside them the config, whose path is returned."""
    content, config = converted.file_content(), weights.with_suffix(".yaml")
    keys = matching_config(converted.found, voc_size=voc_size)
    keys |= {"MODEL.WEIGHTS": str(weights.absolute())}
    comment = f"{converted.found.describe()}, converted from {Path(source).name}."
    if content["guessed"]:
        comment += f"\nGuessed from their number: {', '.join(content['guessed'])} in the weights."
    if converted.found.task != "start":
        content[BLOCK] = published_info(keys, source).block()
    write_weights(weights, content)
    with atomic_write(config, "w") as stream:
        stream.write(as_yaml(keys, comment))
    return config
