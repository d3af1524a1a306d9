"""Hooks by themselves: when they warn, what they keep, what they draw."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from pose_maps import persons, pose_detector
from torch import nn

from centernet_d2.engine.checkpointer import Checkpointer
from centernet_d2.engine.hooks import BestCheckpoint, TrainingHealthHook
from centernet_d2.engine.pictures import VisualizationHook
from centernet_d2.engine.trainer import Trainer
from centernet_d2.losses.heatmap_focal import COLLAPSED
from centernet_d2.modeling.point_tasks.pose import PoseWeights


def sample(objects: int, size=(24, 32)) -> dict:
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor([[2.0, 3.0, 12.0, 13.0]]).repeat(objects, 1))
    instances.gt_classes = torch.zeros(objects, dtype=torch.int64)
    image = torch.full((3, *size), 128, dtype=torch.uint8)
    return {"image": image, "instances": instances, "image_id": 17, "file_name": "seventeen.jpg"}


def watch(steps, weights):
    """Run TrainingHealthHook over pairs of heatmap losses by name and number of objects."""
    hook = TrainingHealthHook(weights, patience=5)
    for losses, objects in steps:
        loop = SimpleNamespace(losses=losses, batch=[sample(objects)])
        hook.trainer = SimpleNamespace(_trainer=loop)
        hook.after_step()


ONE, TWICE = {"loss_heatmap": 1.0}, {"loss_heatmap": 2.0}
CORNERS = {f"loss_heatmap_{n}": w for n, w in (("left", 1.0), ("right", 1.0), ("center", 0.5))}
GONE = ({"loss_heatmap": COLLAPSED}, 1)
FINE, EMPTY = ({"loss_heatmap": 1.0}, 1), ({"loss_heatmap": 1.0}, 0)
LEFT = ({**CORNERS, "loss_heatmap_left": COLLAPSED}, 1)
CENTER = ({**CORNERS, "loss_heatmap_center": 0.5 * COLLAPSED}, 1)
BOTH = ({**LEFT[0], **{"loss_heatmap_center": 0.5 * COLLAPSED}}, 1)


@pytest.mark.parametrize(
    ("weights", "steps", "collapsed", "empty"),
    [
        (ONE, [GONE] * 4, 0, 0),
        (ONE, [GONE] * 2 + [FINE] + [GONE] * 4, 0, 0),
        (ONE, [GONE] * 5, 1, 0),
        (TWICE, [GONE] * 5, 0, 0),
        (TWICE, [({"loss_heatmap": 2 * COLLAPSED}, 1)] * 5, 1, 0),
        (CORNERS, [LEFT, CENTER] * 5, 0, 0),  # neither five times in a row
        (CORNERS, [CENTER] * 5, 1, 0),
        (CORNERS, [BOTH] * 5, 2, 0),
        (ONE, [EMPTY] * 4 + [FINE] + [EMPTY] * 4, 0, 0),
        (ONE, [EMPTY] * 11, 0, 2),
        (None, [({"loss_heatmap": COLLAPSED}, 0)] * 5, 0, 1),  # a model without heatmaps
    ],
)
def test_what_learns_nothing_is_told_with_the_images(caplog, weights, steps, collapsed, empty):
    assert pytest.approx(9.2085, abs=1e-4) == COLLAPSED
    watch(steps, weights)
    assert caplog.text.count("collapsed") == collapsed
    assert caplog.text.count("No object in") == empty
    assert caplog.text.count("image 17 (seventeen.jpg)") == collapsed + empty
    if steps[0] is CENTER:
        assert "loss_heatmap_center has been 4.6" in caplog.text


@pytest.mark.parametrize("architecture", ["PointsCenterNet", "CornerNet", "TripletCenterNet"])
def test_every_detector_names_the_losses_to_watch(config, architecture):
    trainer = Trainer(
        config(
            *("MODEL.META_ARCHITECTURE", architecture),
            *("MODEL.CORNERNET.HEAD_CHANNELS", 8, "MODEL.CORNERNET.POOL_CHANNELS", 4),
            *("MODEL.POINTS_CENTERNET.HEATMAP_WEIGHT", 3.0),
            *("MODEL.CORNERNET.HEATMAP_WEIGHT", 2.0),
            *("MODEL.TRIPLET_CENTERNET.CENTER_WEIGHT", 0.5),
        )
    )
    (hook,) = (hook for hook in trainer._hooks if isinstance(hook, TrainingHealthHook))
    corners = {"loss_heatmap_top_left": 2.0, "loss_heatmap_bottom_right": 2.0}
    assert (
        hook.heatmap_losses
        == {
            "PointsCenterNet": {"loss_heatmap": 3.0},
            "CornerNet": corners,
            "TripletCenterNet": {**corners, "loss_heatmap_center": 1.0},
        }[architecture]
    )
    losses = trainer.model.train()([sample(1, (64, 64)), sample(2, (64, 64))])
    assert set(hook.heatmap_losses) == {name for name in losses if "heatmap" in name}


def losses_of_pose(model) -> dict:
    figure = persons((64, 64), [[4, 4, 40, 50]], [[(20, 10 * k) for k in range(1, 6)]])
    return model.train()([{**sample(0, (64, 64)), "instances": figure}])


@pytest.mark.parametrize(
    ("joint_heatmap", "watched"), [(True, {"loss_joint_heatmap": 2.0}), (False, {})]
)
def test_the_joint_heatmap_is_watched(joint_heatmap, watched):
    model = pose_detector(joint_heatmap=joint_heatmap, weights=PoseWeights(heatmap=2.0))
    assert model.heatmap_losses == {"loss_heatmap": 1.0, **watched}
    assert set(model.heatmap_losses) == {n for n in losses_of_pose(model) if "heatmap" in n}


def test_a_collapsed_joint_heatmap_is_told(caplog):
    model = pose_detector(weights=PoseWeights(heatmap=2.0))
    torch.nn.init.zeros_(model.head.stacks[0]["joint_heatmap"][-1].weight)
    torch.nn.init.constant_(model.head.stacks[0]["joint_heatmap"][-1].bias, -30.0)
    step = {name: loss.item() for name, loss in losses_of_pose(model).items()}
    watch([(step, 1)] * 5, model.heatmap_losses)
    assert caplog.text.count("collapsed") == 1
    assert "loss_joint_heatmap has been 18.4" in caplog.text


def run_best(
    folder,
    values,
    *,
    start_iter=0,
    metric="bbox/AP",
    reported="bbox/AP",
    after_step=lambda step: None,
):
    """Give a BestCheckpoint one evaluation result per step; return the values it saved at."""
    saved = []
    checkpointer = Checkpointer(nn.Linear(1, 1), str(folder))
    original = checkpointer.save
    checkpointer.save = lambda name, **extras: (
        saved.append(extras["value"]),
        original(name, **extras),
    )
    hook = BestCheckpoint(checkpointer, metric)
    with EventStorage(start_iter) as storage:
        hook.trainer = SimpleNamespace(
            storage=storage, start_iter=start_iter, iter=start_iter, max_iter=start_iter
        )
        hook.before_train()
        for step, value in enumerate(values):
            if value is not None:  # None: no evaluation at this step
                storage.put_scalar(reported, value)
                task, _, name = reported.partition("/")
                hook.trainer._last_eval_results = {task: {name: value}}
            hook.after_step()
            after_step(step)
            storage.step()
        hook.after_train()
    return saved


def test_best_checkpoint_is_kept_and_survives_a_resume(tmp_path):
    assert run_best(tmp_path, [10.0, None, 8.0, math.nan, 12.0, 12.0]) == [10.0, 12.0]
    record = json.loads((tmp_path / "model_best.json").read_text())
    assert record == {"metric": "bbox/AP", "value": 12.0, "iteration": 4}
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["value"] == 12.0
    assert not (tmp_path / "last_checkpoint").exists()
    assert run_best(tmp_path, [11.0, 13.0], start_iter=6) == [13.0]
    assert run_best(tmp_path, [1.0]) == [1.0]  # a new run in the old folder


def test_of_the_validation_loss_the_lowest_is_the_best(tmp_path):
    loss = dict.fromkeys(("metric", "reported"), "validation/total_loss")
    assert run_best(tmp_path, [3.0, 4.0, math.nan, 2.5, 2.5], **loss) == [3.0, 2.5]
    assert run_best(tmp_path, [2.7, 2.0], start_iter=6, **loss) == [2.0]


def test_unknown_metric_lists_the_results(tmp_path, caplog):
    warnings = []

    def count(step):
        warnings.append(caplog.text.count("is no result"))

    values = [None, 10.0, None, 11.0]
    assert run_best(tmp_path, values, metric="bbox/APP", after_step=count) == []
    assert warnings == [0, 1, 1, 1]  # after the first evaluation, once
    assert "'bbox/APP' is no result of the evaluation; there are: bbox/AP." in caplog.text
    assert "'bbox/APP' was no result of any evaluation" in caplog.messages[-1]  # at the end


class Corner(nn.Module):
    """Detects one box in the corner, if it is asked in evaluation mode."""

    def forward(self, inputs):
        assert not self.training
        height, width = inputs[0]["height"], inputs[0]["width"]
        assert inputs[0]["image"].shape[1:] == (height, width)
        found = Instances((height, width))
        found.pred_boxes = Boxes(torch.tensor([[1.0, 1.0, 9.0, 9.0]]))
        found.scores = torch.tensor([0.9])
        found.pred_classes = torch.tensor([0])
        return [{"instances": found}]


@pytest.mark.parametrize("objects", [0, 1])
def test_pictures_reach_the_event_storage(objects):
    model = Corner().train()
    loop = SimpleNamespace(batch=[sample(objects)])
    hook = VisualizationHook(3, ["thing"])
    with EventStorage(0) as storage:
        for iteration in range(5):
            hook.trainer = SimpleNamespace(
                _trainer=loop, model=model, iter=iteration, storage=storage
            )
            hook.after_step()
        ((_, picture, _),) = storage._vis_data  # steps 3 of 1 .. 5
    assert model.training
    assert picture.shape == (3, 24, 64)
    assert picture.dtype == np.uint8
    left, right = picture[:, :, :32], picture[:, :, 32:]
    assert (left != 128).any() == bool(objects)
    assert (right != 128).any()
