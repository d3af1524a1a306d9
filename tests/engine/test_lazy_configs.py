"""Every lazy config is its YAML config: parts, schedule, and a training bit for bit."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import instantiate
from detectron2.engine import default_argument_parser
from detectron2.modeling import build_model

from centernet_d2.engine.lazy import LAZY_KEYS, dump_lazy, load_lazy, settings
from centernet_d2.engine.run import read_job, run
from centernet_d2.engine.schedule import schedule_from_config
from centernet_d2.engine.setup import load_config, setup

from .small_world import ROOT, generated_datasets
from .test_resume import differing

LAZY = ROOT / "configs" / "lazy"
YAML_OF = {
    "points_centernet": "COCO-Detection/points_resnet18_dcn_140e",
    "cornernet": "COCO-Detection/cornernet_hourglass104",
    "triplet_centernet": "COCO-Detection/triplet_hourglass104",
    **{f"{name}_tiny": f"Shapes/{name}_tiny" for name in ("points", "cornernet", "triplet")},
    **{f"{name}_tiny": f"Shapes/{name}_tiny" for name in ("pose", "box3d")},
}
TINY = [name for name in YAML_OF if name.endswith("_tiny")]


def lazy_file(name: str) -> str:
    return str(LAZY / f"{name}.py")


def yaml_file(name: str) -> str:
    return str(ROOT / "configs" / f"{YAML_OF[name]}.yaml")


def parse(file: str, *arguments: str):
    return default_argument_parser().parse_args(["--config-file", file, *arguments])


def test_every_lazy_config_is_compared():
    assert sorted(path.stem for path in LAZY.glob("*.py")) == sorted(YAML_OF)


@pytest.mark.parametrize("name", YAML_OF)
def test_parts_and_schedule_are_those_of_the_yaml(name):
    lazy = load_lazy(lazy_file(name))
    cfg = setup(load_config(yaml_file(name), ["MODEL.DEVICE", "meta"]))
    own = setup(settings(lazy))
    assert schedule_from_config(own, 118287) == schedule_from_config(cfg, 118287)
    for key in ("LR_SCHEDULER_NAME", "WARMUP_ITERS", "EMA_DECAY", "BEST_METRIC"):
        assert own.SOLVER[key] == cfg.SOLVER[key]
    assert own.MODEL.WEIGHTS == cfg.MODEL.WEIGHTS
    assert (own.DATASETS.TRAIN, own.DATASETS.TEST) == (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    with torch.device("meta"):
        ours, theirs = instantiate(lazy.model), build_model(cfg)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    for part in ("learning", "decoding", "protocol", "triplet", "num_classes", "in_features"):
        assert getattr(ours, part, None) == getattr(theirs, part, None), part
    assert list(map(parts, getattr(ours, "tasks", ()))) == list(
        map(parts, getattr(theirs, "tasks", ()))
    )


def parts(task) -> dict:
    return {"class": type(task), **{k: plain(v) for k, v in vars(task).items()}}


def plain(value):
    """Objects of one module are equal as their attributes are."""
    if type(value).__module__.startswith("centernet_d2"):
        return type(value), {k: plain(v) for k, v in vars(value).items()}
    return list(value) if isinstance(value, tuple) else getattr(value, "tolist", lambda: value)()


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> dict[str, str]:
    return generated_datasets(tmp_path_factory.mktemp("generated"), images=12, streets=8)


# Four steps of four images; the same in both kinds of config.
VALUES = {
    **{"MODEL.DEVICE": "cpu", "SEED": "1", "DATALOADER.NUM_WORKERS": "0"},
    **{"SOLVER.IMS_PER_BATCH": "4", "SOLVER.MAX_ITER": "4", "SOLVER.WARMUP_ITERS": "2"},
    **{"SOLVER.CHECKPOINT_PERIOD": "2", "TEST.EVAL_PERIOD": "0", "SOLVER.BEST_METRIC": ""},
}


@pytest.mark.parametrize("name", TINY)
def test_training_resume_and_evaluation_equal_those_of_the_yaml(name, datasets, tmp_path):
    spec = datasets.get(name.split("_")[0], datasets[""])
    values = {**VALUES, "DATASETS.TRAIN": spec, "DATASETS.TEST": spec}
    expected_folder, folder = tmp_path / "yaml", tmp_path / "lazy"
    pairs = [part for pair in values.items() for part in pair]
    expected = run(parse(yaml_file(name), *pairs, "OUTPUT_DIR", str(expected_folder)))

    arguments = [
        f"{LAZY_KEYS[key]}='{v}'" if ":" in v else f"{LAZY_KEYS[key]}={v or repr(v)}"
        for key, v in values.items()
    ]
    arguments += [f"train.output_dir={folder}", "dataloader.test.num_workers=0"]
    job = read_job(parse(lazy_file(name), *arguments))
    broken = job.trainer(job.cfg)
    broken.max_iter = 2  # as a killed job
    broken.train()
    results = run(parse(lazy_file(name), "--resume", *arguments))

    first, second = (
        torch.load(f / "model_final.pth", weights_only=True) for f in (expected_folder, folder)
    )
    for block in (first["centernet_d2"], second["centernet_d2"]):
        del block["config"], block["training"]["date"]
    assert differing(first, second) == []
    for task, scores in expected.items():
        assert results[task] == pytest.approx(scores, abs=0, nan_ok=True)

    # The saved config is that of the command line, and evaluates alone.
    saved = str(folder / "config.yaml")
    with open(saved, encoding="utf-8") as file:
        assert file.read() == dump_lazy(load_lazy(lazy_file(name), arguments))
    weights = f"train.init_checkpoint={folder / 'model_final.pth'}"
    again = run(parse(saved, "--eval-only", weights))
    for task, scores in expected.items():
        assert again[task] == pytest.approx(scores, abs=1e-9, nan_ok=True)
