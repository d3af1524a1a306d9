"""From a file to a config, and from a merged config to one that a model can be built from."""

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from ..config import add_centernet_config
from ..config.checks import check_config, check_values, refuse_unread
from ..config.files import Level, expand_paths, merge_level, override_level, read_levels
from ..config.protocols import apply_protocol, refuse_contradictions
from ..config.rules import gpu_count, has_device
from ..data.datasets import choices, from_files
from ..data.fields.base import build_fields
from ..data.images import limit_pixels
from ..detectron2_versions import unify_defaults
from ..model_zoo.lookup import UnknownModelError, get_config_file
from ..modeling.registration import check_detector_name, complete_config
from ..progress import tell_once
from ..text_files import expanded
from .class_names import (
    classes_to_look_for,
    lend_joints,
    set_class_names,
    set_joints,
    tell_other_classes,
)
from .saved_names import GIVEN, follow_pixels
from .schedule import overridden_epoch_keys

logger = logging.getLogger(__name__)

__all__ = ["check_config", "load_config", "setup"]

# Attributes of a config: the keys that were overrides; the MODEL.WEIGHTS that it is the own config
# of; the process that `setup` ran in, and the values then.
BY_HAND, FROM_WEIGHTS = "__by_hand__", "__from_weights__"
LEVELS = "__levels__"  # what files and overrides have set
NVIDIA_DRIVER = "/proc/driver/nvidia"
_READY = "__ready__"


def load_config(
    path: str | os.PathLike[str] | list[Level] = "",
    overrides: Sequence[Any] = (),
    add_keys: Iterable[Callable[[CfgNode], None]] = (),
) -> CfgNode:
    """Build a config: defaults, this package's keys, the file at `path`, then `overrides`.

    A config.yaml that another version of detectron2 saved is taken too. A number of iterations
    given by hand empties its partner in epochs, unless that is set beside it.
    DATASETS.TRAIN and TEST may be one name instead of a tuple.

    Args:
        path: YAML file, or the name of a shipped one ("Shapes/points_tiny"); "" for none. Or what
            was read already.
        overrides: KEY VALUE KEY VALUE ..., as on a command line.
        add_keys: functions that add keys of one's own to a config, in place.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: a key is not known; the message has the nearest ones.
        ValueError: a value is of another type than its key, the key is one of detectron2's that
            nothing here reads, or a key contradicts the TEST.PROTOCOL beside it.
    """
    cfg = get_cfg()
    add_centernet_config(cfg)
    for add in add_keys:
        add(cfg)
    if not isinstance(path, list):
        path = read_levels(config_path(expanded(path))) if path else []
    levels = [*path, override_level(overrides)]
    vars(cfg)[BY_HAND] = frozenset(levels[-1].values)
    vars(cfg)[LEVELS] = [level for level in levels if not level.is_saved]
    vars(cfg)[GIVEN] = frozenset(key for level in levels for key in level.values)
    for level in levels:
        merge_level(cfg, level)
    for key in overridden_epoch_keys([level.values for level in levels]):
        cfg.merge_from_list([key, [] if key == "SOLVER.EPOCH_STEPS" else 0])
    if cfg.TEST.PROTOCOL:
        refuse_contradictions(cfg, levels)
    by_hand = (level for level in levels if not level.is_saved)  # that has every key, by default
    refuse_unread(cfg, {key: level.source for level in by_hand for key in level.values})
    expand_paths(cfg)
    return cfg


def config_path(name: str) -> str:
    """A config file as it is named; else the shipped one of that name, "configs/" before it or not.

    Raises:
        FileNotFoundError: there is neither.
    """
    if not name or PathManager.isfile(name):
        return name
    shipped = name.removeprefix("configs/")
    try:
        return get_config_file(shipped)
    except UnknownModelError as error:
        near = str(error).removeprefix(f"There is no config '{shipped}'")
        raise FileNotFoundError(
            f"Config file '{name}' does not exist{near} Check --config-file: a path, or the name "
            "of a shipped config, such as Shapes/points_tiny."
        ) from None


def setup(cfg: CfgNode) -> CfgNode:
    """Make a merged config ready: values checked, datasets registered, classes read, device found.

    - Data given as files in DATASETS.TRAIN and TEST is registered and replaced by short names;
      DATASETS.FROM_FILES keeps it with absolute paths, so that the saved config registers it again.
    - MODEL.HEATMAP.NUM_CLASSES 0 becomes the number of classes of the datasets or, without a
      dataset, of the checkpoint MODEL.WEIGHTS; in the same way what MODEL.POINTS_CENTERNET.POSE
      leaves open is filled. Nothing is downloaded for it: weights that are not here yet, and are
      none of the model zoo, are compared where they are loaded.
    - TEST.PROTOCOL, where it is not empty, sets the keys that it decides.
    - MODEL.DEVICE becomes "cpu" where there is no GPU, and INPUT.MIN_SIZE_TEST 0, so that all ways
      of predicting see the same pixels.
    - MODEL.PIXEL_MEAN and PIXEL_STD, where neither is set by hand, become those of MODEL.WEIGHTS.
    - MODEL.WEIGHTS that were trained on other classes than the datasets' are told.
    - AUTO chooses frame, schedule and what passes at once, see `automatic`.

    `cfg` is changed in place, frozen or not, and returned. A second call in the same process on the
    same values, of a clone too, returns at once while the datasets' files say the same.

    Raises:
        ValueError: a value is wrong, or datasets, classes and NUM_CLASSES contradict each other.
    """
    if _is_ready(cfg):
        _choose_reading(cfg)
        lend_joints(cfg)  # other weights may have lent theirs
        return cfg
    frozen = cfg.is_frozen()
    cfg.defrost()
    try:
        _make_ready(cfg)
        vars(cfg)[_READY] = (_state(cfg), _what_files_say(cfg))
    finally:
        if frozen:
            cfg.freeze()
    return cfg


