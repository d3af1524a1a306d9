"""A detector run by something else than its own modules: an exported file, or torch made faster.

What costs time is done once for the same weights, config, packages and processor, and stays in the
cache: files, and what `centernet-d2 benchmark --runtimes` has found to be the fastest.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from .. import __version__
from ..atomic_write import atomic_folder, atomic_write, write_json
from ..checked_values import check_choice
from ..checkpoint.files import cache_dir
from ..engine.model_config import model_text
from ..export.agreement import SURE
from ..export.formats import Arrays, Format, Runner, chosen_format, formats, of_tensors
from ..export.graph import DetectorGraph, Sizes, least_side
from ..export.parity import GENERATED, Differences
from ..export.precision import Feed, check_precision
from ..export.write import arrays_of, inputs_of, rows_found, stacked, write_graph
from ..missing import is_missing
from ..modeling.compiled import check_compiler, compiled_for_any_size
from ..modeling.fast_inference import DTYPES, make_fast
from ..modeling.inputs import source_of
from ..modeling.memory import check_canvas
from ..modeling.meta_arch.heatmap_detector import HeatmapDetector
from ..runtime.detector import LARGEST
from ..runtime.engines import open_file
from ..structures.boxes3d import Boxes3D
from ..threads import cpu_name
from .cuda_graph import graphed

logger = logging.getLogger(__name__)
_making = threading.Lock()  # torch exports in one thread at a time

PACKAGES = "torch torchvision detectron2 onnx onnxscript onnxruntime openvino nncf"
RUNTIMES = {
    "eager": ("", "fp32"),
    "folded": ("", "fp32"),
    "bf16": ("", "bf16"),
    "cuda-graph": ("", "fp32"),
    "compile": ("", "fp32"),
    "aotinductor": ("aotinductor", "fp32"),
    "onnxruntime": ("onnx", "fp32"),
    "onnxruntime-int8": ("onnx", "int8"),
    "openvino": ("openvino", "fp32"),
    "openvino-bf16": ("openvino", "bf16"),
    "openvino-int8": ("openvino", "int8"),
}
"""Name -> form of its file, as `centernet-d2 export --format` has it, or "", and precision."""
CHOSEN = [n for n, (_, precision) in RUNTIMES.items() if precision == "fp32" and n != "compile"]
"""What "auto" may take but for TEST.DTYPE auto: it should find the same, and is ready at once."""
PROVE = (
    "; prove it on your pictures: centernet-d2 benchmark --runtimes --weights {} --images FOLDER"
)
SIZES = [(256 - 24 * index, 256 - 7 * index) for index in range(4)]
"""(height, width) of the generated pictures that a file is compared on: all of another size."""
Entries = list[dict[str, Any]]
"""Of a detector: `image` (3, H, W) uint8, `height`, `width`, and perhaps a `projection`."""
Detect = Callable[[Entries], list[dict[str, Any]]]
Named = tuple[str, np.ndarray]
"""Name and pixels of a picture."""


class FileDetector:
    """Called as a detector, it returns what a graph finds; pictures of one size go together.

    A picture too small or too large for the graph goes through the detector's own modules.
    """

    def __init__(self, model: HeatmapDetector, run: Runner) -> None:
        self.model, self.run, self.least = model, run, least_side(model)

    def __call__(self, entries: Entries) -> list[dict[str, Any]]:
        """Detect, as `HeatmapDetector.inference` does."""
        for entry in entries:
            canvas = self.model.canvas_of(entry, 1.0)
            check_canvas(entry, canvas, self.model.protocol.max_pixels)
        found: list[dict[str, Any]] = []
        keys = ("height", "width")  # of the frame that is asked for; a file's is the picture's
        frames = groupby(entries, lambda e: (*e["image"].shape[1:], *map(e.get, keys)))
        for (height, width, *frame), same in frames:
            fits = self.least <= min(height, width) and max(height, width) <= LARGEST
            fits &= frame in ([height, width], [None, None])
            found += (self.by_file if fits else self.model)(list(same))
        return found

    def by_file(self, entries: Entries) -> list[dict[str, Any]]:
        """Detect in pictures of one size, whatever it is, by the file."""
        more = [self.model.extra_outputs(entry) for entry in entries]
        pictures = [entry["image"].numpy().transpose(1, 2, 0) for entry in entries]
        outputs = self.run(stacked(pictures, more))
        rows = [rows_found(outputs, row) for row in range(len(entries))]
        size = pictures[0].shape[:2]
        return [{"instances": instances_of(r, size)} | m for r, m in zip(rows, more, strict=True)]


def instances_of(rows: Arrays, size: tuple[int, int]) -> Instances:
    """Arrays by field as detectron2's `Instances` in a picture of (height, width)."""
    wrapped = {"pred_boxes": Boxes, "pred_boxes3d": Boxes3D}
    tensors = {name: torch.from_numpy(values) for name, values in rows.items()}
    return Instances(size, **{n: wrapped.get(n, lambda t: t)(t) for n, t in tensors.items()})


