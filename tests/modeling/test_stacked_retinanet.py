"""detectron2's RetinaNet on the way up of stacked hourglasses."""

from __future__ import annotations

import itertools
import json

import cv2
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, pairwise_iou
from small_detector import boxes_input, image_input, rows

from centernet_d2 import Predictor, Trainer
from centernet_d2.config import KEYS
from centernet_d2.config.protocols import without_effect
from centernet_d2.engine.setup import load_config
from centernet_d2.evaluation.build import detection_limits
from centernet_d2.export.network import Network
from centernet_d2.modeling.backbone import Hourglass
from centernet_d2.synthetic.files import ensure_split
from centernet_d2.synthetic.registration import ANNOTATION_FILE, IMAGE_FOLDER
from centernet_d2.synthetic.settings import ShapeSettings, SplitSettings

TINY = (
    *("MODEL.HOURGLASS.CHANNELS", [16, 16, 16, 16, 16, 16], "MODEL.HOURGLASS.BLOCKS", [1] * 6),
    *("MODEL.HOURGLASS.STEM_CHANNELS", 16, "MODEL.HOURGLASS.OUT_CHANNELS", 16),
    *("MODEL.HEATMAP.NUM_CLASSES", 5, "MODEL.RETINANET.NUM_CONVS", 1, "MODEL.DEVICE", "cpu"),
)


def built(*overrides, seed: int = 0):
    torch.manual_seed(seed)
    return build_model(load_config("Ablations/retinanet_hourglass104", [*TINY, *overrides]))


