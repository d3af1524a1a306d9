"""A point task from outside the package: four methods, one registration, no file touched."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints

from centernet_d2.inference.records import detection_records
from centernet_d2.losses.peak_regression import RegressionLoss
from centernet_d2.modeling.point_tasks import Branches, PointTask, point_task, register_point_task
from centernet_d2.structures.boxes3d import Boxes3D
from centernet_d2.structures.output_fields import OUTPUT_FIELDS, register_output_field
from centernet_d2.visualization.results import draw_result

KEY = "MODEL.POINTS_CENTERNET.TASKS"


@register_point_task
class VisibleShare(PointTask):
    """How much of an object is seen."""

    name = "test_visible_share"
    ground_truth = ("gt_share",)
    output_fields = ("pred_share",)
    evaluators = ("share", "share")

    def branches(self, num_classes):
        return Branches({"share": 1})

    def targets(self, instances, images, centers):
        return torch.cat([entry.gt_share for entry in instances])[centers.kept, None]

    def losses(self, predictions, targets, centers):
        found = centers.peaks.gather(predictions.regressions["share"])
        return {"loss_share": RegressionLoss()(found, targets)}

    def decode(self, maps, peaks, centers, images):
        shares = peaks.gather(maps.regressions["share"])[..., 0] + images.inputs["bias"][:, None]
        return [{"pred_share": rows} for rows in shares]

    def read_inputs(self, entries):
        return {"bias": torch.tensor([entry.get("bias", 0.0) for entry in entries])}

    def extra_outputs(self, entry):
        return {"bias": entry.get("bias", 0.0)}


def whiten(image, instances):
    image[:] = 255 if (instances.pred_share >= 0).all() else 0


register_output_field(
    "pred_share",
    record=lambda found: [{"share": round(value, 2)} for value in found.pred_share.tolist()],
    draw=whiten,
)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return build_model(tiny_config(KEY, ["box2d", "test_visible_share"], "TEST.FLIP", True))


def entry(share=True):
    truth = Instances((64, 64), gt_boxes=Boxes([[4.0, 4, 40, 30]]), gt_classes=torch.tensor([1]))
    if share:
        truth.gt_share = torch.tensor([0.25])
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    return {"image": image, "instances": truth, "file_name": "a.png"}


def test_it_trains_and_predicts_with_what_it_reads_of_the_inputs(model):
    losses = model([entry()])
    assert set(losses) == {"loss_heatmap", "loss_offset", "loss_size", "loss_share"}
    sum(losses.values()).backward()
    with torch.no_grad():
        plain, biased = model.eval()([entry(), entry() | {"bias": 5.0}])
    assert (plain["bias"], biased["bias"]) == (0.0, 5.0)
    assert biased["instances"].pred_share.min() > 3 > plain["instances"].pred_share.max()
    assert model.output_fields == ("pred_boxes", "pred_share")
    assert model.evaluators == ("share",)


@pytest.fixture
def three(tiny_config):
    """A detector of all the package's tasks, and an input that it learns from."""
    torch.manual_seed(0)
    joints = ("MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS", 2)
    model, one = build_model(tiny_config(KEY, ["box2d", "pose", "box3d"], *joints)), entry()
    one["instances"].gt_keypoints = Keypoints([[[20.0, 20.0, 2.0], [30.0, 25.0, 1.0]]])
    one["instances"].gt_boxes3d = Boxes3D(torch.tensor([[0.0, 1, 9, 1.5, 1.6, 4, 0.1, 0.1]]))
    return model, one


def test_the_three_tasks_of_the_package_train_and_predict_together(three):
    model, one = three
    losses = model([one])
    names = "heatmap offset size depth dimensions orientation joint_displacement joint_heatmap"
    assert set(losses) == {f"loss_{name}" for name in [*names.split(), "joint_offset"]}
    sum(losses.values()).backward()
    with torch.no_grad():
        (output,) = model.eval()([{"image": one["image"], "height": 128, "width": 128}])
    assert model.output_fields == ("pred_boxes", "pred_keypoints", "pred_boxes3d")
    assert all(output["instances"].has(name) for name in model.output_fields)
    assert output["projection"].shape == (3, 4)
    (row, *_) = detection_records(output["instances"][:1], [], "xyxy")
    assert set(row) == {"class_name", "class_index", "score", "box", "joints", "box3d"}


@pytest.mark.parametrize("given", ["nothing", "boxes and classes"])
def test_images_without_objects_may_lack_any_field(three, given):
    """As detectron2's own mapper leaves out all but boxes and classes there."""
    model, one = three
    full, bare = Instances((64, 64)), Instances((64, 64))
    full.gt_boxes, full.gt_classes = Boxes([]), torch.zeros(0).long()
    if given != "nothing":
        bare.gt_boxes, bare.gt_classes = Boxes([]), torch.zeros(0).long()
    full.gt_keypoints, full.gt_boxes3d = Keypoints(torch.zeros(0, 2, 3)), Boxes3D([])
    for others in ([], [one]):
        expected = model([{**one, "instances": full}, *others])
        assert model([{**one, "instances": bare}, *others]) == expected
        sum(expected.values()).backward()


def test_boxes_and_classes_that_objects_lack_are_named(model):
    one = entry()
    one["instances"].remove("gt_classes")
    with pytest.raises(ValueError, match=r"a\.png: 'instances' have no 'gt_classes'"):
        model([one])


def test_missing_ground_truth_names_image_field_and_cure(model):
    with pytest.raises(
        ValueError, match=r"a\.png: .*'test_visible_share'.*'gt_share'.*setup\(cfg\)"
    ):
        model([entry(share=False)])


def test_its_field_is_written_and_drawn():
    found = Instances((8, 8), pred_boxes=Boxes([[1.0, 1, 3, 3]]), scores=torch.tensor([0.9]))
    found.pred_classes, found.pred_share = torch.tensor([0]), torch.tensor([0.125])
    (row,) = detection_records(found, ["cat"], "xyxy")
    assert row["share"] == 0.12
    image = torch.zeros(99, 99, 3, dtype=torch.uint8).numpy()
    assert draw_result(image, {"instances": found})[98, 98].tolist() == [255] * 3
    assert not image.any()
    with pytest.raises(ValueError, match="'pred_share' is registered already"):
        register_output_field("pred_share")
    assert OUTPUT_FIELDS["pred_share"].scale is None


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(ValueError, match=r"'posee' \(nearest: pose\).*'box2d', 'box3d', 'pose'"):
        point_task("posee")


@pytest.mark.parametrize(("limit", "count"), [(7, 7), (100, 100), (0, 100)])
def test_the_limit_of_detections_holds_at_one_scale(tiny_config, limit, count):
    torch.manual_seed(0)
    model = build_model(tiny_config("TEST.DETECTIONS_PER_IMAGE", limit)).eval()
    for name, parameter in model.head.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        (found,) = model([{"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)}])
    scores = found["instances"].scores
    assert len(scores) == count
    assert torch.equal(scores, scores.sort(descending=True).values)


def test_a_2d_model_runs_no_line_of_joints_or_cameras():
    script = (
        "import sys, centernet_d2.modeling.point_tasks as t; t.point_task('box2d');"
        "print([n for n in sys.modules if n.startswith('centernet_d2.modeling') and "
        "n.endswith(('.pose', '.box3d', '.cameras'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
