"""The points detector as a whole: the same cases for every config, then its own choices."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from detectron2.config import get_cfg, instantiate
from detectron2.modeling import build_model
from small_detector import boxes_input as training_input
from small_detector import image_input, rows
from torchvision.ops import generalized_box_iou

from centernet_d2.config import add_centernet_config
from centernet_d2.modeling import PointsCenterNet
from centernet_d2.modeling.backbone import EncoderDecoder, ResNetDeconv
from centernet_d2.modeling.heads.branches import points_head
from centernet_d2.modeling.inputs import PixelFormat
from centernet_d2.modeling.point_tasks.base import Branches
from centernet_d2.modeling.point_tasks.box2d import Box2D

SIZE = 64


def built(cfg, seed: int = 0) -> PointsCenterNet:
    torch.manual_seed(seed)
    return build_model(cfg)


def batch():
    return [
        training_input([[4, 4, 40, 30], [20, 20, 60, 62]], [0, 3], seed=1),
        training_input([], [], seed=2),
    ]


def test_losses_are_named_finite_and_reach_every_parameter(tiny_config):
    model = built(tiny_config())
    losses = model(batch())
    assert sorted(losses) == ["loss_heatmap", "loss_offset", "loss_size"]
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


BOX2D = "MODEL.POINTS_CENTERNET.BOX2D"


@pytest.mark.parametrize("form", ["cells", "log"])
def test_giou_is_learned_and_reaches_every_parameter(tiny_config, form):
    model = built(tiny_config(f"{BOX2D}.GIOU_WEIGHT", 2.0, f"{BOX2D}.SIZE_FORM", form))
    last = {name: model.head.stacks[-1][name].last_layer for name in ("size", "offset")}
    for name, value in {"size": 0.0 if form == "log" else 8.0, "offset": 0.0}.items():
        torch.nn.init.zeros_(last[name].weight)
        torch.nn.init.constant_(last[name].bias, value)  # boxes of 8 x 8 cells at the cell's corner
    losses = model([training_input([[8, 8, 26, 58], [4, 4, 40, 30]], [0, 1])])
    found = torch.tensor([[0.0, 4, 8, 12], [1.0, 0, 9, 8]])  # around the cells (4, 8) and (5, 4)
    truth = torch.tensor([[2.0, 2, 6.5, 14.5], [1.0, 1, 10, 7.5]])
    expected = 2 * (1 - generalized_box_iou(found, truth).diagonal()).mean()
    assert losses["loss_giou"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert sorted(losses) == ["loss_giou", "loss_heatmap", "loss_offset", "loss_size"]
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model([training_input([], [])])["loss_giou"] == 0


MSE = ("MODEL.POINTS_CENTERNET.HEATMAP_LOSS", "mse")


def test_squared_differences_are_those_of_the_outputs_which_start_at_zero(tiny_config):
    """Published --mse_loss: torch's MSELoss of the outputs, without a sigmoid."""
    model = built(tiny_config(*MSE, "MODEL.POINTS_CENTERNET.HEATMAP_WEIGHT", 7.0))
    last = model.head.stacks[0]["heatmap"].last_layer
    assert not last.bias.any()
    images = model.training_images(batch())
    with torch.no_grad():
        outputs = model.predict(images)[0].heatmap
    truth = model.targets(images, [entry["instances"] for entry in batch()], (16, 16)).heatmap
    losses = model(batch())
    expected = 7 * torch.nn.MSELoss()(outputs, truth)
    torch.testing.assert_close(losses["loss_heatmap"], expected, rtol=1e-4, atol=0)
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("bias", [-0.5, 1.5])
def test_scores_of_squared_differences_are_cut_to_probabilities(tiny_config, bias):
    model = built(tiny_config(*MSE)).eval()
    torch.nn.init.constant_(model.head.stacks[0]["heatmap"].last_layer.bias, bias)
    with torch.no_grad():
        found = model([image_input(64, 64)])[0]["instances"]
        heat = model.decoded_heatmaps(
            model.predict(model.training_images([image_input(64, 64)]))[-1], flipped=False
        )
    assert found.scores.unique().tolist() == [float(bias > 0)]
    assert heat["center"].shape[1] == 5
    assert heat["center"].min() >= 0