def plain_hourglass(module, features):
    """The maps on the way up, coarsest last, from the published formula."""
    inner, merged = module.low1(features), []
    if hasattr(module.low2, "up1"):
        merged = plain_hourglass(module.low2, inner)
    else:
        merged = [module.low2(inner)]
    doubled = module.low3(merged[0]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return [module.up1(features) + doubled, *merged]


def test_maps_are_those_of_the_way_up():
    torch.manual_seed(0)
    shape = {"channels": [8, 8, 12, 16], "blocks": [1, 1, 1, 1], "stem_channels": 8}
    network = Hourglass(**shape, out_channels=6, stacks=2, pyramid=True).eval()
    plain = Hourglass(**shape, out_channels=6, stacks=2).eval()
    missing = plain.load_state_dict(network.state_dict(), strict=False).missing_keys
    assert all(".1." in name for name in missing)  # of the last stack
    images = torch.randn(1, 3, 63, 127)
    found = network(images)
    strides = {name: shape.stride for name, shape in network.output_shape().items()}
    assert strides == {f"stack{s}_p{k}": 2**k for s in (1, 2) for k in (3, 4, 5)}
    sides = {name: (-(-63 // stride), -(-127 // stride)) for name, stride in strides.items()}
    assert {name: tuple(each.shape[2:]) for name, each in found.items()} == sides
    maps = plain_hourglass(network.hourglasses[0], network.stem(images))
    for level, (layer, each) in enumerate(zip(network.level_outputs[0], maps[1:], strict=True), 3):
        torch.testing.assert_close(found[f"stack1_p{level}"], layer(each))
    torch.testing.assert_close(network.outputs[0](maps[0]), plain(images)["stack1"])


def test_every_stack_is_supervised_and_every_parameter_learns():
    model = built()
    entries = [boxes_input([[9, 9, 60, 70]], [3], size=127), boxes_input([], [], 1, size=127)]
    losses = model(entries)
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model(entries) == losses  # no average over steps, which a resumed run would lack
    summed = built("MODEL.CORNERNET.STACK_REDUCTION", "sum")(entries)
    assert all(summed[k].item() == pytest.approx(2 * losses[k].item(), rel=1e-5) for k in losses)


def test_its_network_alone_has_logits_and_deltas_of_each_level():
    network = Network(built().eval())
    assert network.outputs == [f"{part}.{k}" for part in ("logits", "deltas") for k in range(5)]
    maps = network.maps(torch.rand(1, 3, 127, 127))
    assert [maps[f"logits.{k}"].shape for k in (0, 4)] == [(1, 9 * 16**2, 5), (1, 9, 5)]
    assert maps["deltas.4"].shape == (1, 9, 4)


def test_anchors_and_losses_are_retinanets():
    """Labels by IoU 0.4 and 0.5, focal loss (0.25, 2) and L1 over the positives, by plain sums."""
    keys = ("MODEL.HOURGLASS.STACKS", 1, "MODEL.HOURGLASS.NORM", "")
    model = built(*keys, "MODEL.HEATMAP.IN_FEATURES", ["stack1"])
    box = torch.tensor([[20.0, 30, 80, 100]])
    entry = boxes_input(box.tolist(), [3], size=127)
    losses = model([entry])
    ((anchors, logits, deltas),) = model.predict(model.training_images([entry]))
    sizes = [2 ** (5 + level + k / 3) for level in range(5) for k in range(3)]
    first = torch.cat([level.tensor[:9] for level in anchors])  # centred on the first cell
    expected = torch.tensor(
        [
            [-w / 2, -w * ratio / 2, w / 2, w * ratio / 2]
            for size, ratio in itertools.product(sizes, (0.5, 1, 2))
            for w in [size / ratio**0.5]
        ]
    )
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-3)
    every = torch.cat([level.tensor for level in anchors])
    assert len(every) == 9 * sum(side**2 for side in (16, 8, 4, 2, 1))
    iou = pairwise_iou(Boxes(every), Boxes(box))[:, 0]
    positive, negative = (iou >= 0.5) | (iou == iou.max()), iou < 0.4
    p = torch.cat(logits, 1)[0].sigmoid()
    wanted = torch.zeros_like(p)
    wanted[positive, 3] = 1
    right = torch.where(wanted == 1, p, 1 - p)
    cells = -torch.where(wanted == 1, 0.25, 0.75) * (1 - right) ** 2 * right.log()
    count = positive.sum()
    total = cells[positive | negative & ~positive].sum() / count
    assert losses["loss_cls"].item() == pytest.approx(total.item(), rel=1e-4)
    sides, middles = every[:, 2:] - every[:, :2], (every[:, 2:] + every[:, :2]) / 2
    told = torch.cat(
        [
            ((box[:, 2:] + box[:, :2]) / 2 - middles) / sides,
            ((box[:, 2:] - box[:, :2]) / sides).log(),
        ],
        dim=1,
    )
    distance = (torch.cat(deltas, 1)[0] - told)[positive].abs().sum() / count
    assert losses["loss_box_reg"].item() == pytest.approx(distance.item(), rel=1e-4)


def test_nms_and_least_score_are_told():
    keys = ("MODEL.RETINANET.NMS_THRESH_TEST", 0.6, "MODEL.RETINANET.SCORE_THRESH_TEST", 0.02)
    keys = (*keys, "TEST.FLIP", False)
    told = "no augmentation / keep_res / NMS at 0.6 / scores above 0.02"
    assert built(*keys).describe_protocol() == told


def test_peaks_are_no_limit_of_anchors():
    cfg = load_config("Ablations/retinanet_hourglass104")
    own = detection_limits(cfg, is_own=True)
    assert own == {"TEST.DETECTIONS_PER_IMAGE": 100} == detection_limits(cfg, is_own=False)


def test_keys_of_points_alone_have_no_effect():
    """Nothing that a model of anchors gives changes with them; of these blocks others do matter."""
    cfg = load_config("Ablations/retinanet_hourglass104")
    blocks = ("MODEL.HEATMAP.", "MODEL.CORNERNET.", "TEST.SOFT_NMS.")
    read = {k for k in KEYS if k.startswith(blocks)} - {
        k for k in KEYS if k.startswith(without_effect(cfg))
    }
    heatmap = {f"MODEL.HEATMAP.{name}" for name in ("NUM_CLASSES", "IN_FEATURES", "CHANNELS_LAST")}
    assert read == heatmap | {"MODEL.CORNERNET.STACK_REDUCTION"}
    others = (
        *("MODEL.HEATMAP.TOP_K", 1, "MODEL.HEATMAP.SCORE_THRESHOLD", 0.9, "TEST.FLIP", True),
        *("MODEL.HEATMAP.FOCAL_ALPHA", 0.0, "MODEL.HEATMAP.PRIOR_BIAS", 3.0),
        *("TEST.SOFT_NMS.METHOD", "linear", "TEST.SOFT_NMS.MODE", "clean"),
        *("MODEL.CORNERNET.MERGE_BOXES", "always", "MODEL.CORNERNET.FLIP_CONVENTION", "pixel"),
    )
    low = ("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0, "MODEL.HOURGLASS.NORM", "")
    models = [built(*low, *keys) for keys in (("TEST.FLIP", True), others)]
    entries = [boxes_input([[9, 9, 60, 70]], [3], size=127)]
    assert models[0](entries) == models[1](entries)
    with torch.no_grad():
        first, second = (rows(model.eval()(entries)[0]["instances"]) for model in models)
    assert len(first) == 100
    assert torch.equal(first, second)


def test_objects_are_cut_to_the_canvas():
    """As what is left of them; those without area there are none."""
    model = built("MODEL.HOURGLASS.NORM", "").eval()

    def losses(*boxes):
        entry = boxes_input(list(boxes), [0] * len(boxes), size=127)
        return torch.stack(list(model.validation_losses(entry).values()))

    model.head.train()
    left = losses([40, 30, 127, 100])
    assert torch.equal(losses([40, 30, 300, 100], [127, 3, 160, 40], [-50, 3, 0, 40]), left)


def test_boxes_are_those_of_the_deltas_in_the_image():
    """One certain anchor: its box comes back through canvas, flip and scale."""
    model = built("TEST.FLIP", False).eval()
    with torch.no_grad():
        model.head.stacks[-1].cls_score.bias.fill_(-20.0)
    entry = image_input(100, 90)
    with torch.no_grad():
        assert len(model([entry])[0]["instances"]) == 0
        images = model.inference_images([entry["image"]], model.canvas_of(entry, 1.0))
        anchors, logits, deltas = model.predict(images)[-1]
        logits[0][0, 9 * (7 * 16 + 8) + 1, 2] = 9.0  # p3, row 7, column 8, the square of 32 pixels
        deltas[0][0, 9 * (7 * 16 + 8) + 1] = torch.tensor([0.25, 0.0, 0.0, 0.0])
        (found,) = model.propose([(anchors, logits, deltas)], images)
    left, top = 127 // 2 - 90 // 2, 127 // 2 - 100 // 2  # of the image on its canvas of 127
    x, y = 8 * 8 + 0.25 * 32 - left, 7 * 8 - top
    expected = torch.tensor([[x - 16.0, y - 16.0, x + 16.0, y + 16.0]])
    torch.testing.assert_close(found.pred_boxes.tensor, expected, rtol=0, atol=1e-3)
    assert found.pred_classes.tolist() == [2]
    assert found.scores.item() == pytest.approx(1 / (1 + 2.718281828**-9), rel=1e-5)


def test_flip_and_scales_see_the_reflection():
    keys = ("TEST.FLIP", True, "TEST.SCALES", [0.7, 1.0], "MODEL.RETINANET.SCORE_THRESH_TEST", 0.0)
    model = built(*keys, "TEST.DETECTIONS_PER_IMAGE", 20).eval()
    entry = image_input(127, 127)
    reflected = {**entry, "image": entry["image"].flip(2)}
    with torch.no_grad():
        own, turned = (model.candidates([each], 1.0)[0] for each in (entry, reflected))
        batch = model([entry, image_input(90, 127, 1)])
        alone = model([entry])[0]["instances"]
    x1, y1, x2, y2 = own.pred_boxes.tensor.unbind(1)
    boxes = torch.stack([126 - x2, y1, 126 - x1, y2], dim=1)
    inside = ((boxes > 1) & (boxes < 125)).all(1)
    distance = torch.cdist(boxes[inside], turned.pred_boxes.tensor, p=1).amin(1)
    assert inside.sum() > 50
    assert (distance < 0.1).float().mean() > 0.95
    assert 20 <= len(alone) < 40
    torch.testing.assert_close(rows(batch[0]["instances"]), rows(alone), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("MODEL.HOURGLASS.PYRAMID", False), "stack1_p3.*MODEL.HOURGLASS.PYRAMID True"),
        (("MODEL.HEATMAP.IN_FEATURES", ["stack3"]), "stack3_p3"),
        (("MODEL.RETINANET.IN_FEATURES", ["p3", "p9"]), "stack2_p9"),
        (("MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64]]), "MODEL.ANCHOR_GENERATOR a list for each"),
        (("MODEL.RETINANET.NUM_CLASSES", 3), "use MODEL.HEATMAP.NUM_CLASSES"),
        (("MODEL.RPN.NMS_THRESH", 0.5), "MODEL.RPN.NMS_THRESH is 0.5, and nothing that Stacked"),
        (
            ("MODEL.META_ARCHITECTURE", "CornerNet", "MODEL.RETINANET.NUM_CONVS", 2),
            "and nothing that CornerNet needs reads this key",
        ),
    ],
)
def test_what_does_not_fit_is_said_and_keys_depend_on_the_detector(overrides, words):
    with pytest.raises(ValueError, match=words):
        built(*overrides)


def test_images_without_objects_and_more_than_one_each():
    model = built("MODEL.HOURGLASS.NORM", "")
    nothing = {**boxes_input([], [], size=127), "instances": Instances((127, 127))}
    for entry in (nothing, boxes_input([[1, 1, 40, 40]] * 3, [0, 1, 1], size=127)):
        assert all(loss.isfinite() for loss in model([entry]).values())


@pytest.mark.slow
def test_a_training_learns_to_find_boxes(tmp_path):
    """From the config, on generated pictures: a training's AP, and the Predictor's boxes."""
    split = tmp_path / "split"
    sizes = {"side": 64, "size_ranges": ((16.2, 24.0), (24.2, 32.0), (32.2, 40.0))}
    scenes = ShapeSettings(**sizes, classes=("disk", "square"), objects_per_image=(1, 1))
    ensure_split(SplitSettings(images=16, seed=1, scenes=scenes), str(split))
    spec = f"coco:{split / ANNOTATION_FILE}:{split / IMAGE_FOLDER}"
    keys = (
        *("DATASETS.TRAIN", spec, "DATASETS.TEST", spec, "OUTPUT_DIR", str(tmp_path / "run")),
        *("MODEL.HEATMAP.NUM_CLASSES", 0, "SEED", 1, "MODEL.HOURGLASS.OUT_CHANNELS", 32),
        *("MODEL.HOURGLASS.CHANNELS", [16, 16, 24], "MODEL.HOURGLASS.BLOCKS", [1, 1, 1]),
        *("MODEL.RETINANET.IN_FEATURES", ["p3", "p4"], "MODEL.RETINANET.NORM", "GN"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", [[16, 20, 25], [32, 40, 51]], "TEST.CANVAS", "fit"),
        *("INPUT.TRAIN_SIZE", [64, 64], "INPUT.CENTER_CROP.MODE", "none", "SOLVER.MAX_ITER", 150),
        *("INPUT.COLOR_JITTER", 0.0, "INPUT.PCA_LIGHTING", 0.0, "LOGGING.REPORT", False),
        *("SOLVER.EPOCHS", 0, "SOLVER.IMS_PER_BATCH", 8, "SOLVER.BASE_BATCH_SIZE", 0),
        *("SOLVER.BASE_LR", 0.003, "DATALOADER.NUM_WORKERS", 0),
    )
    cfg = load_config("Ablations/retinanet_hourglass104", [*TINY, *keys])
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    assert results["bbox"]["AP50"] > 50
    predictor = Predictor(str(tmp_path / "run/model_final.pth"))
    record = json.loads((split / ANNOTATION_FILE).read_text())
    first = next(i for i in record["images"] if i["id"] == record["annotations"][0]["image_id"])
    found = predictor(cv2.imread(str(split / IMAGE_FOLDER / first["file_name"])))["instances"]
    assert found.scores[0] > 0.3
