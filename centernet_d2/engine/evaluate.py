"""Evaluating weights without training, and filling a model for it."""

import logging
import os
from collections import OrderedDict
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from torch import nn

from ..modeling.fast_inference import make_fast
from ..modeling.registration import output_skeleton
from ..progress import SHOWN, tell_once
from .checkpointer import Checkpointer, CheckpointMismatchError
from .class_names import compare_with_checkpoint, set_class_names, without_training_data
from .contradictions import differing, listed, tell_contradictions
from .object_scale import Learned
from .saved_names import fetch_weights, saved_names
from .setup import setup
from .summary import describe_network
from .trainer import Trainer

logger = logging.getLogger(__name__)


def evaluate_only(
    cfg: CfgNode, *, trainer: type[Trainer] = Trainer, runtime: str = ""
) -> OrderedDict[str, Any]:
    """Evaluate MODEL.WEIGHTS on DATASETS.TEST, without DATASETS.TRAIN; verify the scores.

    A `runtime`, as `Predictor` takes it, detects in place of the model.

    Raises:
        ValueError: no evaluation dataset, one that cannot be scored, or weights of another model or
            of other classes.
        FileNotFoundError: image files are missing.
    """
    cfg = setup(without_training_data(cfg))
    if not cfg.DATASETS.TEST:
        raise ValueError("DATASETS.TEST is empty: nothing to evaluate on.")
    trainer.check_datasets(cfg)
    model = trainer.build_model(cfg)
    names = load_for_evaluation(cfg, model)
    size = saved_names(cfg.MODEL.WEIGHTS).training.get("object_size", 0.0)
    trainer.check_evaluation(cfg, model, Learned([size], tuple(cfg.INPUT.TRAIN_SIZE)))
    logger.info("%s", describe_network(model, cfg.MODEL.WEIGHTS), extra=SHOWN)
    if runtime or cfg.TEST.DTYPE == "auto":
        from ..inference.fastest import to_evaluate  # with all that runs a detector

        model = to_evaluate(cfg, model.eval(), names, runtime, trainer.build_test_loader)
    results = trainer.test(cfg, model)
    if comm.is_main_process() and len(cfg.TEST.EXPECTED_RESULTS):
        verify_results(cfg, results)
    return results


def load_for_evaluation(cfg: CfgNode, model: nn.Module) -> list[str]:
    """Fill `model` from MODEL.WEIGHTS, wholly, and return the class names.

    Then it is made fast as TEST.FOLD_NORM and TEST.DTYPE say ("auto": float32, until it is
    measured); a model changed so cannot train.

    Raises:
        ValueError: MODEL.WEIGHTS is empty, does not fill the model, or was trained on other classes
            or joints than the datasets'.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(
            "MODEL.WEIGHTS is empty: an untrained model would detect nothing. Name a checkpoint by "
            f"--weights, or MODEL.WEIGHTS {os.path.join(cfg.OUTPUT_DIR, 'model_final.pth')}."
        )
    fetch_weights(cfg.MODEL.WEIGHTS)  # before the class names are read: `setup` does not
    class_names = set_class_names(cfg)
    saved = saved_names(cfg.MODEL.WEIGHTS)
    found = differing(cfg, saved)
    try:
        Checkpointer(model, mismatch="fail").load(cfg.MODEL.WEIGHTS)
    except CheckpointMismatchError as error:
        if not found:
            raise
        told = f"{error}\nThe config that it carries has another value -> than here:{listed(found)}"
        raise CheckpointMismatchError(told) from error
    tell_contradictions(cfg, saved, found)
    compare_with_checkpoint(class_names, output_skeleton(cfg), saved, must_agree=True)
    if not (class_names or saved.class_names):
        tell_once(
            f"'{cfg.MODEL.WEIGHTS}' holds no class names, and no dataset gives them: objects are "
            "called 'class 0' and so on. Name a dataset in DATASETS.TEST, or save the file with "
            "'class_names': ['first', ...] beside 'model' (published weights: "
            "`centernet-d2 convert --classes`)."
        )
    dtype = cfg.TEST.DTYPE.replace("auto", "float32")
    if cfg.TEST.FOLD_NORM or dtype != "float32":
        make_fast(model.eval(), fold=cfg.TEST.FOLD_NORM, dtype=dtype)
    return class_names or list(saved.class_names)
