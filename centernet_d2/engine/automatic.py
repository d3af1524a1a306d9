"""Choosing what AUTO asks for: frame, schedule and memory, from training data and machine."""

import logging
import math
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_backbone, build_model
from detectron2.utils import comm

from ..config import value_of
from ..data.loader import load_training_dicts
from ..data.samplers import seeded
from ..data.statistics import box_sizes, countable
from ..model_zoo.lookup import config_folder
from ..progress import SHOWN, tell_once
from .object_scale import Records, sample
from .saved_names import saved_names
from .setup import LEVELS

logger = logging.getLogger(__name__)

STRIDE, CELLS = 4, 2  # of the output map; that a small object has at least
LEAST = 20  # steps between evaluations, one of which takes the time of some
FINER = 4  # times lower is the learning rate of a start from a detector
DONE = {"SIZE": False, "SCHEDULE": False, "BATCH": False}
_GPU = {
    **{"SOLVER.IMS_PER_BATCH": 32, "SOLVER.AMP.ENABLED": True, "DATALOADER.NUM_WORKERS": 4},
    "MODEL.ENCODER_DECODER.CHANNELS": [64, 128, 192, 256],
    "MODEL.ENCODER_DECODER.OUT_CHANNELS": 128,
    "MODEL.HOURGLASS.CHANNELS": [64, 96, 128, 192],
    "MODEL.HOURGLASS.OUT_CHANNELS": 96,
}
# Machine -> pixels of a frame, the most for small objects, length of a run in those of a CPU, and
# keys, of a network where it is used and starts without weights.
PRESETS: dict[str, tuple[int, int, int, dict[str, Any]]] = {
    "cpu": (256**2, 512**2, 1, {"SOLVER.IMS_PER_BATCH": 16}),
    "gpu8": (512**2, 768**2, 3, _GPU),
    "gpu24": (512**2, 1024**2, 3, _GPU),
}


def choose(cfg: CfgNode) -> None:
    """Do what AUTO asks for, in place; without DATASETS.TRAIN what MODEL.WEIGHTS' training did."""
    if not cfg.DATASETS.TRAIN:
        saved = saved_names(cfg.MODEL.WEIGHTS)
        take_over(cfg, {} if saved.is_lazy or not saved.config else saved.config_values())
        return
    device, backbone = cfg.MODEL.DEVICE, "" if cfg.MODEL.WEIGHTS else cfg.MODEL.BACKBONE.NAME
    if not cfg.AUTO.PRESET:
        on_gpu = device.startswith("cuda")
        memory = torch.cuda.get_device_properties(device).total_memory if on_gpu else 0
        cfg.AUTO.PRESET = "gpu24" if memory > 20e9 else "gpu8" if on_gpu else "cpu"
    usual, most, length, keys = PRESETS[cfg.AUTO.PRESET]
    if cfg.AUTO.PRESET == "cpu" and has_fast_bfloat16():
        keys = keys | {"SOLVER.AMP.ENABLED": True, "SOLVER.AMP_DTYPE": "bfloat16"}
    used = (key for key in keys if key[:6] != "MODEL." or key.split(".")[1] in backbone.upper())
    _apply(cfg, "PRESET", {key: keys[key] for key in used}, cfg.AUTO.PRESET)
    records, by_hand = load_training_dicts(cfg), set_by_hand(cfg)
    if cfg.AUTO.SIZE and (told := sample(records)):
        _apply(cfg, "SIZE", *frame(cfg, told, usual, most, by_hand))
    if cfg.AUTO.SCHEDULE:
        _apply(cfg, "SCHEDULE", *schedule(cfg, len(records), cfg.AUTO.LENGTH * length, by_hand))
    if cfg.AUTO.BATCH:
        _apply(cfg, "BATCH", *at_once(cfg))
    if not cfg.DATASETS.TEST:
        tell_once(
            "No DATASETS.TEST: nothing will say how good the detector gets. ':train80' behind the "
            "data of DATASETS.TRAIN, and the same with ':val20' in DATASETS.TEST, hold a part out."
        )
    cfg.AUTO.update(DONE)


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware: of plain convolutions half the time."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.7 cannot tell
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def set_by_hand(cfg: CfgNode) -> set[str]:
    """The keys that stay: of overrides, and of files that are no shipped configs."""
    shipped, found = config_folder().resolve(), set()
    for source, values, _ in vars(cfg).get(LEVELS, ()):
        if not (source and Path(source[:-2]).resolve().is_relative_to(shipped)):
            found.update(values)
    return found


