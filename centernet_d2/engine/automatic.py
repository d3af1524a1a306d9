"""Choosing what AUTO asks for: frame, schedule and memory, from training data and machine."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils import comm

from ..config import value_of
from ..config.rules import gpu_count
from ..data.loader import load_training_dicts
from ..data.samplers import seeded
from ..data.statistics import box_sizes, countable
from ..modeling.registration import build_backbone
from ..progress import SHOWN
from .object_scale import Records, sample
from .saved_names import saved_names, tell_once
from .setup import STAYING

logger = logging.getLogger(__name__)

STRIDE, CELLS = 4, 2  # of the output map; that a small object has at least
PATIENCE = 5  # evaluations, each after a tenth of the run
WORDS = ("SIZE", "SCHEDULE", "BATCH")


class Preset(NamedTuple):
    """What a machine affords."""

    usual: int  # pixels of a frame
    most: int  # for small objects
    length: int  # of a run, in those of a CPU
    keys: Mapping[str, Any]  # of a network only where it is used and starts without weights


_GPU = {
    **{"SOLVER.IMS_PER_BATCH": 32, "SOLVER.AMP.ENABLED": True, "DATALOADER.NUM_WORKERS": 4},
    "MODEL.ENCODER_DECODER.CHANNELS": [64, 128, 192, 256],
    "MODEL.ENCODER_DECODER.OUT_CHANNELS": 128,
    "MODEL.HOURGLASS.CHANNELS": [64, 96, 128, 192],
    "MODEL.HOURGLASS.OUT_CHANNELS": 96,
}
PRESETS = {
    "cpu": Preset(256**2, 512**2, 1, {"SOLVER.IMS_PER_BATCH": 16}),
    "gpu8": Preset(512**2, 768**2, 3, _GPU),
    "gpu24": Preset(512**2, 1024**2, 3, _GPU),
}


def choose(cfg: CfgNode) -> None:
    """Do what AUTO asks for, in place; keys set by hand (`STAYING`) stay.

    Without DATASETS.TRAIN the values are those that MODEL.WEIGHTS were trained with.
    """
    if not cfg.DATASETS.TRAIN:
        saved = saved_names(cfg.MODEL.WEIGHTS)
        take_over(cfg, {} if saved.is_lazy or not saved.config else saved.config_values())
        return
    if not (name := cfg.AUTO.PRESET):
        device, on_gpu = cfg.MODEL.DEVICE, cfg.MODEL.DEVICE.startswith("cuda") and gpu_count()
        memory = torch.cuda.get_device_properties(device).total_memory if on_gpu else 0
        name = cfg.AUTO.PRESET = "gpu24" if memory > 20e9 else "gpu8" if on_gpu else "cpu"
    preset, backbone = PRESETS[name], cfg.MODEL.BACKBONE.NAME
    used = {
        key: value
        for key, value in preset.keys.items()
        if key[:6] != "MODEL." or (key.split(".")[1].lower() in backbone and not cfg.MODEL.WEIGHTS)
    }
    _apply(cfg, "PRESET", used, name)
    records, by_hand = load_training_dicts(cfg), vars(cfg).get(STAYING, frozenset())
    if cfg.AUTO.SIZE and (told := sample(records)):
        _apply(cfg, "SIZE", *frame(cfg, told, preset, by_hand))
    if cfg.AUTO.SCHEDULE:
        _apply(cfg, "SCHEDULE", *schedule(cfg, len(records), preset.length, by_hand))
    if cfg.AUTO.BATCH:
        _apply(cfg, "BATCH", *at_once(cfg))
    cfg.AUTO.SIZE = cfg.AUTO.SCHEDULE = cfg.AUTO.BATCH = False


def take_over(cfg: CfgNode, values: Mapping[str, Any]) -> None:
    """Set what a run that is gone on with, or weights, chose; `values` is their config."""
    by_hand = vars(cfg).get(STAYING, frozenset())
    chosen = [key for key in values.get("AUTO.CHOSEN", ()) if key not in by_hand]
    cfg.merge_from_list([part for key in chosen for part in (key, values[key])])
    cfg.AUTO.CHOSEN = chosen
    for word in WORDS if chosen else ():
        cfg.AUTO[word] = False
    if not chosen and cfg.MODEL.WEIGHTS:
        tell_once(f"AUTO: '{cfg.MODEL.WEIGHTS}' does not say what was chosen for its training.")


def _apply(cfg: CfgNode, word: str, values: Mapping[str, Any], reason: str) -> None:
    """Set what a word of AUTO chooses, but for keys set by hand, and say it in one line."""
    kept = [key for key in values if key in vars(cfg).get(STAYING, ())]
    chosen = {key: value for key, value in values.items() if key not in kept}
    cfg.merge_from_list([part for pair in chosen.items() for part in pair])
    cfg.AUTO.CHOSEN = list(dict.fromkeys([*cfg.AUTO.CHOSEN, *chosen]))
    told = ", ".join(f"{key} {value!r}" for key, value in chosen.items()) or "nothing"
    told += "; by hand: " * bool(kept) + ", ".join(f"{key} {value_of(cfg, key)!r}" for key in kept)
    logger.info("AUTO.%s (%s): %s.", word, reason, told, extra=SHOWN)


def frame(
    cfg: CfgNode, told: Records, preset: Preset, by_hand: Collection[str] = ()
) -> tuple[dict[str, Any], str]:
    """One frame for training and testing, of the form that nearly all images have, else square.

    It has the preset's pixels, or those of the images if that is less; more where small objects
    (of ten the smallest) would have less than `CELLS` cells of the output map.
    """
    heights, widths = np.array([(r["height"], r["width"]) for r in told], dtype=float).T
    low, middle, high = np.quantile(widths / heights, [0.1, 0.5, 0.9])
    aspect = float(np.clip(middle, 0.25, 4)) if low > 1.05 or high < 0.95 else 1.0
    shown = np.maximum(widths, heights * aspect)  # image pixels that the frame's width shows
    objects = [box_sizes(countable(r["annotations"])) for r in told]
    shares = np.concatenate([s / side for s, side in zip(objects, shown, strict=True)])
    small = float(np.quantile(shares, 0.1)) if len(shares) else 1.0
    most = cfg.AUTO.PIXELS or preset.most
    width = min(math.sqrt(min(preset.usual, most) * aspect), float(np.median(shown)))
    width = min(max(width, CELLS * STRIDE / max(small, 1e-9)), math.sqrt(most * aspect))
    sides = _sides(cfg, width, aspect)
    for key in ("INPUT.TRAIN_SIZE", "TEST.FIXED_SIZE"):  # the other one follows
        sides = list(value_of(cfg, key)) if key in by_hand else sides
    cells = small * sides[1] / STRIDE
    reason = f"images of about {np.median(widths):.0f} x {np.median(heights):.0f}, of ten objects "
    reason += f"the smallest has a side of {cells:.1f} cells of the output map"
    if cells < 0.9 * CELLS:
        reason += f", {CELLS} were better: a larger AUTO.PIXELS, or images cut into tiles"
    values = {"INPUT.TRAIN_SIZE": sides, "TEST.FIXED_SIZE": sides, "TEST.RESOLUTION": "fixed"}
    border = int(np.median(np.minimum(heights, widths)) // 10)
    return values | {"INPUT.CENTER_CROP.BORDER": border}, reason


def _sides(cfg: CfgNode, width: float, aspect: float) -> list[int]:
    """[height, width] that the network takes."""
    with seeded(0):
        divisor = max(build_backbone(cfg).size_divisibility, STRIDE)
    less = int(cfg.TEST.CANVAS == "odd")
    columns = max(round((width + less) / divisor), 1)
    rows = max(math.ceil((columns * divisor / aspect + less) / divisor - 0.1), 1)
    return [rows * divisor - less, columns * divisor - less]


def schedule(
    cfg: CfgNode, images: int, length: int, by_hand: Collection[str] = ()
) -> tuple[dict[str, Any], str]:
    """Length, warm-up and average of a run, from the number of images, and what happens beside it.

    On a CPU 292 images are seen 55 times, which was enough (blood cells, AP50 87); more images
    less often and fewer more often, 800 steps of 16 at least.
    """
    batch, values = cfg.SOLVER.IMS_PER_BATCH, {}
    if cfg.SOLVER.EPOCHS:
        steps = cfg.SOLVER.EPOCHS * max(images // batch, 1)
    elif "SOLVER.MAX_ITER" in by_hand:
        steps = cfg.SOLVER.MAX_ITER
    else:
        steps = length * max(16_000 * (images / 292) ** 0.65, 12_800) / batch
        steps = values["SOLVER.MAX_ITER"] = int(round(steps, -1 if steps < 2000 else -2))
    metric = cfg.SOLVER.BEST_METRIC if "SOLVER.BEST_METRIC" in by_hand else best_metric(cfg)
    looks = "TEST.EVAL_PERIOD" not in by_hand or cfg.TEST.EVAL_PERIOD or cfg.TEST.EVAL_EPOCHS
    values |= {
        "SOLVER.WARMUP_ITERS": int(np.clip(steps // 20, 1, 1000)),
        "SOLVER.EMA_DECAY": round(float(np.clip(1 - 2.5 / steps, 0.5, 0.9998)), 5),
        **dict.fromkeys(["SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"], max(steps // 10, 1)),
        "SOLVER.BEST_METRIC": metric,
        "SOLVER.EARLY_STOPPING": PATIENCE if metric and looks else 0,
    }
    reason = f"{images} images, about {steps * batch / images:.3g} epochs in steps of {batch}"
    return values, reason if metric else f"{reason}, no score to choose the best by"


def best_metric(cfg: CfgNode) -> str:
    """The score that says which weights are best, of the first dataset; "" without one."""
    if not cfg.DATASETS.TEST:
        return ""
    name, tasks = cfg.DATASETS.TEST[0], cfg.MODEL.POINTS_CENTERNET.TASKS
    metadata, metric = MetadataCatalog.get(name), "bbox/AP"
    if metadata.get("evaluator_type") == "kitti":
        metric = "bev_loose/AP40" if "box3d" in tasks else "bbox/AP40"
    elif "pose" in tasks and metadata.get("keypoint_names"):
        metric = "keypoints/AP"
    return f"{name}/{metric}" if len(cfg.DATASETS.TEST) > 1 else metric


def at_once(cfg: CfgNode) -> tuple[dict[str, Any], str]:
    """How many images of a step pass the network at once, by memory.

    Beside what a pass keeps for its gradients these take about as much again; a tenth stays free.
    """
    batch = -(-cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    with seeded(0):
        model = build_model(cfg).train()
        kept = kept_per_image(model, cfg.INPUT.TRAIN_SIZE)
    on_gpu, where = model.device.type == "cuda", "half of the main memory"
    free = _main_memory() // 2
    if on_gpu:
        free, where = torch.cuda.mem_get_info(model.device)[0], "free on the GPU"
    state = 4 * sum(p.numel() * p.element_size() for p in model.parameters())
    fitting = min(comm.all_gather(max(int((0.9 * free - state) // (2 * kept)), 1)))
    parts = -(-batch // fitting)
    reason = f"a pass keeps {kept / 2**20:.0f} MiB per image, measured; {free / 2**30:.1f} GiB are "
    return {"SOLVER.IMS_AT_ONCE": -(-batch // parts) if parts > 1 else 0}, reason + where


def kept_per_image(model: Any, size: list[int]) -> int:
    """Bytes that the pass of an image through backbone and head keeps for its gradients."""
    seen: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    pictures = [{"image": torch.zeros((3, *size), dtype=torch.uint8)}] * 2
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        maps = model.predict(model.training_images(pictures))
    del maps  # only now, as freed memory would be counted once
    return sum(seen.values()) // 2


def _main_memory() -> int:
    """Bytes of main memory that this process may use."""
    total, limit = os.sysconf("SC_PHYS_PAGES"), Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total * os.sysconf("SC_PAGE_SIZE"), int(text) if text.isdigit() else 2**63)
