"""Where a detector finds the projection of each of its inputs."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from centernet_d2.modeling.cameras import Cameras

PROJECTION = [[700.0, 0.0, 600.0, 45.0], [0.0, 710.0, 180.0, -0.5], [0.0, 0.0, 1.0, 0.005]]
OTHER = [[350.0, 0.0, 300.0, 22.5], [0.0, 355.0, 90.0, -0.25], [0.0, 0.0, 1.0, 0.005]]
POINT = (3.0, 1.5, 20.0)


def entry(height=375, width=1242, **keys):
    return {"image": torch.zeros(3, height, width), "file_name": "000123.png", **keys}


def pixel(projection, point=POINT) -> tuple[float, float]:
    """Where a point of the camera frame is seen."""
    across, down, depth = (
        sum(float(factor) * value for factor, value in zip(row, (*point, 1.0), strict=True))
        for row in projection
    )
    return across / depth, down / depth


@pytest.mark.parametrize("convert", [list, np.array, torch.tensor, tuple])
def test_a_given_projection_is_taken(convert, caplog):
    found = Cameras().of([entry(projection=convert(PROJECTION))])
    assert found.shape == (1, 3, 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[0], torch.tensor(PROJECTION))
    assert not caplog.records


def test_each_input_has_its_own():
    found = Cameras().of([entry(projection=PROJECTION), entry(projection=OTHER)])
    torch.testing.assert_close(found, torch.tensor([PROJECTION, OTHER]))


def test_that_of_the_image_goes_before_that_of_the_output():
    both = entry(projection=PROJECTION, image_projection=OTHER, height=100, width=10)
    both["image"] = torch.zeros(3, 50, 60)
    torch.testing.assert_close(Cameras().of([both])[0], torch.tensor(OTHER))


def test_that_of_the_output_frame_is_scaled_to_the_image():
    """The image was resized by the caller, unevenly; `height` and `width` are the original's."""
    resized = entry(projection=PROJECTION)
    resized["image"] = torch.zeros(3, 250, 621)
    found = Cameras().of([resized | {"height": 375, "width": 1242}])[0].tolist()
    across, down = pixel(PROJECTION)
    assert pixel(found) == pytest.approx((across / 2, down * 2 / 3), rel=1e-5)
    assert found[2] == pytest.approx(PROJECTION[2])
    # Without them the projection is that of the image.
    torch.testing.assert_close(Cameras().of([resized])[0], torch.tensor(PROJECTION))


def test_intrinsics_and_a_fourth_row_are_taken():
    intrinsics = [row[:3] for row in PROJECTION]
    for given in (intrinsics, [[*row, 0] for row in intrinsics] + [[0, 0, 0, 1]]):
        found = Cameras().of([entry(projection=given)])[0]
        torch.testing.assert_close(found[:, :3], torch.tensor(intrinsics))
        assert not found[:, 3].any()


def test_a_camera_of_another_image_is_said_once(caplog):
    cameras = Cameras()
    with caplog.at_level(logging.WARNING, logger="centernet_d2"):
        cameras.of([entry(projection=PROJECTION), entry(188, 621, projection=PROJECTION)])
        cameras.of([entry(188, 621, projection=PROJECTION)])
        cameras.of([entry(188, 621, image_projection=PROJECTION)])  # its record was checked
    (message,) = caplog.messages
    assert "000123.png: 'projection' may not be that of the image: the principal point" in message
    with pytest.raises(ValueError, match=r"000123.png: 'projection' has a focal length of 4 pix"):
        cameras.of([entry(projection=[[4.0, 0, 600], [0, 4.0, 180], [0, 0, 1]])])


def test_the_default_camera_is_scaled_and_said_once(caplog):
    cameras = Cameras(PROJECTION, (375, 1242))
    with caplog.at_level(logging.WARNING, logger="centernet_d2"):
        same, double, high = cameras.of([entry(), entry(750, 2484), entry(475, 1242)])
        cameras.of([entry()])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "000123.png" in caplog.text
    assert "DEFAULT_PROJECTION" in caplog.text
    assert "--calibration or --focal-length" in caplog.text
    torch.testing.assert_close(same, torch.tensor(PROJECTION))
    across, down = pixel(PROJECTION)
    assert pixel(double.tolist()) == pytest.approx((2 * across, 2 * down), rel=1e-5)
    # Higher images show as much more above as below.
    assert pixel(high.tolist()) == pytest.approx((across, down + 50), rel=1e-5)


def test_the_published_default():
    (found,) = Cameras().of([entry()])
    expected = [
        [707.0493, 0, 604.0814, 45.75831],
        [0, 707.0493, 180.5066, -0.3454157],
        [0, 0, 1, 0.004981016],
    ]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=0)


def changed(row, column, value):
    rows = [list(values) for values in PROJECTION]
    rows[row][column] = value
    return rows


@pytest.mark.parametrize("key", ["projection", "image_projection"])
@pytest.mark.parametrize(
    ("projection", "message"),
    [
        ([row[:2] for row in PROJECTION], "3 x 4"),
        (PROJECTION[:2], "3 x 4"),
        ([[1.0, 2.0], [3.0]], "no matrix of numbers"),
        ("calib.txt", "no matrix of numbers"),
        ([], "3 x 4"),
        (changed(0, 3, float("nan")), "finite"),
        (changed(1, 2, float("inf")), "finite"),
        (changed(0, 0, 0.0), "focal lengths 0 and 710"),
        (changed(1, 1, -710.0), "focal lengths 700 and -710"),
    ],
)
def test_a_malformed_projection_names_the_image(key, projection, message):
    with pytest.raises(ValueError, match=f"000123.png: .*{message}"):
        Cameras().of([entry(projection=PROJECTION), entry(**{key: projection})])


def test_a_malformed_default_names_its_key():
    with pytest.raises(ValueError, match=r"DEFAULT_PROJECTION .*3 x 4"):
        Cameras([[1.0, 0.0]] * 3)


def test_a_default_that_does_not_belong_to_its_size_names_its_key():
    with pytest.raises(ValueError, match=r"DEFAULT_PROJECTION has a focal length of 700 pixels"):
        Cameras(PROJECTION, (3.75, 1.242))


def test_of_a_model_built_without_memory(tiny_config):
    tasks = ("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"])
    default = ("MODEL.POINTS_CENTERNET.BOX3D.DEFAULT_PROJECTION", OTHER)
    size = ("MODEL.POINTS_CENTERNET.BOX3D.DEFAULT_SIZE", [100, 200])
    with torch.device("meta"):
        cfg = tiny_config(*tasks, *default, *size, "MODEL.DEVICE", "meta")
        model = build_model(cfg)
        found = model.tasks[1].cameras.of([entry(100, 200), entry(projection=PROJECTION)])
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, torch.tensor([OTHER, PROJECTION]))


def test_detectors_without_3d_boxes_want_no_camera(tiny_config, caplog):
    model = build_model(tiny_config()).eval()
    assert model.read_inputs([{}]) == {}
    with torch.no_grad():
        model([entry(32, 32, projection="whatever")])
    assert not [record for record in caplog.records if "projection" in record.message]
