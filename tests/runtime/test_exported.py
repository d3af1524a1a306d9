"""The runtime finds in a file what Predictor finds with the weights that it was made of."""

import json

import cv2
import numpy as np
import pytest

from centernet_d2 import Predictor, cli
from centernet_d2.runtime import Detector
from centernet_d2.runtime.engines import BLOCK, open_file


@pytest.mark.data
@pytest.mark.parametrize(
    ("form", "package", "file"),
    [
        ("onnx", "onnxscript", "bccd.onnx"),
        pytest.param("openvino", "openvino", "bccd.xml", marks=pytest.mark.slow),
    ],
)
def test_the_model_in_the_package(test_data, tmp_path, form, package, file):
    pytest.importorskip(package)
    folder = test_data / "bccd" / "JPEGImages"
    command = ["export", "--weights", "bccd", "--format", form, "--output", str(tmp_path / file)]
    assert cli.main([*command, "--images", str(folder), "--most", "2"]) == 0
    detector, predictor = Detector(tmp_path / file, threads=1), Predictor("bccd")
    pictures = [cv2.imread(str(name)) for name in sorted(folder.iterdir())[10:12]]
    if form == "onnx":  # OpenVINO's division may move a pixel by a grey level, see deployment.md
        pictures.append(pictures[0][50:300, 20:420].copy())
    for picture, found in zip(pictures, detector.batch(pictures), strict=True):
        expected = predictor(picture)["instances"].to("cpu")
        sure = found.above(0.2)
        assert len(sure) == (expected.scores > 0.2).sum() > 3
        expected = expected[expected.scores > 0.2]
        np.testing.assert_allclose(sure.scores, expected.scores.numpy(), atol=1e-4)
        np.testing.assert_allclose(sure.boxes, expected.pred_boxes.tensor.numpy(), atol=1e-3)
        assert sure.classes.tolist() == expected.pred_classes.tolist()
    assert detector.class_names == ("Platelets", "RBC", "WBC")


@pytest.mark.parametrize(
    ("stored", "asked", "expected"),
    [("fp32", "", 1 + 2**-10), ("bf16", "", 1), ("bf16", "f32", 1 + 2**-10)],
)
def test_a_file_of_bfloat16_is_computed_in_it_unless_asked(tmp_path, stored, asked, expected):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    operators = openvino.opset13
    given = operators.parameter([4, 64], np.float32)
    same = operators.matmul(given, operators.constant(np.eye(64, dtype=np.float32)), False, False)
    model = openvino.Model([operators.result(same)], [given], "same")
    model.inputs[0].get_tensor().set_names({"x"})
    model.outputs[0].get_tensor().set_names({"y"})
    model.set_rt_info(json.dumps({"form": 1, "precision": stored}), BLOCK)
    openvino.save_model(model, tmp_path / "same.xml", compress_to_fp16=False)
    run, _ = open_file(tmp_path / "same.xml", 1, precision=asked)
    found = run({"x": np.full((4, 64), 1 + 2**-10, np.float32)})
    assert (found["y"] == np.float32(expected)).all()
