from __future__ import annotations

import cv2
import pytest
import torch
from export.small import CLASSES, config, detector, pictures

from centernet_d2.checkpoint.model_info import BLOCK, ModelInfo, config_text

JOINTS = {
    "joint_names": ["tip", "west", "east"],
    "joint_edges": [["tip", "west"]],
    "joint_flip_map": [["west", "east"]],
}


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Files that carry their config, of detectors that find something: name -> path."""
    folder, files = tmp_path_factory.mktemp("app"), {}
    for name in ("hard", "pose", "boxes in space"):
        more = JOINTS if name == "pose" else {}
        block = ModelInfo(config=config_text(config(name))).block()
        content = {"model": detector(name).state_dict(), "class_names": CLASSES, BLOCK: block}
        files[name] = str(folder / f"{name}.pth")
        torch.save(content | more, files[name])
    return files


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    cv2.imwrite(str(path), pictures(1, 100, 150)[0])
    return str(path)
