"""What a trainer is built of, and what is looked at before the first step."""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase, hooks
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter
from detectron2.utils.file_io import PathManager
from torch import nn

from ..data import loader
from ..data.image_files import check_image_files, find_faults, united
from ..data.loader import DatasetDict, Mapper
from ..data.mapper import DetectionMapper
from ..data.records import require_registered
from ..evaluation.box_evaluator import as_table
from ..evaluation.build import build_evaluator, call_with_context, told_by_model
from ..modeling.canvas import OnCanvas
from ..modeling.registration import output_skeleton
from ..progress import SHOWN, bar
from . import writers
from .checkpointer import Checkpointer
from .data_checks import suspicions
from .hooks import VALIDATION, BestCheckpoint, CheckpointHook, EvaluationHook, TrainingHealthHook
from .object_scale import Learned, check_object_scale
from .optimizer import build_optimizer
from .pictures import VisualizationHook
from .processes import told_by
from .step_loop import unwrapped
from .summary import PeriodPrinter, describe_data

logger = logging.getLogger(__name__)


class Parts(DefaultTrainer):
    """Builds from a config the parts of a training and of an evaluation."""

    @classmethod
    def load_dataset(cls, cfg: CfgNode) -> list[DatasetDict]:
        """Load the training images' records; their number gives the schedule."""
        return loader.load_training_dicts(cfg)

    @classmethod
    def check_datasets(cls, cfg: CfgNode) -> None:
        """Raise UnknownDatasetError for a name that nothing is registered under, and that needs it.

        A subclass may load, or test, by names of its own.
        """
        own_test = cls.test.__module__ != __name__
        for key in filter(cls.asks_catalog, ["TRAIN"] if own_test else ["TRAIN", "TEST"]):
            for name in cfg.DATASETS[key]:
                require_registered(name, key=f"DATASETS.{key}")

    @classmethod
    def asks_catalog(cls, key: str) -> bool:
        """Whether the names of DATASETS.TRAIN or TEST are looked up among registered datasets."""
        part = {"TRAIN": "load_dataset", "TEST": "build_test_loader"}[key]
        return bool(getattr(cls, part).__module__ == __name__)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_mapper(cls, cfg: CfgNode, *, is_train: bool) -> Mapper:
        """Build what makes a sample of an image's record, for both loaders."""
        return DetectionMapper(cfg, is_train=is_train)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, **given: Any) -> loader.TrainLoader:
        """Build the training loader; `given` are arguments of `data.loader.build_train_loader`."""
        return loader.build_train_loader(cfg, mapper=cls.build_mapper(cfg, is_train=True), **given)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[DatasetDict]]:
        mapper = cls.build_mapper(cfg, is_train=False)
        return loader.build_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None, **told: Any
    ) -> DatasetEvaluator:
        """Build the dataset's evaluator; `told` are its arguments that `test` has of the model."""
        return build_evaluator(cfg, dataset_name, output_folder, **told)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> OrderedDict[str, Any]:
        """Evaluate a model on DATASETS.TEST; evaluators hear from it what it gives, and how."""
        if evaluators is None:
            told = told_by_model(unwrapped(model))
            evaluators = [
                call_with_context(cls.build_evaluator, cfg, name, **told)
                for name in cfg.DATASETS.TEST
            ]
        given = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
        results: OrderedDict[str, Any] = OrderedDict()
        for name, evaluator in zip(cfg.DATASETS.TEST, given, strict=True):
            loaded = cls.build_test_loader(cfg, name)
            if comm.is_main_process():
                loaded = bar(loaded, what=f"Evaluating on {name}", unit="batch")
            results[name] = cls.infer(cfg, name, model, loaded, evaluator)
            if not comm.is_main_process():
                continue
            print_csv_format(results[name])
            scores = flatten_results_dict(results[name])
            if scores and not type(evaluator).__module__.startswith("centernet_d2."):  # has its own
                logger.info("Evaluation of %s:\n%s", name, as_table(scores), extra=SHOWN)
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def infer(cls, cfg: CfgNode, name: str, model: nn.Module, loaded: Any, evaluator: Any) -> Any:
        """Score a model on the batches of a dataset; `cfg` and `name` are a subclass's to use."""
        return inference_on_dataset(model, loaded, evaluator)

    @classmethod
    def check_evaluation(
        cls, cfg: CfgNode, model: nn.Module, learned: Learned | None = None
    ) -> list[str]:
        """Build what evaluates and look at its image files; an own `test` makes errors warnings.

        Objects have to be about as large there as those that are `learned`.

        Returns:
            What the names of all results begin with ("bbox/"); empty where that is not known.
        """
        own, known, starts = cls.test.__module__ == __name__, True, []
        seen: dict[str, list[DatasetDict]] = {}
        told = told_by_model(unwrapped(model)) if cfg.DATASETS.TEST else {}
        for name in cfg.DATASETS.TEST:
            try:
                built = cls.build_test_loader(cfg, name)  # of another package: without records
                records = list(getattr(getattr(built, "dataset", None), "dicts", ()))
                seen[name] = usable_records(cfg, records, "TEST", [name])
                evaluator = call_with_context(cls.build_evaluator, cfg, name, **told)
            except Exception as error:
                if own:
                    raise
                logger.warning("An evaluation on %s may fail: %s", name, error)
                continue
            place = f"{name}/" if len(cfg.DATASETS.TEST) > 1 else ""  # as detectron2 nests them
            tasks = getattr(evaluator, "tasks", ())
            known &= bool(tasks) and type(evaluator).__module__.startswith("centernet_d2.")
            starts += [f"{place}{task}/" for task in tasks]
        if own and isinstance(model, OnCanvas):
            check_object_scale(cfg, learned, seen, model.protocol, divisor=model.divisor)
        return starts if own and known else []

    def build_checkpointer(self, cfg: CfgNode, model: nn.Module) -> Checkpointer:
        trainer = weakref.proxy(self)  # which holds the checkpointer
        checkpointer = Checkpointer(
            model,
            cfg.OUTPUT_DIR,
            class_names=self.class_names,
            skeleton=output_skeleton(cfg),
            mismatch=cfg.MODEL.CHECKPOINT_MISMATCH,
            trainer=trainer,
        )
        if self.average:
            checkpointer.averaged_state = self.average.state_dict
        checkpointer.model_info = lambda: trainer.model_info()
        return checkpointer

    def build_hooks(self) -> list[HookBase]:
        """Build the hooks, in the order in which they run after a step."""
        cfg, period = self.cfg, self.cfg.TEST.EVAL_PERIOD if self.cfg.DATASETS.TEST else 0
        keeper = CheckpointHook(
            self.checkpointer,
            period=cfg.SOLVER.CHECKPOINT_PERIOD,
            least=self.schedule.least_saving,
            evaluation_period=period,
            signals=self.signals,
        )
        result: list[HookBase] = [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            # A model from elsewhere has no heatmaps, or does not say so.
            TrainingHealthHook(getattr(unwrapped(self.model), "heatmap_losses", None)),
            keeper,
        ]
        if cfg.DATASETS.TEST:
            result.append(EvaluationHook(period, self.evaluate))
        if metric := cfg.SOLVER.BEST_METRIC:
            early = {"patience": cfg.SOLVER.EARLY_STOPPING, "period": period}
            result.append(BestCheckpoint(self.checkpointer, metric, keeper=keeper, **early))
        if comm.is_main_process():
            if cfg.VIS_PERIOD > 0:
                result.append(VisualizationHook(cfg.VIS_PERIOD, self.class_names))
            PathManager.mkdirs(cfg.OUTPUT_DIR)  # detectron2 0.5's writers expect the folder
            result.append(writers.WriterHook(self.build_writers(), cfg.LOGGING.PERIOD))
        return result

    def build_writers(self) -> list[EventWriter]:
        """Build what the numbers go to: a line of the log, trackers, and detectron2's files."""
        files = [w for w in super().build_writers() if not isinstance(w, CommonMetricPrinter)]
        batch, names = self.cfg.SOLVER.IMS_PER_BATCH, self.cfg.LOGGING.WRITERS
        trackers = [writers.WRITER_REGISTRY.get(name)(self.cfg) for name in names]
        return [PeriodPrinter(self.max_iter, images_per_step=batch), *trackers, *files]

    @classmethod
    def scheduler_name(cls, cfg: CfgNode) -> str:
        """Return the name of what lowers the learning rate: a subclass may build its own."""
        build = cls.build_lr_scheduler
        ours = build.__module__.startswith(("centernet_d2.", "detectron2."))
        return cfg.SOLVER.LR_SCHEDULER_NAME if ours else build.__qualname__.partition(".")[0]


