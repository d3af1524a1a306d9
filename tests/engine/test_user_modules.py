"""The seam for others' code: modules imported by name, a trainer and config keys of one's own."""

from __future__ import annotations

import sys

import pytest
import torch
from detectron2.engine import default_argument_parser

from centernet_d2.engine.run import read_job, run
from centernet_d2.engine.setup import load_config
from centernet_d2.engine.trainer import Trainer
from centernet_d2.engine.user_modules import import_all, import_user_module


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_a_file_and_a_name_are_imported_once(folder):
    (folder / "other").mkdir()
    (folder / "other" / "mine.py").write_text("import beside\nlist_of_one = [beside.VALUE]\n")
    (folder / "other" / "beside.py").write_text("VALUE = 7\n")
    (folder / "package").mkdir()
    (folder / "package" / "part.py").write_text("class Thing:\n    pass\n")
    mine = import_user_module("other/mine.py")
    assert mine.list_of_one == [7]
    assert import_user_module("other/mine.py") is mine is sys.modules["mine"]
    assert import_user_module("package.part") is sys.modules["package.part"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nowhere.py", None, ["--import nowhere.py", "no such file"]),
        ("no_such.part", None, ["--import no_such.part", "pip install -e .", "file.py"]),
        ("wrong.py", "undefined_name", ["--import wrong.py", "NameError", "undefined_name"]),
        ("needs.py", "import no_such_thing", ["ModuleNotFoundError", "no_such_thing"]),
        ("json.py", "", ["--import json.py", "rename the file"]),
    ],
)
def test_an_import_that_fails_says_which_and_what_to_do(folder, name, text, words):
    if text is not None:
        (folder / name).write_text(f"{text}\n")
    with pytest.raises(ImportError) as caught:
        import_user_module(name)
    assert [word for word in words if word not in str(caught.value)] == []


def test_add_config_and_add_keys_add_keys(folder):
    (folder / "keys.py").write_text("def add_config(cfg):\n    cfg.MODEL.MINE = 3\n")

    def add(cfg):
        cfg.MODEL.OTHER = 1

    (folder / "small.yaml").write_text("MODEL: {OTHER: 2}")
    assert load_config("", ["MODEL.MINE", "4"], import_all(["keys.py"])).MODEL.MINE == 4
    args = default_argument_parser().parse_args(["--config-file", "small.yaml", "MODEL.MINE", "4"])
    args.imports = ["keys.py"]
    model = read_job(args, add_keys=[add]).cfg.MODEL
    assert (model.MINE, model.OTHER) == (4, 2)


class Dark(Trainer):
    """Sees black images alone."""

    mapped: list[bool] = []

    @classmethod
    def build_mapper(cls, cfg, *, is_train):
        cls.mapped.append(is_train)
        mapper = super().build_mapper(cfg, is_train=is_train)

        def dark(record):
            sample = mapper(record)
            return {**sample, "image": torch.zeros_like(sample["image"])}

        return dark


def test_a_trainer_of_ones_own_trains_and_evaluates(config, folder):
    (folder / "small.yaml").write_text(config("SOLVER.MAX_ITER", 1).dump())
    call = ["--config-file", "small.yaml"]
    parse = default_argument_parser().parse_args
    Dark.mapped.clear()
    trained = run(parse(call), trainer=Dark)
    assert Dark.mapped == [True, False, False]  # the evaluation is compared with the training
    weights = ["MODEL.WEIGHTS", str(folder / "run" / "model_final.pth")]
    evaluated = run(parse([*call, "--eval-only", *weights]), trainer=Dark)
    assert Dark.mapped == [True, False, False, False, False]
    assert evaluated["bbox"] == pytest.approx(trained["bbox"], abs=1e-9, nan_ok=True)
