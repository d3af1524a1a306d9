"""What the compatibility file promises, on whichever detectron2 is installed."""

from __future__ import annotations

import pytest
import yaml
from detectron2.config import get_cfg

from centernet_d2 import detectron2_versions as versions
from centernet_d2.config import add_centernet_config
from centernet_d2.config.files import merge_level, read_levels


def merge_config_file(cfg, path):
    for level in read_levels(path):
        merge_level(cfg, level)


@pytest.fixture
def cfg():
    result = get_cfg()
    add_centernet_config(result)
    return result


def write(path, content) -> str:
    path.write_text(yaml.safe_dump({"VERSION": 2, **content}))
    return str(path)


def test_saved_config_loads_again(cfg, tmp_path):
    cfg.SOLVER.BASE_LR = 0.125
    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    again = cfg.clone()
    again.SOLVER.BASE_LR = 0.5
    merge_config_file(again, str(file))
    assert again.SOLVER.BASE_LR == 0.125
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())


def test_config_of_main_loads(cfg, tmp_path, caplog):
    content = {
        "FLOAT32_PRECISION": "",
        "SOLVER": {"BASE_LR_END": 0.0, "WEIGHT_DECAY_BIAS": None, "MAX_ITER": 77},
        "MODEL": {"ROI_BOX_HEAD": {"USE_FED_LOSS": False}},
    }
    merge_config_file(cfg, write(tmp_path / "main.yaml", content))
    assert cfg.SOLVER.MAX_ITER == 77
    assert cfg.SOLVER.WEIGHT_DECAY_BIAS is None
    dropped = "FLOAT32_PRECISION" in caplog.text and "SOLVER.BASE_LR_END" in caplog.text
    assert dropped is not versions.IS_MAIN


def test_main_has_every_key_that_is_dropped_elsewhere(cfg):
    dumped = yaml.safe_load(cfg.dump())
    for path in versions.KEYS_OF_MAIN:
        node = dumped
        for part in path.split("."):
            node = node.get(part, "absent") if isinstance(node, dict) else "absent"
        assert (node != "absent") is versions.IS_MAIN, path


def test_misspelt_key_is_an_error_that_names_file_and_key(cfg, tmp_path):
    file = write(tmp_path / "typo.yaml", {"MODEL": {"HEATMAP": {"NUM_CLASES": 3}}})
    with pytest.raises(KeyError, match=r"typo\.yaml.*NUM_CLASES"):
        merge_config_file(cfg, file)


def test_config_cannot_run_code(cfg, tmp_path):
    file = tmp_path / "code.yaml"
    file.write_text("OUTPUT_DIR: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match=r"code\.yaml: line 1: could not determine a constructor"):
        merge_config_file(cfg, str(file))


def test_missing_file_is_named(cfg):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        merge_config_file(cfg, "nowhere.yaml")


def test_biases_decay_as_the_weights_do(cfg):
    versions.unify_defaults(cfg)
    assert cfg.SOLVER.WEIGHT_DECAY_BIAS is None
    cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.25
    versions.unify_defaults(cfg)
    assert cfg.SOLVER.WEIGHT_DECAY_BIAS == 0.25


def test_one_process_runs_here():
    seen = []
    versions.launch(seen.append, 1, args=("called",))
    assert seen == ["called"]


def test_auto_address_needs_one_machine():
    with pytest.raises(ValueError, match="--dist-url"):
        versions.launch(print, 1, num_machines=2, dist_url="auto")


def test_each_process_of_a_job_takes_its_part_of_the_cores(monkeypatch):
    spawned, shares, said = [], [], []
    monkeypatch.setattr(versions.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(versions.mp, "spawn", lambda worker, *given: spawned.append(given))
    versions.launch(said.append, 3, args=("done",))
    (function, world, _, args), count = spawned[0]
    assert (world, count) == ((3, 3, 0), 3)
    monkeypatch.setattr(
        versions, "share_among", lambda processes: shares.append((processes, [*said]))
    )
    function(*args)
    assert (shares, said) == ([(3, [])], ["done"])