def usable_records(
    cfg: CfgNode, records: Sequence[DatasetDict], key: str, names: Sequence[str]
) -> list[DatasetDict]:
    """Return the records of DATASETS.<key> whose image files can be used, and say what is in them.

    One process of each machine looks, as DATASETS.CHECK_IMAGES says; see `check_image_files` and
    `suspicions` for the rest. Records of another package may say nothing.
    """
    level, told = cfg.DATASETS.CHECK_IMAGES, ", ".join(names)
    faults = united(told_by(comm.get_local_rank() == 0, lambda: find_faults(records, level)))
    skip = cfg.DATASETS.SKIP_UNREADABLE if key == "TRAIN" else None
    classes = MetadataCatalog.get(names[0]).get("thing_classes", ())
    source = f"DATASETS.{key} {told}"
    records = check_image_files(records, faults, source=source, skip=skip)
    if comm.is_main_process() and records and isinstance(records[0], Mapping):
        what = {"TRAIN": "Training", "TEST": "Evaluation"}[key]
        said = describe_data(records, classes)
        logger.info("%s data %s: %s.", what, told, said, extra=SHOWN)
    look = partial(suspicions, cfg, records, classes, source)
    for said in told_by(comm.is_main_process(), look)[0]:
        logger.warning("%s", said)
    return records


