"""Files of lower precision: smaller, or faster, than those of 32 bits, and not equal to PyTorch.

A file of 32 bits is written first, and changed in place. In 8 bits are, after calibration, the
inner convolutions of the network; which these are is found in the graph itself, so it holds for
every detector and backbone.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..missing import is_missing
from .formats import Arrays

PRECISIONS = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "torch": ("fp32", "bf16"),
    "aotinductor": ("fp32", "bf16"),
}
"""Format -> what its files may have."""
LEAST = 8  # pictures without which 8 bits are not calibrated
SMALL = 64  # weights that stay as they are: numbers of placing and decoding among them
CONVOLUTIONS = {"Conv", "ConvTranspose", "Convolution", "GroupConvolution"}
CONVOLUTIONS |= {"ConvolutionBackpropData", "GroupConvolutionBackpropData"}
DEFORMABLE = {"DeformConv", "DeformableConvolution"}
RUNNING = {"Max", "Maximum", "Pad", "Slice"}  # of corner pooling: padded by the least of numbers
Nodes = dict[str, tuple[str, list[str]]]
"""Of a graph, in the order of a run: name -> its kind, and the names of those before it."""


def check_precision(form: str, precision: str) -> None:
    """Raise ValueError or ImportError where files of a format cannot have a precision."""
    if precision not in PRECISIONS[form]:
        others = [name for name, known in PRECISIONS.items() if precision in known]
        raise ValueError(
            f"--precision {precision} is not for --format {form}, which takes "
            f"{', '.join(PRECISIONS[form])}: take --format {' or '.join(others)} for it"
        )
    if (form, precision) == ("openvino", "int8") and is_missing("nncf"):
        raise ImportError(
            "int8 of openvino needs nncf, which is not installed: pip install "
            "'centernet-d2[int8]'; that of onnx (onnxruntime) does without it"
        )


@dataclass(frozen=True)
class Feed:
    """Inputs of a graph for calibration, made of pictures one by one, as often as it is asked."""

    pictures: Sequence[Any]
    inputs: Callable[[Any], Arrays]

    def __post_init__(self) -> None:
        if len(self.pictures) < LEAST:
            raise ValueError(
                f"int8 is calibrated on {LEAST} pictures or more, best 100, of the kind to be seen "
                f"later, and there are {len(self.pictures)}: name a folder by --calibrate, or of "
                "benchmark --runtimes, which keeps the file, by --images"
            )

    def __iter__(self) -> Iterator[Arrays]:
        return map(self.inputs, self.pictures)


def lower(path: Path, precision: str, feed: Feed | None) -> None:
    """Change a file of 32 bits in place; `feed` is for int8. torch's are recorded in bf16."""
    change = _lower_openvino if path.suffix == ".xml" else _lower_onnx
    if path.suffix in (".xml", ".onnx"):
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # of packages that calibrate, as are bars
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                change(path, feed if precision == "int8" else None)
        finally:
            logging.disable(before)


def inner_nodes(nodes: Nodes) -> set[str]:
    """Names of what may be computed in 8 bits: convolutions before others, and what is between.

    What places, the last convolution of each branch and what decodes stay as they are, as do
    running maxima, deformable convolutions, and the convolutions of their offsets and masks.
    """
    kinds = {name: kind for name, (kind, _) in nodes.items()}
    kept = {name for name, kind in kinds.items() if kind in DEFORMABLE | RUNNING}
    ends = [n for kind, sources in nodes.values() if kind in DEFORMABLE for n in sources[1:]]
    while ends:  # up to the convolutions of offsets and masks
        if (name := ends.pop()) in nodes and name not in kept:
            kept.add(name)
            ends += nodes[name][1] if kinds[name] not in CONVOLUTIONS else []
    before: set[str] = set()  # nodes with a convolution before them, or that are one
    behind: set[str] = set()  # nodes with a convolution behind them
    for name, (kind, sources) in nodes.items():
        if kind in CONVOLUTIONS | DEFORMABLE or not before.isdisjoint(sources):
            before.add(name)
    for name, (kind, sources) in reversed(nodes.items()):
        if kind in CONVOLUTIONS | DEFORMABLE or name in behind:
            behind.update(sources)
    return (before & behind) - kept


def _lower_openvino(path: Path, feed: Feed | None) -> None:
    import openvino

    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # the file that is read is written
    model = core.read_model(path)
    if feed is not None:
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters

        nodes: Nodes = {}
        for operation in model.get_ordered_ops():
            sources = [each.get_source_output().get_node() for each in operation.inputs()]
            names = [node.get_friendly_name() for node in sources]
            nodes[operation.get_friendly_name()] = (operation.get_type_name(), names)
        outer = sorted(nodes.keys() - inner_nodes(nodes))
        model = nncf.quantize(
            *(model, nncf.Dataset(feed)),
            subset_size=len(feed.pictures),
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.PERFORMANCE,  # symmetric
            # Corrected biases cost boxes in space half of their AP, and brought the others nothing.
            advanced_parameters=AdvancedQuantizationParameters(disable_bias_correction=True),
            ignored_scope=nncf.IgnoredScope(names=outer, validate=False),
        )
    openvino.save_model(model, path, compress_to_fp16=feed is None)


def _lower_onnx(path: Path, feed: Feed | None) -> None:
    import onnx

    model = onnx.load(path)
    if feed is None:
        _halve(model)
        onnx.save(model, path)
        return
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    made = {output: node.name for node in model.graph.node for output in node.output}
    nodes = {n.name: (n.op_type, [made.get(i, "") for i in n.input]) for n in model.graph.node}
    inputs = iter(feed)

    class Reader(CalibrationDataReader):
        def get_next(self) -> Arrays | None:
            return next(inputs, None)

    quantize_static(
        *(model, path, Reader()),
        per_channel=True,
        activation_type=QuantType.QUInt8,  # times weights of int8 is what VNNI computes
        weight_type=QuantType.QInt8,
        nodes_to_quantize=sorted(inner_nodes(nodes)),
    )


def _halve(model: Any) -> None:
    """Store weights in 16 bits; what loads the file casts them once, and computes as before."""
    from onnx import TensorProto, helper, numpy_helper

    for weight in model.graph.initializer:
        values, name = numpy_helper.to_array(weight), weight.name
        if weight.data_type == TensorProto.FLOAT and values.size >= SMALL:
            weight.CopyFrom(numpy_helper.from_array(values.astype("float16"), f"{name}_half"))
            cast = helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
