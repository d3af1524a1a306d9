"""The runtime finds in a file what Predictor finds with the weights that it was made of."""

import cv2
import numpy as np
import pytest

from centernet_d2 import Predictor, cli
from centernet_d2.runtime import Detector


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