@torch.no_grad()
def differences(
    detect: Detect,
    other: Detect,
    batches: Iterable[Sequence[Named | dict[str, Any]]],
    report: Differences | None = None,
) -> Differences:
    """Detections of `other`, a batch at once, against those of `detect` of each picture alone."""
    report = report or Differences()
    for batch in batches:
        entries = [
            e if isinstance(e, dict) else entry_of(e[1]) | {"file_name": e[0]} for e in batch
        ]
        for entry, found in zip(entries, other(entries), strict=True):
            expected = detect([entry])[0]["instances"]
            report.add(arrays_of(expected), arrays_of(found["instances"]), source_of(entry))
    return report


def batches_of(pictures: Sequence[Named], size: int | None = None) -> list[list[Named]]:
    """What a file is compared on: each picture alone, or `size` times.

    Where any number will do, the first is also seen beside itself upside down.
    """
    if size:
        return [[named] * size for named in pictures]
    name, first = pictures[0]
    upside_down = (f"{name}, upside down", np.ascontiguousarray(first[::-1]))
    return [[pictures[0], upside_down], *([named] for named in pictures[1:])]


def entry_of(picture: np.ndarray) -> dict[str, Any]:
    """The input of a detector for a picture (H, W, 3) uint8."""
    tensor = torch.from_numpy(picture.copy().transpose(2, 0, 1))
    return {"image": tensor, "height": picture.shape[0], "width": picture.shape[1]}


def generated_pictures(sizes: Iterable[tuple[int, int]] = SIZES) -> list[Named]:
    """Pictures of shapes of (height, width)."""
    from ..synthetic.files import make_scenes
    from ..synthetic.pictures import render
    from ..synthetic.settings import ShapeSettings, SplitSettings

    sizes = list(sizes)
    side = max(256, *map(max, sizes))
    split = SplitSettings(images=len(sizes), seed=1, scenes=ShapeSettings(side=side))
    drawn = [render(scene, side, random) for scene, random in make_scenes(split)]
    cut = [image[:h, :w].copy() for image, (h, w) in zip(drawn, sizes, strict=True)]
    return [(f"{GENERATED} {index}", image) for index, image in enumerate(cut)]


