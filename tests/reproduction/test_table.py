"""The table of the study: every config and key is there, what is wrong is one sentence."""

from __future__ import annotations

import pytest
import torch
import yaml
from detectron2.modeling import build_model

from centernet_d2.engine.setup import load_config, setup
from centernet_d2.reproduction.table import TABLE, read_table

VARIANTS = yaml.safe_load(TABLE.read_text())["variants"]


@pytest.fixture(scope="module")
def bccd(tmp_path_factory, request):
    """A folder of VOC's form with two pictures, so that setup finds classes."""
    folder = tmp_path_factory.mktemp("bccd")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    from PIL import Image

    for split in ("train", "val"):
        (folder / f"ImageSets/Main/{split}.txt").write_text(f"{split}1\n")
        Image.new("RGB", (640, 480)).save(folder / f"JPEGImages/{split}1.jpg")
        (folder / f"Annotations/{split}1.xml").write_text(
            f"<annotation><filename>{split}1.jpg</filename><size><width>640</width>"
            "<height>480</height></size><object><name>RBC</name><bndbox><xmin>10</xmin>"
            "<ymin>10</ymin><xmax>110</xmax><ymax>110</ymax></bndbox></object></annotation>"
        )
    return str(folder)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_sets_up_and_builds(bccd, name, scale):
    table = read_table(scale, {"bccd": bccd})
    variant = table.variants[name]
    words = [str(word) for pair in variant.keys.items() for word in pair]
    cfg = setup(load_config(variant.config, [*words, "MODEL.DEVICE", "meta"]))
    with torch.device("meta"):
        model = build_model(cfg)
    assert type(model).__name__ == cfg.MODEL.META_ARCHITECTURE
    assert cfg.TEST.FALSE_DISCOVERY
    for key, value in VARIANTS[name].get("keys", {}).items():
        if key in VARIANTS[name].get("gpu", {}) or "DATASETS" in key:
            continue
        found = cfg
        for part in key.split("."):
            found = found[part]
        assert found == value


def test_every_variant_is_needed_and_every_claim_known():
    table = read_table("cpu", {"bccd": "folder"})
    needed = {name for claim in table.claims for name in claim.pair}
    assert needed <= set(table.variants)
    needed |= {table.variants[name].weights for name in needed}
    assert set(VARIANTS) == needed - {""}
    assert len({claim.id for claim in table.claims}) == len(table.claims)
    assert {claim.metric.split("/")[0] for claim in table.claims} == {"bbox", "keypoints", "speed"}