def take_over(cfg: CfgNode, values: Mapping[str, Any]) -> None:
    """Set what a run that is gone on with, or weights, chose; `values` is their config."""
    chosen = sorted({*values.get("AUTO.CHOSEN", ())} - set_by_hand(cfg))
    cfg.merge_from_list([part for key in chosen for part in (key, values[key])])
    cfg.AUTO.CHOSEN = chosen
    cfg.AUTO.update(DONE if chosen else {})
    if not chosen and cfg.MODEL.WEIGHTS:
        tell_once(f"AUTO: '{cfg.MODEL.WEIGHTS}' does not say what was chosen for its training.")


def _apply(cfg: CfgNode, word: str, values: Mapping[str, Any], reason: str) -> None:
    """Set what a word of AUTO chooses, but for keys set by hand, and say it in one line."""
    kept = [key for key in values if key in set_by_hand(cfg)]
    chosen = {key: value for key, value in values.items() if key not in kept}
    cfg.merge_from_list([part for pair in chosen.items() for part in pair])
    cfg.AUTO.CHOSEN = list(dict.fromkeys([*cfg.AUTO.CHOSEN, *values]))
    told = ", ".join(f"{key} {value!r}" for key, value in chosen.items()) or "nothing"
    told += "; by hand: " * bool(kept) + ", ".join(f"{key} {value_of(cfg, key)!r}" for key in kept)
    logger.info("AUTO.%s (%s): %s.", word, reason, told, extra=SHOWN)


