"""Files of lower precision: smaller, or faster, than those of 32 bits, and not equal to PyTorch.

A file of 32 bits is written first, and changed in place; bf16 of torch's formats is the detector's
own `make_fast`, before it is recorded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .formats import Arrays
from .quantize import quantize_onnx, quantize_openvino

PRECISIONS = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "torch": ("fp32", "bf16"),
    "aotinductor": ("fp32", "bf16"),
}
"""Format -> what its files may have."""
LEAST = 8
"""Pictures without which 8 bits are not calibrated."""
SMALL = 64  # weights that stay as they are: numbers of placing and decoding among them


def check_precision(form: str, precision: str) -> None:
    """Raise ValueError or ImportError where files of a format cannot have a precision."""
    if precision not in PRECISIONS[form]:
        others = [name for name, known in PRECISIONS.items() if precision in known]
        raise ValueError(
            f"--precision {precision} is not for --format {form}, which takes "
            f"{', '.join(PRECISIONS[form])}: take --format {' or '.join(others)} for it"
        )
    if (form, precision) == ("openvino", "int8") and importlib.util.find_spec("nncf") is None:
        raise ImportError(
            "--precision int8 of --format openvino needs nncf: pip install nncf, or pip install "
            "'centernet_d2[int8]'; --format onnx does without it"
        )


@dataclass(frozen=True)
class Feed:
    """Inputs of a graph for calibration, made of pictures one by one, as often as it is asked."""

    pictures: Sequence[str]
    inputs: Callable[[str], Arrays]

    def __iter__(self) -> Iterator[Arrays]:
        return map(self.inputs, self.pictures)


def check_feed(pictures: Sequence[str]) -> None:
    """Raise ValueError where these are too few to calibrate with."""
    if len(pictures) < LEAST:
        raise ValueError(
            f"--precision int8 is calibrated on pictures of the kind that the detector will see, "
            f"{LEAST} at the least and better 100, and there are {len(pictures)}: name more by "
            "--calibrate (a folder)"
        )


def lower(path: Path, precision: str, feed: Feed | None) -> None:
    """Change a file of 32 bits in place; `feed` is for int8."""
    if path.suffix == ".xml":
        _lower_openvino(path, precision, feed)
    elif precision == "int8" and feed is not None:
        quantize_onnx(path, feed)
    elif precision == "fp16":
        _halve_onnx(path)


def _lower_openvino(path: Path, precision: str, feed: Feed | None) -> None:
    import openvino

    # The file is written anew, so its weights may not be mapped into memory.
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})
    model = core.read_model(path)
    if precision == "int8" and feed is not None:
        model = quantize_openvino(model, feed, len(feed.pictures))
    openvino.save_model(model, path, compress_to_fp16=precision in ("fp16", "bf16"))


def _halve_onnx(path: Path) -> None:
    """Store weights in 16 bits; what loads the file casts them once, and computes as before."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    casts: list[Any] = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type == TensorProto.FLOAT and values.size >= SMALL:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}_half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    for index, cast in enumerate(casts):
        model.graph.node.insert(index, cast)
    onnx.save(model, path)
