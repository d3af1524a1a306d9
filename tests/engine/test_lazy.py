"""The engine's parts without a config: LazyConfig builds the loaders, detectron2's trainer runs;
and lazy files that `run` trains, their settings, overrides and errors."""

from __future__ import annotations

import json
import re

import pytest
import torch
from detectron2.config import LazyCall, LazyConfig, get_cfg, instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import SimpleTrainer, default_argument_parser
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.events import EventStorage
from omegaconf import DictConfig, OmegaConf
from torch import nn

from centernet_d2.checkpoint.model_info import read_model_info
from centernet_d2.data.loader import build_test_loader, build_train_loader, load_dataset_dicts
from centernet_d2.data.mapper import DetectionMapper
from centernet_d2.engine.lazy import load_lazy, settings
from centernet_d2.engine.lazy_trainer import lazy_trainer
from centernet_d2.engine.run import read_job, run
from centernet_d2.engine.setup import setup
from centernet_d2.engine.trainer import Trainer

from .small_world import ROOT


class Brightness(nn.Module):
    """Learns the mean of all pixels."""

    def __init__(self):
        super().__init__()
        self.guess = nn.Parameter(torch.zeros(()))

    def forward(self, batch):
        means = torch.stack([sample["image"].float().mean() for sample in batch])
        if not self.training:
            return [{"guess": self.guess.item()} for _ in batch]
        return {"loss": (self.guess - means / 255).square().mean()}


@pytest.fixture
def name(config):
    return setup(config()).DATASETS.TRAIN[0]


def test_loaders_from_lazy_calls(name):
    loader = instantiate(
        LazyCall(build_train_loader)(
            dataset=LazyCall(load_dataset_dicts)(names=[name]),
            mapper=LazyCall(DetectionMapper)(is_train=True, augmentations=[]),
            total_batch_size=3,
            seed=5,
        )
    )
    model = Brightness()
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.3))
    with EventStorage(0) as storage:
        for trainer.iter in range(8):
            trainer.run_step()
            storage.step()
    assert model.guess.item() == pytest.approx(0.5, abs=0.1)

    test_loader = instantiate(
        LazyCall(build_test_loader)(
            dataset=LazyCall(load_dataset_dicts)(names=[name], key="the test loader"),
            mapper=LazyCall(DetectionMapper)(is_train=False),
            batch_size=4,
        )
    )
    assert sum(map(len, test_loader)) == 10


class Guess(DatasetEvaluator):
    """Scores how far the guess is from what the file says."""

    def __init__(self, dataset_name: str, output_folder: str, truth: float):
        self.truth, self.guess = truth, 0.0

    def process(self, inputs, outputs):
        self.guess = outputs[0]["guess"]

    def evaluate(self):
        return {"guess": {"error": abs(self.guess - self.truth)}}


FILE = """
import torch
from detectron2.config import LazyCall as L, LazyConfig
from detectron2.solver import WarmupParamScheduler
from detectron2.solver.build import get_default_optimizer_params
from fvcore.common.param_scheduler import MultiStepParamScheduler
from {tests} import Brightness, Guess

train, lr_multiplier = LazyConfig.load_rel("{common}/train.py", ("train", "lr_multiplier"))
dataloader = LazyConfig.load_rel("{common}/data/coco.py", "dataloader")
model = L(Brightness)()
dataloader.train.dataset.names = dataloader.test.dataset.names = ["{name}"]
dataloader.train.mapper.augmentations = []
dataloader.train.update(dict(total_batch_size=4, num_workers=0))
dataloader.test.num_workers = 0
dataloader.evaluator = L(Guess)(dataset_name="", output_folder="", truth=0.5)
optimizer = L(torch.optim.SGD)(params=L(get_default_optimizer_params)(), lr=0.3)
train.update(dict(epochs=3, eval_epochs=2, device="cpu", seed=4, ema_decay=0.5))
train.checkpointer.period = 2
train.output_dir = "{output}"
"""
MULTIPLIER = """
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.5], milestones=[2, 6]),
    warmup_length=0.0, warmup_factor=1.0, warmup_method="constant",
)
"""


@pytest.fixture
def write(name, tmp_path):
    """A function (text) that writes a lazy file with more at its end, and returns its path."""

    def file(text: str = "") -> str:
        place = {"tests": __name__, "common": ROOT / "configs" / "common", "name": name}
        path = tmp_path / "mine.py"
        path.write_text(FILE.format(output=tmp_path / "run", **place) + text)
        return str(path)

    return file


def parse(file: str, *arguments: str):
    return default_argument_parser().parse_args(["--config-file", file, *arguments])


def write_text(file, text: str) -> str:
    file.write_text(text)
    return str(file)


def checkpoint(tmp_path):
    return torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)


def test_a_file_trains_resumes_and_evaluates(write, tmp_path):
    file = write()
    job = read_job(parse(file))
    trainer = job.trainer(job.cfg)
    assert trainer.max_iter == 6  # 3 epochs of 10 images, 4 per step
    assert trainer.cfg.TEST.EVAL_PERIOD == 4
    trainer.max_iter = 3
    trainer.train()
    results = run(parse(file, "--resume"))
    resumed = checkpoint(tmp_path)
    args = parse(file)
    args.overwrite = True
    assert run(args) == results
    whole = checkpoint(tmp_path)
    assert whole["iteration"] == resumed["iteration"] == 5
    assert torch.equal(whole["model"]["guess"], resumed["model"]["guess"])
    assert whole["trainer"]["average_updates"] == 6
    info = read_model_info(tmp_path / "run" / "model_final.pth")
    kept = LazyConfig.load(write_text(tmp_path / "kept.yaml", info.config))
    assert (info.is_lazy, kept.train.ema_decay, kept.train.output_dir) == (True, 0.5, "")
    assert (list(kept.dataloader.train.dataset.names), info.training["iterations"]) == ([], 6)
    weights = f"train.init_checkpoint={tmp_path / 'run' / 'model_final.pth'}"
    saved = str(tmp_path / "run" / "config.yaml")
    assert run(parse(saved, "--eval-only", weights)) == results
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results