class Runtimes:
    """The ways to run one detector.

    Attributes:
        pictures: that a new file is proven on, else generated ones, or calibrated with.
    """

    def __init__(self, model: HeatmapDetector, names: Mapping[str, Any], cfg: CfgNode) -> None:
        """Keep a detector in evaluation mode, what `write_graph` calls its names, its config."""
        self.model, self.names, self.cfg = model, dict(names), cfg
        self.pictures: Sequence[Named] = ()
        self.folder = cache_dir() / "runtimes" / _digest(model, cfg)
        self._record = self.folder / f"measured_with_{torch.get_num_threads()}_threads.json"

    def remember(self, fastest: Mapping[int, str]) -> None:
        """Keep the fastest runtime for each size of batch, beside those of other sizes."""
        write_json(self._record, dict(sorted({**self.fastest(), **fastest}.items())))

    def fastest(self) -> dict[int, str]:
        """Size of batch -> the fastest runtime that finds the same; {}: nothing was measured."""
        try:
            found = json.loads(self._record.read_text(encoding="utf-8"))
            return {int(n): name for n, name in found.items() if name in CHOSEN}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}

    def detector(self, name: str) -> Detect:
        """What runs it by a runtime of the table, "auto", or as TEST.DTYPE of that name would.

        Raises:
            ImportError, OSError: it is not installed, or its file cannot be written.
            ValueError: there is none of that name, it cannot run this detector, or it finds
                something else.
        """
        check_choice("runtime", name, ["auto", *RUNTIMES, *DTYPES])
        if name == "auto":
            from .fastest import Fastest

            return Fastest(self, name)
        if name == "eager":
            return self.model
        if dtype := {"folded": "float32", "bf16": "bfloat16"}.get(name, name in DTYPES and name):
            fold = name not in DTYPES or self.cfg.TEST.FOLD_NORM
            return make_fast(copy.deepcopy(self.model), fold=fold, dtype=dtype)
        form, precision = RUNTIMES[name]
        if name == "cuda-graph":
            return graphed(make_fast(copy.deepcopy(self.model)))
        if self.model.device.type != "cpu":
            raise ValueError(
                f"runtime '{name}' computes on the CPU: set MODEL.DEVICE to cpu, or take folded"
            )
        if form:
            with _making:
                return self._of_file(name, form, precision)
        check_compiler("cpu", "take another runtime, such as folded")
        model = copy.deepcopy(self.model)
        make_fast(model).requires_grad_(False)
        graph = DetectorGraph(model)
        ports = {"inputs": graph.inputs, "outputs": graph.outputs}
        return FileDetector(self.model, of_tensors(compiled_for_any_size(graph), ports))

    def _of_file(self, name: str, form_name: str, precision: str) -> Detect:
        """What runs a file, which is made where it is not there or finds something else."""
        stored = "int8" if precision == "int8" else "fp32"
        form = formats()[form_name]
        path = self.folder / f"{form_name}-{stored}" / f"model{form.ending}"
        chosen_format(form_name, path)  # says what is not installed
        check_precision(form_name, stored)
        pictures = self.pictures[:4] or generated_pictures()
        is_exact = stored == "fp32"
        refusal = path.parent.with_suffix(".refused")  # kept, as making a file takes a while
        if refusal.is_file() and not self.pictures:
            raise ValueError(refusal.read_text(encoding="utf-8"))
        if not path.is_file() or (is_exact and self._fault(form, path, pictures[:1], kept=True)):
            inputs = functools.partial(inputs_of, self.model, sizes=Sizes())
            feed = None if is_exact else Feed([image for _, image in self.pictures], inputs)
            logger.warning("making the file of runtime '%s', once: %s", name, path)
            with atomic_folder(path.parent) as folder:
                file, given = Path(folder) / path.name, (self.model, self.names, form)
                write_graph(*given, file, Sizes(), precision=stored, feed=feed)
                if is_exact and (fault := self._fault(form, file, pictures)):
                    cure = "" if self.pictures else PROVE.format(self.cfg.MODEL.WEIGHTS)
                    told = f"runtime '{name}' does not find the same: {fault}{cure}"
                    with atomic_write(refusal, "w") as stream:
                        stream.write(told)
                    raise ValueError(told)
            refusal.unlink(missing_ok=True)
        bf16: Any = functools.partial(open_file, threads=torch.get_num_threads(), precision="bf16")
        run, _ = (bf16 if precision == "bf16" else form.open)(path)
        return FileDetector(self.model, run)

    def _fault(
        self, form: Format, file: Path, pictures: Sequence[Named], *, kept: bool = False
    ) -> str:
        """What a file finds otherwise; one `kept` was proven, perhaps on other pictures."""
        try:
            run, _ = form.open(file)
        except (RuntimeError, ValueError) as error:
            if not kept:
                raise
            return str(error)  # damaged
        detect, report = FileDetector(self.model, run), Differences(SURE * kept)
        differences(self.model, detect, batches_of(pictures), report)
        return "" if kept and not report.detections else report.fault()


def _digest(model: HeatmapDetector, cfg: CfgNode) -> str:
    """Of all that a file, and the time that it takes, depend on but threads."""
    device = model.device
    machine = cpu_name() if device.type == "cpu" else torch.cuda.get_device_name(device)
    packages = [(name, version(name)) for name in PACKAGES.split() if not is_missing(name)]
    (cfg := cfg.clone()).defrost()
    cfg.TEST.pop("DTYPE_DIFFERENCE", None)
    cfg.TEST.DTYPE = cfg.TEST.DTYPE.replace("auto", "float32")  # until it is measured
    told = [__version__, machine, model_text(cfg), packages]
    found = hashlib.sha256(json.dumps(told).encode())
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:20]