def frame(
    cfg: CfgNode, told: Records, usual: int, most: int, by_hand: Collection[str] = ()
) -> tuple[dict[str, Any], str]:
    """One frame for training and testing, of the form that nearly all images have, else square.

    Of `usual` pixels, or those of the images if that is less; up to `most` (or AUTO.PIXELS) where
    the smallest of ten objects would have less than `CELLS` cells of the output map.
    """
    heights, widths = np.array([(r["height"], r["width"]) for r in told], dtype=float).T
    low, middle, high = np.quantile(widths / heights, [0.1, 0.5, 0.9])
    aspect = float(np.clip(middle, 0.25, 4)) if low > 1.05 or high < 0.95 else 1.0
    shown = np.maximum(widths, heights * aspect)  # image pixels that the frame's width shows
    pairs = zip(told, shown, strict=True)
    shares = np.concatenate([box_sizes(countable(r["annotations"])) / side for r, side in pairs])
    small = float(np.quantile(shares, 0.1)) if len(shares) else 1.0
    most = cfg.AUTO.PIXELS or most
    width = min(math.sqrt(min(usual, most) * aspect), float(np.median(shown)))
    width = min(max(width, CELLS * STRIDE / max(small, 1e-9)), math.sqrt(most * aspect))
    with seeded(0):
        divisor = max(build_backbone(cfg).size_divisibility, STRIDE)
    less = int(cfg.TEST.CANVAS == "odd")
    columns = max(round((width + less) / divisor), 1) * divisor
    rows = max(math.ceil((columns / aspect + less) / divisor - 0.1), 1) * divisor
    sides = [rows - less, columns - less]
    for key in {"INPUT.TRAIN_SIZE", "TEST.FIXED_SIZE"}.intersection(by_hand):  # the other follows
        sides = list(value_of(cfg, key))
    cells = small * sides[1] / STRIDE
    better = f", {CELLS} were better: a larger AUTO.PIXELS, or images cut into tiles"
    reason = (
        f"images of about {np.median(widths):.0f} x {np.median(heights):.0f}, of ten objects the "
        f"smallest has {cells:.1f} cells of the output map{better * (cells < 0.9 * CELLS)}"
    )
    values = {"INPUT.TRAIN_SIZE": sides, "TEST.FIXED_SIZE": sides, "TEST.RESOLUTION": "fixed"}
    border = int(np.median(np.minimum(heights, widths)) // 10)
    return values | {"INPUT.CENTER_CROP.BORDER": border}, reason


def schedule(
    cfg: CfgNode, images: int, length: float, by_hand: Collection[str] = ()
) -> tuple[dict[str, Any], str]:
    """Length, warm-up and average of a run, and what is done at each tenth, by the images' number.

    On a CPU 292 are seen 55 times, which was enough (blood cells, AP50 87), more of them less often
    and fewer more often, 800 steps of 16 at least.
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
        **dict.fromkeys(["SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD"], max(steps // 10, LEAST)),
        "SOLVER.BEST_METRIC": metric,
        "SOLVER.EARLY_STOPPING": 5 if metric and looks else 0,  # evaluations
    }
    reason = f"{images} images, about {steps * batch / images:.3g} epochs in steps of {batch}"
    if saved_names(cfg.MODEL.WEIGHTS).class_names:  # the full rate would undo what they know
        values["SOLVER.BASE_LR"] = cfg.SOLVER.BASE_LR / FINER
        reason += f", from a detector with 1/{FINER} of the learning rate"
    return values, reason if metric else f"{reason}, no score to choose the best by"


def best_metric(cfg: CfgNode) -> str:
    """The score that says which weights are best, of the first dataset; "" without one."""
    if not cfg.DATASETS.TEST:
        return ""
    name, tasks = cfg.DATASETS.TEST[0], cfg.MODEL.POINTS_CENTERNET.TASKS
    data = MetadataCatalog.get(name)
    metric = "keypoints/AP" if "pose" in tasks and data.get("keypoint_names") else "bbox/AP"
    if data.get("evaluator_type") == "kitti":
        metric = "bev_loose/AP40" if "box3d" in tasks else "bbox/AP40"
    return f"{name}/{metric}" if len(cfg.DATASETS.TEST) > 1 else metric


def at_once(cfg: CfgNode) -> tuple[dict[str, Any], str]:
    """How many images of a step pass at once: each takes twice what it keeps for its gradients."""
    batch = -(-cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    with seeded(0):
        model = build_model(cfg).train()
        kept = kept_per_image(model, cfg.INPUT.TRAIN_SIZE)
    on_gpu = model.device.type == "cuda"
    free = torch.cuda.mem_get_info(model.device)[0] if on_gpu else _main_memory() // 2
    state = 4 * sum(p.numel() * p.element_size() for p in model.parameters())
    fitting = min(comm.all_gather(max(int((0.9 * free - state) // (2 * kept)), 1)))
    parts = -(-batch // fitting)
    reason = (
        f"an image keeps {kept / 2**20:.0f} MiB for its gradients, measured; {free / 2**30:.1f} "
    )
    reason += "GiB are free on the GPU" if on_gpu else "GiB are half of the main memory"
    return {"SOLVER.IMS_AT_ONCE": -(-batch // parts) if parts > 1 else 0}, reason


def kept_per_image(model: Any, size: list[int]) -> int:
    """Bytes that the pass of an image through backbone and head keeps for its gradients."""
    seen = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        seen.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    two = [{"image": torch.zeros((3, *size), dtype=torch.uint8)}] * 2
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        maps = model.predict(model.training_images(two))
    del maps  # only now, as freed memory would be counted once
    return sum(seen.values()) // 2


def _main_memory() -> int:
    """Bytes of main memory that this process may use."""
    total, limit = os.sysconf("SC_PHYS_PAGES"), Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total * os.sysconf("SC_PAGE_SIZE"), int(text) if text.isdigit() else 2**63)