def test_weights_beside_a_file_may_have_any_name(write, tmp_path):
    file, weights = write(), write_text(tmp_path / "it's a, b=1.pth", "")
    zoo = "COCO-Keypoints/points_dla34_1x"
    for given, used in ((weights, weights), (zoo, f"published:{zoo}")):
        args = parse(file)
        args.weights = given
        assert used == read_job(args).cfg.MODEL.WEIGHTS


def test_overrides_and_a_call_as_multiplier(write, tmp_path):
    file = write(MULTIPLIER)
    run(parse(file, "train.max_iter=4", "dataloader.evaluator.truth=0.25", "optimizer.lr=0.5"))
    saved = checkpoint(tmp_path)
    assert saved["iteration"] == 3  # iterations by hand beat epochs
    (group,) = saved["trainer"]["optimizer"]["param_groups"]
    assert group["lr"] == pytest.approx(0.25)
    assert group["initial_lr"] == pytest.approx(0.5)


def test_a_trainer_of_ones_own_comes_over_the_files_parts(write):
    class Slow(Trainer):
        @classmethod
        def build_optimizer(cls, cfg, model):
            optimizer = super().build_optimizer(cfg, model)
            assert isinstance(optimizer, torch.optim.SGD)
            optimizer.param_groups[0]["lr"] = 0.0
            return optimizer

    job = read_job(parse(write()), trainer=Slow)
    assert job.trainer(job.cfg).optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("", ["train.max_itre=10"], ["'train.max_itre'", "train.max_iter"]),
        ("", ["SOLVER.MAX_ITER", "10"], ["'SOLVER.MAX_ITER'", "key=value", "train.max_iter=100"]),
        ("", ["train.max_iter=[1,"], ["cannot be read", "quotes"]),
        ("train.ema_deca = 0.1", [], ["'train.ema_deca'", "nothing here reads", "ema_decay"]),
        ("lr_multiplier.step = [3]", [], ["'lr_multiplier.step'", "lr_multiplier.steps"]),
        ("del optimizer", [], ["has no optimizer", "configs/lazy"]),
        ("", ["train.ema_decay=True"], ["train.ema_decay: SOLVER.EMA_DECAY is True", "a number"]),
        ("", ["train.max_iter=ten"], ["train.max_iter: ", "MAX_ITER is 'ten'", "a whole number"]),
    ],
)
def test_what_is_wrong_is_said(write, text, overrides, words):
    pattern = "(?s)" + ".*".join(map(re.escape, words))
    with pytest.raises(ValueError, match=pattern):
        settings(load_lazy(write(text), overrides))


def test_a_training_without_objects_is_refused_as_with_yaml(name):
    records = [{**record, "annotations": []} for record in DatasetCatalog.get(name)]
    DatasetCatalog.register("nothing_to_learn", lambda: records)
    MetadataCatalog.get("nothing_to_learn").set(thing_classes=["thing"])
    parts = {
        "dataset": LazyCall(load_dataset_dicts)(names=[name]),
        "mapper": LazyCall(DetectionMapper)(is_train=True),
    }
    trainer = lazy_trainer(
        DictConfig({"dataloader": {"train": parts}}, flags={"allow_objects": True})
    )
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("nothing_to_learn",)
    try:
        with pytest.raises(ValueError, match="nothing_to_learn have no object to learn from"):
            trainer.load_dataset(cfg)
    finally:
        DatasetCatalog.remove("nothing_to_learn")


def test_what_lowers_the_learning_rate_is_called_by_its_name(config):
    cfg = config("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR")
    call = {"_target_": "fvcore.common.param_scheduler.LinearParamScheduler"}
    names = {
        "LinearParamScheduler": lazy_trainer(OmegaConf.create({"lr_multiplier": call})),
        "WarmupCosineLR": lazy_trainer(OmegaConf.create({"lr_multiplier": {"steps": []}})),
        "Mine": type("Mine", (Trainer,), {"build_lr_scheduler": classmethod(_own_scheduler)}),
    }
    assert [kind.scheduler_name(cfg) for kind in names.values()] == list(names)
    assert Trainer.scheduler_name(cfg) == "WarmupCosineLR"


def _own_scheduler(cls, cfg, optimizer):
    raise NotImplementedError


_own_scheduler.__qualname__ = "Mine.build_lr_scheduler"  # as if it were defined in the class


@pytest.mark.parametrize("kind", ["train", "test"])
def test_a_misspelt_dataset_gets_the_nearest_before_the_model_is_built(write, name, kind):
    file = write(f'dataloader.{kind}.dataset.names = ["{name}x"]\nmodel.no_such_argument = 1\n')
    with pytest.raises(KeyError, match=rf"DATASETS\.{kind.upper()}: .*{name}x.*nearest: {name}"):
        run(parse(file))