def _make_ready(cfg: CfgNode) -> None:
    add_centernet_config(cfg)
    unify_defaults(cfg)
    check_values(cfg)
    check_config(cfg)
    expand_paths(cfg)
    check_detector_name(cfg.MODEL.META_ARCHITECTURE)
    if cfg.TEST.PROTOCOL and (changed := apply_protocol(cfg)):
        tell_once(changed)
    register_datasets(cfg)
    if chosen := classes_to_look_for(cfg):
        cfg.DATASETS.CLASSES = chosen
        register_datasets(cfg)
    names = set_class_names(cfg)
    set_joints(cfg)
    if cfg.MODEL.WEIGHTS:
        tell_other_classes(names, cfg.MODEL.WEIGHTS)
        follow_pixels(cfg)
    for warning in complete_config(cfg):
        tell_once(warning)
    build_fields(cfg)  # whoever loads records from now on gets the columns that they read
    cfg.MODEL.DEVICE = _device_here(cfg.MODEL.DEVICE)
    if cfg.INPUT.MIN_SIZE_TEST:  # detectron2's predictor is to hand over original pixels
        tell_once(
            f"INPUT.MIN_SIZE_TEST is {cfg.INPUT.MIN_SIZE_TEST}: using 0, since the model brings "
            "images into its own frame (TEST.RESOLUTION)."
        )
        cfg.INPUT.MIN_SIZE_TEST = 0
    if is_automatic(cfg):
        from .automatic import choose  # only where it is asked for

        choose(cfg)


def is_automatic(cfg: CfgNode) -> bool:
    """Whether AUTO still has something to choose."""
    return cfg.AUTO.SIZE or cfg.AUTO.SCHEDULE or cfg.AUTO.BATCH


def _device_here(name: str) -> str:
    """Return a device that this machine has: `name`, or "cpu" for a GPU where there is none."""
    if has_device(name):
        return name
    gpus = gpu_count()
    if name.startswith("cuda") and not gpus:
        # detectron2's default is "cuda": where no driver is there either, nobody meant it.
        tell = tell_once if os.path.exists(NVIDIA_DRIVER) else logger.info
        tell(f"MODEL.DEVICE is '{name}', but torch sees no GPU: using 'cpu'.")
        return "cpu"
    raise ValueError(
        f"MODEL.DEVICE is '{name}', which this machine or this torch does not have: use 'cpu'"
        + (f", or 'cuda:0' to 'cuda:{gpus - 1}'." if gpus else ".")
    )


def _is_ready(cfg: CfgNode) -> bool:
    state, said = vars(cfg).get(_READY, (None, None))
    return state == _state(cfg) and said == _what_files_say(cfg)


def _what_files_say(cfg: CfgNode) -> tuple[str, ...]:
    return from_files.what_files_say(cfg.DATASETS.FROM_FILES, cfg.DATASETS.CLASSES)


def _state(cfg: CfgNode) -> tuple[int, int]:
    # A started process is sent the attribute, and has none of the datasets registered.
    return os.getpid(), hash(json.dumps(cfg, default=repr))


def register_datasets(cfg: CfgNode) -> None:
    """Register the datasets that `cfg` gives as files; see `setup`."""
    classes = cfg.DATASETS.CLASSES
    for spec in cfg.DATASETS.FROM_FILES:
        try:
            from_files.register_from_files(spec, classes)
        except (ValueError, OSError) as error:  # a saved config on a machine without the data
            from_files.lost_specs.add(spec)
            tell_once(f"Dataset of DATASETS.FROM_FILES is not here: {error}")
    for key in ("TRAIN", "TEST"):
        cfg.DATASETS[key] = tuple(_registered(cfg, name) for name in cfg.DATASETS[key])
    if classes:
        from ..data.datasets.selection import check_classes

        chosen = (MetadataCatalog.get(n) for n in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
        bases = dict.fromkeys(data.selection.base for data in chosen if data.get("selection"))
        if bases:  # else the files are not here
            check_classes(classes, list(bases))
    _choose_reading(cfg)


def _choose_reading(cfg: CfgNode) -> None:
    """Let this process read files as `cfg` says, whatever another config said before."""
    for choice, made in (
        ("missing_frames", cfg.DATASETS.KITTI.ALLOW_MISSING),
        ("without_xml", cfg.DATASETS.VOC.MISSING_XML == "negative"),
        ("as_stored", cfg.INPUT.EXIF_ORIENTATION == "ignore"),
    ):
        choices.choose((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST), choice, made)
    limit_pixels(cfg.INPUT.MAX_PIXELS)


def _registered(cfg: CfgNode, name: str) -> str:
    """The short name of a specification, with the classes that are chosen; other names as given."""
    classes, spec = cfg.DATASETS.CLASSES, name
    if name in DatasetCatalog:
        data = MetadataCatalog.get(name)
        selection = data.get("selection")
        if tuple(classes) == (selection.classes if selection else ()):
            return name
        spec = data.get("file_spec") or name  # classes are chosen, or others than before
    elif not from_files.is_file_spec(name):
        return name
    short = from_files.register_from_files(spec, classes)
    absolute = MetadataCatalog.get(short).get("file_spec")
    if absolute and absolute not in cfg.DATASETS.FROM_FILES:
        cfg.DATASETS.FROM_FILES = [*cfg.DATASETS.FROM_FILES, absolute]
    return short
