"""`Predictor.batch` with the cameras of its images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from centernet_d2 import Predictor

from .test_predictor_heatmap import make_predictor

PROJECTIONS = [[[60.0 + n, 0, 31, 0], [0, 60, 31, 0], [0, 0, 1, 0]] for n in range(3)]
IMAGES = [np.full((64, 64, 3), 50 * n, dtype=np.uint8) for n in range(3)]


@pytest.fixture
def predictor(tiny_config, tmp_path) -> Predictor:
    """An untrained detector of 3-D boxes."""
    return make_predictor(tiny_config("MODEL.POINTS_CENTERNET.TASKS", ["box2d", "box3d"]), tmp_path)


@pytest.mark.parametrize("convert", [list, np.array, torch.tensor])
def test_projections_of_any_kind(predictor, convert):
    results = predictor.batch(IMAGES, projections=convert(PROJECTIONS), batch_size=2)
    found = [result["projection"].tolist() for result in results]
    assert found == PROJECTIONS


@pytest.mark.parametrize("projections", [PROJECTIONS[:2], np.array(PROJECTIONS[:1]), []])
def test_as_many_projections_as_images(predictor, projections):
    with pytest.raises(ValueError, match=rf"{len(projections)} projections for 3 images: give one"):
        predictor.batch(IMAGES, projections=projections)


def test_a_detector_without_boxes_in_space_takes_none(tiny_config, tmp_path):
    flat = make_predictor(tiny_config(), tmp_path)
    assert not flat.finds_boxes_in_space
    with pytest.raises(ValueError, match=r"no boxes in space: it takes no projection"):
        flat(IMAGES[0], PROJECTIONS[0])


def test_messages_name_files(predictor, tmp_path, caplog):
    file = str(tmp_path / "street.png")
    cv2.imwrite(file, IMAGES[0])
    with pytest.raises(ValueError, match=r"street\.png: 'projection'"):
        predictor.batch([file], projections=[np.eye(3)])
    with pytest.raises(ValueError, match=r"photo\.png: 'projection'"):
        predictor.batch(IMAGES[:1], projections=[np.eye(3)], file_names=["photo.png"])
    predictor.batch([file])
    assert "street.png comes without a projection" in caplog.text
