"""An ONNX file made by hand, whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from centernet_d2.runtime.engines import BLOCK

SAYS = {
    **{"form": 1, "version": "9", "detector": "PointsCenterNet", "inputs": ["pictures"]},
    **{"outputs": ["scores", "pred_classes", "pred_boxes", "count"], "whole": True},
    **{"frame": {"batch": None, "height": None, "width": None}, "least_side": 2},
    **{"class_names": ["cat", "dog"]},
}
EXPECTED = [
    {"label": "dog", "score": 0.75, "box": [0, 0, 10, 20]},
    {"label": "cat", "score": 0.5, "box": [10, 10, 30, 30]},
]
"""Of a picture whose largest value is 10."""


def write_onnx(path: Path, says: str | None = None, *, opset: int = 19, **changes) -> Path:
    """Write a file with these words, or `SAYS` with changes.

    Of each picture it finds two boxes, of the size of its largest value, and room for a third.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    def node(op, inputs, output, **attributes):
        return helper.make_node(op, inputs, [output], **attributes)

    def constant(name, values):
        return onnx.numpy_helper.from_array(np.array(values), name)

    more = changes.get("inputs", [])[1:]  # which it does not read
    nodes = [
        node("ReduceMax", ["pictures", "axes"], "largest", keepdims=0),  # (N,)
        node("Cast", ["largest"], "value", to=TensorProto.FLOAT),
        node("Unsqueeze", ["value", "ends"], "column"),  # (N, 1, 1)
        node("Mul", ["column", "corners"], "pred_boxes"),
        node("Mul", ["column", "zeros"], "nothing"),
        node("Squeeze", ["nothing", "last"], "flat"),
        node("Add", ["flat", "three"], "scores"),
        node("Cast", ["scores"], "whole_numbers", to=TensorProto.INT64),
        node("Add", ["whole_numbers", "numbers"], "pred_classes"),
        node("Cast", ["value"], "as_number", to=TensorProto.INT64),
        node("Mul", ["as_number", "none"], "nil"),
        node("Add", ["nil", "two"], "count"),
    ]
    constants = [
        constant("axes", [1, 2, 3]),
        constant("ends", [1, 2]),
        constant("last", [2]),
        constant("corners", np.array([[[0, 0, 1, 2], [1, 1, 3, 3], [0, 0, 0, 0]]], "float32")),
        constant("zeros", np.zeros((1, 3, 1), "float32")),
        constant("three", np.array([[0.75, 0.5, 0]], "float32")),
        *(constant("numbers", [[1, 0, 0]]), constant("none", [0]), constant("two", [2])),
    ]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [
            helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", "h", "w", 3]),
            *(helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, 4]) for n in more),
        ],
        [
            helper.make_tensor_value_info(output, kind, None)
            for output, kind in [
                ("scores", TensorProto.FLOAT),
                ("pred_classes", TensorProto.INT64),
                ("pred_boxes", TensorProto.FLOAT),
                ("count", TensorProto.INT64),
            ]
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    if says is None:
        says = json.dumps(SAYS | changes)
    if says:
        helper.set_model_props(model, {BLOCK: says})
    onnx.save(model, path)
    return path
