"""MODEL.BACKBONE.FREEZE_AT: the first stages of every backbone stay as they are."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from engine.small_world import small_config, write_dataset

from centernet_d2.config import add_centernet_config
from centernet_d2.engine.trainer import Trainer
from centernet_d2.modeling.backbone import (
    DLA,
    EncoderDecoder,
    Hourglass,
    ResNetDeconv,
    TimmBackbone,
)
from centernet_d2.modeling.backbone.freeze import freeze_stages


def timm_backbone(name):
    pytest.importorskip("timm")
    return TimmBackbone(name=name, out_channels=8)


BACKBONES = {
    "resnet": (lambda: ResNetDeconv(depth=18, upsample="plain"), 5),
    "dla": (lambda: DLA(upsample="plain", channels=[8] * 6), 5),
    "hourglass": (
        lambda: Hourglass(
            stacks=2, channels=[8, 8], blocks=[1, 1], stem_channels=8, out_channels=8
        ),
        3,
    ),
    **{
        f"timm {name}": (lambda name=name: timm_backbone(name), number)
        for name, number in (
            *(("resnet18", 5), ("tf_efficientnet_lite0", 5), ("mobilenetv3_small_050", 5)),
            *(("convnext_atto", 4), ("dla34", 5), ("regnety_002", 5)),
        )
    },
    "encoder": (lambda: EncoderDecoder(channels=[8, 8], blocks=[1, 1], out_channels=8), 3),
}


def inside(backbone, stage):
    return backbone.get_submodule(stage.removesuffix(".")).modules()


@pytest.mark.parametrize("name", BACKBONES)
def test_the_first_stages_keep_weights_and_statistics(name):
    build, number = BACKBONES[name]
    torch.manual_seed(0)
    backbone = build()
    stages = backbone.freezable_stages()
    assert len(stages) == number
    frozen = tuple(f"{part}." for stage in stages[:2] for part in stage)
    freeze_stages(backbone, 2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    parameters = [p for p in backbone.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.1)
    backbone.train()
    sum(maps.square().mean() for maps in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    changed = {key for key, value in backbone.state_dict().items() if not value.equal(before[key])}
    assert changed
    assert not [key for key in changed if key.startswith(frozen)]
    assert not [
        key for key, p in backbone.named_parameters() if key.startswith(frozen) == p.requires_grad
    ]
    assert "convnext" in name or [
        key for key in before if key.startswith(frozen) and key.endswith("running_var")
    ]
    norms = {type(module).__name__ for stage in frozen for module in inside(backbone, stage)}
    assert not [norm for norm in norms if norm.startswith(("BatchNorm", "SyncBatchNorm"))]


def test_the_default_freezes_nothing_and_a_config_says_how_much(tiny_config):
    cfg = get_cfg()
    add_centernet_config(cfg)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 0
    cfg.MODEL.BACKBONE.FREEZE_AT = 3
    add_centernet_config(cfg)
    assert cfg.MODEL.BACKBONE.FREEZE_AT == 3
    assert all(p.requires_grad for p in build_model(tiny_config()).parameters())
    model = build_model(tiny_config("MODEL.BACKBONE.FREEZE_AT", 1))
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed
    assert all(name.startswith("backbone.stem.") for name in fixed)


@pytest.mark.parametrize(
    ("count", "message"), [(-1, "must be .*0 or more"), (9, "EncoderDecoder has 5 stages")]
)
def test_impossible_counts_are_named(tiny_config, count, message):
    with pytest.raises(ValueError, match=f"FREEZE_AT is {count}.*{message}"):
        build_model(tiny_config("MODEL.BACKBONE.FREEZE_AT", count))


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_training_leaves_them_bit_by_bit(tmp_path, optimizer):
    """With weight decay and a moving average; what is not frozen moves."""
    pytest.importorskip("timm")
    spec = write_dataset(tmp_path)
    cfg = small_config(
        *(spec, tmp_path / "run", "DATASETS.TEST", (), "SOLVER.MAX_ITER", 2),
        *("MODEL.BACKBONE.NAME", "build_centernet_timm_backbone", "MODEL.BACKBONE.FREEZE_AT", 2),
        *("MODEL.HEATMAP.IN_FEATURES", ["timm"], "MODEL.TIMM.NAME", "tf_efficientnet_lite0"),
        *("SOLVER.OPTIMIZER", optimizer, "SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.EMA_DECAY", 0.9),
        *("SOLVER.WEIGHT_DECAY_NORM", 0.1, "SOLVER.BASE_LR", 0.01),
    )
    trainer = Trainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.resume_or_load(resume=False)
    trainer.train()
    frozen = tuple(
        f"backbone.trunk.{part}." for part in ("conv_stem", "bn1", "blocks.0", "blocks.1")
    )
    for after in (trainer.model.state_dict(), trainer.average.state_dict()):
        changed = {name for name, value in after.items() if not value.equal(before[name])}
        assert not [name for name in changed if name.startswith(frozen)]
        assert {name for name, _ in trainer.model.named_parameters()} - changed == {
            name for name, _ in trainer.model.named_parameters() if name.startswith(frozen)
        }
