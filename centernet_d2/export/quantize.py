"""A written file with the inner convolutions of its network in 8 bits, after calibration.

What stays in floating point is found in the graph itself, so it holds for every detector and
backbone: all that is not between two convolutions (placing, the last convolution of each branch,
decoding), deformable convolutions, and the convolutions that give them offsets and masks.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

_CONVOLUTIONS = {
    *("Conv", "ConvTranspose", "Convolution", "GroupConvolution"),
    *("ConvolutionBackpropData", "GroupConvolutionBackpropData"),
}
_DEFORMABLE = {"DeformConv", "DeformableConvolution"}
# What onnxruntime computes in 8 bits on a CPU, or passes on.
_ONNX_TYPES = ["Conv", "MatMul", "Gemm", "Add", "Mul", "Relu", "Resize", "Concat", "MaxPool"]


class Node(NamedTuple):
    """A node of a graph of either format."""

    name: str
    kind: str
    sources: list[str]  # names of the nodes that its inputs come from; "" for none


def inner_nodes(nodes: list[Node]) -> set[str]:
    """Names of the nodes that may be computed in 8 bits, of nodes in the order of a run.

    These are the convolutions with another convolution behind them, and what is between them.
    """
    of_name = {node.name: node for node in nodes}
    kept: set[str] = set()
    open_ends = [n for node in nodes if node.kind in _DEFORMABLE for n in node.sources[1:]]
    while open_ends:  # up to the convolutions of offsets and masks
        node = of_name.get(open_ends.pop())
        if node is not None and node.name not in kept:
            kept.add(node.name)
            open_ends += node.sources if node.kind not in _CONVOLUTIONS else []
    any_convolution = _CONVOLUTIONS | _DEFORMABLE
    before: set[str] = set()  # nodes with a convolution before them, or that are one
    for node in nodes:
        if node.kind in any_convolution or not before.isdisjoint(node.sources):
            before.add(node.name)
    behind: set[str] = set()  # nodes with a convolution behind them
    for node in reversed(nodes):
        if node.kind in any_convolution or node.name in behind:
            behind.update(node.sources)
    deformable = {node.name for node in nodes if node.kind in _DEFORMABLE}
    return (before & behind) - kept - deformable


# ------------------------------------------------------------------------------------ OpenVINO
def quantize_openvino(model: Any, feed: Iterable[Arrays], count: int) -> Any:
    """Return the model quantised by NNCF with `count` inputs of `feed`, which starts anew."""
    import nncf

    def sources(operation: Any) -> list[str]:
        given = (each.get_source_output().get_node() for each in operation.inputs())
        return [node.get_friendly_name() for node in given]

    operations = model.get_ordered_ops()
    nodes = [Node(o.get_friendly_name(), o.get_type_name(), sources(o)) for o in operations]
    inner = inner_nodes(nodes)
    ignored = [node.name for node in nodes if node.name not in inner]
    with _quiet("nncf"):
        return nncf.quantize(
            *(model, nncf.Dataset(feed)),
            subset_size=count,
            target_device=nncf.TargetDevice.CPU,
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
        )


# ---------------------------------------------------------------------------------------- ONNX
def quantize_onnx(path: Path, feed: Iterable[Arrays]) -> None:
    """Quantise a file in place by onnxruntime."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    graph = onnx.load(path).graph
    made = {output: node.name for node in graph.node for output in node.output}
    nodes = [Node(n.name, n.op_type, [made.get(i, "") for i in n.input]) for n in graph.node]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(feed)

        def get_next(self) -> Arrays | None:
            return next(self.rest, None)

    with _quiet("root"):
        quantize_static(
            *(path, path, Reader()),
            per_channel=True,
            activation_type=QuantType.QUInt8,  # with weights of int8: what VNNI multiplies
            weight_type=QuantType.QInt8,
            nodes_to_quantize=sorted(inner_nodes(nodes)),
            op_types_to_quantize=_ONNX_TYPES,
        )


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A logger says only what is wrong, and bars are not drawn."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
