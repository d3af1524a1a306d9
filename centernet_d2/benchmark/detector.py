"""Speed, memory and size of detectors: preprocess, network, decode and the whole, by batch size."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from ..engine.setup import load_config, setup
from ..structures.padded_images import PaddedImages
from .sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from .timing import peak_memory

DEFORM_CONV = torch.ops.torchvision.deform_conv2d


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
    """Parameters; of one image through the network multiply-adds and outputs of convolutions."""
    rows: list[Row] = []
    for path in options.configs:
        model, size = build(path, replace(options, device="cpu"))
        images = preprocess(model, random_inputs(1, size))
        row = {"model": Path(path).stem, "canvas": size_text(images.tensor.shape[-2:])}
        row["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        row["gmac"] = round(count_multiply_adds(model, images) / 1e9, 3)
        rows.append(row | {"activations": count_activations(model, images)})
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


def preprocess(model: nn.Module, inputs: list[dict[str, object]]) -> PaddedImages:
    """Bring images of one size onto the canvas that the test protocol wants."""
    images = [entry["image"] for entry in inputs]
    canvas = model.protocol.canvas_of(tuple(images[0].shape[-2:]), model.divisor)
    return model.attach_inputs(model.inference_images(images, canvas), inputs)


def count_multiply_adds(model: nn.Module, images: PaddedImages) -> int:
    """Count the products of backbone and head; of deformable convolutions those with the kernel.

    On the CPU alone: a kernel of Triton is no operator that is counted.
    """
    return _counted(model, images, {DEFORM_CONV: _deform_conv_operations}) // 2


def count_activations(model: nn.Module, images: PaddedImages) -> int:
    """Count the numbers that convolutions and products of matrices give, as fvcore does."""
    return _counted(model, images, dict.fromkeys([*flop_registry, DEFORM_CONV], _outputs))


def _counted(model: nn.Module, images: PaddedImages, known: dict[Any, Any]) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=known) as counter:
        model.predict(images)
    return int(counter.get_total_flops())


def _outputs(*_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return math.prod(out_shape)


def _deform_conv_operations(
    _: Any, weight: Sequence[int], *others: Any, out_shape: Sequence[int], **more: Any
) -> int:
    """Two of a product; the bilinear sampling is left out."""
    return 2 * out_shape[0] * math.prod(out_shape[2:]) * math.prod(weight)


def _stages(
    name: str, model: nn.Module, inputs: list[dict[str, object]], options: BenchmarkOptions
) -> list[Row]:
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
        peaks = {stage: peak_memory(call, options.torch_device) for stage, call in calls.items()}
    heading = {"model": name, "canvas": size_text(images.tensor.shape[-2:])}
    heading |= {"dtype": options.amp_dtype or "float32", "batch": len(inputs)}
    return [
        {
            **heading,
            "stage": stage,
            "ms_per_image": round(timing.ms / len(inputs), 3),
            "images_per_second": round(len(inputs) / timing.median, 2),
            "spread": timing.spread,
            "peak_mib": None if peaks[stage] is None else round(peaks[stage] / 2**20, 1),
        }
        for stage, timing in timings.items()
    ]
