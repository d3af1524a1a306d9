"""One training step, in full or mixed precision, on CUDA or CPU, in one or several processes."""

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.train_loop import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from ..data.loader import describe_image
from ..data.samplers import seed_generators
from .ema import WeightAverage

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class StepLoop(SimpleTrainer):
    """The step of our `Trainer`.

    Unlike detectron2's loops it knows bfloat16 and mixed precision on a CPU, stops before the
    update when a loss is not finite and names the images, and seeds each step by (seed, iteration,
    process), so that a resumed run draws the same numbers (dropout) as one that never stopped.

    Attributes:
        batch: the current step's input, for hooks.
        losses: the current step's losses of this process, as numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[dict[str, Any]]],
        optimizer: torch.optim.Optimizer,
        *,
        amp_dtype: torch.dtype | None = None,
        average: WeightAverage | None = None,
        seed: int = 0,
        at_once: int = 0,
    ) -> None:
        """Prepare a `model`, wrapped or not; without `amp_dtype` in full precision.

        `at_once` images of a batch go through the network together; 0: all.
        """
        super().__init__(model, data_loader, optimizer)
        self.device_type = next(model.parameters()).device.type
        self.amp_dtype, self.at_once = amp_dtype, at_once
        # bfloat16 has float32's range: nothing to scale.
        self.grad_scaler = torch.amp.GradScaler(
            self.device_type, enabled=amp_dtype is torch.float16
        )
        self.average, self.seed = average, seed
        self._batches: Iterator[list[dict[str, Any]]] | None = None
        self.batch: list[dict[str, Any]] = []
        self.previous_batch: list[dict[str, Any]] = []
        self.losses: dict[str, float] = {}
        self._buffers: list[torch.Tensor] = []  # copies, as they were before the current step
        self._stage = "whole"

    def run_step(self) -> None:
        """Do one step.

        Raises:
            FloatingPointError: a loss is infinite or not a number.
        """
        if not self.model.training:
            raise RuntimeError("The model was left in evaluation mode; a hook must restore it.")
        self._copy_buffers()
        start = time.perf_counter()
        if self._batches is None:
            self._batches = iter(self.data_loader)
        self.previous_batch, self.batch = self.batch, next(self._batches)
        data_time = time.perf_counter() - start

        seed_generators(self.seed, self.iter, comm.get_rank())
        if self.device_type == "cuda":
            torch.cuda.manual_seed(int(torch.randint(2**31, ())))
        losses = self._accumulate()
        # Only here: reading the losses waits for a GPU, which backward has given work by now.
        self.losses = self._checked(losses)
        self._log(data_time)
        self._stage = "updating"
        # Here, as fused optimizers scale back themselves, after their gradients are clipped.
        self.grad_scaler.unscale_(self.optimizer)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.average:
            self.average.update(unwrapped(self.model))

    def _accumulate(self) -> dict[str, torch.Tensor]:
        """Add up the batch's gradients, in parts of at most `at_once` images; return its losses.

        A part counts by its share of the images: the step is that of the whole batch, but for norms
        and losses that a part divides by its own objects.
        """
        batch, enabled = self.batch, self.amp_dtype is not None
        parts = -(-len(batch) // self.at_once) if self.at_once else 1
        whole: dict[str, torch.Tensor] = {}
        self.optimizer.zero_grad()
        for number in range(parts):
            part = batch[number::parts]
            waits = number + 1 < parts and hasattr(self.model, "no_sync")  # of DDP
            with self.model.no_sync() if waits else contextlib.nullcontext():
                with torch.autocast(self.device_type, dtype=self.amp_dtype, enabled=enabled):
                    losses = self.model(part)
                if isinstance(losses, torch.Tensor):
                    losses = {"total_loss": losses}
                if parts > 1:
                    losses = {k: loss * (len(part) / len(batch)) for k, loss in losses.items()}
                self.grad_scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                whole[name] = whole[name] + loss.detach() if number else loss.detach()
        return whole

    @torch.no_grad()
    def _copy_buffers(self) -> None:
        buffers = list(self.model.buffers())
        if not self._buffers:
            self._buffers = [buffer.clone() for buffer in buffers]
        elif buffers:
            torch._foreach_copy_(self._buffers, buffers)
        self._stage = "forward"

    def end_step(self) -> None:
        """Take the step as whole; whoever saves calls it, when the learning rate is set too."""
        self._stage = "whole"

    @torch.no_grad()
    def undo_half_a_step(self) -> bool:
        """Undo a step that failed; False where weights have changed, which cannot be undone.

        Norms gather statistics before a step can fail; weights only change at its end.
        """
        if self._stage == "forward":
            for buffer, before in zip(self.model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
        return self._stage != "updating"

    def stop_loading(self) -> None:
        """End the loader's workers; a further step starts them anew."""
        if hasattr(self._batches, "close"):
            self._batches.close()
        self._batches = None

    def _checked(self, losses: dict[str, torch.Tensor]) -> dict[str, float]:
        """Bring all losses to the host at once; stop at one that is not finite."""
        values = torch.stack([loss.detach().float() for loss in losses.values()]).tolist()
        numbers = dict(zip(losses, values, strict=True))
        if all(map(math.isfinite, values)):
            return numbers
        raise FloatingPointError(
            f"Loss is not finite at iteration {self.iter}: {numbers}. The batch: "
            f"{describe_batch(self.batch)}. The batch before, whose update may have done it: "
            f"{describe_batch(self.previous_batch)}. Check these images' annotations, lower "
            "SOLVER.BASE_LR, warm up (SOLVER.WARMUP_ITERS) or clip (SOLVER.CLIP_GRADIENTS.ENABLED "
            "True); with SOLVER.AMP try AMP_DTYPE 'bfloat16'."
        )

    def _log(self, data_time: float) -> None:
        """Store the losses' means over processes, and the longest wait for data."""
        losses = {name: torch.tensor(v, dtype=torch.float64) for name, v in self.losses.items()}
        self._write_metrics(losses, data_time)
        if self.grad_scaler.is_enabled():
            scale = self.grad_scaler.get_scale()
            get_event_storage().put_scalar("grad_scale", scale, smoothing_hint=False)


def describe_batch(batch: list[dict[str, Any]]) -> str:
    """Name the images of a batch."""
    return ", ".join(map(describe_image, batch)) or "none"


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside a distributed wrapper, or the model itself."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def distributed(model: nn.Module) -> nn.Module:
    """Wrap `model` where there are several processes: gradients become their mean.

    Each divides its losses by its own objects, as in the published code, so that the step is not
    exactly that of one process with all images.
    """
    on_gpu = next(model.parameters()).is_cuda
    device_ids = [comm.get_local_rank()] if on_gpu else None
    return create_ddp_model(model, broadcast_buffers=False, device_ids=device_ids)


@contextlib.contextmanager
def buffers_of_main_process(model: nn.Module) -> Iterator[None]:
    """Let all processes use the main process's buffers inside the block: a checkpoint holds those.

    In training each process keeps the statistics of its norms.
    """
    if comm.get_world_size() == 1:
        yield
        return
    own = [buffer.clone() for buffer in model.buffers()]
    for buffer in model.buffers():
        dist.broadcast(buffer, src=0)
    try:
        yield
    finally:
        for buffer, value in zip(model.buffers(), own, strict=True):
            buffer.copy_(value)
