"""Everything in which detectron2's main branch and its release 0.5 differ for this package.

The rest of the package calls both in the same way: what differs is a name or a function here.
"""

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import detectron2
import detectron2.config
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.config import CfgNode
from detectron2.engine import launch as detectron2_launch
from detectron2.engine.launch import DEFAULT_TIMEOUT, _find_free_port
from detectron2.utils import comm

from .threads import share_among

VERSION: str = detectron2.__version__
# main still calls itself 0.6, so it is known by a function; the other differences go with it.
IS_MAIN = hasattr(comm, "create_local_process_group")

DECAY_OF_BIASES_0_5 = 1e-4  # default of SOLVER.WEIGHT_DECAY_BIAS in 0.5; None in main

# Core config keys that main has and 0.5 lacks. A config.yaml written under main holds all of them.
# It is a list, not "whatever is unknown", so that a misspelt key stays an error.
_BOX_HEAD = ("FED_LOSS_FREQ_WEIGHT_POWER", "FED_LOSS_NUM_CLASSES", "USE_FED_LOSS", "USE_SIGMOID_CE")
KEYS_OF_MAIN = (
    *("DATALOADER.REPEAT_SQRT", "FLOAT32_PRECISION"),
    *(f"MODEL.ROI_BOX_HEAD.{name}" for name in _BOX_HEAD),
    *("SOLVER.BASE_LR_END", "SOLVER.NUM_DECAYS", "SOLVER.RESCALE_INTERVAL"),
)


# ------------------------------------------------------------------------------------------ config
class LazyCall(detectron2.config.LazyCall):
    """detectron2's, which in 0.5 cannot call a dataclass."""

    def __init__(self, target: Any) -> None:
        is_dataclass = dataclasses.is_dataclass(target)
        super().__init__(f"{target.__module__}.{target.__name__}" if is_dataclass else target)


def anchor_scores(logits: list[torch.Tensor]) -> list[torch.Tensor]:
    """What RetinaNet's `inference_single_image` takes of each level: in 0.5 the logits."""
    return [each.sigmoid() for each in logits] if IS_MAIN else logits


def unify_defaults(cfg: CfgNode) -> None:
    """Give `cfg`, in place, main's default where 0.5 has another one.

    0.5 keeps `SOLVER.WEIGHT_DECAY_BIAS` at 1e-4 however WEIGHT_DECAY is set, so that a recipe
    without weight decay would still decay its biases; main's None means "as WEIGHT_DECAY". Harmless
    to call twice.
    """
    if not IS_MAIN and cfg.SOLVER.WEIGHT_DECAY_BIAS == DECAY_OF_BIASES_0_5:
        cfg.SOLVER.WEIGHT_DECAY_BIAS = None


# --------------------------------------------------------------------------------------- processes
def launch(
    main_function: Callable[..., Any],
    num_processes_per_machine: int,
    *,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    args: tuple[Any, ...] = (),
) -> None:
    """Run `main_function(*args)` in every process of a job, on GPUs or on the CPU over gloo.

    The function has to be importable, as started processes find it by name. With GPUs there is a
    process for each. The machines of a job have ranks from 0, and their processes meet at
    `dist_url`; on one machine it may be "auto", a free local port.

    Raises:
        ValueError: a number of processes or machines that cannot be, more processes than GPUs, or
            "auto" on several machines.
    """
    numbers = {"--num-gpus": num_processes_per_machine, "--machine-rank": machine_rank}
    for name, number in (numbers | {"--num-machines": num_machines - 1}).items():
        if number < 0:
            at_least = int(name == "--num-machines")
            raise ValueError(f"{name} is {number + at_least}; it must be {at_least} or more.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and num_processes_per_machine > gpus:
        raise ValueError(
            f"--num-gpus {num_processes_per_machine}, but this machine has {gpus}. Use --num-gpus "
            f"{gpus} or less."
        )
    if dist_url == "auto" and num_machines > 1:
        raise ValueError("--dist-url auto works on one machine; give tcp://<first machine>:<port>.")
    if num_processes_per_machine > 1:
        args = (num_processes_per_machine, main_function, *args)
        main_function = _with_its_cores
    # 0.5 asserts CUDA in every process that it starts, so those without a GPU are started here.
    if gpus or num_machines * num_processes_per_machine <= 1:
        machines = (num_machines, machine_rank, dist_url)
        detectron2_launch(main_function, num_processes_per_machine, *machines, args)
        return
    if dist_url == "auto":
        dist_url = f"tcp://127.0.0.1:{_find_free_port()}"
    world = (num_machines * num_processes_per_machine, num_processes_per_machine, machine_rank)
    mp.spawn(_gloo_worker, (main_function, world, dist_url, args), num_processes_per_machine)


def _with_its_cores(processes: int, main_function: Callable[..., Any], *args: Any) -> None:
    share_among(processes)  # else every process would take all cores
    main_function(*args)


def _gloo_worker(
    local_rank: int,
    main_function: Callable[..., Any],
    world: tuple[int, int, int],
    dist_url: str,
    args: tuple[Any, ...],
) -> None:
    world_size, per_machine, machine_rank = world
    dist.init_process_group(
        "gloo",
        init_method=dist_url,
        world_size=world_size,
        rank=machine_rank * per_machine + local_rank,
        timeout=DEFAULT_TIMEOUT,
    )
    create_local_process_group(per_machine)
    comm.synchronize()
    main_function(*args)
    comm.synchronize()
    leave()


def leave() -> None:
    """End this process of a finished job over gloo, with success.

    Connections stay until all have heard that all are done. Then the process goes without its
    destructors: with gloo's threads they now and then abort ("terminate called without an active
    exception"), and the whole job would count as failed.
    """
    time.sleep(0.5)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def create_local_process_group(processes_per_machine: int) -> None:
    """Tell detectron2 which processes share a machine; all processes call it together."""
    if IS_MAIN:
        comm.create_local_process_group(processes_per_machine)
        return
    for first in range(0, dist.get_world_size(), processes_per_machine):
        ranks = list(range(first, first + processes_per_machine))
        group = dist.new_group(ranks)
        if dist.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group