@pytest.mark.parametrize("bounds", [[40.0, 20.0], [20.0, 20.0], [20.0]])
def test_bounds_of_sizes_ascend_and_stand_alone(tiny_config, bounds):
    options = (f"{BOX2D}.SIZE_BOUNDS", bounds, f"{BOX2D}.CLASS_SPECIFIC_SIZE", len(bounds) == 1)
    with pytest.raises(ValueError, match=r"SIZE_BOUNDS is \["):
        built(tiny_config(*options))


NO_OFFSET = ("MODEL.POINTS_CENTERNET.OFFSET", False)


def test_without_offsets_centers_lie_in_the_middle_of_cells(tiny_config):
    """Published `ctdet_decode` without `reg`: cell + 0.5; there is no branch and no loss of it."""
    model = built(tiny_config(*NO_OFFSET, f"{BOX2D}.GIOU_WEIGHT", 2.0, "TEST.FLIP", True))
    assert not [name for name, _ in model.named_parameters() if "offset" in name]
    torch.nn.init.zeros_(model.head.stacks[-1]["size"].last_layer.weight)
    torch.nn.init.constant_(model.head.stacks[-1]["size"].last_layer.bias, 8.0)
    losses = model([training_input([[8, 8, 26, 58]], [0])])  # of cell (4, 8), 4.5 x 12.5 cells
    expected = 2 - 2 * generalized_box_iou(
        torch.tensor([[0.5, 4.5, 8.5, 12.5]]), torch.tensor([[2.0, 2, 6.5, 14.5]])
    )
    assert losses["loss_giou"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert sorted(losses) == ["loss_giou", "loss_heatmap", "loss_size"]
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        found = model.eval()([image_input(64, 64)])[0]["instances"]
    cells = found.pred_boxes.get_centers() / 4  # the image begins on a cell of its canvas
    torch.testing.assert_close(cells % 1, torch.full_like(cells, 0.5), atol=1e-4, rtol=0)


def test_boxes_without_area_need_more_than_giou(tiny_config):
    with pytest.raises(ValueError, match="SIZE_WEIGHT is 0"):
        built(tiny_config(f"{BOX2D}.GIOU_WEIGHT", 1.0, f"{BOX2D}.SIZE_WEIGHT", 0.0))


def test_logarithms_of_sizes_are_learned_by_their_difference(tiny_config):
    model = built(tiny_config(f"{BOX2D}.SIZE_FORM", "log", f"{BOX2D}.SIZE_WEIGHT", 3.0))
    last = model.head.stacks[-1]["size"].last_layer
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)  # 8 x 8 cells, 32 x 32 pixels
    loss = model([training_input([[8, 8, 24, 56]], [0])])["loss_size"]  # 16 x 48
    expected = 3.0 * (math.log(2) + math.log(1.5)) / (2 + 1e-4)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_objects_trains(tiny_config):
    model = built(tiny_config())
    losses = model([training_input([], [], seed=seed) for seed in (1, 2)])
    assert losses["loss_size"] == 0
    assert losses["loss_offset"] == 0
    assert losses["loss_heatmap"] > 0
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_inputs_are_not_changed_and_answers_repeat(tiny_config):
    model = built(tiny_config())
    inputs = batch()
    kept = copy.deepcopy(inputs)
    first, second = model(inputs), model(inputs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for entry, before in zip(inputs, kept, strict=True):
        assert torch.equal(entry["image"], before["image"])
        assert torch.equal(entry["instances"].gt_boxes.tensor, before["instances"].gt_boxes.tensor)


def test_detections_scale_to_the_asked_frame(tiny_config):
    model = built(tiny_config()).eval()
    with torch.no_grad():
        plain = model([image_input(40, 60)])[0]["instances"]
        scaled = model([{**image_input(40, 60), "height": 80, "width": 180}])[0]["instances"]
    assert plain.image_size == (40, 60)
    assert scaled.image_size == (80, 180)
    factor = torch.tensor([3.0, 2, 3, 2])
    assert torch.allclose(scaled.pred_boxes.tensor, plain.pred_boxes.tensor * factor)


def test_float_whole_numbers_equal_bytes(tiny_config):
    model = built(tiny_config()).eval()
    entry = image_input(40, 60)
    with torch.no_grad():
        a = model([entry])[0]["instances"]
        b = model([{"image": entry["image"].float()}])[0]["instances"]
    assert torch.equal(rows(a), rows(b))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(4, 8, 8), "shape \\(4, 8, 8\\), but the model takes 3 channels"),
        (torch.zeros(8, 8), "3 channels"),
        (torch.zeros(3, 0, 8), "is empty, 8 x 0"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_wrong_images_are_named(tiny_config, image, message, training):
    model = built(tiny_config()).train(training)
    entry = {**training_input([], []), "image": image, "file_name": "holiday.png"}
    with pytest.raises(ValueError, match=f"holiday.png: .*{message}"):
        model([entry])


@pytest.mark.parametrize("wrong", [5, -1])
def test_a_class_that_the_model_does_not_have_is_named(tiny_config, wrong):
    entry = training_input([[4, 4, 40, 30]], [wrong], seed=7)
    with pytest.raises(ValueError, match=f"image_7.png: class {wrong} is not in 0..4"):
        built(tiny_config())([entry])


class Copycat(Box2D):
    """A task whose names collide with what is there already."""

    def __init__(self, branch: str, **arguments):
        super().__init__(**arguments)
        self.branch = branch

    def branches(self, num_classes):
        return Branches({self.branch: 2})


@pytest.mark.parametrize("branch", ["size", "offset"])
def test_two_tasks_cannot_share_a_branch(branch):
    with pytest.raises(ValueError, match=f"two branches are named '{branch}'"):
        PointsCenterNet(
            backbone=EncoderDecoder(channels=[8], blocks=[1], out_channels=8),
            head=torch.nn.Identity(),
            in_features=["decoder"],
            num_classes=2,
            pixels={"mean": [0.0] * 3, "std": [1.0] * 3},
            tasks=[Box2D(), Copycat(branch)],
        )


def test_class_specific_size_learns_only_the_class_of_the_object(tiny_config):
    model = built(tiny_config("MODEL.POINTS_CENTERNET.BOX2D.CLASS_SPECIFIC_SIZE", True))
    model([training_input([[4, 4, 40, 30]], [3])])["loss_size"].backward()
    gradient = model.head.stacks[0]["size"].last_layer.bias.grad
    assert gradient.nonzero().flatten().tolist() == [6, 7]


@pytest.mark.parametrize(("unit", "factor"), [("elements", 1), ("objects", 2)])
def test_normaliser_is_a_named_choice(tiny_config, unit, factor):
    reference = built(tiny_config())(batch())["loss_size"]
    model = built(tiny_config("MODEL.POINTS_CENTERNET.REGRESSION_NORMALIZER", unit))
    assert model(batch())["loss_size"].item() == pytest.approx(factor * reference.item(), rel=1e-3)


def test_detectron2_fpn_is_a_backbone(tiny_config):
    cfg = tiny_config(
        *("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"),
        *("MODEL.HEATMAP.IN_FEATURES", ["p2"]),
        *("MODEL.FPN.IN_FEATURES", ["res2", "res3", "res4", "res5"]),
        *("MODEL.FPN.OUT_CHANNELS", 32),
        *("MODEL.RESNETS.DEPTH", 18),
        *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64),
        *("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"]),
        *("MODEL.BACKBONE.FREEZE_AT", 0),
        *("MODEL.RESNETS.NORM", "BN"),
    )
    model = built(cfg)
    losses = model(batch())
    assert all(loss.isfinite() for loss in losses.values())
    with torch.no_grad():
        assert len(model.eval()([image_input(50, 70)])[0]["instances"]) > 0


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_keeps_losses_in_float32(tiny_config, amp):
    model = built(tiny_config())
    with torch.autocast("cpu", dtype=amp):
        losses = model(batch())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("MODEL.HEATMAP.NUM_CLASSES", 0), "centernet_d2.setup"),
        (("MODEL.HEATMAP.IN_FEATURES", ["p2"]), "the backbone gives \\['decoder'\\]"),
        (("MODEL.POINTS_CENTERNET.TASKS", ["box4d"]), "box4d.*box2d"),
        (("MODEL.HEATMAP.RADIUS_RULE", "big"), "big"),
        (("TEST.RESOLUTION", "huge"), "TEST.RESOLUTION"),
        (("TEST.RESOLUTION", "fixed", "TEST.FIXED_SIZE", [100, 96]), "FIXED_SIZE.*multiples of 32"),
        (("MODEL.POINTS_CENTERNET.REGRESSION_INIT", "zeros"), "REGRESSION_INIT"),
        (("MODEL.POINTS_CENTERNET.BOX2D.NMS", "softest"), "BOX2D.NMS"),
    ],
)
def test_wrong_config_values_are_named(tiny_config, override, message):
    with pytest.raises(ValueError, match=message):
        build_model(tiny_config(*override))


