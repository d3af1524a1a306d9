"""Every shipped config loads, builds, names existing datasets, and trains one step at batch 2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from centernet_d2.engine.setup import load_config, setup

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
YAMLS = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("*.yaml"))
TRAINABLE = [name for name in YAMLS if not Path(name).name.startswith("Base-")]

# Published parameter counts, less those without influence on the output; the last three networks
# are this package's own.
PARAMETERS = {
    "COCO-Detection/points_dla34_140e.yaml": 19_634_164,
    "COCO-Detection/points_dla34_230e.yaml": 19_634_164,
    "COCO-Detection/points_hourglass104_50e.yaml": 191_284_008,
    "COCO-Detection/points_resnet18_dcn_140e.yaml": 14_437_349,
    "COCO-Detection/points_resnet101_dcn_140e.yaml": 49_673_189,
    # 60 classes fewer than COCO, at one weight per head channel and a bias each.
    "PascalVOC-Detection/points_dla34_384.yaml": 19_618_744,
    "PascalVOC-Detection/points_dla34_512.yaml": 19_618_744,
    "PascalVOC-Detection/points_resnet18_dcn_384.yaml": 14_433_449,
    "PascalVOC-Detection/points_resnet18_dcn_512.yaml": 14_433_449,
    "PascalVOC-Detection/points_resnet101_dcn_384.yaml": 49_669_289,
    "PascalVOC-Detection/points_resnet101_dcn_512.yaml": 49_669_289,
}


def loaded(name: str):
    return load_config(str(CONFIGS / name), ["MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "2"])


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
def test_builds_and_every_parameter_gets_a_gradient(name):
    cfg = setup(loaded(name))
    if cfg.MODEL.BACKBONE.NAME == "build_timm_backbone":
        pytest.importorskip("timm")
    torch.manual_seed(0)
    model = build_model(cfg)
    if name in PARAMETERS:
        assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    instances = Instances((64, 64))
    instances.gt_boxes = Boxes(torch.tensor([[4.0, 4, 40, 50], [30, 30, 60, 60]]))
    instances.gt_classes = torch.tensor([0, 1])
    entry = {"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8), "instances": instances}
    losses = model([entry, entry])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
