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
    length: float  # of a run, in those of a CPU
    keys: Mapping[str, Any]
    # Of a network that starts without weights, by what its backbone's name has.
    networks: Mapping[str, Mapping[str, Any]] = {}


_WIDER = {
    "encoder_decoder": {
        "MODEL.ENCODER_DECODER.CHANNELS": [64, 128, 192, 256],
        "MODEL.ENCODER_DECODER.OUT_CHANNELS": 128,
    },
    "hourglass": {
        "MODEL.HOURGLASS.CHANNELS": [64, 96, 128, 192],
        "MODEL.HOURGLASS.OUT_CHANNELS": 96,
    },
}
_GPU = {"SOLVER.IMS_PER_BATCH": 32, "SOLVER.AMP.ENABLED": True, "DATALOADER.NUM_WORKERS": 4}
PRESETS = {
    "cpu": Preset(256**2, 512**2, 1.0, {"SOLVER.IMS_PER_BATCH": 16}),
    "gpu8": Preset(512**2, 768**2, 3.0, _GPU, _WIDER),
    "gpu24": Preset(512**2, 1024**2, 3.0, _GPU, _WIDER),
}


class Choice(NamedTuple):
    """Values for keys, and why."""

    word: str  # of AUTO
    values: dict[str, Any]
    reason: str


def choose(cfg: CfgNode) -> None:
    """Do what AUTO.SIZE and AUTO.SCHEDULE ask for, in place; keys set by hand (`STAYING`) stay.

    Without DATASETS.TRAIN the values are those that MODEL.WEIGHTS were trained with.
    """
    if not (cfg.AUTO.SIZE or cfg.AUTO.SCHEDULE):
        return
    by_hand = vars(cfg).get(STAYING, frozenset())
    if not cfg.DATASETS.TRAIN:
        saved = saved_names(cfg.MODEL.WEIGHTS)
        known = saved.config and not saved.is_lazy
        take_over(cfg, saved.config_values() if known else {})
        return
    preset = cfg.AUTO.PRESET or _machine(cfg.MODEL.DEVICE)
    cfg.AUTO.PRESET = preset
    _apply(cfg, _of_preset(cfg, PRESETS[preset]), by_hand)
    records = load_training_dicts(cfg)
    if cfg.AUTO.SIZE and (choice := frame(cfg, records, PRESETS[preset], by_hand)):
        _apply(cfg, choice, by_hand)
    if cfg.AUTO.SCHEDULE:
        _apply(cfg, schedule(cfg, len(records), PRESETS[preset], by_hand), by_hand)
    cfg.AUTO.SIZE = cfg.AUTO.SCHEDULE = False


def take_over(cfg: CfgNode, values: Mapping[str, Any]) -> None:
    """Set what a run that is gone on with, or weights, chose; `values` is their config."""
    if not any(cfg.AUTO[word] for word in WORDS):
        return
    by_hand = vars(cfg).get(STAYING, frozenset())
    chosen = [key for key in values.get("AUTO.CHOSEN", ()) if key not in by_hand]
    cfg.merge_from_list([part for key in chosen for part in (key, values[key])])
    cfg.AUTO.CHOSEN = chosen
    for word in WORDS if chosen else ():
        cfg.AUTO[word] = False
    if not chosen and cfg.MODEL.WEIGHTS:
        tell_once(f"AUTO: '{cfg.MODEL.WEIGHTS}' does not say what was chosen for its training.")


def _apply(cfg: CfgNode, choice: Choice, by_hand: Collection[str]) -> None:
    """Set a choice and say it, in one line."""
    values = {key: value for key, value in choice.values.items() if key not in by_hand}
    cfg.merge_from_list([part for pair in values.items() for part in pair])
    cfg.AUTO.CHOSEN = list(dict.fromkeys([*cfg.AUTO.CHOSEN, *values]))
    told = ", ".join(f"{key} {value}" for key, value in values.items())
    kept = ", ".join(f"{key} {value_of(cfg, key)}" for key in choice.values if key in by_hand)
    told += f"; by hand: {kept}" if kept else ""
    logger.info("AUTO.%s (%s): %s.", choice.word, choice.reason, told, extra=SHOWN)


