"""A whole job as a command line asks for it, in one process of it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import re
import shlex
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from ..atomic_write import write_json
from ..config.files import read_levels
from ..progress import SHOWN
from ..text_files import expanded, read_text
from .class_names import without_training_data
from .processes import told_by
from .run_folder import kept, move_aside, refuse_used_folder
from .setup import config_path, is_automatic, load_config, setup
from .terminal import start_logging
from .trainer import Trainer

# The rest is imported where it is used: a training of a YAML config needs neither of them.
if TYPE_CHECKING:
    from omegaconf import DictConfig

    from .user_modules import AddKeys

logger = logging.getLogger(__name__)

NOT_AUTOMATIC = "chooses nothing by it; the configs Own/... do (centernet-d2 models configs)."
CONFIG_FILE, RESULTS_FILE, TIMING_FILE = "config.yaml", "results.json", "timing.json"
Scores = dict[str, dict[str, float | None]]  # task -> metric -> number; None: not a finite one


@dataclass(frozen=True)
class Job:
    """What a command line asks for: a YAML config or a LazyConfig, and who trains it."""

    cfg: CfgNode  # of a LazyConfig its plain values
    trainer: type[Trainer]
    lazy: DictConfig | None = None

    def saved(self, **changed: Any) -> CfgNode | DictConfig:
        """Return what a run saves as its config.yaml, with other values of some top-level keys."""
        if self.lazy is not None:
            from .lazy import with_values

            return with_values(self.lazy, changed)
        cfg = self.cfg.clone()
        cfg.update(changed)  # frozen or not
        return cfg


def read_job(
    args: argparse.Namespace,
    *,
    trainer: type[Trainer] = Trainer,
    add_keys: Iterable[AddKeys] = (),
) -> Job:
    """Import the modules that `args` name, and read the config; see `run` for the arguments."""
    hooks = list(add_keys)
    args.config_file = config_path(expanded(args.config_file))
    if args.resume and not args.config_file:
        args.config_file = config_of_run(args.opts)
    if imports := getattr(args, "imports", ()):
        from .user_modules import import_all

        hooks += import_all(imports)
    weights, opts = getattr(args, "weights", None) or "", args.opts
    if weights or args.eval_only:
        from .model_config import named_weights, read_model_config
    if not is_lazy(args.config_file):
        preset = getattr(args, "preset", None)
        opts = [*opts, "AUTO.PRESET", preset] if preset else opts
        if not (weights or args.eval_only):
            cfg = load_config(args.config_file, opts, hooks)
            chooses, file = is_automatic(cfg), os.path.join(cfg.OUTPUT_DIR, CONFIG_FILE)
            if preset and not chooses:
                raise ValueError(f"--preset {preset}: '{args.config_file}' {NOT_AUTOMATIC}")
            if args.resume and chooses and PathManager.isfile(file):
                from .automatic import take_over  # only where it is asked for

                take_over(cfg, read_levels(file)[-1].values)
            return Job(cfg, trainer)
        given = (args.config_file, weights, opts)
        which = {"evaluates": args.eval_only, "trains": not args.eval_only}
        cfg = read_model_config(*given, add_keys=hooks, **which)
        return Job(cfg, trainer)
    from .lazy import load_lazy, settings
    from .lazy_trainer import lazy_trainer

    if weights:  # as text in quotes, whatever signs are in it
        opts = [*opts, f"train.init_checkpoint={named_weights(weights)!r}"]
    lazy = load_lazy(args.config_file, opts)
    return Job(settings(lazy, hooks), lazy_trainer(lazy, trainer), lazy)


def config_of_run(opts: Sequence[str]) -> str:
    """Return the config that the run in OUTPUT_DIR of overrides has saved; "" where there is none.

    That of a LazyConfig has other overrides, and is named by hand.
    """
    folder = dict(zip(opts[::2], opts[1::2], strict=False)).get("OUTPUT_DIR", "")
    file = os.path.join(expanded(folder), CONFIG_FILE)
    return file if folder and PathManager.isfile(file) and not is_lazy(file) else ""


def is_lazy(path: str) -> bool:
    """Whether a config file is a LazyConfig: Python, or one that a training saved as YAML."""
    if path.endswith(".py"):
        return True
    if not path or not PathManager.isfile(path):
        return False
    return re.search(r"^dataloader:", read_text(path), re.MULTILINE) is not None


def run(
    args: argparse.Namespace,
    *,
    trainer: type[Trainer] = Trainer,
    add_keys: Iterable[AddKeys] = (),
) -> OrderedDict[str, Any] | None:
    """Train or evaluate, as the `args` of detectron2's `default_argument_parser` say.

    The numbers of the last evaluation are written as `results.json` beside the saved config.

    Args:
        args: parsed. Where they are there, `imports` names modules to import, see `user_modules`,
            `overwrite` moves an earlier run in OUTPUT_DIR aside, `weights` is MODEL.WEIGHTS, whose
            own config is used where `config_file` is "", and `command` (a program's words, its
            arguments), else that of this process, is told as the one to resume by.
        trainer: a subclass that builds some parts in its own way, in training and evaluation.
        add_keys: functions cfg -> None that add config keys of one's own.

    Raises:
        FileExistsError: a new run where another one lies, before anything is written there.
        SystemExit: a training was stopped by SIGINT (130) or SIGTERM (143).
    """
    job = read_job(args, trainer=trainer, add_keys=add_keys)
    folder = result_folder(job.cfg.OUTPUT_DIR, args.eval_only)
    files = [os.path.join(folder, name) for name in (CONFIG_FILE, TIMING_FILE, RESULTS_FILE)]
    results: OrderedDict[str, Any] | None
    with kept(*files) if comm.is_main_process() else contextlib.nullcontext():
        cfg = prepare(job, args)
        if args.eval_only:
            from .evaluate import evaluate_only

            runtime = getattr(args, "runtime", "")
            results = evaluate_only(cfg, trainer=job.trainer, runtime=runtime)
        else:
            training = job.trainer(cfg)
            program, rest = getattr(args, "command", ([sys.executable, sys.argv[0]], sys.argv[1:]))
            rest = [word for word in rest if word not in ("--resume", "--overwrite")]
            training.how_to_resume = shlex.join([*program, "--resume", *rest])
            training.resume_or_load(resume=args.resume)
    if not args.eval_only:
        try:
            results = training.train()
        except KeyboardInterrupt:  # it has said where it stands
            sys.exit(128 + signal.SIGINT)
    if results is not None and comm.is_main_process():
        write_json(files[-1], plain_scores(results), indent=1)
        if args.eval_only:
            logger.info("Written to %s: log, config, scores and detections.", folder, extra=SHOWN)
    return results


def prepare(job: Job, args: argparse.Namespace) -> CfgNode:
    """Start logging, set the config up, save config and log, and seed this process.

    Earlier results.json and timing.json are removed first: those beside a config.yaml are always of
    that config, and of a run that came to its end.
    """
    folder = result_folder(job.cfg.OUTPUT_DIR, args.eval_only)
    clear = partial(clear_folder, job.cfg.OUTPUT_DIR, args, needed=job.cfg.MODEL.WEIGHTS)
    (aside,) = told_by(comm.is_main_process(), clear)
    if args.eval_only:
        job = replace(job, cfg=without_training_data(job.cfg))
    start_logging(folder, comm.get_rank(), getattr(args, "verbose", False))
    if aside:
        logger.warning("The earlier run in %s is now in %s.", folder, aside)
    setup(job.cfg).freeze()
    if comm.is_main_process():
        for file in (RESULTS_FILE, TIMING_FILE):
            Path(folder, file).unlink(missing_ok=True)
    logger.info("Command line arguments: %s", args)
    if args.config_file:  # detectron2 would read it in the system's encoding alone
        logger.info("Contents of %s:\n%s", args.config_file, read_text(args.config_file))
    used = argparse.Namespace(config_file="", eval_only=args.eval_only)
    default_setup(job.saved(OUTPUT_DIR=folder), used)
    return job.cfg


def clear_folder(folder: str, args: argparse.Namespace, *, needed: str = "") -> str:
    """See that a training mixes with no other run; return where one was moved to, or "".

    `needed` is a file that the training reads, which is not moved.

    Raises:
        FileExistsError: one does, and `args` neither resume nor overwrite.
        ValueError: `args` do both.
    """
    uses, overwrite = args.resume or args.eval_only, getattr(args, "overwrite", False)
    if overwrite and uses:
        raise ValueError(
            "--overwrite starts a new run, --resume and --eval-only use one that is there: "
            "give one."
        )
    if overwrite:
        return move_aside(folder, needed=(args.config_file, needed))
    if not uses:
        refuse_used_folder(folder)
    return ""


def result_folder(output_dir: str, eval_only: bool) -> str:
    """Return where a run leaves config, log and results: an evaluation not over a training's."""
    return os.path.join(output_dir, "inference") if eval_only else output_dir


def plain_scores(results: Mapping[str, Any], task: str = "") -> Scores:
    """Return the numbers of an evaluation as JSON can hold them; what is no number is left out.

    Of several datasets, whose results detectron2 nests one deeper, a task is "<dataset>/<task>".
    """
    scores: Scores = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            scores |= plain_scores(value, f"{task}/{key}" if task else key)
            continue
        with contextlib.suppress(TypeError, ValueError):
            number = float(value)
            scores.setdefault(task, {})[key] = number if math.isfinite(number) else None
    return scores