def check_metric_name(metric: str, starts: Sequence[str]) -> None:
    """Raise ValueError where SOLVER.BEST_METRIC begins as no result does; see `check_evaluation`.

    An evaluator that does not say what it gives leaves it open.
    """
    if metric and starts and not metric.startswith((*starts, VALIDATION)):
        raise ValueError(
            f"SOLVER.BEST_METRIC is '{metric}', which no evaluation of DATASETS.TEST gives: their "
            f"results begin with {', '.join(starts)} (as in '{starts[0]}AP'). Name one of them, or "
            f"with TEST.VALIDATION_LOSS True '{VALIDATION}total_loss'."
        )


def check_best_metric(cfg: CfgNode) -> None:
    """Raise ValueError where no evaluation will ever give SOLVER.BEST_METRIC, or in time."""
    metric, datasets = cfg.SOLVER.BEST_METRIC, cfg.DATASETS.TEST
    if metric and not datasets:
        raise ValueError(
            f"SOLVER.BEST_METRIC is '{metric}', but DATASETS.TEST is empty: nothing is evaluated. "
            "Name a dataset there, or set SOLVER.BEST_METRIC ''."
        )
    if metric.startswith(VALIDATION) and not cfg.TEST.VALIDATION_LOSS:
        raise ValueError(
            f"SOLVER.BEST_METRIC is '{metric}', but TEST.VALIDATION_LOSS is False: set it to True."
        )
    if patience := cfg.SOLVER.EARLY_STOPPING:
        lacks = {
            "SOLVER.BEST_METRIC is '': name the result to watch, such as 'bbox/AP'": metric,
            "TEST.EVAL_PERIOD is 0: set it": cfg.TEST.EVAL_PERIOD or cfg.TEST.EVAL_EPOCHS,
        }
        for what in (what for what, given in lacks.items() if not given):
            raise ValueError(
                f"SOLVER.EARLY_STOPPING is {patience}, but {what}, or EARLY_STOPPING 0."
            )
    if "keypoints" not in metric.split("/"):
        return
    from ..data.datasets.skeletons import skeleton_of  # only what is asked for is imported
    from ..structures.skeleton import HOW_TO_NAME_JOINTS

    if not any(map(skeleton_of, datasets)):
        raise ValueError(
            f"SOLVER.BEST_METRIC is '{metric}', but {', '.join(datasets)} of DATASETS.TEST names "
            f"no joints, so that boxes alone are scored. {HOW_TO_NAME_JOINTS}; or set "
            "SOLVER.BEST_METRIC 'bbox/AP'."
        )
