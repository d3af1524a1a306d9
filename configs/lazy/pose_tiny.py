"""`Shapes/pose_tiny.yaml` as a LazyConfig: stick figures and their joints."""

from centernet_d2.data.fields.joints import JointsField
from centernet_d2.detectron2_versions import LazyCall as L
from centernet_d2.modeling.point_tasks.pose import Pose

from ..common.data.shapes import dataloader
from ..common.models.points import model
from ..common.models.tiny import as_tiny_points
from ..common.tiny_train import lr_multiplier, optimizer, train

_joints = {"num_joints": 11, "flip_indices": [0, 1, 2, 4, 3, 6, 5, 8, 7, 10, 9]}

model = as_tiny_points(model)
model.num_classes = 1
model.tasks.append(L(Pose)(**_joints))
dataloader.train.mapper.fields = [L(JointsField)(**_joints)]
dataloader.train.dataset.names = ["shapes_pose_train"]
dataloader.test.dataset.names = ["shapes_pose_val"]
train.update({"max_iter": 2700, "best_metric": "keypoints/AP", "eval_period": 500})
train.output_dir = "output/lazy_pose_tiny"
