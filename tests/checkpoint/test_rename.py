import pytest
import torch

from centernet_d2.checkpoint.imagenet import IMAGENET_TABLES
from centernet_d2.checkpoint.points_repository import TABLES
from centernet_d2.checkpoint.rename import (
    Drop,
    Keep,
    Rename,
    RenameError,
    RenameTable,
    rename_names,
    rename_state_dict,
    renames,
)

TABLE = RenameTable(
    name="test",
    rules=(
        Rename(r"conv(\d)\.(weight|bias)", r"backbone.\1.\2"),
        Rename("hm.bias", "head.bias"),
        Drop(r"fc\..*", "the classifier"),
    ),
    kept=(Keep(r".*\.count", "a counter"),),
)


def tensors(**shapes):
    return {key.replace("__", "."): torch.randn(shape) for key, shape in shapes.items()}


SOURCE = tensors(conv1__weight=(2, 3), conv2__bias=(4,), hm__bias=(5,), fc__weight=(6,))
TARGET = {
    "backbone.1.weight": torch.zeros(2, 3),
    "backbone.2.bias": torch.zeros(4),
    "head.bias": torch.zeros(5),
    "backbone.1.count": torch.tensor(0),
}


def test_each_key_goes_where_the_table_says():
    renamed = rename_state_dict(SOURCE, TABLE, TARGET)
    assert renamed.state_dict.keys() == {"backbone.1.weight", "backbone.2.bias", "head.bias"}
    assert renamed.state_dict["backbone.2.bias"] is SOURCE["conv2.bias"]
    assert renamed.dropped == {"fc.weight": "the classifier"}
    assert renamed.kept == {"backbone.1.count": "a counter"}


def test_a_kept_key_is_taken_where_the_source_has_it():
    table = RenameTable("test", (*TABLE.rules, Rename("count", "backbone.1.count")), TABLE.kept)
    renamed = rename_state_dict(SOURCE | {"count": torch.tensor(7)}, table, TARGET)
    assert renamed.state_dict["backbone.1.count"] == 7
    assert not renamed.kept


UNKNOWN, MISSING, TWICE = "known to no rule", "missing from the checkpoint", "target filled twice"
NO_PLACE = "unexpected, the model has no such parameter"
SEVERAL = r"conv2.bias by conv(\d)\.(weight|bias) and conv2\..*"
WITHOUT_HM = {key: value for key, value in SOURCE.items() if key != "hm.bias"}


@pytest.mark.parametrize(
    ("source", "rules", "problems"),
    [
        (tensors(other__bias=(1,)), (), {UNKNOWN: ["other.bias"]}),
        (
            tensors(my_conv1__weight=(1,), conv1__weight_v=(1,)),  # a rule matches the whole key
            (),
            {UNKNOWN: ["my_conv1.weight", "conv1.weight_v"]},
        ),
        (
            {},
            (Drop(r"conv2\..*", "why not"),),
            {"claimed by several rules": [SEVERAL], MISSING: ["backbone.2.bias"]},
        ),
        (
            tensors(bias=(5,)),
            (Rename("bias", "head.bias"),),
            {TWICE: ["head.bias by hm.bias and bias"]},
        ),
        (tensors(conv7__bias=(1,)), (), {NO_PLACE: ["conv7.bias -> backbone.7.bias"]}),
        (tensors(hm__bias=(3,)), (), {"shape differs": ["hm.bias -> head.bias (3,), model (5,)"]}),
        (None, (), {MISSING: ["head.bias"]}),
    ],
)
def test_what_does_not_fit_is_named(source, rules, problems):
    table = RenameTable("test", (*TABLE.rules, *rules), TABLE.kept)
    given = WITHOUT_HM if source is None else SOURCE | source
    with pytest.raises(RenameError) as caught:
        rename_state_dict(given, table, TARGET)
    assert caught.value.problems == problems
    assert all(key in str(caught.value) for keys in problems.values() for key in keys)


def test_long_lists_are_cut_in_the_text_only():
    many = {f"strange{i}": torch.zeros(1) for i in range(50)}
    with pytest.raises(RenameError, match=r"known to no rule \(50\): .* and 30 more") as caught:
        rename_state_dict(SOURCE | many, TABLE, TARGET)
    assert len(caught.value.problems["known to no rule"]) == 50


def test_rules_from_pairs_of_names():
    rules = renames("""
        {tl,br}_heats.#.{0.conv,1}.* stacks.#.{top,bottom}.{0,2}.*
        kps.#.**
            trunk.#.**
    """)
    source = {
        "tl_heats.10.0.conv.bias": "stacks.10.top.0.bias",
        "br_heats.1.1.weight": "stacks.1.bottom.2.weight",
        "kps.0.low2.up1.0.weight": "trunk.0.low2.up1.0.weight",
    }
    table = RenameTable("names", rules)
    assert len(rules) == 5
    assert list(rename_names(dict.fromkeys(source), table)) == list(source.values())
    for unknown in ("tl_heats.x.1.weight", "tl_heats.1.1.weight.more", "kpsx0.a", "kps.0."):
        with pytest.raises(RenameError, match="known to no rule"):
            rename_names({unknown: None}, table)


def test_every_drop_and_keep_has_a_reason():
    for table in {*TABLES.values(), *IMAGENET_TABLES.values()}:
        reasons = [rule.reason for rule in (*table.rules, *table.kept) if hasattr(rule, "reason")]
        assert all(len(reason) > 10 for reason in reasons)
        assert all(isinstance(rule, Keep) for rule in table.kept)
        assert len({rule.pattern for rule in table.rules}) == len(table.rules)
