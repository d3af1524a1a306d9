"""The names of the classes: from the datasets or, where there is none, the checkpoint."""

import logging
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from ..checked_values import nearest
from ..checkpoint.model_info import ModelInfo
from ..checkpoint.unwrap import shorten
from ..data.datasets.coco_file import is_label_spec, read_coco_json
from ..data.records import check_class_names
from ..progress import SHOWN, tell_once
from ..structures.names import difference
from ..structures.skeleton import Skeleton
from .saved_names import HOW_TO_NAME, saved_names

logger = logging.getLogger(__name__)

LENT = "lent"  # metadata of a dataset: the names of those that weights gave it


def dataset_class_names(name: str) -> list[str]:
    """Return `thing_classes` of a dataset, loading it where the names are only set then.

    [] for a dataset that is not registered or whose files are not here: an application may predict
    without them.
    """
    if name not in DatasetCatalog.list():
        return []
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes") is None:
        try:
            DatasetCatalog.get(name)
        except OSError as error:
            logger.warning(
                "Dataset '%s' cannot be loaded, its classes are not known: %s", name, error
            )
            return []
    if metadata.get("thing_classes") is None:
        raise ValueError(
            f"Dataset '{name}' has no class names. Set them after registering it: "
            f"MetadataCatalog.get('{name}').set(thing_classes=['first', 'second'])."
        )
    return check_class_names(metadata.thing_classes, name)


def configured_class_names(cfg: CfgNode) -> list[str]:
    """Return the class names that all datasets of `cfg` agree on; [] where none is known.

    Raises:
        ValueError: two datasets differ.
    """
    first, expected = "", []
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        classes = dataset_class_names(name)
        if not expected:
            first, expected = name, classes
        elif classes and classes != expected:
            raise ValueError(
                f"Datasets '{first}' and '{name}' have different classes: "
                f"{difference(expected, classes)}. Give both the same list in the same order (for "
                "COCO files: the same 'categories'), or set DATASETS.TEST \"()\" to train without "
                "evaluation."
            )
    return expected


def set_class_names(cfg: CfgNode) -> list[str]:
    """The class names of the datasets, else of MODEL.WEIGHTS, as far as these are here; else [].

    MODEL.HEATMAP.NUM_CLASSES becomes their number where it is 0. Names of weights are also given to
    the metadata of the datasets of `cfg`, where detectron2's predictor and visualizer look.

    Raises:
        ValueError: datasets disagree with each other or with NUM_CLASSES, or that is 0 and nothing
            is known.
    """
    heatmap, weights = cfg.MODEL.HEATMAP, cfg.MODEL.WEIGHTS
    datasets = dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
    told = ", ".join(datasets) or "no dataset"
    source = f"the metadata of {told}"
    if not (names := configured_class_names(cfg)):
        source, saved = f"the checkpoint {weights}", saved_names(weights)
        names = list(saved.class_names)
        if guess := saved.guess_of("class"):
            tell_once(f"{guess}. {HOW_TO_NAME}.")
    if names and heatmap.NUM_CLASSES not in (0, len(names)):
        told = f"{source} has {len(names)} classes: {shorten(names, 8)}."
        learned = saved_names(weights).class_names
        if len(learned) == heatmap.NUM_CLASSES:
            raise ValueError(
                f"The weights '{weights}' know {len(learned)} classes ({shorten(learned, 8)}), but "
                f"{told} Name data of their classes, or weights trained for these."
            )
        raise ValueError(
            f"MODEL.HEATMAP.NUM_CLASSES is {heatmap.NUM_CLASSES}, but {told} Set it to 0 to take "
            "the number from there."
        )
    for dataset in datasets if names else ():
        if not MetadataCatalog.get(dataset).get("thing_classes"):
            MetadataCatalog.get(dataset).set(thing_classes=names)
    if heatmap.NUM_CLASSES == 0:
        if not names:
            known = DatasetCatalog.list()
            near = "".join(nearest(name, known, 3, 0.7) for name in datasets)
            raise ValueError(
                "MODEL.HEATMAP.NUM_CLASSES is 0 and nothing says how many classes there are: of "
                f"{told} none is registered here{near}, and MODEL.WEIGHTS '{weights}' holds no "
                "class names, or has to be downloaded first. Name a dataset in DATASETS.TRAIN or "
                "TEST, weights of this package, or the number."
            )
        heatmap.NUM_CLASSES = len(names)
    return names


def is_unlabelled(name: str) -> bool:
    """Whether a dataset is a COCO JSON of images and categories alone, such as test-dev's."""
    file = MetadataCatalog.get(name).get("json_file", "") if name in DatasetCatalog else ""
    known = is_label_spec(file) or PathManager.isfile(file)
    return known and not read_coco_json(file).is_labelled


def classes_to_look_for(cfg: CfgNode) -> list[str]:
    """The classes of MODEL.WEIGHTS, where all datasets have more, and images without annotations.

    So a detector of persons looks for these in COCO's test-dev, which names 80 categories.
    """
    names, known = cfg.DATASETS.TEST, saved_names(cfg.MODEL.WEIGHTS).class_names
    if not names or cfg.DATASETS.TRAIN or cfg.DATASETS.CLASSES or not known:
        return []
    if all(is_unlabelled(n) and {*known} < {*dataset_class_names(n)} for n in names):
        told = "%s: images without annotations, in which the weights' classes are looked for: %s"
        logger.info(told, ", ".join(names), shorten(known, 8), extra=SHOWN)
        return list(known)
    return []


