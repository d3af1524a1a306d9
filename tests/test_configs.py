"""Every shipped config loads, names existing datasets, builds, and takes a step of two images."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints
from detectron2.utils.events import EventStorage

from centernet_d2.config import flattened
from centernet_d2.data.samplers import PositionSampler
from centernet_d2.engine.optimizer import build_optimizer
from centernet_d2.engine.schedule import fix_schedule, schedule_from_config
from centernet_d2.engine.setup import load_config, setup
from centernet_d2.engine.step_loop import StepLoop
from centernet_d2.layers.directional_pool import DirectionalPool
from centernet_d2.losses.peak_regression import RegressionLoss
from centernet_d2.model_zoo.lookup import find_entry
from centernet_d2.modeling.rules import part
from centernet_d2.structures.boxes3d import Boxes3D

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
YAMLS = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml"))
FOR_TESTING = [name for name in YAMLS if name.endswith("_multiscale.yaml")]
TRAINABLE = [n for n in YAMLS if not Path(n).name.startswith("Base-") and n not in FOR_TESTING]

IMAGES = 1000  # of a data set that the schedules are computed for
# Published parameter counts, less those without influence on the output; the last three networks
# are this package's own.
PARAMETERS = {
    "COCO-Detection/points_dla34_140e.yaml": 19_634_164,
    "COCO-Detection/points_dla34_230e.yaml": 19_634_164,
    "COCO-Detection/points_hourglass104_50e.yaml": 191_284_008,
    "COCO-Detection/points_resnet18_dcn_140e.yaml": 14_437_349,
    "COCO-Detection/points_resnet101_dcn_140e.yaml": 49_673_189,
    "COCO-Keypoints/points_dla34_1x.yaml": 20_070_618,
    "COCO-Keypoints/points_dla34_3x.yaml": 20_070_618,
    "COCO-Keypoints/points_hourglass104_1x.yaml": 194_811_124,
    "COCO-Keypoints/points_hourglass104_3x.yaml": 194_811_124,
    "KITTI-Detection3D/points_dla34_3dop.yaml": 20_060_595,
    "KITTI-Detection3D/points_dla34_subcnn.yaml": 20_060_595,
    # 60 classes fewer than COCO, at one weight per head channel and a bias each.
    "COCO-Detection/cornernet_hourglass104.yaml": 201_035_212,
    "COCO-Detection/triplet_hourglass52.yaml": 104_844_152,
    "COCO-Detection/triplet_hourglass104.yaml": 210_062_960,
    # Ablations that leave pools out keep their parameters.
    "Ablations/cornernet_no_pooling.yaml": 201_035_212,
    "Ablations/triplet_cre.yaml": 104_844_152 - 2 * (2_427_392 - 1_542_144),
    "PascalVOC-Detection/points_dla34_384.yaml": 19_618_744,
    "PascalVOC-Detection/points_dla34_512.yaml": 19_618_744,
    "PascalVOC-Detection/points_resnet18_dcn_384.yaml": 14_433_449,
    "PascalVOC-Detection/points_resnet18_dcn_512.yaml": 14_433_449,
    "PascalVOC-Detection/points_resnet101_dcn_384.yaml": 49_669_289,
    "PascalVOC-Detection/points_resnet101_dcn_512.yaml": 49_669_289,
}


# The corner networks, with a tenth of their widths, for a step; their sizes are counted without it.
NARROW = {
    "MODEL.HOURGLASS.STEM_CHANNELS": 16,
    "MODEL.HOURGLASS.CHANNELS": [16, 16, 24, 24, 24, 32],
    "MODEL.HOURGLASS.OUT_CHANNELS": 16,
    "MODEL.CORNERNET.HEAD_CHANNELS": 16,
    "MODEL.CORNERNET.POOL_CHANNELS": 8,
}


# Of the configs for own data: generated data is one's own, and nothing is chosen here.
OWN = {"pose": "shapes_pose_train", "box3d": "shapes3d_train"}


def loaded(name: str, *overrides):
    two = ["MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2", *overrides]
    if name.startswith("Own/"):
        data = OWN.get(Path(name).name.partition("_")[0], "shapes_train")
        two += ["DATASETS.TRAIN", data, "AUTO.SIZE", "False", "AUTO.SCHEDULE", "False"]
        two += ["AUTO.BATCH", "False"]
    return load_config(str(CONFIGS / name), two)


def is_corner_detector(cfg) -> bool:
    return cfg.MODEL.META_ARCHITECTURE != "PointsCenterNet"


def test_there_are_configs():
    assert set(PARAMETERS) <= set(TRAINABLE)


@pytest.mark.parametrize("name", YAMLS)
def test_loads_and_keeps_the_conventions(name):
    cfg = loaded(name)
    assert cfg.INPUT.FORMAT == "BGR"
    assert cfg.INPUT.MIN_SIZE_TEST == 0
    assert cfg.SOLVER.REFERENCE_WORLD_SIZE == 0
    assert not cfg.DATALOADER.ASPECT_RATIO_GROUPING


@pytest.mark.parametrize("name", TRAINABLE)
def test_datasets_exist_and_the_full_batch_divides_among_workers(name):
    cfg = loaded(name)
    for dataset in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert dataset in DatasetCatalog.list()
    shipped = load_config(str(CONFIGS / name))
    assert [n for n in (1, 2, 4, 8) if shipped.SOLVER.IMS_PER_BATCH % n] == []


@pytest.mark.parametrize("name", TRAINABLE)
def test_batch_of_two_and_any_number_of_processes(name):
    batch = load_config(str(CONFIGS / name)).SOLVER.IMS_PER_BATCH
    schedule = schedule_from_config(loaded(name), IMAGES)
    assert schedule.images_per_batch == 2
    assert schedule.iterations > 0
    for processes in (1, 2, 4, 8):
        for size in (max(2, processes), batch):  # smaller than the processes is an error
            cfg = load_config(str(CONFIGS / name), ["SOLVER.IMS_PER_BATCH", size])
            assert schedule_from_config(cfg, IMAGES).iterations > 0
            shares = [
                next(iter(PositionSampler(IMAGES, batch_size=size, rank=r, world_size=processes)))
                for r in range(processes)
            ]
            assert sum(map(len, shares)) == size
            assert all(shares)


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_number_of_parameters(name):
    cfg = setup(loaded(name, "MODEL.DEVICE", "meta"))
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["cornernet_hourglass104", "triplet_hourglass52"])
def test_as_many_parameters_without_pools(name):
    path = f"COCO-Detection/{name}.yaml"
    keys = ("MODEL.CORNERNET.POOLS", False, "MODEL.TRIPLET_CENTERNET.POOLING", "none")
    cfg = setup(loaded(path, "MODEL.DEVICE", "meta", *keys))
    with torch.device("meta"):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[path]
    assert not [m for m in model.modules() if isinstance(m, DirectionalPool)]


@pytest.mark.parametrize("name", TRAINABLE)
def test_builds_and_takes_a_step_that_moves_every_parameter(name):
    cfg = setup(loaded(name))
    if cfg.MODEL.BACKBONE.NAME == "build_centernet_timm_backbone":
        pytest.importorskip("timm")
    if is_corner_detector(cfg) and not name.endswith(("tiny.yaml", "small.yaml")):
        cfg = setup(loaded(name, *(part for item in NARROW.items() for part in item)))
    torch.manual_seed(0)
    model = build_model(cfg)
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 40, 50], [30, 30, 60, 60]]))
    instances.gt_classes = torch.tensor([0, min(1, cfg.MODEL.HEATMAP.NUM_CLASSES - 1)])
    joints = torch.rand(2, cfg.MODEL.POINTS_CENTERNET.POSE.NUM_JOINTS, 3) * 60
    joints[..., 2] = 2
    instances.gt_keypoints = Keypoints(joints)
    instances.gt_boxes3d = Boxes3D(torch.tensor([[0, 1, 20, 1.5, 1.6, 3.9, 0, 0]] * 2))
    entry = {"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8), "instances": instances}
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    cfg = fix_schedule(cfg, schedule_from_config(cfg, IMAGES))
    loop = StepLoop(model.train(), [[entry, entry]], build_optimizer(cfg, model))
    with EventStorage(0):
        loop.iter = 0
        loop.run_step()
    assert all(map(math.isfinite, loop.losses.values()))
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    assert [n for n, p in trained if p.grad is None] == []
    # A gradient may be zero behind ReLUs that the random start has shut, and rounding swallows the
    # step of one below Adam's epsilon, as RetinaNet's heads have on levels without an object.
    still = [n for n, p in trained if torch.equal(p, before[n]) and p.grad.abs().max() > 1e-8]
    assert still == []
    assert sum(not torch.equal(p, before[n]) for n, p in trained) > len(trained) / 2


@pytest.mark.parametrize("name", FOR_TESTING)
def test_several_scales_are_all_that_differs_and_their_number_is_the_published(name):
    single = name.replace("_multiscale", "")
    ours, theirs = (flattened(load_config(str(CONFIGS / each))) for each in (name, single))
    scales = [0.6, 1.0, 1.2, 1.5, 1.8] if "triplet" in name else [0.5, 0.75, 1.0, 1.25, 1.5]
    assert ours == theirs | {"TEST.FLIP": True, "TEST.SCALES": scales}
    published = find_entry(single).published["ms"]
    assert f"Published: AP {published} on" in (CONFIGS / name).read_text()


def test_smooth_l1_of_the_ablation_is_the_published_one():
    """Published: the sum over the number of objects. The loss key alone would halve it."""
    sizes = torch.tensor([[10.0, 20.0], [7.0, 5.0]])
    found = sizes + torch.tensor([[0.5, -3.0], [0.25, 4.0]])
    expected = (0.5**2 / 2 + 2.5 + 0.25**2 / 2 + 3.5) / 2
    cfg = loaded("Ablations/points_smooth_l1.yaml")
    assert part(RegressionLoss, cfg)(found, sizes).item() == pytest.approx(expected, rel=1e-4)
    cfg.MODEL.POINTS_CENTERNET.REGRESSION_NORMALIZER = "elements"
    assert part(RegressionLoss, cfg)(found, sizes).item() == pytest.approx(expected / 2, rel=1e-4)
