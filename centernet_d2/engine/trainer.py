"""detectron2's trainer with a computed schedule, exact resume and averaged weights."""

import contextlib
import functools
import logging
import math
import os
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from .. import __version__
from ..checkpoint.model_info import ModelInfo, config_text
from ..data.samplers import seed_generators
from ..evaluation.build import check_outputs
from ..progress import SHOWN, say
from . import writers
from .class_names import compare_with_checkpoint, set_class_names
from .contradictions import differing
from .ema import WeightAverage, copy_into
from .hooks import BestCheckpoint, CheckpointHook, StoppedEarly
from .object_scale import Learned
from .optimizer import optimizer_state, resume_optimizer
from .parts import Parts, check_best_metric, check_metric_name, usable_records
from .processes import StopSignals, at_signals
from .run_folder import file_to_resume, refuse_used_folder, traces_of_run
from .saved_names import fetch_weights, saved_names
from .schedule import fix_schedule, schedule_from_config
from .setup import setup
from .step_loop import AMP_DTYPES, StepLoop, buffers_of_main_process, distributed, unwrapped
from .summary import describe_network, specs, training_record
from .validation import validation_loaders, validation_losses

logger = logging.getLogger(__name__)


class Trainer(Parts):
    """Builds everything that a training needs from a config, and trains.

    Subclasses replace parts as with detectron2's trainer: `build_model`, `build_optimizer`,
    `build_lr_scheduler`, `build_mapper`, `build_train_loader`, `build_test_loader`,
    `build_evaluator`, `build_hooks`; `engine.run.run(args, trainer=...)` runs them.

    A checkpoint holds under "model" the weights that are evaluated (with SOLVER.EMA_DECAY the
    average), so that `--eval-only` and predictors repeat the printed score, and under "trainer" all
    that an exact resume needs.
    """

    how_to_resume = "Trainer(cfg).resume_or_load(resume=True), or --resume"  # for messages

    def __init__(self, cfg: CfgNode) -> None:
        """Build model, optimizer, loader and hooks, from a copy of `cfg`, `self.cfg`.

        What the run will need is looked at: records, image files, evaluators of DATASETS.TEST.

        Raises:
            ValueError: the config contradicts itself or the data; see `setup` and
                `schedule_from_config`.
            FileNotFoundError: image files are missing.
        """
        TrainerBase.__init__(self)
        cfg = setup(cfg.clone())
        check_best_metric(cfg)
        self.check_datasets(cfg)
        writers.check_writers(cfg)
        self.signals = StopSignals()
        self._holds_run = bool(traces_of_run(cfg.OUTPUT_DIR))  # before the writers leave theirs
        dataset = usable_records(cfg, self.load_dataset(cfg), "TRAIN", cfg.DATASETS.TRAIN)
        schedule = schedule_from_config(cfg, len(dataset))
        schedule = replace(schedule, scheduler=self.scheduler_name(cfg))
        self.schedule = schedule.with_time_to_learn()
        self.cfg = cfg = fix_schedule(cfg, self.schedule)
        self.class_names = set_class_names(cfg)
        self.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        seed_generators(self.seed)  # a drawn seed, given by hand later, repeats the whole run

        model, decay = self.build_model(cfg), cfg.SOLVER.EMA_DECAY
        if cfg.SOLVER.COMPILE:
            from ..modeling.compiled import compile_training

            compile_training(model)
            logger.info("SOLVER.COMPILE: the first steps compile, for minutes.", extra=SHOWN)
        check_outputs(cfg.DATASETS.TEST, getattr(model, "output_fields", ("pred_boxes",)))
        loader = self.build_train_loader(cfg, dataset=dataset, seed=self.seed)
        mapper = getattr(getattr(loader, "dataset", None), "mapper", None)
        self.learned = Learned.of(dataset, mapper)
        check_metric_name(cfg.SOLVER.BEST_METRIC, self.check_evaluation(cfg, model, self.learned))
        self.validation = validation_loaders(self, cfg, model) if cfg.TEST.VALIDATION_LOSS else []
        self.average = WeightAverage(model, decay=decay) if decay else None
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = StepLoop(
            distributed(model),
            loader,
            optimizer,
            amp_dtype=AMP_DTYPES[cfg.SOLVER.AMP_DTYPE] if cfg.SOLVER.AMP.ENABLED else None,
            average=self.average,
            seed=self.seed,
            at_once=cfg.SOLVER.IMS_AT_ONCE,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = self.build_checkpointer(cfg, model)
        self.start_iter, self.start_position, self.max_iter = 0, 0, cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())
        # None where a subclass saves in another way.
        self._keeper = next((h for h in self._hooks if isinstance(h, CheckpointHook)), None)

    def resume_or_load(self, resume: bool = True) -> None:
        """Load OUTPUT_DIR's last checkpoint with all its state, else MODEL.WEIGHTS.

        Raises:
            ValueError: resuming with other classes, joints, optimizer or another model than the
                checkpoint's.
            FileNotFoundError: the checkpoint to resume is not there, but others are.
        """
        folder = self.cfg.OUTPUT_DIR
        path = file_to_resume(folder, self.checkpointer.get_checkpoint_file()) if resume else ""
        if path:
            self.checkpointer.mismatch = "fail"
        elif resume:
            logger.warning(
                "Nothing to resume in OUTPUT_DIR '%s' (it has no checkpoint): a new run starts.",
                folder,
            )
            self._holds_run = False  # or of one that left no checkpoint
        resume, path = bool(path), path or self.cfg.MODEL.WEIGHTS
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if path:
            fetch_weights(path)
            ours, saved = self.checkpointer, saved_names(path)
            compare_with_checkpoint(ours.class_names, ours.skeleton, saved, must_agree=resume)
            found = differing(self.cfg, saved)
            told = "Resuming with another config. %s is %r, the run had %r."
            if not resume:  # what fits by its shape and means something else
                told = "%s is %r, of MODEL.WEIGHTS %r: their channels go on with other sizes."
                pairs = found.items()
                found = {k: p for k, p in pairs if "SIZE_BOUNDS" in k and len(p[0]) == len(p[1])}
            for key, (was, now) in found.items():
                logger.warning(told, key, now, was)
        if resume:
            self.start_iter = self.iter + 1
        elif self.average:
            self.average.load(unwrapped(self.model).state_dict(), updates=0)

    def train(self) -> OrderedDict[str, Any] | None:
        """Train from where the run stands to the end; return the last evaluation's results.

        Where it fails, or SIGINT, SIGTERM or SIGHUP end it after a step, the last line of the log
        says how to go on.

        Raises:
            FileExistsError: a new run where another one lies.
            KeyboardInterrupt: stopped by SIGINT; all that is done is saved.
            SystemExit: the results miss TEST.EXPECTED_RESULTS, or it was stopped by SIGTERM.
        """
        if self._holds_run and not self.start_iter:
            refuse_used_folder(self.cfg.OUTPUT_DIR)
        logger.info("%s", self._opening(), extra=SHOWN)
        if told := self.schedule.warm_up_origin:
            logger.info("%s", told, extra=SHOWN)
        logger.info("Seed %d; starting at image %d of the stream.", self.seed, self.start_position)
        self.data_loader.set_position(start=self.start_position, seed=self.seed)
        self._trainer.seed = self.seed
        if self.start_iter >= self.max_iter:
            logger.warning(
                "Nothing to train: iteration %d of %d is done. For a longer run raise "
                "SOLVER.EPOCHS or MAX_ITER.",
                *(self.start_iter, self.max_iter),
            )
        try:
            with at_signals(self.signals.note) if self._keeper else contextlib.nullcontext():
                self._train()
        finally:
            self._trainer.stop_loading()
            for hook in (h for h in self._hooks if isinstance(h, writers.WriterHook)):
                hook.close()
        if file := self.iter >= self.max_iter and self.checkpointer.get_checkpoint_file():
            logger.info("%d iterations are done: %s", self.max_iter, file, extra=SHOWN)
        results = getattr(self, "_last_eval_results", None)
        if results and self.cfg.LOGGING.REPORT and comm.is_main_process():
            from .leave_report import leave_report

            leave_report(self.cfg, results, weights=self.checkpointer.get_checkpoint_file())
        if len(self.cfg.TEST.EXPECTED_RESULTS) and comm.is_main_process():
            verify_results(self.cfg, results or {})
        return results

    def _opening(self) -> str:
        """What is trained in which way, where that is written, and how it is gone on with."""
        start = f"goes on at iteration {self.start_iter}" if self.start_iter else ""
        start = start or self.cfg.MODEL.WEIGHTS or "from scratch"
        going_on = f"\nStopped, it goes on by: {self.how_to_resume}" if self._keeper else ""
        frame = self.learned.frame if self.learned else ()
        return (
            f"{describe_network(unwrapped(self.model), start, frame=frame)}\n"
            f"{self.schedule.describe()}\n"
            f"Written to {self.cfg.OUTPUT_DIR}: log.txt (all that is said), metrics.json, "
            f"{writers.RESULTS_TABLE}, TensorBoard's events, checkpoints.{going_on}"
        )

    def _train(self) -> None:
        try:
            TrainerBase.train(self, self.start_iter, self.max_iter)
        except StoppedEarly as end:
            logger.info("%s", end, extra=SHOWN)
            if not hasattr(self, "_last_eval_results"):
                self.evaluate()  # of a resumed run that had ended so before
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            if self._keeper is None:
                raise
            line = self._keeper.close(error, self.how_to_resume)
            failed = isinstance(error, Exception) and not self.signals.received
            logger.log(logging.ERROR if failed else logging.INFO, "%s", line, extra=SHOWN)
            if isinstance(error, Exception):
                if self.signals.received:  # which has ended a worker of the loader first
                    self.signals.stop()
                error.add_note(line)
            raise

    def evaluate(self) -> OrderedDict[str, Any]:
        """Evaluate on DATASETS.TEST with the weights that a checkpoint would hold."""
        model = unwrapped(self.model)
        average = self.average.applied_to(model) if self.average else contextlib.nullcontext()
        if (dtype := self.cfg.TEST.DTYPE) != "float32":
            say(f"A training evaluates in float32; TEST.DTYPE {dtype} holds when it is over.")
        self.signals.at_once = True  # the steps are saved
        try:
            with average, buffers_of_main_process(model):
                self._last_eval_results = self.test(self.cfg, model)
                if self.validation and (losses := validation_losses(model, self.validation)):
                    self._last_eval_results["validation"] = losses
        finally:
            self.signals.at_once = False
        if comm.is_main_process() and hasattr(self, "storage"):
            done = min(self.iter + 1, self.max_iter)
            row = {"iteration": done, "epoch": self.schedule.epochs(done)}
            row |= writers.last_numbers(self.storage, self._last_eval_results)
            writers.add_result(os.path.join(self.cfg.OUTPUT_DIR, writers.RESULTS_TABLE), row)
        return self._last_eval_results

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides "model"."""
        state = TrainerBase.state_dict(self)  # iteration, and the scheduler among the hooks
        state |= optimizer_state(self.optimizer, unwrapped(self.model))
        state["schedule"] = dict(vars(self.schedule))
        state["datasets"] = ", ".join(specs(self.cfg.DATASETS.TRAIN))
        state["grad_scaler"] = self._trainer.grad_scaler.state_dict()
        state["seed"] = self.seed
        done = self.iter + 1 - self.start_iter  # steps since the start, of all processes' images
        state["images_seen"] = self.start_position + done * self.cfg.SOLVER.IMS_PER_BATCH
        if self.average:
            state["average_updates"] = self.average.updates
            state["training_weights"] = dict(unwrapped(self.model).state_dict())
        return state

    def model_info(self) -> ModelInfo:
        """Return what a checkpoint says of the model beside its names; see docs/models.md."""
        training = {"iterations": self.iter + 1, "seed": self.seed}
        training |= training_record(self.cfg, self.schedule)
        if self.learned and self.learned.size:
            training["object_size"] = round(self.learned.size, 1)
            training["image_size"] = self.learned.image_size
        for hook in self._hooks:
            if isinstance(hook, BestCheckpoint) and math.isfinite(hook.best):
                training["best"] = {"metric": hook.metric, "value": float(hook.best)}
        return ModelInfo(
            version=__version__,
            config=self.config_text,
            protocol=getattr(unwrapped(self.model), "describe_protocol", str)(),
            training=training,
        )

    @functools.cached_property
    def config_text(self) -> str:
        return config_text(self.cfg)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint but for what the config sets; "model" is loaded."""
        TrainerBase.load_state_dict(self, state)
        model = unwrapped(self.model)
        changes = self.schedule.changes(state["schedule"])
        now = ", ".join(specs(self.cfg.DATASETS.TRAIN))
        if (was := state["datasets"]) != now:
            changes.insert(0, f"DATASETS.TRAIN: {now} is used, the run had {was}.")
        changes += resume_optimizer(self.optimizer, self.scheduler, model, state)
        for change in changes:
            logger.warning("Resuming with another config. %s", change)
        if state["grad_scaler"]:
            self._trainer.grad_scaler.load_state_dict(state["grad_scaler"])
        if self.cfg.SEED < 0:
            self.seed = state["seed"]
        elif state["seed"] != self.cfg.SEED:
            logger.warning("SEED is %d, the checkpoint's was %d.", self.cfg.SEED, state["seed"])
        self.start_position = state["images_seen"]
        if self.average:
            self.average.load(model.state_dict(), updates=state.get("average_updates", 0))
        if "training_weights" in state:
            copy_into(model, state["training_weights"])
