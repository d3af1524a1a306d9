"""A detector whose network is recorded as CUDA graphs, so that the host starts no kernels.

A graph is of one size of canvas and batch. The points detector's holds the decoding of peaks too;
of the others it holds the network alone, as their decoding asks the device how many rows stay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor

from ..export.graph import Fields, fields_of
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..modeling.meta_arch.points_centernet import PointsCenterNet
from ..modeling.point_tasks import PointTask
from ..progress import tell_once
from ..structures.nested import mapped, tensors_of
from ..structures.padded_images import PaddedImages

MOST = 8  # graphs of a detector
WARM_UP = 3  # calls before one is recorded: kernels are chosen and compiled in them

Function = Callable[[PaddedImages], Any]
Recorded = tuple[Any, Callable[[], object]]
"""What a recorded function returns, always in the same memory, and what computes it anew."""
_capturing = threading.Lock()  # whoever begins waits for the whole device


def graphed(model: Any) -> HeatmapDetector:
    """Change a detector, in evaluation mode and on CUDA, in place into one that replays graphs.

    Its weights must stay where they are. Precision and autocast are those of the first call of
    each size. Threads and streams may call it at once; its graphs then take turns.
    """
    if model.device.type != "cuda":
        raise ValueError(
            "runtime 'cuda-graph' records what a CUDA GPU does: set MODEL.DEVICE to cuda where "
            "there is one, or take folded"
        )
    return with_graphs(model, Recorder(model.device))


def with_graphs(model: Any, recorder: Any) -> HeatmapDetector:
    """`graphed`, by a recorder."""
    model.requires_grad_(False)  # autocast keeps copies of weights that learn, for a while
    function: Function = model.predict
    tasks = model.tasks if isinstance(model, PointsCenterNet) else []
    if tasks and all(type(task).decode is PointTask.decode for task in tasks):
        kinds = {n: kind for task in tasks for n, kind in task.field_kinds.items()}
        function = partial(_read, model, model.predict)
        setattr(model, "propose", partial(_rows, kinds))  # noqa: B010 - of one object alone
    setattr(model, "predict", Graphs(function, recorder))  # noqa: B010
    return model


class Graphs:
    """A function of images, recorded for each size of theirs, up to `MOST`; others are called."""

    def __init__(self, function: Function, recorder: Recorder) -> None:
        self.function, self.recorder, self.lock = function, recorder, threading.Lock()
        self.known: dict[Any, tuple[PaddedImages, Recorded]] = {}

    def __call__(self, images: PaddedImages) -> Any:
        """What the function returns; new tensors, in the structure of the recorded call."""
        given = replace(images, image_sizes=())
        sizes = [(tensor.shape, tensor.dtype) for tensor in tensors_of(given)]
        key = (given.zoom, given.flipped, *sizes)
        with self.lock, self.recorder.turn():
            if key not in self.known and len(self.known) < MOST:
                self.known[key] = self._record(given)
            if key in self.known:
                static, (found, replay) = self.known[key]
                for old, new in zip(tensors_of(static), tensors_of(given), strict=True):
                    old.copy_(new)
                replay()
                return mapped(found, torch.clone)
        tell_once(
            f"runtime 'cuda-graph' has recorded {MOST} sizes of canvas and batch, and computes "
            "others without: TEST.RESOLUTION fixed gives all pictures one canvas"
        )
        return self.function(images)

    def _record(self, images: PaddedImages) -> tuple[PaddedImages, Recorded]:
        with torch.inference_mode(False), torch.no_grad():
            static = mapped(images, torch.clone)
            try:
                return static, self.recorder.record(self.function, static)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                raise RuntimeError(
                    "runtime 'cuda-graph' cannot record this detector, which asks the GPU for "
                    f"values or copies to it: take folded ({error})"
                ) from error


class Recorder:
    """Records CUDA graphs, which share their memory and so take turns."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            self.pool, self.last = torch.cuda.graph_pool_handle(), torch.cuda.Event()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What the stream does inside comes after all earlier turns, whatever their stream."""
        with torch.cuda.device(self.device):
            self.last.wait()
            yield
            self.last.record()

    def record(self, function: Function, images: PaddedImages) -> Recorded:
        """Record a call; other threads may use the device meanwhile."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function(images)
        torch.cuda.current_stream().wait_stream(stream)
        mode: Any = {"pool": self.pool, "capture_error_mode": "thread_local"}
        with _capturing, torch.cuda.graph(graph, stream=stream, **mode):
            found = function(images)
        return found, graph.replay


def _read(model: PointsCenterNet, predict: Function, images: PaddedImages) -> Fields:
    return fields_of(model, images, predict(images)[-1])


def _rows(
    kinds: Mapping[str, Callable[[Tensor], Any]], found: Fields, images: PaddedImages
) -> list[Instances]:
    """Fields (N, K, ...) as the candidates of each image."""
    return [
        Instances(size, **{n: kinds.get(n, torch.as_tensor)(v[row]) for n, v in found.items()})
        for row, size in enumerate(images.image_sizes)
    ]