def without_training_data(cfg: CfgNode) -> CfgNode:
    """Return a copy of `cfg` without DATASETS.TRAIN, if it names data to evaluate on.

    What evaluates or predicts compares the checkpoint with DATASETS.TEST; the training data of the
    config need neither be here nor have the same classes.
    """
    cfg = cfg.clone()
    if cfg.DATASETS.TEST:
        cfg.DATASETS.update(TRAIN=())  # frozen or not
    return cfg


def lend_joints(cfg: CfgNode) -> Skeleton | None:
    """Return the joints of MODEL.WEIGHTS where no dataset of `cfg` names any, else None.

    They are lent to data without annotations, whose results are to have some; what other weights
    lent to these is taken back. `cfg` is only read.
    """
    if "pose" not in cfg.MODEL.POINTS_CENTERNET.TASKS:
        return None
    from ..data.datasets.skeletons import common_skeleton, registered

    tests = {name: vars(MetadataCatalog.get(name)) for name in registered(cfg.DATASETS.TEST)}
    for data in tests.values():
        for key in data.pop(LENT, ()):
            del data[key]
    if common_skeleton((*cfg.DATASETS.TRAIN, *tests)):
        return None
    theirs = saved_names(cfg.MODEL.WEIGHTS).skeleton
    for name in filter(is_unlabelled, tests if theirs else ()):
        tests[name].update(lent := theirs.metadata(), **{LENT: tuple(lent)})
    return theirs


def set_joints(cfg: CfgNode) -> None:
    """Take the joints that MODEL.POINTS_CENTERNET.POSE leaves open from MODEL.WEIGHTS.

    So weights say what they find where no dataset of `cfg` names joints, see `lend_joints`.
    """
    if not (theirs := lend_joints(cfg)):
        return
    pose, saved = cfg.MODEL.POINTS_CENTERNET.POSE, saved_names(cfg.MODEL.WEIGHTS)
    pose.NUM_JOINTS = pose.NUM_JOINTS or len(theirs.names)
    if len(theirs.names) != pose.NUM_JOINTS or theirs.flip_map is None:
        return  # loading names what does not fit
    guess, flip = saved.guess_of("joint"), theirs.flip_indices()
    if not pose.FLIP_INDICES:
        pose.FLIP_INDICES = flip
        if guess:
            tell_once(f"{guess}, with what a flip exchanges. {HOW_TO_NAME}.")
    elif list(pose.FLIP_INDICES) != flip and not guess:
        tell_once(
            f"MODEL.POINTS_CENTERNET.POSE.FLIP_INDICES is {list(pose.FLIP_INDICES)}, but "
            f"'{cfg.MODEL.WEIGHTS}' was trained with {flip}. Set it to [] to take them from there."
        )


def tell_other_classes(class_names: Sequence[str], weights: str) -> None:
    """Warn, once, where the checkpoint `weights` was trained on other classes, as far as known."""
    known = saved_names(weights)
    saved = known.names("class")
    is_unclear = known.guess_of("class") and len(saved) == len(class_names)
    if class_names and saved and list(class_names) != saved and not is_unclear:
        tell_once(
            f"MODEL.WEIGHTS '{weights}' was trained on {len(saved)} classes ({shorten(saved, 8)}), "
            f"the datasets have {len(class_names)} ({shorten(class_names, 8)}). A training takes "
            "those of the same name, else the backbone alone; without one these names are wrong."
        )


def compare_with_checkpoint(
    classes: Sequence[str], skeleton: Skeleton | None, saved: ModelInfo, *, must_agree: bool
) -> None:
    """Compare classes, joints and what a flip exchanges with what was `saved` in a checkpoint.

    What is not known is not compared, and of names that are a guess those of the data are right.

    Raises:
        ValueError: names differ and must agree, which is for evaluation and resuming, where a
            difference makes every result wrong. A training that starts from the checkpoint takes
            what there is by name (`Checkpointer`).
    """
    joints = skeleton.names if skeleton else ()
    for what, plural, names in (("class", "classes", classes), ("joint", "joints", joints)):
        theirs = saved.names(what)
        if not names or not theirs or list(names) == theirs:
            continue
        if guess := saved.guess_of(what):
            tell_once(f"{guess}. The dataset's are used: {shorten(names, 3)}.")
            continue
        if must_agree:
            raise ValueError(
                f"The checkpoint '{saved.source}' was trained on other {plural} than the "
                f"dataset's: {difference(theirs, names, what)}. Use the dataset's own checkpoint, "
                f"or a dataset with the {plural} {shorten(theirs, 8)}."
            )
    theirs = saved.skeleton if skeleton and not saved.guess_of("joint") else None
    if not theirs or theirs.names != joints or None in (theirs.flip_map, skeleton.flip_map):
        return
    if theirs.flip_indices() != skeleton.flip_indices():
        logger.warning(
            f"By {skeleton.source} a flip exchanges {skeleton.flip_map}, but '{saved.source}' was "
            f"trained with {theirs.flip_map}: flipped images, in training and with TEST.FLIP, mean "
            "other joints now. Give the data the pairs of the checkpoint, unless those were wrong."
        )
