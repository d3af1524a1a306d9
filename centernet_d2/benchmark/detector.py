"""Speed, memory and size of detectors: preprocess, network, decode and the whole, by batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path

import torch
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import Tensor, nn

from ..engine.setup import load_config, setup
from ..structures.padded_images import PaddedImages
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from .timing import peak_memory


@BENCHMARK_REGISTRY.register()
def detector(options: BenchmarkOptions) -> list[Row]:
    """Images per second of each stage of inference, on random pixels and untrained weights.

    `preprocess`: 8-bit tensors on the CPU to the normalised batch on the device; `network`: batch
    to maps; `decode`: maps to detections in the output frame; `whole`: all of it in one call.
    Reading and decoding files is not in it.
    """
    rows = []
    for path in options.configs:
        model, size = build(path, options)
        for batch in options.batches:
            rows += _stages(Path(path).stem, model, random_inputs(batch, size), options)
    return rows


@BENCHMARK_REGISTRY.register()
def model_size(options: BenchmarkOptions) -> list[Row]:
    """Parameters, and multiply-adds of one image through the network."""
    rows: list[Row] = []
    for path in options.configs:
        model, size = build(path, options)
        images = preprocess(model, random_inputs(1, size))
        rows.append(
            {
                "model": Path(path).stem,
                "canvas": size_text(images.tensor.shape[-2:]),
                "parameters": parameter_count(model)[""],
                "gmac": round(count_multiply_adds(model, images.tensor) / 1e9, 3),
            }
        )
    return rows


def build(path: str, options: BenchmarkOptions) -> tuple[nn.Module, tuple[int, int]]:
    """Build a detector for inference; also returns the (height, width) of its images."""
    cfg = load_config(path, options.overrides)
    cfg.MODEL.DEVICE = options.device
    cfg.MODEL.WEIGHTS = ""
    setup(cfg)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    height, width = options.size or cfg.INPUT.TRAIN_SIZE
    return model, (height, width)


def random_inputs(batch: int, size: tuple[int, int]) -> list[dict[str, object]]:
    """Model inputs of random pixels."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, *size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return [{"image": image, "height": size[0], "width": size[1]} for image in images]


def size_text(size: Sequence[int]) -> str:
    """Height x width, as the tables say it."""
    return "x".join(map(str, size))


def replace_modules(root: nn.Module, make: Callable[[nn.Module], nn.Module | None]) -> nn.Module:
    """Put what `make` gives for a module, unless None, in its place everywhere below `root`."""
    for parent in list(root.modules()):
        for name, child in parent.named_children():
            replacement = make(child)
            if replacement is not None:
                setattr(parent, name, replacement)
    return root


def preprocess(model: nn.Module, inputs: list[dict[str, object]]) -> PaddedImages:
    """Bring images of one size onto the canvas that the test protocol wants."""
    images = [entry["image"] for entry in inputs]
    canvas = model.protocol.canvas_of(tuple(images[0].shape[-2:]), model.divisor)
    return model.attach_inputs(model.inference_images(images, canvas), inputs)


def count_multiply_adds(model: nn.Module, batch: Tensor) -> int:
    """Count multiply-adds of backbone and head, the deformable convolutions' products included."""
    counter = FlopCountAnalysis(_Network(model), batch)
    counter.set_op_handle("torchvision::deform_conv2d", _deform_conv_multiply_adds)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(counter.total())


def _stages(
    name: str, model: nn.Module, inputs: list[dict[str, object]], options: BenchmarkOptions
) -> list[Row]:
    batch = len(inputs)
    with torch.inference_mode(), options.autocast():
        images = preprocess(model, inputs)
        maps = model.predict(images)
        calls = {
            "preprocess": lambda: preprocess(model, inputs),
            "network": lambda: model.predict(images),
            "decode": lambda: model.finalize(model.propose(maps, images)),
            "whole": lambda: model(inputs),
        }
        timings = options.time(calls)
        peaks = {name: peak_memory(call, options.torch_device) for name, call in calls.items()}
    return [
        {
            "model": name,
            "canvas": size_text(images.tensor.shape[-2:]),
            "dtype": options.dtype_name,
            "batch": batch,
            "stage": stage,
            "ms_per_image": round(timing.ms / batch, 3),
            "images_per_second": round(batch / timing.median, 2),
            "spread": timing.spread,
            "peak_mib": None if peaks[stage] is None else round(peaks[stage] / 2**20, 1),
        }
        for stage, timing in timings.items()
    ]


class _Network(nn.Module):
    """A detector's backbone and head as a function of one tensor, for tracing."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> list[Tensor]:
        count, _, height, width = batch.shape
        images = PaddedImages(
            tensor=batch,
            image_sizes=((height, width),) * count,
            scale=batch.new_ones(count),
            shift=batch.new_zeros(count, 2),
        )
        return [tensor for maps in self.model.predict(images) for tensor in _tensors(vars(maps))]


def _tensors(fields: Mapping[str, object]) -> list[Tensor]:
    found = []
    for value in fields.values():
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Mapping):
            found += _tensors(value)
        elif is_dataclass(value):
            found += _tensors(vars(value))
    return found


def _deform_conv_multiply_adds(inputs: list, outputs: list) -> int:
    """Products of the sampled values with the kernel; the bilinear sampling is left out."""
    weight, output = inputs[1].type().sizes(), outputs[0].type().sizes()
    return output[0] * output[2] * output[3] * weight[0] * weight[1] * weight[2] * weight[3]
