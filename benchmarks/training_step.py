"""A training step: its time, what of it are targets and losses, and the memory that it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import nn

from centernet_d2.benchmark.detector import build, random_inputs, size_text
from centernet_d2.benchmark.sections import BENCHMARK_REGISTRY, BenchmarkOptions, Row
from centernet_d2.benchmark.timing import peak_memory
from centernet_d2.engine.automatic import kept_per_image
from centernet_d2.engine.optimizer import build_optimizer
from centernet_d2.modeling.backbone.hourglass import Hourglass
from centernet_d2.structures.nested import mapped

BATCH, OBJECTS = 2, 7  # images of a step, objects of an image, as COCO has them
ROUNDS = 5  # at most; a step takes seconds
RECOMPUTED = ("MODEL.HOURGLASS.RECOMPUTE", True)


@BENCHMARK_REGISTRY.register()
def training_step(options: BenchmarkOptions) -> list[Row]:
    """Milliseconds of a step of 2 random images, and of its parts alone.

    `losses`: targets and losses with their backward pass to the maps. `optimizer`: fused Adam,
    which the step has, and `plain_optimizer` the loop over parameters. `kept`: what an image
    keeps for the backward pass; `peak`: what a step takes on top of weights, gradients and
    moments. Hourglasses in both forms of MODEL.HOURGLASS.RECOMPUTE.
    """
    rows = []
    for path in options.configs:
        model, size = build(path, options)
        rows.append(_row(path, "", model.train(), size, options))
        if any(isinstance(module, Hourglass) for module in model.modules()):
            less = replace(options, overrides=[*options.overrides, *RECOMPUTED])
            model, _ = build(path, less)
            rows.append(_row(path, "recomputed", model.train(), size, options))
    return rows


def _row(
    path: str, form: str, model: nn.Module, size: tuple[int, int], options: BenchmarkOptions
) -> Row:
    inputs = random_samples(BATCH, size)
    objects = [entry["instances"].to(model.device) for entry in inputs]
    optimizer = build_optimizer(model, lr=0.0)
    plain = torch.optim.Adam(model.parameters(), lr=0.0, fused=False, foreach=False)
    images = model.training_images(inputs)
    with torch.no_grad():
        maps = model.predict(images)

    def step() -> None:
        optimizer.zero_grad()
        with options.autocast():
            losses = model(inputs)
        sum(losses.values()).backward()
        optimizer.step()

    def losses() -> None:
        leaves = mapped(maps, lambda each: each.detach().requires_grad_())
        with options.autocast():
            sum(model.losses(leaves, images, objects).values()).backward()

    calls = {"step": step, "optimizer": optimizer.step, "plain_optimizer": plain.step}
    times = options.time(calls | {"losses": losses}, most_rounds=ROUNDS, warm_up=1)
    optimizer.zero_grad()
    peak, kept = peak_memory(step, options.torch_device), kept_per_image(model, list(size))
    return {
        "model": f"{Path(path).stem} {form}".strip(),
        "image": size_text(size),
        **{f"{name}_ms": round(timing.ms, 1) for name, timing in times.items()},
        "losses_share": round(times["losses"].median / times["step"].median, 4),
        "spread": times["step"].spread,
        "kept_mib": round(kept / 2**20, 1),
        "peak_mib": None if peak is None else round(peak / 2**20, 1),
    }


def random_samples(count: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Inputs of random pixels with the same objects, of the first class.

    Their sides are from an eighth to five eighths of the picture's.
    """
    random = torch.rand(4, OBJECTS, generator=torch.Generator().manual_seed(0))
    frame = torch.tensor([size[1], size[0]])
    start, side = random[:2].T * frame * 0.75, (0.125 + random[2:].T / 2) * frame
    found = Instances(size)
    found.gt_boxes = Boxes(torch.cat([start, start + side], dim=1))
    found.gt_classes = torch.zeros(OBJECTS, dtype=torch.int64)
    return [entry | {"instances": found} for entry in random_inputs(count, size)]