def _machine(device: str) -> str:
    if not device.startswith("cuda") or not gpu_count():
        return "cpu"
    return "gpu24" if torch.cuda.get_device_properties(device).total_memory > 20e9 else "gpu8"


def _of_preset(cfg: CfgNode, preset: Preset) -> Choice:
    keys = dict(preset.keys)
    for name, widths in preset.networks.items():
        if name in cfg.MODEL.BACKBONE.NAME and not cfg.MODEL.WEIGHTS:
            keys |= widths
    return Choice("PRESET", keys, cfg.AUTO.PRESET)


def frame(
    cfg: CfgNode, records: Records, preset: Preset, by_hand: Collection[str] = ()
) -> Choice | None:
    """One frame for training and testing, of the form that nearly all images have, else square.

    It has the preset's pixels, or those of the images if that is less; more where small objects
    (of ten the smallest) would have less than `CELLS` cells of the output map.
    """
    told = sample(records)
    if not told:
        return None
    heights, widths = np.array([(r["height"], r["width"]) for r in told], dtype=float).T
    aspects = np.quantile(widths / heights, [0.1, 0.5, 0.9])
    is_one_form = aspects[0] > 1.05 or aspects[2] < 0.95
    aspect = float(np.clip(aspects[1], 0.25, 4)) if is_one_form else 1.0
    shown = np.maximum(widths, heights * aspect)  # image pixels that the frame's width shows
    objects = [box_sizes(countable(r["annotations"])) for r in told]
    relative = np.concatenate([s / side for s, side in zip(objects, shown, strict=True)])
    small = float(np.quantile(relative, 0.1)) if len(relative) else 1.0
    most, usual = cfg.AUTO.PIXELS or preset.most, preset.usual
    width = min(math.sqrt(min(usual, most) * aspect), float(np.median(shown)))
    width = min(max(width, CELLS * STRIDE / max(small, 1e-9)), math.sqrt(most * aspect))
    sides = _sides(cfg, width, aspect)
    for key in ("INPUT.TRAIN_SIZE", "TEST.FIXED_SIZE"):  # the other one follows
        sides = list(value_of(cfg, key)) if key in by_hand else sides
    cells = small * sides[1] / STRIDE
    reason = (
        f"images of about {np.median(widths):.0f} x {np.median(heights):.0f}, small objects have "
        f"{cells:.1f} cells of the output map"
    )
    if cells < 0.9 * CELLS:
        reason += f" and want {CELLS}: a larger --preset or AUTO.PIXELS, or pictures cut into tiles"
    values = {"INPUT.TRAIN_SIZE": sides, "TEST.FIXED_SIZE": sides, "TEST.RESOLUTION": "fixed"}
    border = int(np.median(np.minimum(heights, widths)) // 10)
    return Choice("SIZE", values | {"INPUT.CENTER_CROP.BORDER": border}, reason)


def _sides(cfg: CfgNode, width: float, aspect: float) -> list[int]:
    """[height, width] that the network takes."""
    with seeded(0):
        divisor = max(build_backbone(cfg).size_divisibility, STRIDE)
    less = int(cfg.TEST.CANVAS == "odd")
    columns = max(round((width + less) / divisor), 1)
    rows = max(math.ceil((columns * divisor / aspect + less) / divisor - 0.1), 1)
    return [rows * divisor - less, columns * divisor - less]


def schedule(cfg: CfgNode, images: int, preset: Preset, by_hand: Collection[str] = ()) -> Choice:
    """Length, warm-up and average of a run, from the number of images, and what happens beside it.

    On a CPU 292 images are seen 55 times, which was enough (blood cells, AP50 87); more images
    less often and fewer more often, 800 steps of 16 at least.
    """
    batch = cfg.SOLVER.IMS_PER_BATCH
    seen = preset.length * max(16_000 * (images / 292) ** 0.65, 12_800)
    steps = round(seen / batch, -1 if seen / batch < 2000 else -2)
    values: dict[str, Any] = {"SOLVER.MAX_ITER": int(steps)}
    if cfg.SOLVER.EPOCHS:  # set by hand
        steps, values = cfg.SOLVER.EPOCHS * max(images // batch, 1), {}
    elif "SOLVER.MAX_ITER" in by_hand:
        steps, values = cfg.SOLVER.MAX_ITER, {}
    tenth = max(int(steps) // 10, 1)
    values |= {
        "SOLVER.WARMUP_ITERS": int(np.clip(steps // 20, 1, 1000)),
        "SOLVER.EMA_DECAY": round(float(np.clip(1 - 2.5 / steps, 0.5, 0.9998)), 5),
        "SOLVER.CHECKPOINT_PERIOD": tenth,
        "TEST.EVAL_PERIOD": tenth,
    }
    best = cfg.SOLVER.BEST_METRIC if "SOLVER.BEST_METRIC" in by_hand else best_metric(cfg)
    looks = "TEST.EVAL_PERIOD" not in by_hand or cfg.TEST.EVAL_PERIOD or cfg.TEST.EVAL_EPOCHS
    early = PATIENCE if best and looks else 0
    values |= {"SOLVER.BEST_METRIC": best, "SOLVER.EARLY_STOPPING": early}
    epochs = steps * batch / images
    reason = f"{images} images, about {epochs:.3g} epochs in steps of {batch}"
    return Choice("SCHEDULE", values, reason if best else f"{reason}, nothing to evaluate on")


def best_metric(cfg: CfgNode) -> str:
    """The score that says which weights are best, of the first dataset; "" without one."""
    if not cfg.DATASETS.TEST:
        return ""
    name, points = cfg.DATASETS.TEST[0], cfg.MODEL.POINTS_CENTERNET.TASKS
    metadata = MetadataCatalog.get(name)
    metric = "bbox/AP"
    if metadata.get("evaluator_type") == "kitti":
        metric = "bev/AP40" if "box3d" in points else "bbox/AP40"
    elif "pose" in points and metadata.get("keypoint_names"):
        metric = "keypoints/AP"
    return f"{name}/{metric}" if len(cfg.DATASETS.TEST) > 1 else metric


def choose_batch(cfg: CfgNode) -> None:
    """Do what AUTO.BATCH asks for, in place: how many images of a step pass at once, by memory."""
    from detectron2.modeling import build_model

    batch = -(-cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    with seeded(0):
        model = build_model(cfg).train()
        kept = kept_per_image(model, list(cfg.INPUT.TRAIN_SIZE))
    state = 4 * sum(p.numel() * p.element_size() for p in model.parameters())
    on_gpu = model.device.type == "cuda"
    del model
    free = torch.cuda.mem_get_info()[0] if on_gpu else _main_memory() // 2
    fitting = images_that_fit(free, state=state, kept=kept)
    fitting = min(comm.all_gather(fitting))
    at_once = 0 if fitting >= batch else -(-batch // -(-batch // fitting))
    where = "free on the GPU" if on_gpu else "half of the main memory"
    reason = (
        f"a pass keeps {kept / 2**20:.0f} MiB per image for its gradients, measured; "
        f"{free / 2**30:.1f} GiB are {where}"
    )
    frozen = cfg.is_frozen()
    cfg.defrost()
    _apply(
        cfg, Choice("BATCH", {"SOLVER.IMS_AT_ONCE": at_once}, reason), vars(cfg).get(STAYING, ())
    )
    cfg.AUTO.BATCH = False
    if frozen:
        cfg.freeze()


def images_that_fit(free: int, *, state: int, kept: int) -> int:
    """How many images pass at once, at least 1, of `kept` bytes each beside a training's `state`.

    Gradients of activations and work space take about as much again; a tenth stays free.
    """
    return max(int((0.9 * free - state) // (2 * kept)), 1)


def kept_per_image(model: Any, size: list[int]) -> int:
    """Bytes that the pass of an image through backbone and head keeps for its gradients."""
    seen: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    pictures = [{"image": torch.zeros((3, *size), dtype=torch.uint8)}] * 2
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        images = model.training_images(pictures)
        maps = model.predict(images)
    del maps
    return sum(seen.values()) // 2


def _main_memory() -> int:
    """Bytes of main memory that this process may use."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(total, int(text)) if text.isdigit() else total