def test_yaml_lazy_config_and_python_give_equal_weights(config_root):
    from detectron2.config import LazyConfig

    cfg = get_cfg()
    add_centernet_config(cfg)
    cfg.merge_from_file(str(config_root / "COCO-Detection" / "points_resnet18_dcn_140e.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    from_yaml = built(cfg, seed=3)
    torch.manual_seed(3)
    lazy = LazyConfig.load(str(config_root / "lazy" / "points_centernet.py"))
    from_lazy = instantiate(lazy.model)
    torch.manual_seed(3)
    from_python = PointsCenterNet(
        backbone=ResNetDeconv(depth=18),
        head=points_head(tasks=[Box2D()], in_channels=[64], num_classes=80),
        in_features=["deconv"],
        num_classes=80,
        pixels=PixelFormat(cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD),
        tasks=[Box2D()],
    )
    reference = from_yaml.state_dict()
    for other in (from_lazy, from_python):
        weights = other.state_dict()
        assert list(weights) == list(reference)
        assert all(torch.equal(weights[name], reference[name]) for name in reference)
        assert other.protocol == from_yaml.protocol
        assert torch.equal(other.pixel_mean, from_yaml.pixel_mean)
    lazy.model.offset = False  # one value for the detector and its head
    found = list(instantiate(lazy.model).state_dict())
    assert found == [name for name in reference if ".offset." not in name]


def test_training_crops_of_different_sizes_share_a_canvas(tiny_config):
    model = built(tiny_config())
    inputs = [training_input([[4, 4, 30, 30]], [0], size=48), training_input([[4, 4, 40, 30]], [1])]
    images = model.training_images(inputs)
    assert images.tensor.shape == (2, 3, 64, 64)
    assert images.shift.tolist() == [[8, 8], [0, 0]]
    targets = model.targets(images, [entry["instances"] for entry in inputs], (16, 16))
    assert targets.peaks.x.tolist() == [int((17 + 8) / 4), 5]  # centers 17 and 22


def test_the_parts_of_a_lazy_config_take_a_step(config_root):
    from detectron2.config import LazyConfig
    from detectron2.engine import SimpleTrainer
    from detectron2.utils.events import EventStorage

    lazy = LazyConfig.load(str(config_root / "lazy" / "points_centernet.py"))
    lazy.model.backbone.depth = 18
    model = instantiate(lazy.model)
    lazy.optimizer.model = model
    optimizer = instantiate(lazy.optimizer)
    count = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert count == sum(p.numel() for p in model.parameters())
    mapper = instantiate(lazy.dataloader.train.mapper)
    assert mapper.is_train
    assert len(mapper.augmentations.augs) == 3

    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    trainer = SimpleTrainer(model.train(), [batch()], optimizer)
    with EventStorage(0):
        trainer.iter = 0
        trainer.run_step()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert after.isfinite().all()
    assert (after != before).float().mean() > 0.5
