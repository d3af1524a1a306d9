"""Whole networks against the published ones' way of computing, in one run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from centernet_d2.benchmark.detector import build, random_inputs, size_text
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.engine.setup import load_config
from centernet_d2.layers.deform_conv import DeformConv2d
from centernet_d2.modeling.fast_inference import make_fast

from .comparing import comparison_rows, replace_modules

TRAINING_ROUNDS = 5  # at most; a step takes seconds
OFFSET_STD = 0.02  # of the offset branches' weights: displacements as after some training


class TorchvisionDeformConv(nn.Module):
    """The deformable convolution of `layer`, computed by torchvision's operator."""

    def __init__(self, layer: DeformConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W)."""
        layer = self.layer
        taps = layer.weight[0, 0].numel()
        offset, mask = layer.conv_offset_mask(images).split([2 * taps, taps], dim=1)
        form = layer.stride, layer.padding, layer.dilation
        return deform_conv2d(images, offset, layer.weight, layer.bias, *form, mask.sigmoid())


class PublishedForm(nn.Module):
    """A copy of a detector's network that computes as the published code does.

    Deformable convolutions by torchvision's operator, and the heads of all stacks, also in
    inference, unless `last_stack_only`. (N, 3, H, W) -> branch name -> map, per stack.
    """

    def __init__(self, model: nn.Module, *, last_stack_only: bool = False) -> None:
        super().__init__()
        self.first_stack = len(model.in_features) - 1 if last_stack_only else 0
        self.backbone, self.head = copy.deepcopy(model.backbone), copy.deepcopy(model.head)
        self.in_features = model.in_features
        replace_modules(
            self.backbone,
            lambda m: TorchvisionDeformConv(m) if isinstance(m, DeformConv2d) else None,
        )

    def forward(self, images: Tensor) -> list[dict[str, Tensor]]:
        """See the class."""
        outputs = self.backbone(images)
        stacks = list(zip(self.in_features, self.head.stacks, strict=True))[self.first_stack :]
        return [
            {name: branch(outputs[feature]) for name, branch in stack.items()}
            for feature, stack in stacks
        ]


@BENCHMARK_REGISTRY.register()
def published_form(options: BenchmarkOptions) -> list[Row]:
    """Time of one image through the network: ours, and the published way of computing it.

    `published`: standard memory layout, norms on their own. `published, folded`: channels-last,
    norms folded into the convolutions and only the last stack's heads, as ours. `bfloat16`: ours in
    bfloat16. `training step`: forward, backward and Adam, each network in its own
    layout; only of networks with deformable convolutions, the others are the same in both forms.
    """
    rows: list[Row] = []
    for path in options.configs:
        if load_config(path).MODEL.META_ARCHITECTURE != "PointsCenterNet":
            continue  # see `corner_form`
        rows += _forward_rows(path, options) + _training_rows(path, options)
    return rows


def _forward_rows(path: str, options: BenchmarkOptions) -> list[Row]:
    model, batch = _model_and_batch(path, options)
    plain = batch.contiguous(memory_format=torch.contiguous_format)
    published = PublishedForm(model).to(memory_format=torch.contiguous_format).eval()
    ours = make_fast(copy.deepcopy(model))
    folded = PublishedForm(ours, last_stack_only=True).eval()
    half = make_fast(copy.deepcopy(model), dtype="bfloat16")
    with torch.inference_mode():
        timings = options.time(
            {
                "published": partial(published, plain),
                "published, folded": partial(folded, batch),
                "ours": partial(_network, ours, batch),
                "bfloat16": partial(_network, half, batch),
            }
        )
    return comparison_rows(_subject(path, batch, "forward"), timings, "published")


def _training_rows(path: str, options: BenchmarkOptions) -> list[Row]:
    model, batch = _model_and_batch(path, options)
    if not any(isinstance(module, DeformConv2d) for module in model.modules()):
        return []
    plain = batch.contiguous(memory_format=torch.contiguous_format)
    published = PublishedForm(model).to(memory_format=torch.contiguous_format)
    calls = {
        "published": _training_step(published, published, plain),
        "ours": _training_step(model, partial(_network, model), batch),
    }
    timings = options.time(calls, most_rounds=TRAINING_ROUNDS, warm_up=1)
    return comparison_rows(_subject(path, batch, "training step"), timings, "published")


def build_displaced(path: str, options: BenchmarkOptions) -> tuple[nn.Module, tuple[int, int]]:
    """As `build`, with random offsets of the deformable convolutions."""
    model, size = build(path, options)
    for module in model.modules():
        if isinstance(module, DeformConv2d):
            nn.init.normal_(module.conv_offset_mask.weight, std=OFFSET_STD)
    return model, size


def _model_and_batch(path: str, options: BenchmarkOptions) -> tuple[nn.Module, Tensor]:
    model, size = build_displaced(path, options)
    # The canvas is the image: the published times are of 512 x 512.
    images = [entry["image"] for entry in random_inputs(1, size)]
    return model, model.inference_images(images, size).tensor


def _network(model: nn.Module, batch: Tensor) -> list[dict[str, Tensor]]:
    outputs = model.backbone(batch)
    return model.head([outputs[name] for name in model.in_features])


def _training_step(
    network: nn.Module,
    forward: Callable[[Tensor], list[dict[str, Tensor]]],
    batch: Tensor,
) -> Callable[[], None]:
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    batch = torch.cat([batch, batch])  # two images, for the statistics of the coarsest maps

    def step() -> None:
        loss = sum(m.square().mean() for stack in forward(batch) for m in stack.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _subject(path: str, batch: Tensor, what: str) -> Row:
    return {"model": Path(path).stem, "image": size_text(batch.shape[-2:]), "what": what}
