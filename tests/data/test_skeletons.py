"""Skeletons in detectron2's catalogue: its own person datasets, and those without joints."""

from __future__ import annotations

import centernet_d2.data.datasets.builtin  # noqa: F401  (completes detectron2's metadata)
from centernet_d2.data.datasets.skeletons import skeleton_of
from centernet_d2.structures.skeleton import COCO_JOINTS, COCO_SIGMAS


def test_dataset_without_joints():
    assert skeleton_of("coco_2017_val") is None


def test_detectron2s_person_datasets_are_complete():
    skeleton = skeleton_of("keypoints_coco_2017_train")
    assert skeleton.names == COCO_JOINTS
    assert skeleton.oks_sigmas == COCO_SIGMAS
    assert skeleton.flip_indices()[:5] == [0, 2, 1, 4, 3]
    assert len(skeleton.edges) >= 14
